//! The scanner of the `gpt2` and `starcoder` patterns.

use super::scan::{Scanner, Spaces, contraction, run};
use super::unicode::{ClassTable, LETTER, NUMBER, SPACE, SYMBOL};
use crate::simd::block::{AsciiBlock, first, whole};

/// Scans by `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`; with `APART`, in what
/// is left when each number has been made a pretoken of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gpt2Like<const APART: bool> {
    table: &'static ClassTable,
}

/// The `gpt2` pattern's scanner.
pub type Gpt2 = Gpt2Like<false>;
/// The `starcoder` pattern's scanner.
pub type StarCoder = Gpt2Like<true>;

impl<const APART: bool> Scanner for Gpt2Like<APART> {
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
        if APART && class & NUMBER != 0 && i == start {
            return i + len;
        }
        if class & SPACE != 0 || (APART && class & NUMBER != 0) {
            let spaces = Spaces::at(table, text, start);
            // White space before a number is at the end of its text.
            if APART && spaces.end < text.len() && table.at(text, spaces.end).0 & NUMBER != 0 {
                return spaces.end;
            }
            return spaces.before_text(text, start);
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
        let (words, alone, own) = match APART {
            true => (
                first(block.letter) | first(block.symbol),
                block.number,
                !(block.number >> 1),
            ),
            false => (
                first(block.letter) | first(block.number) | first(block.symbol),
                0,
                !0,
            ),
        };
        let mut starts =
            words & !(block.blank << 1) | alone | first(spaces) | block.before_text(spaces) & own;
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
