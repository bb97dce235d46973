//! Tokens with ids and ranks. The two are the same in a vocabulary as training and tiktoken have it; in one from a
//! tokenizer.json the merges give the ranks.

use crate::error::{Error, OutOfMemory, Result};
use crate::system::memory;
use crate::system::prefetch::prefetch;
use crate::vocabulary::pair_map::{Kept, Merges, NONE};
use crate::vocabulary::symbols::{Symbols, is_long_char};
use crate::vocabulary::token_map::{ById, Key, TokenMap};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Tokens whose places in memory are asked for together.
const AHEAD: usize = 32;

/// Tokens by their bytes, with their ids. A token's rank is its id, or else its place among those given in
/// order ([`Ranks::ordered`]).
///
/// All tokens lie in one piece of memory, the 256 single bytes first, then characters that merging begins with,
/// if it does ([`Ranks::of_characters`]), and then the others by rank; `index` below is a place in that order.
#[derive(Clone, Debug)]
pub struct Ranks {
    /// Tokens from this index on are found as whole pretokens only: no merge makes them.
    n_merged: usize,
    symbols: Arc<Symbols>,
    bytes: Vec<u8>,
    /// Token `index` is `bytes[starts[index]..starts[index + 1]]`.
    starts: Vec<u32>,
    ids: Vec<u32>,
    by_bytes: TokenMap,
    by_id: ById,
    /// What the tokens are merged from, if whoever read them has found it, until a table takes it.
    merges: Kept,
}

fn bad(value: impl ToString, reason: &str) -> Error {
    Error::argument("mergeable_ranks", value.to_string(), reason.to_owned())
}

/// Tokens with their ids.
type Tokens<T> = Vec<(T, u32)>;

/// The single bytes in their order, and all others in the order given; and how many are single bytes.
fn parted<T: AsRef<[u8]>>(mut tokens: Tokens<T>) -> Result<(Tokens<T>, usize), OutOfMemory> {
    let is_byte = |token: &(T, u32)| token.0.as_ref().len() == 1;
    let mut n_bytes = tokens.iter().take_while(|token| is_byte(token)).count();
    // Where bytes come first, as in most vocabularies, they need not be moved.
    if tokens[n_bytes..].iter().any(is_byte) {
        let mut longer = memory::with_capacity(tokens.len())?;
        let mut bytes = Vec::new();
        for token in tokens.drain(..) {
            match is_byte(&token) {
                true => memory::push(&mut bytes, token)?,
                false => longer.push(token),
            }
        }
        n_bytes = bytes.len();
        tokens.extend(bytes.into_iter().chain(longer));
    }
    tokens[..n_bytes].sort_unstable_by(|a, b| (a.0.as_ref(), a.1).cmp(&(b.0.as_ref(), b.1)));
    Ok((tokens, n_bytes))
}

impl Ranks {
    /// A table from tokens and ranks.
    ///
    /// # Errors
    /// [`Error::Argument`] if a single byte is missing, or a rank or token comes twice; [`Error::Memory`].
    pub fn new(tokens: impl IntoIterator<Item = (Vec<u8>, u32)>) -> Result<Self> {
        let given = tokens.into_iter();
        let mut tokens: Vec<(Vec<u8>, u32)> = memory::with_capacity(given.size_hint().0)?;
        for token in given {
            memory::push(&mut tokens, token)?;
        }
        Self::by_rank(tokens)
    }

