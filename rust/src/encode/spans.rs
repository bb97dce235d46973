//! What the first of the two levels of `superwords` works with: which bytes stand side by side, and its results.

use crate::error::OutOfMemory;
use crate::pretokenize::spans::End;
use crate::system::memory;

/// Which pairs of bytes stand side by side in a token of the first level.
#[derive(Debug)]
pub(crate) struct Adjacent(Vec<u64>);

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
        Ok(Self(words))
    }

    /// Whether `b` follows `a` in a token, or may within a character.
    #[inline(always)]
    pub(crate) fn has(&self, a: u8, b: u8) -> bool {
        let at = usize::from(a) << 8 | usize::from(b);
        let word = self.0.get(at / 64);
        word.is_none_or(|word| word >> (at % 64) & 1 != 0)
    }
}

/// Working memory of one thread.
#[derive(Debug, Default)]
pub(crate) struct SpanScratch {
    /// Where the pretokens of spans end.
    pub(crate) pretokens: Vec<End>,
    /// Where other stretches begin and end.
    pub(crate) stretches: Vec<(usize, usize)>,
    /// Up to where each stretch reaches, in bytes of all stretches.
    pub(crate) ends: Vec<usize>,
    /// First tokens of all stretches, and then what they are merged to.
    pub(crate) tokens: Vec<u32>,
}
