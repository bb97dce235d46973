//! The scanner of the `deepseek` pattern.

use super::scan::{Scanner, Spaces};
use super::unicode::{self, ClassTable, NEWLINE, NUMBER, SPACE};
use crate::error::OutOfMemory;
use crate::simd::block::{AsciiBlock, BLOCK_LEN, first, flood, groups};
use std::alloc::{Layout, handle_alloc_error};
use std::sync::OnceLock;

// Beside NUMBER, SPACE and NEWLINE; what is none of them has no class.
const LETTER: u8 = 1;
const MARK: u8 = 2;
/// `[\p{P}\p{S}]`.
const SIGN: u8 = 4;
/// In addition to another class, or none: of [`EASTERN_RANGES`].
const EASTERN: u8 = 8;
const WORD: u8 = LETTER | MARK;

/// Chinese and Japanese characters as the pattern has them; both ends included.
const EASTERN_RANGES: [(usize, usize); 2] = [(0x3040, 0x30ff), (0x4e00, 0x9fa5)];

const ASCII: [u8; 128] = {
    let mut classes = [0; 128];
    let mut b = 0;
    while b < 128 {
        let class = unicode::ASCII[b];
        classes[b] = match b as u8 {
            b'A'..=b'Z' | b'a'..=b'z' => LETTER,
            _ if class & (NUMBER | SPACE) != 0 => class,
            b'!'..=b'~' => SIGN,
            _ => 0,
        };
        b += 1;
    }
    classes
};

static TABLE: OnceLock<ClassTable> = OnceLock::new();

/// Builds the scanner's table, unless it is there.
///
/// # Errors
/// [`OutOfMemory`].
pub fn prepare() -> Result<(), OutOfMemory> {
    if TABLE.get().is_none() {
        // If two threads come at once, the work of one of them is discarded.
        let _ = TABLE.set(build()?);
    }
    Ok(())
}

fn build() -> Result<ClassTable, OutOfMemory> {
    let ranges = unicode::ranges(&[
        (r"\p{L}", LETTER),
        (r"\p{M}", MARK),
        (r"\p{N}", NUMBER),
        (r"[\p{P}\p{S}]", SIGN),
        (r"\s", SPACE),
        (r"[^\p{L}\p{M}\p{N}\p{P}\p{S}\s]", 0),
    ])?;
    let mut parts = Vec::new();
    for (mut start, end, class) in ranges {
        while start <= end {
            let is_eastern = |r: &&(usize, usize)| (r.0..=r.1).contains(&start);
            let (last, class) = match EASTERN_RANGES.iter().find(is_eastern) {
                Some(&(_, high)) => (end.min(high), class | EASTERN),
                None => {
                    let next = EASTERN_RANGES.iter().map(|r| r.0).find(|&low| low > start);
                    (next.map_or(end, |low| end.min(low - 1)), class)
                }
            };
            parts.try_reserve(1)?;
            parts.push((start, last, class));
            start = last + 1;
        }
    }
    ClassTable::from_ranges(&parts, 0)
}

/// Scans by what three splits make one after the other: numbers of up to three digits, runs of Chinese and
/// Japanese characters, and, in each of these runs and in all that is left,
/// ``[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+``
/// and what lies between its matches.
#[derive(Clone, Copy, Debug)]
pub struct DeepSeek {
    table: &'static ClassTable,
}

impl Default for DeepSeek {
    /// Only for a scanner by itself, without a pretokenizer, the table may have to be built.
    fn default() -> Self {
        let table = TABLE.get_or_init(|| {
            build().unwrap_or_else(|_| handle_alloc_error(Layout::new::<ClassTable>()))
        });
        Self { table }
    }
}

impl DeepSeek {
    #[inline(always)]
    fn at(&self, text: &[u8], i: usize) -> (u8, usize) {
        match ASCII.get(usize::from(text[i])) {
            Some(&class) => (class, 1),
            None => self.table.at_non_ascii(text, i),
        }
    }

    /// The class at `i`; that of nothing at the end.
    #[inline(always)]
    fn class(&self, text: &[u8], i: usize) -> u8 {
        if i < text.len() {
            self.at(text, i).0
        } else {
            0
        }
    }

    /// The end of the longest run, from `i`, of characters in one of `classes`, on one side of eastern.
    #[inline(always)]
    fn run(&self, text: &[u8], mut i: usize, classes: u8, side: u8) -> usize {
        while i < text.len() {
            let (class, len) = self.at(text, i);
            if class & classes == 0 || class & EASTERN != side {
                break;
            }
            i += len;
        }
        i
    }
}

fn count(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|&&b| is(b)).count()
}

impl Scanner for DeepSeek {
    #[inline(always)]
    fn next(&self, text: &[u8], start: usize) -> usize {
        let (class, len) = self.at(text, start);
        let second = start + len;
        let side = class & EASTERN;
        if class & WORD != 0 {
            return self.run(text, second, WORD, side);
        }
        if class & NUMBER != 0 {
            let mut end = second;
            for _ in 1..3 {
                if self.class(text, end) & NUMBER != 0 {
                    end += self.at(text, end).1;
                }
            }
            return end;
        }
        let mut signs = second;
        if class & NEWLINE == 0 && second < text.len() {
            let (next, len) = self.at(text, second);
            if class & SIGN != 0 {
                let is_letter = |b: u8| b.is_ascii_alphabetic();
                if text[start].is_ascii() && is_letter(text[second]) {
                    return second + count(&text[second..], is_letter);
                }
            } else if next & WORD != 0 && next & EASTERN == side {
                return self.run(text, second + len, WORD, side);
            } else if text[start] == b' ' && next & (SIGN | EASTERN) == SIGN {
                signs = second + len;
            }
        }
        if class & SIGN != 0 || signs > second {
            let end = self.run(text, signs, SIGN, side);
            return match side {
                0 => end + count(&text[end..], |b| matches!(b, b'\r' | b'\n')),
                _ => end,
            };
        }
        if class & SPACE != 0 {
            let spaces = Spaces::at(self.table, text, start);
            if spaces.newline_end > 0 {
                return spaces.newline_end;
            }
            // White space before what another split has taken is at the end of its text.
            if self.class(text, spaces.end) & (NUMBER | EASTERN) != 0 {
                return spaces.end;
            }
            return spaces.before_text(text, start);
        }
        // Characters that nothing takes, but for one with a word after it.
        let mut end = second;
        while end < text.len() {
            let (class, len) = self.at(text, end);
            let next = self.class(text, end + len);
            if class != side || (next & WORD != 0 && next & EASTERN == side) {
                break;
            }
            end += len;
        }
        end
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
        let starts = first(block.letter) & !(prefix << 1)
            | groups::<3>(block.number)
            | first(symbols) & !(block.blank << 1)
            | first(spaces)
            | block.after_newlines(spaces)
            | block.before_text(blanks) & !(block.number >> 1);
        // Control characters count as symbols in a block, but are not among the signs here. Mostly there
        // are as many as there are tabs and line ends.
        let bytes = &text[start..start + BLOCK_LEN];
        let is_control = |b: u8| b < b' ' || b == 0x7f;
        let n_controls: u8 = bytes.iter().map(|&b| u8::from(is_control(b))).sum();
        let mut left = symbols;
        if u32::from(n_controls) != (block.space & !block.blank).count_ones() {
            while left != 0 {
                let i = left.trailing_zeros();
                if is_control(bytes[i as usize]) {
                    return starts & ((1 << i) - 1);
                }
                left &= left - 1;
            }
        }
        starts
    }
}
