//! A pattern's own way of splitting (a scanner, where it has one) against its regex.
#![no_main]

use bytemill::pretokenize::pattern::pat_str;
use bytemill::pretokenize::{Pretokenizer, RegexSplitter};
use bytemill_fuzz::{pattern, text};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::collections::HashMap;

type Pair = Option<(Pretokenizer, RegexSplitter)>;

thread_local! {
    // Compiling takes far longer than splitting a short text.
    static MADE: RefCell<HashMap<String, Pair>> = RefCell::default();
}

fn make(pattern: &str) -> Pair {
    let regex = RegexSplitter::new(pat_str(pattern));
    let ours = Pretokenizer::new(pattern);
    assert_eq!(ours.is_ok(), regex.is_ok(), "{pattern:?}");
    Some((ours.ok()?, regex.ok()?))
}

fuzz_target!(|data: &[u8]| {
    let (pattern, data) = pattern(data);
    let text = text(data);
    MADE.with_borrow_mut(|made| {
        if made.len() > 200 {
            made.clear();
        }
        let pair = made
            .entry(pattern.to_string())
            .or_insert_with(|| make(&pattern));
        let Some((ours, regex)) = pair else { return };
        let mut expected = Vec::new();
        if regex
            .split(&text, &mut |start, end| expected.push((start, end)))
            .is_err()
        {
            return; // it backtracks too far
        }
        let mut found = Vec::new();
        ours.split(&text, |start, end| found.push((start, end)))
            .expect("the regex alone has split it");
        assert_eq!(found, expected, "{pattern:?} {text:?}");
    });
});
