//! Where a long document can be cut so that its parts give the document's pretokens.
//!
//! At such a place every way to split what comes before ends a pretoken, or is between them, and no
//! look-ahead before it gives anything else if the text ends there.

use crate::simd::level::{self, Job, Level};
use crate::utf8;
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
    /// Those of [`Cuts::Named`] that are at the end of a line: they are good for spans of words, too.
    Lines,
    /// Some others, where the characters beside them are ASCII (and the one before those, which one kind of
    /// cut depends on): there no normal form of Unicode changes anything.
    BetweenAscii(Arc<Cuts>),
    /// Between these ASCII characters, derived from a compiled pattern: bit `b` of item `a` is for
    /// between `a` and `b`.
    Between(Arc<[u128; 128]>),
}

impl Cuts {
    /// Whether there can be any.
    pub fn exist(&self) -> bool {
        match self {
            Cuts::Nowhere => false,
            Cuts::Named | Cuts::Lines => true,
            Cuts::BetweenAscii(cuts) => cuts.exist(),
            Cuts::Between(pairs) => pairs.iter().any(|&after| after != 0),
        }
    }

    /// The last cut `c` with `from < c <= to` in `text`, looking at bytes before `to` and the one at
    /// `to`. `text` need not be valid UTF-8; then its parts, decoded, still make up the decoded whole.
    pub fn last(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        let to = to.min(text.len().saturating_sub(1));
        match self {
            Cuts::Nowhere => None,
            Cuts::Named => last_named(text, from, to),
            Cuts::Lines => last_line(text, from, to),
            Cuts::BetweenAscii(cuts) => {
                let mut to = to;
                loop {
                    let cut = cuts.last(text, from, to)?;
                    if text[cut.saturating_sub(2)..=cut].is_ascii() {
                        return Some(cut);
                    }
                    to = cut - 1;
                }
            }
            Cuts::Between(pairs) => (from + 1..=to).rev().find(|&c| {
                let after = pairs.get(usize::from(text[c - 1])).copied().unwrap_or(0);
                text[c] < 128 && after >> text[c] & 1 != 0
            }),
        }
    }
}

/// Places looked at together.
const WINDOW: usize = 32;

/// The last `c` with `from < c <= to < text.len()` that [`is_cut`].
fn last_named(text: &[u8], from: usize, to: usize) -> Option<usize> {
    // Most text has one nearby.
    let near = from.max(to.saturating_sub(2 * WINDOW));
    if let Some(c) = (near + 1..=to).rev().find(|&c| is_cut(text, c)) {
        return Some(c);
    }
    if near == from {
        return None;
    }
    let to = near;
    level::run(Far { text, from, to })
}

/// As [`last_named`] in a long run of anything, which may have none. Then looking for them must not cost
/// as much as encoding.
struct Far<'a> {
    text: &'a [u8],
    from: usize,
    to: usize,
}

impl Job for Far<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<L: Level>(self, _: L) -> Option<usize> {
        let Self { text, from, mut to } = self;
        while to >= from + WINDOW && to > WINDOW {
            let start = to + 1 - WINDOW;
            let flags = may_be_cuts(text[start - 2..].first_chunk()?);
            if flags != [0; WINDOW] {
                for (i, eight) in flags.as_chunks::<8>().0.iter().enumerate().rev() {
                    let mut eight = u64::from_le_bytes(*eight);
                    while eight != 0 {
                        let at = eight.ilog2();
                        let c = start + 8 * i + at as usize / 8;
                        if is_cut(text, c) {
                            return Some(c);
                        }
                        eight ^= 1 << at;
                    }
                }
            }
            to -= WINDOW;
        }
        (from + 1..=to).rev().find(|&c| is_cut(text, c))
    }
}

