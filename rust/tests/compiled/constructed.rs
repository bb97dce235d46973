//! Patterns of any construction, as the fuzz target `compiled` makes them from bytes: nested groups, lazy and
//! possessive repetition of anything, assertions of every kind.

use super::{check, run};
use bytemill::pretokenize::{Compiled, Pretokenizer, RegexSplitter};
use proptest::prelude::*;

#[path = "../../../fuzz/src/construct.rs"]
mod construct;

#[test]
fn any_construction_on_any_text() {
    let (mut n, mut valid, mut accepted) = (0, 0, 0);
    let counts = std::cell::RefCell::new([&mut n, &mut valid, &mut accepted]);
    let count = |i: usize| *counts.borrow_mut()[i] += 1;
    let bytes = |n| proptest::collection::vec(any::<u8>(), n);
    run(
        2500,
        (any::<u8>(), bytes(40), bytes(120)),
        |(how, mut chosen, text)| {
            count(0);
            chosen.truncate(usize::from(how % 32));
            let (pattern, _) = construct::any_pattern(how, &chosen);
            let Ok(oracle) = RegexSplitter::new(&pattern) else {
                prop_assert!(Pretokenizer::new(&pattern).is_err(), "{}", pattern);
                return Ok(());
            };
            count(1);
            let Some(compiled) = Compiled::new(&pattern).expect("memory") else {
                return Ok(());
            };
            count(2);
            check(&pattern, &compiled, &oracle, &construct::any_text(&text));
            Ok(())
        },
    );
    println!("{n} patterns, {valid} valid, {accepted} compiled");
    assert!(accepted * 4 > n, "{accepted} of {n} patterns were compiled");
}
