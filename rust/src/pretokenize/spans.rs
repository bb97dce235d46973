//! Spans: the pretokens of a named pattern, joined where a token may span them.
//!
//! Words and punctuation that follow each other are one span. Numbers and white space that does not begin a
//! word stay alone, and a span ends where a line does. So every span is a row of whole pretokens, and a
//! vocabulary with tokens across pretokens ("superwords", arXiv 2503.13423) is an ordinary one whose pattern
//! is that of spans.
//!
//! **Why joining pretokens is what the regex does.** Let W, P, N and S be the alternatives of a named pattern for
//! words, punctuation, numbers and white space. The regex of its spans is `(?:W|Q)+(?:P)?|P|N|S`, where Q is P
//! without the line ends that may follow it, and only where none does. A text that begins with N or S, as far as
//! the order of the alternatives leaves it to them, begins with neither of the others, so that trying them
//! last changes nothing. At each place of a span the regex tries W and then P, as the named pattern does; it
//! stops at the first pretoken that is neither, or behind one with line ends; and it never has to go
//! back, as all that follows is optional.

use super::pattern::Named;
use super::scan::PretokenSink;
use super::unicode::{ClassTable, NUMBER, SPACE};
use crate::error::OutOfMemory;
use crate::simd::block::{AsciiBlock, flood};
use crate::simd::level::Level;
use crate::system::memory;

/// The regex of a named pattern's spans, which fancy-regex and Oniguruma read alike. None for the patterns
/// that are not offered by a name and are no row of such alternatives.
pub fn regex_of(named: Named) -> Option<&'static str> {
    Some(match named {
        Named::Gpt2 => {
            r"(?:'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?[^\s\p{L}\p{N}]+)+| ?\p{N}+|\s+(?!\S)|\s+"
        }
        Named::Cl100k => {
            r"(?:'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++| ?[^\s\p{L}\p{N}]++(?![\r\n]))+(?: ?[^\s\p{L}\p{N}]++[\r\n]*+)?| ?[^\s\p{L}\p{N}]++[\r\n]*+|\p{N}{1,3}|\s++\z|\s*[\r\n]|\s+(?!\S)|\s"
        }
        Named::O200k => concat!(
            r"(?:[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"| ?[^\s\p{L}\p{N}]++(?![\r\n]))+(?: ?[^\s\p{L}\p{N}]++[\r\n/]*)?| ?[^\s\p{L}\p{N}]++[\r\n/]*|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        Named::Nanochat => {
            r"(?:'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+| ?[^\s\p{L}\p{N}]++(?![\r\n]))+(?: ?[^\s\p{L}\p{N}]++[\r\n]*)?| ?[^\s\p{L}\p{N}]++[\r\n]*|\p{N}{1,2}|\s*[\r\n]|\s+(?!\S)|\s+"
        }
        Named::Llama3 => {
            r"(?:(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]++(?![\r\n]))+(?: ?[^\s\p{L}\p{N}]++[\r\n]*)?| ?[^\s\p{L}\p{N}]++[\r\n]*|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        Named::Qwen2 => {
            r"(?:(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]++(?![\r\n]))+(?: ?[^\s\p{L}\p{N}]++[\r\n]*)?| ?[^\s\p{L}\p{N}]++[\r\n]*|\p{N}|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        Named::StarCoder | Named::DeepSeek => return None,
    })
}

/// The named pattern whose spans a regex stands for.
pub fn find(regex: &str) -> Option<Named> {
    Named::ALL.into_iter().find(|&n| regex_of(n) == Some(regex))
}

/// Pretokens that lie next to each other: those of a block of ASCII bytes, or one that may hold others.
///
/// Each bit of a set is a place, counted from `base`, where a pretoken begins.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Where the first begins, in bytes.
    pub base: usize,
    /// Whether they are ASCII. The last one ends where the next row begins, or the text ends.
    pub is_ascii: bool,
    /// All of them.
    pub starts: u64,
    /// Those that a span begins with.
    pub spans: u64,
    /// Of all of them, some that begin with a space behind an ASCII character that is not white space.
    pub spaced: u64,
}

/// Where the spans end that rows make of a text.
pub fn ends_of(rows: &[Row], text: &str) -> impl Iterator<Item = usize> {
    let of_row = |row: &Row| {
        let (base, mut spans) = (row.base, row.spans);
        std::iter::from_fn(move || {
            let at = (spans != 0).then(|| base + spans.trailing_zeros() as usize);
            spans &= spans.wrapping_sub(1);
            at
        })
    };
    // The first span ends where the second begins.
    let starts = rows.iter().flat_map(of_row);
    starts.chain([text.len()]).filter(|&end| end > 0)
}

