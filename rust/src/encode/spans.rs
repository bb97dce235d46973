//! What the two levels of `superwords` work with: which bytes stand side by side, and what comes of the first.

use crate::error::OutOfMemory;
use crate::pretokenize::spans::Row;
use crate::system::memory;
use crate::vocabulary::Joints;

/// Which pairs of bytes stand side by side in a token of the first level.
#[derive(Debug)]
pub(crate) struct Adjacent {
    words: Vec<u64>,
    /// Whether a space stands behind no ASCII character but white space.
    spaces_begin: bool,
}

impl Adjacent {
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = &'a [u8]>) -> Result<Self, OutOfMemory> {
        let mut words = memory::filled(0, 1 << 10)?;
        for word in words.iter_mut().skip(2).step_by(4) {
            // Those before a continuation byte: pieces are of whole characters.
            *word = u64::MAX;
        }
        for token in tokens {
            for pair in token.windows(2) {
                let at = usize::from(pair[0]) << 8 | usize::from(pair[1]);
                words[at / 64] |= 1 << (at % 64);
            }
        }
        let mut adjacent = Self {
            words,
            spaces_begin: false,
        };
        let text = (0..128).filter(|b: &u8| !matches!(b, b'\t'..=b'\r' | b' '));
        adjacent.spaces_begin = !text.into_iter().any(|b| adjacent.has(b, b' '));
        Ok(adjacent)
    }

    /// Those of a row's pretokens whose first byte may be joined with the one before, but for those that begin a span.
    #[inline(always)]
    pub(crate) fn joined(&self, text: &[u8], row: &Row) -> u64 {
        let free = match self.spaces_begin {
            true => row.spans | row.spaced,
            false => row.spans,
        };
        let (mut unsure, mut joined) = (row.starts & !free, 0);
        while unsure != 0 {
            let i = unsure.trailing_zeros() as usize;
            unsure &= unsure - 1;
            if let Some(&[a, b]) = text[row.base + i - 1..].first_chunk() {
                joined |= u64::from(self.has(a, b)) << i;
            }
        }
        joined
    }

    /// Whether `b` follows `a` in a token, or may within a character.
    #[inline(always)]
    pub(crate) fn has(&self, a: u8, b: u8) -> bool {
        let at = usize::from(a) << 8 | usize::from(b);
        let word = self.words.get(at / 64);
        word.is_none_or(|word| word >> (at % 64) & 1 != 0)
    }
}

/// Places in a text: a bit for each.
#[derive(Debug, Default)]
pub(crate) struct Marks(Vec<u64>);

impl Marks {
    /// Forgets all, and makes room for the places of `n` bytes and behind them.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn clear(&mut self, n: usize) -> Result<(), OutOfMemory> {
        self.0.clear();
        memory::append_zeros(&mut self.0, n / 64 + 2)
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, at: usize, to: bool) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= u64::from(to) << (at % 64);
        }
    }

    /// Marks each bit of a set of places, counted from `base`.
    #[inline(always)]
    pub(crate) fn set_all(&mut self, base: usize, set: u64) {
        let (at, by) = (base / 64, base % 64);
        if let Some([low, high]) = self.0.get_mut(at..at + 2) {
            *low |= set << by;
            *high |= set >> 1 >> (63 - by);
        }
    }

    #[inline(always)]
    pub(crate) fn has(&self, at: usize) -> bool {
        let word = self.0.get(at / 64);
        word.is_some_and(|word| word >> (at % 64) & 1 != 0)
    }
}

/// Working memory of one thread.
#[derive(Debug, Default)]
pub(crate) struct SpanScratch {
    /// The pretokens of spans.
    pub(crate) pretokens: Vec<Row>,
    /// Where other stretches begin and end.
    pub(crate) stretches: Vec<(usize, usize)>,
    /// Where each stretch ends, in bytes of all stretches.
    pub(crate) ends: Marks,
    /// First tokens of all stretches.
    pub(crate) tokens: Vec<u32>,
    pub(crate) joints: Joints,
    /// What the tokens are merged to, where there is no list that they go to.
    pub(crate) merged: Vec<u32>,
}
