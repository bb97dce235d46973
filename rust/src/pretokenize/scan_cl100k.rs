//! The scanner of the `cl100k` and `nanochat` patterns.

use super::scan::{Scanner, Spaces, contraction_any_case, run, run_of};
use super::unicode::{LETTER, NEWLINE, NUMBER, SPACE, SYMBOL, Table};

/// Scans by `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,DIGITS}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`, with `\s+$` before `\s*[\r\n]` if `AT_END`.
#[derive(Clone, Copy, Debug)]
pub struct Cl100kLike<const DIGITS: usize, const AT_END: bool> {
    table: &'static Table,
}

/// The `cl100k` pattern's scanner.
pub type Cl100k = Cl100kLike<3, true>;
/// The `nanochat` pattern's scanner.
pub type Nanochat = Cl100kLike<2, false>;

impl<const DIGITS: usize, const AT_END: bool> Cl100kLike<DIGITS, AT_END> {
    /// The scanner, with the shared character table.
    pub fn new() -> Self {
        let table = Table::get();
        Self { table }
    }
}

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
}
