//! What merging begins with: bytes, or characters where there is a token for them.
//!
//! In a vocabulary in SentencePiece's manner a character that is a token is never taken apart, and one that
//! is not is its bytes, which are tokens of their own. So characters are tokens that no merge makes; all
//! else is as it is with bytes.

use crate::error::OutOfMemory;
use crate::utf8::char_len;
use rustc_hash::FxHashMap;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Symbols {
    /// The index of each character of two bytes and more that is a token.
    chars: FxHashMap<[u8; 4], u32>,
}

/// A whole character of two bytes and more.
fn long_char(text: &[u8]) -> Option<([u8; 4], usize)> {
    let len = char_len(*text.first()?);
    let mut padded = [0; 4];
    padded[..len].copy_from_slice(text.get(..len)?);
    (len > 1).then_some((padded, len))
}

/// Whether a token is one character of two bytes and more.
pub(crate) fn is_long_char(token: &[u8]) -> bool {
    long_char(token).is_some_and(|(_, len)| len == token.len())
}

impl Symbols {
    /// Characters, with their indices, which follow those of the bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn new<'t>(
        chars: impl ExactSizeIterator<Item = &'t [u8]>,
    ) -> Result<Self, OutOfMemory> {
        let mut symbols = Self::default();
        symbols.chars.try_reserve(chars.len())?;
        for (index, token) in (256..).zip(chars) {
            if let Some((padded, _)) = long_char(token) {
                symbols.chars.insert(padded, index);
            }
        }
        Ok(symbols)
    }

    /// How many there are, the bytes included: their indices are the first.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        256 + self.chars.len()
    }

    /// Whether they are the bytes.
    #[inline(always)]
    pub(crate) fn are_bytes(&self) -> bool {
        self.chars.is_empty()
    }

    /// The index of the first symbol of `text`, and its length; `text` must not be empty.
    #[inline(always)]
    pub(crate) fn first(&self, text: &[u8]) -> (u32, usize) {
        if !self.are_bytes()
            && let Some((padded, len)) = long_char(text)
            && let Some(&index) = self.chars.get(&padded)
        {
            return (index, len);
        }
        (u32::from(text[0]), 1)
    }

    /// Calls `symbol` with the place and the index of each symbol of `text`.
    #[inline(always)]
    pub(crate) fn each(&self, text: &[u8], mut symbol: impl FnMut(usize, u32)) {
        let mut at = 0;
        while at < text.len() {
            let (index, len) = self.first(&text[at..]);
            symbol(at, index);
            at += len;
        }
    }
}
