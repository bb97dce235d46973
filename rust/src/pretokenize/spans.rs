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

/// Where a pretoken ends, and whether a span ends there, too.
#[derive(Clone, Copy, Debug)]
pub struct End(usize);

impl End {
    const SPAN: usize = 1;
    const ASCII: usize = 2;
    const BITS: u32 = 2;

    /// Where it is, in bytes.
    #[inline(always)]
    pub fn at(self) -> usize {
        self.0 >> Self::BITS
    }

    /// Whether a span ends there.
    #[inline(always)]
    pub fn ends_span(self) -> bool {
        self.0 & Self::SPAN != 0
    }

    /// Whether the pretoken is known to be ASCII.
    #[inline(always)]
    pub fn is_ascii(self) -> bool {
        self.0 & Self::ASCII != 0
    }
}

/// Joins the pretokens of a named pattern. It keeps them: handing them on at once would have the compiler
/// make every scanner anew for everyone that they may go to.
pub struct Spans<'a> {
    text: &'a [u8],
    table: &'static ClassTable,
    /// Whether the last span may go on.
    open: bool,
    /// Where pretokens end; each begins where the one before ends.
    ends: Vec<End>,
    done: Result<(), OutOfMemory>,
}

impl<'a> Spans<'a> {
    /// None yet; `ends`, which is empty, is where they will be.
    pub fn new(text: &'a str, ends: Vec<End>) -> Self {
        Self {
            text: text.as_bytes(),
            table: Default::default(),
            open: false,
            ends,
            done: Ok(()),
        }
    }

    /// Where the pretokens end.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn into_ends(mut self) -> Result<Vec<End>, OutOfMemory> {
        if let Some(last) = self.ends.last_mut() {
            last.0 |= End::SPAN;
        }
        self.done.map(|()| self.ends)
    }

    /// Whether a pretoken is a word or punctuation.
    #[inline(always)]
    fn joins(&self, start: usize, end: usize) -> bool {
        let (class, len) = self.table.at(self.text, start);
        if class & SPACE == 0 {
            return class & NUMBER == 0;
        }
        let second = start + len;
        second < end && self.table.at(self.text, second).0 & (SPACE | NUMBER) == 0
    }

    /// Whether a word or punctuation has line ends behind it, and maybe slashes behind them, as in `o200k`.
    #[inline(always)]
    fn ends_line(&self, start: usize, end: usize) -> bool {
        match self.text[end - 1] {
            b'\r' | b'\n' => true,
            b'/' => self.text[start..end]
                .iter()
                .any(|b| matches!(b, b'\r' | b'\n')),
            _ => false,
        }
    }
}

impl PretokenSink for Spans<'_> {
    #[inline(always)]
    fn put(&mut self, mut start: usize, base: usize, mut ends: u64) -> usize {
        let is_ascii = match base == start {
            true => End::ASCII,
            false => 0,
        };
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            let joins = self.joins(start, end);
            if let Some(last) = self.ends.last_mut() {
                last.0 |= usize::from(!(self.open & joins)) * End::SPAN;
            }
            if let Err(error) = memory::push(&mut self.ends, End(end << End::BITS | is_ascii)) {
                self.done = Err(error);
            }
            self.open = joins && !self.ends_line(start, end);
            start = end;
            ends &= ends - 1;
        }
        start
    }
}
