//! The scanner of the `gpt2` pattern.

use super::scan::{Scanner, Spaces, contraction, run};
use super::unicode::{LETTER, NUMBER, SPACE, SYMBOL, Table};

/// Scans by `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
#[derive(Clone, Copy, Debug)]
pub struct Gpt2 {
    table: &'static Table,
}

impl Gpt2 {
    /// The scanner, with the shared character table.
    pub fn new() -> Self {
        let table = Table::get();
        Self { table }
    }
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
}
