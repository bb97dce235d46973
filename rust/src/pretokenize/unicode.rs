//! Character classes: the Unicode properties that the named patterns ask about, one byte per class.
//!
//! The table is derived from `regex-syntax` on first use, so that a scanner can never disagree with
//! the regex engine about a character.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::utf8;
use regex_syntax::hir::{Class, HirKind};
use std::alloc::{Layout, handle_alloc_error};
use std::sync::OnceLock;

/// Uppercase and titlecase letters: `\p{Lu}`, `\p{Lt}`.
pub const UPPER: u8 = 1;
/// Lowercase letters: `\p{Ll}`.
pub const LOWER: u8 = 2;
/// Letters without case: `\p{Lm}`, `\p{Lo}`.
pub const OTHER_LETTER: u8 = 4;
/// Marks: `\p{M}`.
pub const MARK: u8 = 8;
/// Numbers: `\p{N}`.
pub const NUMBER: u8 = 16;
/// White space: `\s`. Newlines have this bit too.
pub const SPACE: u8 = 32;
/// `\r` and `\n`, in addition to [`SPACE`].
pub const NEWLINE: u8 = 64;
/// Every other character.
pub const REST: u8 = 128;
/// `\p{L}`.
pub const LETTER: u8 = UPPER | LOWER | OTHER_LETTER;
/// `[^\s\p{L}\p{N}]`.
pub const SYMBOL: u8 = MARK | REST;

/// The class of each ASCII character; zero for the other bytes. Known without building the table.
pub static ASCII: [u8; 256] = ascii();

const fn ascii() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut b = 0;
    while b < 128 {
        classes[b] = match b as u8 {
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' => LOWER,
            b'0'..=b'9' => NUMBER,
            b'\n' | b'\r' => SPACE | NEWLINE,
            b' ' | b'\t' | 0x0b | 0x0c => SPACE,
            _ => REST,
        };
        b += 1;
    }
    classes
}

/// Code points per block: those that share all but the last byte of their UTF-8 encoding.
const BLOCK_SIZE: usize = 64;
const N_BLOCKS: usize = (char::MAX as usize + 1) / BLOCK_SIZE;

/// A two-stage table of the class of each code point.
#[derive(Debug)]
pub struct ClassTable {
    /// Code point / 64 -> block.
    index: Box<[u16; N_BLOCKS]>,
    blocks: Vec<[u8; BLOCK_SIZE]>,
}

static TABLE: OnceLock<ClassTable> = OnceLock::new();

/// Builds the one table, unless it is there.
///
/// # Errors
/// [`OutOfMemory`].
pub fn prepare() -> Result<(), OutOfMemory> {
    if TABLE.get().is_none() {
        // If two threads come at once, the work of one of them is discarded.
        let _ = TABLE.set(ClassTable::build()?);
    }
    Ok(())
}

impl Default for &'static ClassTable {
    /// The one table. Only for a scanner by itself, without a pretokenizer, it may have to be built.
    fn default() -> Self {
        TABLE.get_or_init(|| {
            let built = ClassTable::build();
            built.unwrap_or_else(|_| handle_alloc_error(Layout::new::<ClassTable>()))
        })
    }
}

/// The code points of disjoint properties, with a class for each: ranges in order, both ends included.
///
/// # Errors
/// [`OutOfMemory`].
pub fn ranges(properties: &[(&str, u8)]) -> Result<Vec<(usize, usize, u8)>, OutOfMemory> {
    let mut ranges = Vec::new();
    for &(property, class) in properties {
        // These parse to classes as long as the crate carries Unicode tables, which
        // fancy-regex demands of it; the tests compare every code point with the engine.
        let Ok(hir) = regex_syntax::parse(property) else {
            continue;
        };
        if let HirKind::Class(Class::Unicode(set)) = hir.kind() {
            let one = |r: &regex_syntax::hir::ClassUnicodeRange| {
                (r.start() as usize, r.end() as usize, class)
            };
            ranges.try_reserve(set.ranges().len())?;
            ranges.extend(set.ranges().iter().map(one));
        }
    }
    ranges.sort_unstable();
    Ok(ranges)
}

