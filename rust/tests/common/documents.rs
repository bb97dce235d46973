//! Texts with special tokens in them, and their documents.

use bytemill::pretokenize::pattern::Named;
use proptest::prelude::*;

/// Text from pieces that meet in every way a cut could get wrong.
pub fn text() -> impl Strategy<Value = String> {
    let pieces = [
        " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u{a0}", "\u{3000}", "\u{85}", "a", "Z9", "12345",
        "'s", "'LL", "!", "...", "/", "//", "é", "ह", "ि", "中文", "\u{301}", "👍", "\u{feff}",
        "<s>", "<s><s>", "<s", "aaaa", " word", "word\n", "ǅ",
    ];
    let piece = proptest::sample::select(pieces.to_vec());
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Sets of special tokens.
pub const SPECIALS: [&[&str]; 5] = [
    &[],
    &["<s>"],
    &["<s>", "<s><s>", "<s><s>a"],
    &["aa", "aaa"],
    &["\n", " w", "é"],
];
/// Patterns without a scanner of their own.
const OTHERS: [&str; 5] = [
    r"\w+",
    r"\s?\S{1,3}",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+",
    r"\b\w+|\s",
];

/// Patterns with a scanner, and without.
pub fn patterns() -> Vec<&'static str> {
    Named::ALL
        .map(Named::name)
        .into_iter()
        .chain(OTHERS)
        .collect()
}

/// The documents of a text, by looking at every place.
pub fn documents<'a>(text: &'a str, specials: &[&str]) -> Vec<&'a str> {
    let (mut documents, mut start, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        let here = specials
            .iter()
            .filter(|s| text.as_bytes()[at..].starts_with(s.as_bytes()));
        match here.map(|s| s.len()).max() {
            Some(len) => {
                documents.push(&text[start..at]);
                at += len;
                start = at;
            }
            None => at += 1,
        }
    }
    documents.push(&text[start..]);
    documents
}
