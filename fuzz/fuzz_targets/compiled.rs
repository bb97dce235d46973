//! A pattern of one's own, of any construction: compiled to tables it splits as fancy-regex does, or it is not
//! compiled, and left to fancy-regex.
#![no_main]

use bytemill::pretokenize::{Compiled, Pretokenizer, RegexSplitter};
use bytemill_fuzz::construct::{any_pattern, any_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let (pattern, rest) = any_pattern(how, rest);
    let Ok(regex) = RegexSplitter::new(&pattern) else {
        assert!(Pretokenizer::new(&pattern).is_err(), "{pattern:?}");
        return;
    };
    let Some(compiled) = Compiled::new(&pattern).expect("memory") else {
        return; // it is left to the engine
    };
    let text = any_text(rest);
    let mut expected = Vec::new();
    let mut keep = |start, end| expected.push((start, end));
    if regex.split(&text, &mut keep).is_err() {
        return; // it backtracks too far
    }
    let mut found = Vec::new();
    compiled.split(&text, |start, end| found.push((start, end)));
    assert_eq!(found, expected, "{pattern:?} {text:?}");
});
