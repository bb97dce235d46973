//! Scanners: the named patterns without a regex engine, linear in the text.
//!
//! Every character belongs to a pretoken in these patterns and none of them looks behind, so that
//! where a pretoken ends depends only on the text from its start on.

use super::unicode::{ASCII, ClassTable, NEWLINE, SPACE};
use crate::simd::block::AsciiBlock;
use crate::simd::level::Level;

/// Cuts text by one pattern.
pub trait Scanner {
    /// The end of the pretoken that begins at `start`, which must be a character's first byte and
    /// less than `text.len()`; `text` must be valid UTF-8.
    fn next(&self, text: &[u8], start: usize) -> usize;

    /// Where pretokens begin in the block at `start`, where one begins: bit `i` is for
    /// `text[start + i]`. Only the bits in [`AsciiBlock::decided`] count.
    fn starts(&self, text: &[u8], start: usize, block: &AsciiBlock) -> u64;

    /// Gives each pretoken of `text` to `sink`, in order.
    #[inline(always)]
    fn split<L: Level>(&self, level: L, text: &str, sink: &mut impl PretokenSink) {
        let text = text.as_bytes();
        let mut start = 0;
        while start < text.len() {
            // Each bit is an end, counted from `base`.
            let mut ends = 0;
            let mut base = start;
            if let Some(bytes) = text[start..].first_chunk()
                && bytes[..USEFUL].is_ascii()
            {
                let block = level.classes(bytes);
                ends = self.starts(text, start, &block) & block.decided();
            }
            if ends == 0 {
                base = self.next(text, start);
                ends = 1;
            }
            // It is called in one place, so that it can be inlined whatever its size.
            start = sink.put(start, base, ends);
        }
    }
}

/// Takes pretokens.
pub trait PretokenSink {
    /// Takes pretokens that lie next to each other, the first from `start`. Each bit of `ends` is an
    /// end, counted from `base`; there is at least one. If `base` is `start` all are ASCII, otherwise
    /// there is one pretoken, which ends at `base`. Returns the last end.
    fn put(&mut self, start: usize, base: usize, ends: u64) -> usize;
}

/// Gives each pretoken's start and end to a function.
pub struct Each<F>(pub F);

impl<F: FnMut(usize, usize)> PretokenSink for Each<F> {
    #[inline(always)]
    fn put(&mut self, mut start: usize, base: usize, mut ends: u64) -> usize {
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            (self.0)(start, end);
            start = end;
            ends &= ends - 1;
        }
        start
    }
}

/// A block that begins with fewer ASCII bytes than this is not worth the work.
const USEFUL: usize = 16;

/// The end of the longest run, from `i`, of characters in one of `classes`.
#[inline(always)]
pub fn run(table: &ClassTable, text: &[u8], mut i: usize, classes: u8) -> usize {
    while let Some(&b) = text.get(i) {
        if b < 0x80 {
            if ASCII[usize::from(b)] & classes == 0 {
                break;
            }
            i += 1;
        } else {
            let (class, len) = table.at_non_ascii(text, i);
            if class & classes == 0 {
                break;
            }
            i += len;
        }
    }
    i
}

/// The end of the longest run, from `i`, of at most `max` characters in one of `classes`.
#[inline(always)]
pub fn run_of(table: &ClassTable, text: &[u8], mut i: usize, classes: u8, max: usize) -> usize {
    for _ in 0..max {
        if i >= text.len() {
            break;
        }
        let (class, len) = table.at(text, i);
        if class & classes == 0 {
            break;
        }
        i += len;
    }
    i
}

/// A run of white space, as far as the patterns care.
pub struct Spaces {
    /// Where the run ends.
    pub end: usize,
    /// Where its last character starts.
    pub last: usize,
    /// Where its last newline ends; 0 if there is none.
    pub newline_end: usize,
}

impl Spaces {
    /// The run that begins at `start`, which must be white space.
    #[inline(always)]
    pub fn at(table: &ClassTable, text: &[u8], start: usize) -> Spaces {
        let mut spaces = Spaces {
            end: start,
            last: start,
            newline_end: 0,
        };
        while spaces.end < text.len() {
            let (class, len) = table.at(text, spaces.end);
            if class & SPACE == 0 {
                break;
            }
            spaces.last = spaces.end;
            spaces.end += len;
            if class & NEWLINE != 0 {
                spaces.newline_end = spaces.end;
            }
        }
        spaces
    }

    /// The end of `\s+(?!\S)|\s+` at `start`: all of the run at the end of the text; else all but
    /// its last character, unless that is the only one.
    #[inline(always)]
    pub fn before_text(&self, text: &[u8], start: usize) -> usize {
        if self.end == text.len() || self.last == start {
            self.end
        } else {
            self.last
        }
    }
}

/// The length of a contraction at `i` (`'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d`), else 0.
#[inline(always)]
pub fn contraction(text: &[u8], i: usize) -> usize {
    match text.get(i..) {
        Some([b'\'', b's' | b't' | b'm' | b'd', ..]) => 2,
        Some([b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..]) => 3,
        _ => 0,
    }
}

/// As [`contraction`], in any case: also `ſ`, which folds to `s`.
#[inline(always)]
pub fn contraction_any_case(text: &[u8], i: usize) -> usize {
    match text.get(i..) {
        Some(
            [
                b'\'',
                b's' | b't' | b'm' | b'd' | b'S' | b'T' | b'M' | b'D',
                ..,
            ],
        ) => 2,
        Some([b'\'', b'r' | b'v' | b'R' | b'V', b'e' | b'E', ..]) => 3,
        Some([b'\'', b'l' | b'L', b'l' | b'L', ..] | [b'\'', 0xc5, 0xbf, ..]) => 3,
        _ => 0,
    }
}
