//! Where a long document can be cut so that its parts give the document's pretokens.
//!
//! At such a place every way to split what comes before ends a pretoken, or is between them, and no
//! look-ahead before it gives anything else if the text ends there.

use std::sync::Arc;

/// The places where documents may be cut for one pattern.
#[derive(Clone, Debug)]
pub enum Cuts {
    /// Not known: nowhere.
    Nowhere,
    /// Those that are good for all named patterns:
    ///
    /// - before a space or tab that follows anything but white space: a pretoken takes white space
    ///   only at its start, but for the line ends that may follow punctuation;
    /// - before a line end that follows an ASCII letter or digit: nothing takes line ends after those;
    /// - after a line feed that has no white space before it, but not before white space or `/`
    ///   (o200k's punctuation may end in line ends and slashes).
    Named,
    /// Between these ASCII characters, derived from a compiled pattern: bit `b` of item `a` is for
    /// between `a` and `b`.
    Between(Arc<[u128; 128]>),
}

impl Cuts {
    /// Whether there can be any.
    pub fn exist(&self) -> bool {
        match self {
            Cuts::Nowhere => false,
            Cuts::Named => true,
            Cuts::Between(pairs) => pairs.iter().any(|&after| after != 0),
        }
    }

    /// The last cut `c` with `from < c <= to` in `text`, looking at bytes before `to` and the one at
    /// `to`. `text` need not be valid UTF-8; then its parts, decoded, still make up the decoded whole.
    pub fn last(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        let to = to.min(text.len().saturating_sub(1));
        let mut places = (from + 1..=to).rev();
        match self {
            Cuts::Nowhere => None,
            Cuts::Named => places.find(|&c| is_cut(text, c)),
            Cuts::Between(pairs) => places.find(|&c| {
                let after = pairs.get(usize::from(text[c - 1])).copied().unwrap_or(0);
                text[c] < 128 && after >> text[c] & 1 != 0
            }),
        }
    }
}

/// Whether `text` may be cut before its byte `c`, `0 < c < text.len()`, with any named pattern.
fn is_cut(text: &[u8], c: usize) -> bool {
    match text[c] {
        b' ' | b'\t' => !ends_in_space(&text[..c]),
        b'\n' | b'\r' => text[c - 1].is_ascii_alphanumeric(),
        next => {
            text[c - 1] == b'\n'
                && c >= 2
                && next != b'/'
                && !starts_with_space(&text[c..])
                && !ends_in_space(&text[..c - 1])
        }
    }
}

/// Whether the last character is white space; true as well for what is not valid UTF-8.
fn ends_in_space(text: &[u8]) -> bool {
    let tail = &text[text.len().saturating_sub(4)..];
    let start = tail.iter().rposition(|b| b & 0xc0 != 0x80).unwrap_or(0);
    starts_with_space(&tail[start..])
}

/// Whether the first character is white space; true as well for what is not valid UTF-8 or cut short.
fn starts_with_space(text: &[u8]) -> bool {
    let head = &text[..text.len().min(4)];
    match head.utf8_chunks().next() {
        Some(chunk) => chunk.valid().chars().next().is_none_or(char::is_whitespace),
        None => true,
    }
}
