//! Ids -> bytes ([`Decoder`]), and bytes -> text ([`text`]).

pub mod text;

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::system::prefetch::prefetch;
use crate::vocabulary::TYPICAL_TOKEN_BYTES;
use crate::vocabulary::ranks::Ranks;
use rustc_hash::FxHashMap;

/// A token of up to 15 bytes, its length at the end; 0 there for any other, and for none.
type ShortToken = [u8; SHORT_TOKEN];
const SHORT_TOKEN: usize = 16;

/// The bytes of all tokens, one after the other, found by id.
#[derive(Debug, Default)]
pub struct Decoder {
    arena: Vec<u8>,
    /// By id; what is here takes one cache miss to decode instead of two.
    shorts: Vec<ShortToken>,
    /// Start and length in the arena, by id; the length is 0 for holes, as no token is empty.
    dense: Vec<(u32, u32)>,
    /// The same for ids so high that `dense` would be mostly holes.
    sparse: FxHashMap<u32, (u32, u32)>,
    /// Whether a space with which text begins is not a part of it.
    drops_space: bool,
}

/// An id that stands for no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id {0} is not a token of this vocabulary")]
pub struct UnknownId(pub u32);

/// Why ids could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// One of them stands for no token.
    #[error(transparent)]
    Unknown(#[from] UnknownId),
    /// There was no memory for the bytes.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

impl Decoder {
    /// A table for a vocabulary. An id given twice keeps its first bytes, the ranks' before all.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(ranks: &Ranks, special: &[(String, u32)]) -> Result<Self, OutOfMemory> {
        let mut tokens = ranks.sorted()?;
        tokens.try_reserve_exact(special.len())?;
        tokens.extend(special.iter().map(|(text, id)| (text.as_bytes(), *id)));
        let limit = 4 * tokens.len() + 65536;
        let highest = tokens.iter().map(|t| t.1 as usize).max().unwrap_or(0);
        let mut table = Self {
            arena: memory::with_capacity(tokens.iter().map(|t| t.0.len()).sum())?,
            dense: memory::zeroed((highest + 1).min(limit))?,
            ..Self::default()
        };
        for (bytes, id) in tokens {
            let place = (table.arena.len() as u32, bytes.len() as u32);
            match table.dense.get_mut(id as usize) {
                Some(entry) if entry.1 == 0 => *entry = place,
                Some(_) => continue,
                None => {
                    table.sparse.try_reserve(1)?;
                    *table.sparse.entry(id).or_insert(place) = place;
                }
            }
            table.arena.extend_from_slice(bytes);
        }
        let short = |&(start, len): &(u32, u32)| {
            let mut short = [0; SHORT_TOKEN];
            if (1..SHORT_TOKEN).contains(&(len as usize)) {
                let (start, len) = (start as usize, len as usize);
                short[..len].copy_from_slice(&table.arena[start..start + len]);
                short[SHORT_TOKEN - 1] = len as u8;
            }
            short
        };
        table.shorts = memory::collect(table.dense.iter().map(short))?;
        Ok(table)
    }

    /// The same table, for text whose first space encoding has put there.
    pub fn dropping_space(self, drops_space: bool) -> Self {
        Self {
            drops_space,
            ..self
        }
    }

    /// What of the first bytes of a text belongs to it.
    #[inline]
    pub fn begun<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        match bytes {
            [b' ', rest @ ..] if self.drops_space => rest,
            _ => bytes,
        }
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

    /// The bytes of `ids`, joined; not all of them may belong to the text ([`Self::begun`]).
    ///
    /// # Errors
    /// [`UnknownId`] with the first id that stands for no token; [`OutOfMemory`].
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, DecodeError> {
        let buffer = memory::with_capacity(TYPICAL_TOKEN_BYTES * ids.len())?;
        let mut joined = Joined::new(self, buffer);
        joined.extend(ids)?;
        let n_bytes = joined.bytes()?.len();
        let mut bytes = joined.into_buffer();
        bytes.truncate(n_bytes);
        Ok(bytes)
    }
}

/// Ids looked up at a time: few enough for what is found to stay in the fastest cache.
const GROUP: usize = 256;

/// The bytes of ids that come in parts.
#[derive(Debug)]
pub struct Joined<'a> {
    decoder: &'a Decoder,
    /// The bytes up to `len`; what is behind them is to be overwritten.
    buffer: Vec<u8>,
    len: usize,
    unknown: Option<UnknownId>,
}

impl<'a> Joined<'a> {
    /// No bytes yet. They are written over what is in `buffer`.
    pub fn new(decoder: &'a Decoder, buffer: Vec<u8>) -> Self {
        Self {
            decoder,
            buffer,
            len: 0,
            unknown: None,
        }
    }

    /// Appends ids.
    ///
    /// # Errors
    /// [`OutOfMemory`]; some of them may be there then.
    pub fn extend(&mut self, ids: &[u32]) -> Result<(), OutOfMemory> {
        ids.chunks(GROUP)
            .try_for_each(|group| self.extend_group(group))
    }

    fn extend_group(&mut self, ids: &[u32]) -> Result<(), OutOfMemory> {
        let shorts = &self.decoder.shorts[..];
        for &id in ids {
            if let Some(short) = shorts.get(id as usize) {
                prefetch(short);
            }
        }
        let mut at = self.len;
        // At any time there is room for all ids to come as short ones.
        let most = at + ids.len() * SHORT_TOKEN;
        if self.buffer.len() < most {
            memory::resize(&mut self.buffer, most, 0)?;
        }
        for &id in ids {
            if let Some(short) = shorts.get(id as usize)
                && short[SHORT_TOKEN - 1] != 0
                && let Some(room) = self.buffer[at..].first_chunk_mut::<SHORT_TOKEN>()
            {
                // A copy of fixed size is a pair of instructions; the surplus is overwritten by the next token.
                *room = *short;
                at += usize::from(short[SHORT_TOKEN - 1]);
            } else if let Some(token) = self.decoder.token(id) {
                let len = self.buffer.len() + token.len();
                memory::resize(&mut self.buffer, len, 0)?;
                self.buffer[at..at + token.len()].copy_from_slice(token);
                at += token.len();
            } else {
                self.unknown.get_or_insert(UnknownId(id));
            }
        }
        self.len = at;
        Ok(())
    }

    /// All bytes.
    ///
    /// # Errors
    /// [`UnknownId`] with the first id that stands for no token.
    pub fn bytes(&self) -> Result<&[u8], UnknownId> {
        self.unknown.map_or(Ok(&self.buffer[..self.len]), Err)
    }

    /// The buffer, with the bytes in front.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}
