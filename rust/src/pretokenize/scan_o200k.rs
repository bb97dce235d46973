//! The scanner of the `o200k` pattern.

use super::scan::{Scanner, Spaces, contraction_any_case, run, run_of};
use super::unicode::{
    ClassTable, LETTER, LOWER, MARK, NEWLINE, NUMBER, OTHER_LETTER, SPACE, SYMBOL, UPPER,
};
use crate::simd::block::{AsciiBlock, first, flood, groups, whole};

/// Letters and marks that a word may have both in its upper and in its lower part.
const CASELESS: u8 = OTHER_LETTER | MARK;

/// Scans by the o200k pattern. With U for `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, L for
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]` and C for the contractions, it is
/// `[^\r\n\p{L}\p{N}]?U*L+C?|[^\r\n\p{L}\p{N}]?U+L*C?|\p{N}{1,3}|
/// ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
#[derive(Clone, Copy, Debug, Default)]
pub struct O200k {
    table: &'static ClassTable,
}

impl O200k {
    /// The end of `U*L+|U+L*` at `i`, if it matches: what the regex's backtracking comes to. `marked`
    /// tells that a mark precedes `i`, where the pattern's optional first character may be. Then
    /// the first alternative tries again with the mark in `U*L+` before the second has its turn.
    #[inline(always)]
    fn word(&self, text: &[u8], i: usize, marked: bool) -> Option<usize> {
        let mut end = i;
        let mut caseless_end = if marked { i } else { 0 };
        let mut found = marked;
        while end < text.len() {
            let (class, len) = self.table.at(text, end);
            if class & (UPPER | CASELESS) == 0 {
                if class & LOWER != 0 {
                    return Some(run(self.table, text, end + len, LOWER | CASELESS));
                }
                break;
            }
            end += len;
            if class & CASELESS != 0 {
                caseless_end = end;
                found = true;
            }
        }
        // No lowercase letter follows: L+ gets the last character that is also in L, if any.
        if found {
            Some(caseless_end)
        } else if end > i {
            Some(end)
        } else {
            None
        }
    }
}

impl Scanner for O200k {
    #[inline(always)]
    fn next(&self, text: &[u8], start: usize) -> usize {
        let table = self.table;
        let (class, len) = table.at(text, start);
        let second = start + len;
        let word = if class & LETTER != 0 {
            self.word(text, start, false)
        } else if class & (NEWLINE | NUMBER) == 0 {
            self.word(text, second, class & MARK != 0)
        } else {
            None
        };
        if let Some(end) = word {
            return end + contraction_any_case(text, end);
        }
        if class & NUMBER != 0 {
            return run_of(table, text, second, NUMBER, 2);
        }
        let mut symbols = second;
        if class & SPACE != 0 {
            if text[start] == b' ' && second < text.len() {
                let (next, len) = table.at(text, second);
                if next & SYMBOL != 0 {
                    symbols = second + len;
                }
            }
            if symbols == second {
                let spaces = Spaces::at(table, text, start);
                return match spaces.newline_end {
                    0 => spaces.before_text(text, start),
                    end => end,
                };
            }
        }
        let mut end = run(table, text, symbols, SYMBOL);
        while let Some(b'\r' | b'\n' | b'/') = text.get(end) {
            end += 1;
        }
        end
    }

    #[inline(always)]
    fn starts(&self, text: &[u8], start: usize, block: &AsciiBlock) -> u64 {
        // Newlines right after symbols go with them, and then slashes too.
        let taken = flood(
            block.newline | block.slash,
            block.newline & (block.symbol << 1),
        );
        let symbols = block.symbol & !taken;
        let spaces = block.space & !taken;
        let blanks = spaces & !block.newline;
        // White space other than newlines goes with the letters that follow, and so does a symbol
        // that begins a pretoken: one without another or a space before it.
        let prefix = blanks | symbols & !((symbols | block.blank) << 1);
        let mut starts = first(block.letter) & !(prefix << 1)
            | block.letter & !block.lower & (block.lower << 1)
            | groups::<3>(block.number)
            | first(symbols) & !(block.blank << 1)
            | first(spaces)
            | block.after_newlines(spaces)
            | block.before_text(blanks);
        // A contraction goes with the word before, unless that is part of a contraction.
        let mut quotes = block.apostrophe & (block.letter << 1);
        let mut end = 0;
        while quotes != 0 {
            let i = quotes.trailing_zeros();
            let len = contraction_any_case(text, start + i as usize);
            if len > 0 && i != end {
                end = i + len as u32;
                starts = whole(starts, i, 0, len);
            }
            quotes &= quotes - 1;
        }
        starts
    }
}
