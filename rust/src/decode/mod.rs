//! Ids -> bytes ([`Decoder`]), and bytes -> text ([`text`]).

pub mod text;

use crate::system::prefetch::prefetch;
use crate::vocabulary::TYPICAL_TOKEN_BYTES;
use crate::vocabulary::ranks::Ranks;
use rustc_hash::FxHashMap;

/// A token of up to 15 bytes, its length at the end; 0 there for any other, and for none.
type ShortToken = [u8; SHORT_TOKEN];
const SHORT_TOKEN: usize = 16;

/// The bytes of all tokens, one after the other, found by id.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    arena: Vec<u8>,
    /// By id; what is here takes one cache miss to decode instead of two.
    shorts: Vec<ShortToken>,
    /// Start and length in the arena, by id; the length is 0 for holes, as no token is empty.
    dense: Vec<(u32, u32)>,
    /// The same for ids so high that `dense` would be mostly holes.
    sparse: FxHashMap<u32, (u32, u32)>,
}

/// An id that stands for no token.
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
        let short = |&(start, len): &(u32, u32)| {
            let mut short = [0; SHORT_TOKEN];
            if (1..SHORT_TOKEN).contains(&(len as usize)) {
                let (start, len) = (start as usize, len as usize);
                short[..len].copy_from_slice(&table.arena[start..start + len]);
                short[SHORT_TOKEN - 1] = len as u8;
            }
            short
        };
        table.shorts = table.dense.iter().map(short).collect();
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

    /// The bytes of `ids`, joined.
    ///
    /// # Errors
    /// [`UnknownId`] with the first id that stands for no token.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, UnknownId> {
        let mut joined = Joined::new(self, Vec::with_capacity(TYPICAL_TOKEN_BYTES * ids.len()));
        joined.extend(ids);
        let n_bytes = joined.bytes()?.len();
        let mut bytes = joined.into_buffer();
        bytes.truncate(n_bytes);
        Ok(bytes)
    }
}

/// Ids looked up at a time: few enough for what is found to stay in the fastest cache.
const GROUP: usize = 256;

/// The bytes of ids that come in parts.
#[derive(Clone, Debug)]
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
    pub fn extend(&mut self, ids: &[u32]) {
        ids.chunks(GROUP).for_each(|group| self.extend_group(group));
    }

    fn extend_group(&mut self, ids: &[u32]) {
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
            self.buffer.resize(most, 0);
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
                self.buffer.resize(self.buffer.len() + token.len(), 0);
                self.buffer[at..at + token.len()].copy_from_slice(token);
                at += token.len();
            } else {
                self.unknown.get_or_insert(UnknownId(id));
            }
        }
        self.len = at;
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

impl std::fmt::Display for UnknownId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the id {} is not a token of this vocabulary", self.0)
    }
}

impl std::error::Error for UnknownId {}