/// Joins the pretokens of a named pattern. It keeps them: handing them on at once would have the compiler
/// make every scanner anew for everyone that they may go to.
pub struct Spans<'a, L> {
    level: L,
    text: &'a [u8],
    table: &'static ClassTable,
    /// Whether slashes may follow the line ends behind punctuation.
    slashes: bool,
    /// Whether the last span may go on.
    open: bool,
    rows: Vec<Row>,
    done: Result<(), OutOfMemory>,
}

impl<'a, L: Level> Spans<'a, L> {
    /// None yet; they will be in `rows`, in place of what is there.
    pub fn new(level: L, named: Named, text: &'a str, mut rows: Vec<Row>) -> Self {
        rows.clear();
        Self {
            level,
            text: text.as_bytes(),
            table: Default::default(),
            slashes: matches!(named, Named::O200k),
            open: false,
            rows,
            done: Ok(()),
        }
    }

    /// All pretokens.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn into_rows(self) -> Result<Vec<Row>, OutOfMemory> {
        self.done.map(|()| self.rows)
    }

    #[inline(always)]
    fn push(&mut self, row: Row) {
        if let Err(error) = memory::push(&mut self.rows, row) {
            self.done = Err(error);
        }
    }

    /// One that is not known to be ASCII.
    fn put_one(&mut self, start: usize, end: usize) {
        let (first, len) = self.table.at(self.text, start);
        let second = start + len;
        let class = match first & SPACE {
            0 => first,
            _ if second < end => self.table.at(self.text, second).0,
            _ => SPACE,
        };
        // Whether it is a word or punctuation.
        let joins = class & (SPACE | NUMBER) == 0;
        self.push(Row {
            base: start,
            is_ascii: false,
            starts: 1,
            spans: u64::from(!(self.open & joins)),
            spaced: 0,
        });
        self.open = joins && !self.ends_line(start, end);
    }

    /// Whether a word or punctuation has line ends behind it, and maybe slashes behind them, as in `o200k`.
    fn ends_line(&self, start: usize, end: usize) -> bool {
        match self.text[end - 1] {
            b'\r' | b'\n' => true,
            b'/' if self.slashes => self.text[start..end]
                .iter()
                .any(|b| matches!(b, b'\r' | b'\n')),
            _ => false,
        }
    }

    /// As [`Self::ends_line`] for the pretokens of a block whose last bytes are `last`: those that have slashes there,
    /// and line ends before them.
    #[cold]
    fn end_lines(block: &AsciiBlock, starts: u64, last: u64) -> u64 {
        let (mut slashes, mut found) = (block.slash & last, 0);
        while slashes != 0 {
            let up_to = slashes & slashes.wrapping_neg();
            let start = starts & (up_to | (up_to - 1));
            let bytes = (up_to | (up_to - 1)) & !((1 << start.ilog2()) - 1);
            if block.newline & bytes != 0 {
                found |= up_to;
            }
            slashes &= slashes - 1;
        }
        found
    }
}

impl<L: Level> PretokenSink for Spans<'_, L> {
    #[inline(always)]
    fn put(&mut self, start: usize, base: usize, ends: u64) -> usize {
        let Some(bytes) = self.text[start..].first_chunk().filter(|_| base == start) else {
            self.put_one(start, base);
            return base;
        };
        // As in the functions above, for all pretokens of the block at a time. A bit for the byte where each...
        let block = self.level.classes(bytes);
        // ... begins, ends with or goes on;
        let end = ends.ilog2();
        let starts = (ends | 1) & !(1 << end);
        let last = ends >> 1;
        let inner = !(ends | 1);
        // begins, of words and punctuation;
        let text = !(block.space | block.number);
        let joining = starts & (text | block.space & (text & inner) >> 1);
        // ends with, of those that a span goes on behind.
        let words = flood(joining | inner, joining);
        let mut open = words & last & !block.newline;
        if self.slashes && block.slash & last != 0 && block.newline != 0 {
            open &= !Self::end_lines(&block, starts, last);
        }
        let goes_on = joining & (open << 1 | u64::from(self.open));
        self.push(Row {
            base,
            is_ascii: true,
            starts,
            spans: starts & !goes_on,
            spaced: starts & block.blank & (block.known & !block.space) << 1,
        });
        self.open = open >> (end - 1) & 1 != 0;
        base + end as usize
    }
}
