//! Spans, the rows of pretokens that superwords may lie in, against the regex engine.

use bytemill::error::Result;
use bytemill::pretokenize::pattern::Named;
use bytemill::pretokenize::spans::regex_of;
use bytemill::pretokenize::{Pretokenizer, RegexSplitter};

/// Joined pretokens against the regex engine, on all short rows of what patterns tell apart.
#[test]
fn spans_are_what_the_regex_matches() -> Result<()> {
    let pieces = [
        " ", "\t", "\n", "\r", "a", "Ab", "'s", "'", "7", "12", ".", "!/", "/", "\u{301}",
        "\u{3000}", "中", "é", "'LL", "ſ", "²", "\u{a0}", "😀",
    ];
    let mut state = 1_u64;
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % n
    };
    let with_spans = || {
        Named::ALL
            .into_iter()
            .filter_map(|n| Some((n, regex_of(n)?)))
    };
    assert_eq!(with_spans().count(), 6);
    for (named, regex) in with_spans() {
        let pretokenizer = Pretokenizer::new(regex)?;
        assert!(matches!(pretokenizer, Pretokenizer::Spans(n) if n == named));
        let oracle = RegexSplitter::new(regex)?;
        let mut joined = 0;
        for _ in 0..6000 {
            let n = below(14);
            let text: String = (0..n).map(|_| pieces[below(pieces.len())]).collect();
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            pretokenizer.split(&text, |start, end| found.push((start, end)))?;
            oracle.split(&text, &mut |start, end| expected.push((start, end)))?;
            assert_eq!(found, expected, "{named:?} {text:?}");
            let mut alone = 0;
            Pretokenizer::Named(named).split(&text, |_, _| alone += 1)?;
            joined += alone - found.len();
        }
        assert!(joined > 1000);
    }
    Ok(())
}

/// Parts between cuts have the spans of the whole.
#[test]
fn texts_may_be_cut_at_the_ends_of_lines() -> Result<()> {
    let pieces = [
        "a", " b", "\n", "\r", " ", "\t", ".", "/", "7", "é", "'s", "x.\ny", "k\nl",
    ];
    let mut state = 7_u64;
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % n
    };
    for regex in Named::ALL.into_iter().filter_map(regex_of) {
        let pretokenizer = Pretokenizer::new(regex)?;
        let mut cuts = 0;
        for _ in 0..4000 {
            let n = below(20);
            let text: String = (0..n).map(|_| pieces[below(pieces.len())]).collect();
            let mut whole = Vec::new();
            pretokenizer.split(&text, |start, end| whole.push((start, end)))?;
            let mut to = text.len();
            while let Some(cut) = pretokenizer.cuts().last(text.as_bytes(), 0, to) {
                let mut parts = Vec::new();
                pretokenizer.split(&text[..cut], |start, end| parts.push((start, end)))?;
                pretokenizer.split(&text[cut..], |s, e| parts.push((s + cut, e + cut)))?;
                assert_eq!(parts, whole, "{regex} {text:?} {cut}");
                (cuts, to) = (cuts + 1, cut - 1);
            }
        }
        assert!(cuts > 1000);
    }
    Ok(())
}
