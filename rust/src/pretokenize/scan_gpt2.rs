//! The scanner of the `gpt2` pattern.

use super::scan::{Scanner, Spaces, contraction, run};
use super::unicode::{ClassTable, LETTER, NUMBER, SPACE, SYMBOL};
use crate::simd::block::{AsciiBlock, first, whole};

/// Scans by `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gpt2 {
    table: &'static ClassTable,
}

impl Scanner for Gpt2 {
    #[inline(always)]
    fn next(&self, text: &[u8], start: usize) -> usize {
        let table = self.table;
        let mut i = start;
        if text[i] == b'\'' {
            let len = contraction(text, i);
            if len > 0 {
                return i + len;
            }
        } else if text[i] == b' ' && i + 1 < text.len() {
            i += 1;
        }
        let (class, len) = table.at(text, i);
        if class & SPACE != 0 {
            return Spaces::at(table, text, start).before_text(text, start);
        }
        let classes = if class & LETTER != 0 {
            LETTER
        } else if class & NUMBER != 0 {
            NUMBER
        } else {
            SYMBOL
        };
        run(table, text, i + len, classes)
    }

    #[inline(always)]
    fn starts(&self, text: &[u8], start: usize, block: &AsciiBlock) -> u64 {
        let spaces = block.space;
        // A space goes with what follows, all other white space before text is on its own.
        let mut starts = (first(block.letter) | first(block.number) | first(block.symbol))
            & !(block.blank << 1)
            | first(spaces)
            | block.before_text(spaces);
        // An apostrophe begins a pretoken unless a symbol or a space comes before.
        let mut quotes = block.apostrophe & !((block.symbol | block.blank) << 1);
        while quotes != 0 {
            let i = quotes.trailing_zeros();
            let len = contraction(text, start + i as usize);
            if len > 0 {
                starts = whole(starts, i, 1, len);
            }
            quotes &= quotes - 1;
        }
        starts
    }
}
