//! The scanner of the `cl100k`, `nanochat`, `llama3` and `qwen2` patterns.

use super::scan::{Scanner, Spaces, contraction_any_case, run, run_of};
use super::unicode::{ClassTable, LETTER, NEWLINE, NUMBER, SPACE, SYMBOL};
use crate::simd::block::{AsciiBlock, first, flood, groups, whole};

/// Scans by `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,DIGITS}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`, with `\s+$` before `\s*[\r\n]` if `AT_END`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cl100kLike<const DIGITS: usize, const AT_END: bool> {
    table: &'static ClassTable,
}

/// The `cl100k` pattern's scanner.
pub type Cl100k = Cl100kLike<3, true>;
/// The `nanochat` pattern's scanner.
pub type Nanochat = Cl100kLike<2, false>;
/// The `llama3` pattern's scanner.
pub type Llama3 = Cl100kLike<3, false>;
/// The `qwen2` pattern's scanner.
pub type Qwen2 = Cl100kLike<1, false>;

impl<const DIGITS: usize, const AT_END: bool> Scanner for Cl100kLike<DIGITS, AT_END> {
    #[inline(always)]
    fn next(&self, text: &[u8], start: usize) -> usize {
        let table = self.table;
        let (class, len) = table.at(text, start);
        let second = start + len;
        if class & LETTER != 0 {
            return run(table, text, second, LETTER);
        }
        if class & NUMBER != 0 {
            return run_of(table, text, second, NUMBER, DIGITS - 1);
        }
        let mut symbols = second;
        if class & NEWLINE == 0 && second < text.len() {
            if text[start] == b'\'' {
                let len = contraction_any_case(text, start);
                if len > 0 {
                    return start + len;
                }
            }
            let (next, len) = table.at(text, second);
            if next & LETTER != 0 {
                return run(table, text, second + len, LETTER);
            }
            if text[start] == b' ' && next & SYMBOL != 0 {
                symbols = second + len;
            }
        }
        if class & SPACE != 0 && symbols == second {
            let spaces = Spaces::at(table, text, start);
            if spaces.newline_end == 0 || (AT_END && spaces.end == text.len()) {
                return spaces.before_text(text, start);
            }
            return spaces.newline_end;
        }
        let end = run(table, text, symbols, SYMBOL);
        run(table, text, end, NEWLINE)
    }

    #[inline(always)]
    fn starts(&self, text: &[u8], start: usize, block: &AsciiBlock) -> u64 {
        let symbols = block.symbol;
        // Newlines right after symbols go with them.
        let taken = flood(block.newline, block.newline & (symbols << 1));
        let spaces = block.space & !taken;
        let blanks = spaces & !block.newline;
        // White space other than newlines goes with the letters that follow, and so does a symbol
        // that begins a pretoken: one without another or a space before it.
        let prefix = blanks | symbols & !((symbols | block.blank) << 1);
        let mut starts = first(block.letter) & !(prefix << 1)
            | groups::<DIGITS>(block.number)
            | first(symbols) & !(block.blank << 1)
            | first(spaces)
            | block.after_newlines(spaces)
            | block.before_text(blanks);
        let mut quotes = block.apostrophe & !((symbols | block.blank) << 1);
        while quotes != 0 {
            let i = quotes.trailing_zeros();
            let len = contraction_any_case(text, start + i as usize);
            if len > 0 {
                starts = whole(starts, i, 1, len);
            }
            quotes &= quotes - 1;
        }
        starts
    }
}
