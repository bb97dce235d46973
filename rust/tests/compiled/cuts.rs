//! Texts of compiled patterns, cut where their tables allow it, against the whole.

use super::{PATTERNS, compiled, matches, pattern, run, text};
use bytemill::pretokenize::{Pretokenizer, RegexSplitter};

/// Every place of a text where a document may be cut.
fn cuts(pretokenizer: &Pretokenizer, text: &str) -> Vec<usize> {
    let cuts = pretokenizer.cuts();
    let one = |c: &usize| cuts.last(text.as_bytes(), c - 1, *c).is_some();
    (1..text.len()).filter(one).collect()
}

fn check_cuts(pretokenizer: &Pretokenizer, oracle: &RegexSplitter, text: &str) -> usize {
    let Some(want) = matches(oracle, text) else {
        return 0;
    };
    let cuts = cuts(pretokenizer, text);
    for &c in &cuts {
        let (Some(mut parts), Some(rest)) =
            (matches(oracle, &text[..c]), matches(oracle, &text[c..]))
        else {
            continue;
        };
        parts.extend(rest.iter().map(|(s, e)| (s + c, e + c)));
        assert_eq!(parts, want, "{pretokenizer:?} {text:?} cut at {c}");
    }
    cuts.len()
}

#[test]
fn cuts_change_nothing() {
    let n_cuts = std::cell::Cell::new(0);
    let strategy = (pattern(), proptest::collection::vec(text(), 3));
    run(1500, strategy, |(pattern, texts)| {
        let oracle = RegexSplitter::new(&pattern).unwrap();
        let pretokenizer = Pretokenizer::new(&pattern).unwrap();
        for text in &texts {
            let n = check_cuts(
                &pretokenizer,
                &oracle,
                &text[..text.floor_char_boundary(200)],
            );
            n_cuts.set(n_cuts.get() + n);
        }
        Ok(())
    });
    assert!(n_cuts.get() > 1000, "{}", n_cuts.get());
}

#[test]
fn usual_patterns_can_be_cut_in_usual_places() {
    let text = "He said: \"no, it's 12 o'clock\".\n\n    if x == 1:\n        return y\n";
    for pattern in PATTERNS[..6]
        .iter()
        .copied()
        .chain([r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+"])
    {
        let (found, oracle) = (
            Pretokenizer::Compiled(compiled(pattern)),
            RegexSplitter::new(pattern).unwrap(),
        );
        assert!(
            check_cuts(&found, &oracle, text) > 12,
            "{pattern} {:?}",
            cuts(&found, text)
        );
        let before_word = text.find(" said").unwrap();
        assert!(cuts(&found, text).contains(&before_word), "{pattern}");
    }
    assert!(!Pretokenizer::new(r"\b\w+").unwrap().cuts().exist());
}