/// For each place from the third byte on, 1 if it may be a cut, as far as ASCII tells; 0 if it is none.
/// Without branches, for the compiler to do many at once.
#[inline(always)]
fn may_be_cuts(bytes: &[u8; WINDOW + 2]) -> [u8; WINDOW] {
    let is_blank = |b: u8| (b == b' ') | (b == b'\t');
    let is_space = |b: u8| (b == b' ') | (b.wrapping_sub(b'\t') < 5);
    let is_line_end = |b: u8| (b == b'\n') | (b == b'\r');
    let is_word = |b: u8| ((b | 0x20).wrapping_sub(b'a') < 26) | (b.wrapping_sub(b'0') < 10);
    let mut flags = [0; WINDOW];
    for (i, flag) in flags.iter_mut().enumerate() {
        let (before, last, next) = (bytes[i], bytes[i + 1], bytes[i + 2]);
        let starts = !is_space(next) & (next != b'/');
        *flag = u8::from(
            is_blank(next) & !is_space(last)
                | is_line_end(next) & is_word(last)
                | (last == b'\n') & starts & !is_space(before),
        );
    }
    flags
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

/// The last `c` with `from < c <= to < text.len()` that [`is_line_cut`], which has a line end on one side.
fn last_line(text: &[u8], from: usize, mut to: usize) -> Option<usize> {
    while to > from {
        let start = from.max(to.saturating_sub(2 * WINDOW));
        let is_line_end = |&b: &u8| (b == b'\n') | (b == b'\r');
        // Without branches, for the compiler to look at many at once.
        let bytes = &text[start..=to];
        if bytes.iter().fold(false, |any, b| any | is_line_end(b)) {
            let mut end = to + 1;
            while let Some(at) = text[start..end].iter().rposition(|b| is_line_end(b)) {
                let at = start + at;
                // Behind the line end, and before it.
                for c in [at + 1, at] {
                    if start < c && c <= to && is_line_cut(text, c) {
                        return Some(c);
                    }
                }
                end = at;
            }
        }
        to = start;
    }
    None
}

/// Whether [`is_cut`] and at the end of a line.
#[inline]
fn is_line_cut(text: &[u8], c: usize) -> bool {
    (text[c - 1] == b'\n' || matches!(text[c], b'\n' | b'\r'))
        && !matches!(text[c], b' ' | b'\t')
        && is_cut(text, c)
}

/// Whether the last character is white space; true as well for what is not valid UTF-8.
fn ends_in_space(text: &[u8]) -> bool {
    let tail = &text[text.len().saturating_sub(4)..];
    if let [.., 0xc2, 0x85 | 0xa0] | [.., 0xe3, 0x80, 0x80] = tail {
        // U+0085, U+00A0 and U+3000, the ones that come in long runs.
        return true;
    }
    let start = tail
        .iter()
        .rposition(|&b| !utf8::is_continuation(b))
        .unwrap_or(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One after another.
    fn slow(text: &[u8], from: usize, to: usize) -> Option<usize> {
        let to = to.min(text.len().saturating_sub(1));
        (from + 1..=to).rev().find(|&c| is_cut(text, c))
    }

    /// A cut among what has none, with every two or three pieces around it, at each place of a block.
    #[test]
    fn blocks_find_the_cuts_there_are() {
        let pieces = [
            " ", "\t", "\n", "\r", "\u{b}", "\u{c}", "\u{1c}", "a", "Z", "0", "/", "!", "\u{85}",
            "\u{a0}", "\u{3000}", "\u{180e}", "é", "中", "😀", "[", "`", "{", "@", ":",
        ];
        let (long, mut found) = ("\u{3000}".repeat(3 * WINDOW), 0);
        let middles = pieces.iter().flat_map(|a| {
            let two = pieces.iter().map(move |b| format!("{a}{b}"));
            two.chain(pieces.iter().map(move |b| format!("x{a}{b}x")))
        });
        for (i, middle) in middles.enumerate() {
            for before in ["\u{a0}".repeat(i % 40), "x".repeat(i % 37), String::new()] {
                let text = [&before, &*middle, &*long].concat();
                let bytes = text.as_bytes();
                for from in [0, 1, 2, 3, before.len(), before.len() + 1] {
                    for to in [bytes.len(), bytes.len() - i % WINDOW, before.len() + 99] {
                        let cut = last_named(bytes, from, to.min(bytes.len() - 1));
                        assert_eq!(cut, slow(bytes, from, to), "{text:?} {from} {to}");
                        found += usize::from(cut.is_some());
                    }
                }
            }
        }
        assert!(found > 1000);
    }

    /// Also in bytes that are not UTF-8.
    #[test]
    fn blocks_find_the_cuts_in_any_bytes() {
        let some = b" \t\n\r\x0b/aZ9!\xc2\xa0\x85\xe3\x80\xff";
        let mut random = 1u64;
        let mut next = |n: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as usize % n
        };
        for _ in 0..3000 {
            // Of few kinds of bytes there are few cuts.
            let kinds = [next(some.len()), next(some.len()), next(some.len())];
            let text: Vec<u8> = (0..next(300)).map(|_| some[kinds[next(3)]]).collect();
            for _ in 0..5 {
                let (from, to) = (next(text.len() + 1), next(text.len() + 1));
                let found = Cuts::Named.last(&text, from, to);
                assert_eq!(found, slow(&text, from, to), "{text:?} {from} {to}");
                let to = to.min(text.len().saturating_sub(1));
                let text = &text;
                let far = level::Baseline.run(Far { text, from, to });
                assert_eq!(far, found, "{text:?} {from} {to}");
            }
        }
    }
}
