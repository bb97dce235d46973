//! The tokens made so far, and the order among pairs of equal counts.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::train::tie_break::{TieBreak, huggingface_order};
use std::cell::OnceCell;
use std::cmp::Ordering;

/// Token bytes by id. Room for all ids is made at the start and never moves, so that heap entries can
/// look at tokens while new ones are added.
#[derive(Debug)]
pub struct Tokens {
    bytes: Vec<OnceCell<Box<[u8]>>>,
    tie_break: TieBreak,
}

impl Tokens {
    /// The 256 bytes, and room for `n_tokens` in all.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(n_tokens: usize, tie_break: TieBreak) -> Result<Self, OutOfMemory> {
        let bytes = memory::collect((0..n_tokens).map(|_| OnceCell::new()))?;
        let tokens = Self { bytes, tie_break };
        for byte in 0..=255u8 {
            tokens.add(usize::from(byte), memory::boxed_slice(&[byte])?);
        }
        Ok(tokens)
    }

    /// Sets the bytes of a new id.
    pub fn add(&self, id: usize, bytes: Box<[u8]>) {
        // An id is set once; a second time would be a bug, and change nothing.
        let _ = self.bytes[id].set(bytes);
    }

    /// The bytes of an id; empty if it is not set.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes[id as usize].get().map_or(&[], |b| b)
    }

    /// How many bytes an id has.
    pub fn len(&self, id: usize) -> usize {
        self.bytes(id as u32).len()
    }

    /// The tokens with ids below `n`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn into_vec(self, n: usize) -> Result<Vec<Box<[u8]>>, OutOfMemory> {
        let set = self.bytes.into_iter().take(n);
        memory::collect(set.map(|cell| cell.into_inner().unwrap_or_default()))
    }

    /// A number that orders pairs of equal counts where it differs: the start of the order of
    /// [`Self::compare`].
    fn prefix(&self, (a, _): (u32, u32)) -> u64 {
        match self.tie_break {
            TieBreak::Lexicographic => {
                let mut first = [0; 8];
                let bytes = self.bytes(a);
                let n = bytes.len().min(8);
                first[..n].copy_from_slice(&bytes[..n]);
                u64::from_be_bytes(first)
            }
            TieBreak::LowestId => !u64::from(a),
            TieBreak::HuggingFace => !u64::from(huggingface_order(a)),
        }
    }

    /// Which of two pairs goes first when their counts are equal: the greater.
    fn compare(&self, (a, b): (u32, u32), (c, d): (u32, u32)) -> Ordering {
        match self.tie_break {
            TieBreak::Lexicographic => {
                let first = self.bytes(a).cmp(self.bytes(c));
                first.then_with(|| self.bytes(b).cmp(self.bytes(d)))
            }
            TieBreak::LowestId => (c, d).cmp(&(a, b)),
            TieBreak::HuggingFace => {
                let key = huggingface_order;
                (key(c), key(d)).cmp(&(key(a), key(b)))
            }
        }
    }
}

/// A pair waiting to be merged, with its count when it was put there.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Occurrences, weighted.
    pub count: u64,
    prefix: u64,
    /// Left and right id.
    pub pair: (u32, u32),
    /// The pair's number.
    pub number: u32,
    tokens: &'a Tokens,
}

impl<'a> Candidate<'a> {
    /// A candidate; the tokens decide ties.
    pub fn new(count: u64, pair: (u32, u32), number: u32, tokens: &'a Tokens) -> Self {
        let prefix = tokens.prefix(pair);
        Self {
            count,
            prefix,
            pair,
            number,
            tokens,
        }
    }
}

impl Ord for Candidate<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.count, self.prefix).cmp(&(other.count, other.prefix)) {
            Ordering::Equal => self.tokens.compare(self.pair, other.pair),
            unequal => unequal,
        }
    }
}

impl PartialOrd for Candidate<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate<'_> {}
