//! Ids -> bytes.

use crate::encode::Ranks;
use rustc_hash::FxHashMap;

/// Bytes copied at once; the arena ends in as many that belong to no token.
const STEP: usize = 16;

/// The bytes of all tokens, one after the other, found by id.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    arena: Vec<u8>,
    /// Start and length in the arena, by id; the length is 0 for holes, as no token is empty.
    dense: Vec<(u32, u32)>,
    /// The same for ids so high that `dense` would be mostly holes.
    sparse: FxHashMap<u32, (u32, u32)>,
}

/// An id that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownId(pub u32);

impl Decoder {
    /// A table for a vocabulary. An id given twice keeps its first bytes, the ranks' before all.
    pub fn new(ranks: &Ranks, special: &[(String, u32)]) -> Self {
        let special = special.iter().map(|(text, id)| (text.as_bytes(), *id));
        let tokens: Vec<(&[u8], u32)> = ranks.sorted().into_iter().chain(special).collect();
        let limit = 4 * tokens.len() + 65536;
        let highest = tokens.iter().map(|t| t.1 as usize).max().unwrap_or(0);
        let mut table = Self {
            dense: vec![(0, 0); (highest + 1).min(limit)],
            ..Self::default()
        };
        for (bytes, id) in tokens {
            let place = (table.arena.len() as u32, bytes.len() as u32);
            match table.dense.get_mut(id as usize) {
                Some(entry) if entry.1 == 0 => *entry = place,
                Some(_) => continue,
                None => *table.sparse.entry(id).or_insert(place) = place,
            }
            table.arena.extend_from_slice(bytes);
        }
        table.arena.resize(table.arena.len() + STEP, 0);
        table
    }

    #[inline]
    fn place(&self, id: u32) -> Option<(usize, usize)> {
        let (start, len) = match self.dense.get(id as usize) {
            Some(&place) => place,
            None => *self.sparse.get(&id)?,
        };
        (len != 0).then_some((start as usize, len as usize))
    }

    /// The bytes of one id.
    #[inline]
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        let (start, len) = self.place(id)?;
        Some(&self.arena[start..start + len])
    }

    /// How many bytes `ids` stand for.
    ///
    /// # Errors
    /// [`UnknownId`] with the first id that is no token.
    pub fn n_bytes(&self, ids: &[u32]) -> Result<usize, UnknownId> {
        let mut n = 0;
        for &id in ids {
            n += self.place(id).ok_or(UnknownId(id))?.1;
        }
        Ok(n)
    }

    /// Writes the bytes of `ids` to `out`, whose length must be [`Self::n_bytes`] of them.
    pub fn write(&self, ids: &[u32], out: &mut [u8]) {
        let mut at = 0;
        for &id in ids {
            let Some((start, len)) = self.place(id) else {
                continue;
            };
            // A copy of fixed size is a pair of instructions; what it writes too much is overwritten.
            if len <= STEP
                && let Some(to) = out[at..].first_chunk_mut::<STEP>()
                && let Some(from) = self.arena[start..].first_chunk::<STEP>()
            {
                *to = *from;
            } else {
                out[at..at + len].copy_from_slice(&self.arena[start..start + len]);
            }
            at += len;
        }
    }

    /// The bytes of `ids`, joined.
    ///
    /// # Errors
    /// [`UnknownId`] with the first id that is no token.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, UnknownId> {
        let mut out = vec![0; self.n_bytes(ids)?];
        self.write(ids, &mut out);
        Ok(out)
    }
}

impl std::fmt::Display for UnknownId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the id {} is no token of this vocabulary", self.0)
    }
}

impl std::error::Error for UnknownId {}