    /// As [`Self::new`], of tokens that lie elsewhere.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn by_rank<T: AsRef<[u8]>>(tokens: Vec<(T, u32)>) -> Result<Self> {
        let (mut tokens, n_bytes) = parted(tokens)?;
        tokens[n_bytes..].sort_unstable_by_key(|token| token.1);
        Self::of(tokens, usize::MAX)
    }

    /// A table from tokens and ids, where ranks are not ids: the tokens of two bytes and more are in the
    /// order of ranks, the first `n_merged` of them; the rest no merge makes.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn ordered(tokens: Vec<(Vec<u8>, u32)>, n_merged: usize) -> Result<Self> {
        let (tokens, n_bytes) = parted(tokens)?;
        Self::of(tokens, n_bytes.saturating_add(n_merged))
    }

    /// As [`Self::ordered`], where those tokens that are one character of two bytes and more come first: merging
    /// begins with them, and with bytes where there is no such token. They count as merged.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_characters(tokens: Vec<(Vec<u8>, u32)>, n_merged: usize) -> Result<Self> {
        let mut ranks = Self::ordered(tokens, n_merged)?;
        let others = (256..ranks.len()).take_while(|&i| is_long_char(ranks.at(i)));
        let end = others.last().map_or(256, |i| i + 1);
        let chars = (256..end).map(|i| ranks.at(i));
        ranks.symbols = Arc::new(Symbols::new(chars)?);
        Ok(ranks)
    }

    fn of<T: AsRef<[u8]>>(tokens: Vec<(T, u32)>, n_merged: usize) -> Result<Self> {
        let ids: Vec<u32> = memory::collect(tokens.iter().map(|t| t.1))?;
        let (by_id, twice) = ById::new(&ids)?;
        if let Some(twice) = twice {
            return Err(bad(twice, "two tokens have this rank"));
        }
        let n_bytes = tokens.iter().map(|t| t.0.as_ref().len()).sum();
        if u32::try_from(n_bytes).is_err() || u32::try_from(tokens.len()).is_err() {
            return Err(bad(n_bytes, "the tokens' bytes must be fewer than 2**32"));
        }
        let mut ranks = Self {
            n_merged,
            symbols: Arc::default(),
            bytes: memory::with_capacity(n_bytes)?,
            starts: memory::with_capacity(tokens.len() + 1)?,
            ids,
            by_bytes: TokenMap::with_capacity(tokens.len())?,
            by_id,
            merges: Kept::default(),
        };
        ranks.starts.push(0);
        for (token, _) in &tokens {
            ranks.bytes.extend_from_slice(token.as_ref());
            ranks.starts.push(ranks.bytes.len() as u32);
        }
        ranks.find_places()?;
        for byte in 0..=255u8 {
            if ranks.get(&[byte]).is_none() {
                let reason = "this single byte is missing; a byte-level vocabulary holds all 256";
                return Err(bad(format!("0x{byte:02x}"), reason));
            }
        }
        Ok(ranks)
    }

    /// Puts all tokens into the table, which is empty.
    ///
    /// # Errors
    /// [`Error::Argument`] if one is empty or comes twice.
    fn find_places(&mut self) -> Result<()> {
        let (bytes, starts, ids) = (&self.bytes, &self.starts, &self.ids);
        let key = |i: usize| Key::new(bytes, starts[i] as usize, starts[i + 1] as usize);
        let mut hashes = [0; AHEAD];
        for index in 0..ids.len() {
            if index % AHEAD == 0 {
                for (hash, i) in hashes.iter_mut().zip(index..ids.len()) {
                    *hash = key(i).hash();
                    self.by_bytes.fetch(*hash);
                }
            }
            let token = key(index);
            if token.bytes().is_empty() {
                return Err(bad(ids[index], "a token must not be empty"));
            }
            let is_it = |other: u32| token.is(&key(other as usize));
            let hash = hashes[index % AHEAD];
            if let Some(other) = self.by_bytes.insert(hash, index as u32, is_it) {
                let reason = format!("the same bytes also have rank {}", ids[other as usize]);
                return Err(bad(ids[index], &reason));
            }
        }
        Ok(())
    }

    /// Keeps what the tokens are merged from for the first table that is made of them.
    pub(super) fn with_merges(self, merges: Merges) -> Self {
        let merges = Kept::new(merges);
        Self { merges, ..self }
    }

    /// What the tokens are merged from, if it is known and nobody has taken it.
    pub(super) fn take_merges(&self) -> Option<Merges> {
        self.merges.take()
    }

    /// Tokens from this index on are found as whole pretokens only.
    pub(crate) fn n_merged(&self) -> usize {
        self.n_merged
    }

    /// What merging begins with.
    pub(crate) fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The bytes of the token at `index`.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> &[u8] {
        &self.bytes[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// The ids, by index.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The index of a token.
    #[inline]
    pub(crate) fn index(&self, token: &[u8]) -> Option<u32> {
        let key = Key::new(token, 0, token.len());
        let is_it = |i| key.is(&self.key(i));
        self.by_bytes.find(key.hash(), is_it)
    }

    /// What the token at `index` is looked up by.
    #[inline(always)]
    pub(super) fn key(&self, index: u32) -> Key<'_> {
        let at = index as usize;
        Key::new(
            &self.bytes,
            self.starts[at] as usize,
            self.starts[at + 1] as usize,
        )
    }

    /// As [`Self::index`], of several tokens at a time; [`NONE`] for what is not one.
    #[inline]
    pub(super) fn indices<const N: usize>(&self, tokens: &[Key<'_>], found: &mut [u32; N]) {
        let mut hashes = [0; N];
        for (hash, token) in hashes.iter_mut().zip(tokens) {
            *hash = token.hash();
            self.by_bytes.fetch(*hash);
        }
        for (first, &hash) in found.iter_mut().zip(&hashes[..tokens.len()]) {
            // Nearly always it is the first that might be.
            *first = self.by_bytes.find(hash, |_| true).unwrap_or(0);
            prefetch(&raw const self.starts[*first as usize]);
        }
        for &first in &found[..tokens.len()] {
            prefetch(
                self.bytes
                    .as_ptr()
                    .wrapping_add(self.starts[first as usize] as usize),
            );
        }
        for ((found, hash), token) in found.iter_mut().zip(hashes).zip(tokens) {
            if !token.is(&self.key(*found)) {
                let index = self.by_bytes.find(hash, |i| token.is(&self.key(i)));
                *found = index.unwrap_or(NONE);
            }
        }
    }

    /// The rank of a token.
    #[inline]
    pub fn get(&self, token: &[u8]) -> Option<u32> {
        self.index(token).map(|i| self.ids[i as usize])
    }

    /// The bytes of the token of this rank.
    #[inline]
    pub fn token(&self, rank: u32) -> Option<&[u8]> {
        self.by_id.get(rank).map(|i| self.at(i as usize))
    }

    /// All tokens with their ranks, by rank.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn sorted(&self) -> Result<Vec<(&[u8], u32)>, OutOfMemory> {
        let mut all = memory::collect((0..self.len()).map(|i| (self.at(i), self.ids[i])))?;
        all.sort_unstable_by_key(|&(_, rank)| rank);
        Ok(all)
    }

    /// The highest id.
    pub fn highest(&self) -> u32 {
        self.ids.iter().max().copied().unwrap_or_default()
    }

    /// The pair of tokens each token was merged from, by rank of the result.
    ///
    /// It is found by encoding the token's bytes with lower ranks only, which leaves exactly two parts
    /// when the vocabulary comes from BPE training.
    ///
    /// # Errors
    /// [`Error::Argument`] naming a token that no merge of earlier tokens gives; [`Error::Memory`].
    pub fn merges(&self) -> Result<Vec<(u32, u32)>> {
        let mut merges = Vec::new();
        let mut parts = Vec::new();
        for index in self.symbols.len()..self.len() {
            let (token, rank) = (self.at(index), self.ids[index]);
            parts.clear();
            self.merge_below(token, index as u32, &mut parts)?;
            match parts[..] {
                [left, right] => memory::push(&mut merges, (left, right))?,
                _ => {
                    return Err(bad(
                        format!("{:?} (rank {rank})", String::from_utf8_lossy(token)),
                        "no two tokens of lower rank merge to this token, so it cannot come \
                         from byte-pair merges",
                    ));
                }
            }
        }
        Ok(merges)
    }

    /// Appends the ids of one pretoken, straight from the definition: right for every table, and
    /// near-linear, but slow.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn encode_pretoken(&self, pretoken: &[u8], out: &mut Vec<u32>) -> Result<(), OutOfMemory> {
        match self.get(pretoken) {
            Some(id) => memory::push(out, id),
            None => self.merge_below(pretoken, u32::MAX, out).map(|_| ()),
        }
    }

    /// The indices of the two parts that merging the bytes of `token` makes it from; `None` if it
    /// does not make it.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn last_merge(&self, token: &[u8]) -> Result<Option<(u32, u32)>, OutOfMemory> {
        let Some(at) = self.merge_below(token, u32::MAX, &mut Vec::new())? else {
            return Ok(None);
        };
        Ok(self.index(&token[..at]).zip(self.index(&token[at..])))
    }

    /// Merges with ranks below `limit` only: a heap of candidates over a linked list. Returns where
    /// the last two parts met if one is left.
    fn merge_below(
        &self,
        piece: &[u8],
        limit: u32,
        out: &mut Vec<u32>,
    ) -> Result<Option<usize>, OutOfMemory> {
        let limit = limit.min(u32::try_from(self.n_merged).unwrap_or(u32::MAX));
        let get = |from: usize, to: usize| self.index(&piece[from..to]).filter(|&i| i < limit);
        let n = piece.len();
        // Part i starts at byte i; `end[i]` is 0 once it has been swallowed by the part before it.
        let mut end: Vec<usize> = memory::filled(0, n)?;
        let mut prev: Vec<usize> = memory::filled(usize::MAX, n)?;
        let mut met = None;
        let mut heap = BinaryHeap::new();
        let mut at = 0;
        while at < n {
            let to = at + self.symbols.first(&piece[at..]).1;
            end[at] = to;
            if to < n {
                prev[to] = at;
                let after = to + self.symbols.first(&piece[to..]).1;
                if let Some(rank) = get(at, after) {
                    memory::push_heap(&mut heap, Reverse((rank, at, after)))?;
                }
            }
            at = to;
        }
        while let Some(Reverse((_, i, to))) = heap.pop() {
            let next = end[i];
            // Stale if this part or the next has changed since.
            if next == 0 || next >= n || end[next] != to {
                continue;
            }
            end[next] = 0;
            end[i] = to;
            met = (i == 0 && to == n).then_some(next);
            if to < n {
                prev[to] = i;
                if let Some(rank) = get(i, end[to]) {
                    memory::push_heap(&mut heap, Reverse((rank, i, end[to])))?;
                }
            }
            if let Some(before) = i.checked_sub(1).map(|_| prev[i])
                && let Some(rank) = get(before, to)
            {
                memory::push_heap(&mut heap, Reverse((rank, before, to)))?;
            }
        }
        let mut i = 0;
        while i < n {
            // Every part is a symbol or the result of a merge, hence a token.
            if let Some(id) = self.get(&piece[i..end[i]]) {
                memory::push(out, id)?;
            }
            i = end[i];
        }
        Ok(met)
    }
}
