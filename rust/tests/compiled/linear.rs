//! Time that grows with the text and no more.

use super::{PATTERNS, compiled};
use crate::clock::processor_time;
use std::time::Duration;

/// Runs that would take quadratic time if look-ahead over them were done again for each pretoken.
#[test]
fn linear_in_long_runs() {
    let n = 1_000_000;
    let run = |s: &str| s.repeat(n / s.len());
    let texts = [
        run("a"),
        run("ab"),
        run("A"),
        run("中"),
        run("A\u{301}"),
        run("1"),
        run(" "),
        run(" ") + "x",
        run("\n"),
        "\n".to_owned() + &run(" ") + "x",
        run("\n ") + "x",
        run(" \n") + " x",
        run("\u{3000}\n") + " x",
        run("!\n/"),
        run("'"),
        run("'s"),
        run("a "),
        run("a b"),
        run("a,"),
    ];
    let hard = [
        "a*b|a",
        "(?:a|b)*c|[ab]{1,2}|.",
        r"(?:\w+ )*!|\w+|\s",
        r"\s+$|\s|\S+",
        r"(?:a\s*)+\d|(?:\s|a)*!|.",
        r"(?s:.)*\z.|a",
        "(?s:.)*!|(?s:.)*?/|.",
    ];
    for pattern in PATTERNS.iter().copied().chain(hard) {
        let compiled = compiled(pattern);
        for text in &texts {
            let start = processor_time();
            let mut end = 0;
            compiled.split(text, |s, e| {
                assert!(end <= s && s < e);
                end = e;
            });
            let taken = processor_time() - start;
            let head: String = text.chars().take(4).collect();
            assert!(
                taken < Duration::from_secs(2),
                "{pattern} {head:?} {taken:?}"
            );
        }
    }
}