impl ClassTable {
    fn build() -> Result<ClassTable, OutOfMemory> {
        let ranges = ranges(&[
            (r"\p{Lu}", UPPER),
            (r"\p{Lt}", UPPER),
            (r"\p{Ll}", LOWER),
            (r"\p{Lm}", OTHER_LETTER),
            (r"\p{Lo}", OTHER_LETTER),
            (r"\p{M}", MARK),
            (r"\p{N}", NUMBER),
            (r"\s", SPACE),
        ])?;
        ClassTable::from_ranges(&ranges, REST)
    }

    /// A table from disjoint ranges of code points (both ends included) with their classes; all others
    /// are of class `rest`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn from_ranges(ranges: &[(usize, usize, u8)], rest: u8) -> Result<ClassTable, OutOfMemory> {
        let mut table = ClassTable {
            index: memory::boxed([0; N_BLOCKS])?,
            blocks: memory::filled([rest; BLOCK_SIZE], 1)?,
        };
        // A block that is all of one class is shared; the rest are mostly distinct.
        let mut uniform = [0_u16; 256];
        for &(mut start, end, class) in ranges {
            while start <= end {
                let block = start / BLOCK_SIZE;
                let last = end.min(block * BLOCK_SIZE + BLOCK_SIZE - 1);
                if last - start + 1 == BLOCK_SIZE {
                    let shared = &mut uniform[usize::from(class)];
                    if *shared == 0 {
                        *shared = table.blocks.len() as u16;
                        memory::push(&mut table.blocks, [class; BLOCK_SIZE])?;
                    }
                    table.index[block] = *shared;
                } else {
                    if table.index[block] == 0 {
                        table.index[block] = table.blocks.len() as u16;
                        memory::push(&mut table.blocks, [rest; BLOCK_SIZE])?;
                    }
                    let own = &mut table.blocks[usize::from(table.index[block])];
                    own[start % BLOCK_SIZE..=last % BLOCK_SIZE].fill(class);
                }
                start = last + 1;
            }
        }
        Ok(table)
    }

    /// The class of a code point.
    pub fn of(&self, code_point: usize) -> u8 {
        self.class(code_point / BLOCK_SIZE, (code_point % BLOCK_SIZE) as u8)
    }

    /// The class of the code point `block * 64 + last % 64`.
    #[inline(always)]
    fn class(&self, block: usize, last: u8) -> u8 {
        match self.index.get(block) {
            Some(&i) => self.blocks[usize::from(i)][usize::from(last & 0x3f)],
            None => REST,
        }
    }

    /// Class and length of the character that begins at `text[i]`; its bytes must be whole, valid
    /// UTF-8.
    #[inline(always)]
    pub fn at(&self, text: &[u8], i: usize) -> (u8, usize) {
        let first = text[i];
        if first < 0x80 {
            (ASCII[usize::from(first)], 1)
        } else {
            self.at_non_ascii(text, i)
        }
    }

    /// As [`ClassTable::at`], for a character that is not ASCII.
    #[inline(always)]
    pub fn at_non_ascii(&self, text: &[u8], i: usize) -> (u8, usize) {
        utf8::look_up_char(text, i, |block, last| self.class(block, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_some_characters() {
        let cases = [
            ("A", UPPER),
            ("ǅ", UPPER),
            ("ſ", LOWER),
            ("ʰ", OTHER_LETTER),
            ("中", OTHER_LETTER),
            ("\u{301}", MARK),
            ("½", NUMBER),
            ("𝟘", NUMBER),
            ("\u{3000}", SPACE),
            ("\u{85}", SPACE),
            ("\n", SPACE | NEWLINE),
            ("\u{200b}", REST),
            ("\u{180e}", REST),
            ("\u{10ffff}", REST),
            ("😀", REST),
        ];
        let table: &ClassTable = Default::default();
        for (text, class) in cases {
            let found = table.at(text.as_bytes(), 0);
            assert_eq!(found, (class, text.len()), "{text:?}");
        }
    }

    #[test]
    fn ascii_agrees_with_the_engine() {
        let table: &ClassTable = Default::default();
        for b in 0..128_u8 {
            let class = table.class(usize::from(b) / BLOCK_SIZE, b);
            assert_eq!(
                ASCII[usize::from(b)] & !NEWLINE,
                class,
                "{:?}",
                char::from(b)
            );
        }
    }
}
