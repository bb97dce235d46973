//! Spans, the rows of pretokens that superwords may lie in, against the regex engine; and two-stage training on more
//! of them than threads take at once.

use bytemill::error::{Error, Result};
use bytemill::pretokenize::pattern::Named;
use bytemill::pretokenize::spans::regex_of;
use bytemill::pretokenize::{Pretokenizer, RegexSplitter};
use bytemill::superwords;
use bytemill::train::count::CountOptions;
use bytemill::train::{TrainOptions, train};

/// Joined pretokens against the regex engine, on short rows of what patterns tell apart and on some that blocks of
/// 64 bytes lie in, most of them ASCII.
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
        for i in 0..6000 {
            let text: String = if i % 8 == 0 {
                let (n, kinds) = (below(150), [pieces.len(), 13][below(2)]);
                (0..n).map(|_| pieces[below(kinds)]).collect()
            } else {
                let n = below(14);
                (0..n).map(|_| pieces[below(pieces.len())]).collect()
            };
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

/// Lines of words, some megabytes of them, of which no two are alike.
fn lines() -> String {
    let syllables = ["the", "of", "a", "in", "it", "ste", "am", "'s", "lo", "é"];
    let mut state = 3_u64;
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % n
    };
    let mut text = String::new();
    while text.len() < 5_000_000 {
        for _ in 0..100 {
            text += syllables[below(syllables.len())];
            text.push_str(["", " ", " ", ", "][below(4)]);
        }
        text.push('\n');
    }
    text
}

/// Either stage alone is plain training, of pretokens or of spans. Both together do not show the number of
/// threads, and can be stopped before there is anything to merge.
#[test]
fn stages_of_more_text_than_threads_take_at_once() -> Result<()> {
    let text = lines();
    let pattern = regex_of(Named::Gpt2).expect("it has spans");
    let spans = CountOptions::new(pattern)?.count_texts([&*text])?;
    let pretokens = CountOptions::new("gpt2")?.count_texts([&*text])?;
    let options = |num_threads| TrainOptions {
        num_threads: Some(num_threads),
        ..TrainOptions::new(256 + 40)
    };
    let learn = |from, num_threads| {
        superwords::train(&spans, "gpt2", from, &options(num_threads), &mut |_, _| {
            Ok(())
        })
    };
    let within = train(&pretokens, &options(2))?;
    assert_eq!(learn(256 + 40, 2)?.pairs(), within.pairs());
    let across = train(&spans, &options(2))?;
    assert_eq!(learn(256, 2)?.pairs(), across.pairs());
    let both = learn(256 + 25, 1)?;
    assert_eq!(both.pairs()[..25], within.pairs()[..25]);
    assert_ne!(both.pairs(), within.pairs());
    for num_threads in [2, 3] {
        assert_eq!(learn(256 + 25, num_threads)?.pairs(), both.pairs());
    }
    // Some megabytes at a time, from which pretokens are counted and, later, rows made.
    let mut calls = Vec::new();
    superwords::train(&spans, "gpt2", 256, &options(1), &mut |done, _| {
        calls.push(done);
        Ok(())
    })?;
    assert!(calls.iter().filter(|&&done| done == 0).count() >= 6);
    for n in 0..6 {
        let mut left = n;
        let stopped = superwords::train(&spans, "gpt2", 256, &options(1), &mut |_, _| {
            left = usize::checked_sub(left, 1).ok_or(Error::Interrupted)?;
            Ok(())
        });
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
    Ok(())
}
