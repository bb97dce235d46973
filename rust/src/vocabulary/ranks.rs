//! A vocabulary as tiktoken writes it: tokens and their ranks, which are their ids.

use crate::error::{Error, OutOfMemory, Result};
use crate::system::memory;
use crate::vocabulary::symbols::{Symbols, is_long_char};
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hasher;
use std::sync::Arc;

/// Tokens by their bytes, with their ids. A token's rank is its id, or else its place among those given in
/// order ([`Ranks::ordered`]).
///
/// All tokens lie in one piece of memory, the 256 single bytes first, then characters that merging begins with,
/// if it does ([`Ranks::of_characters`]), and then the others by rank; `index` below is a place in that order.
#[derive(Clone, Debug, Default)]
pub struct Ranks {
    /// Tokens from this index on are found as whole pretokens only: no merge makes them.
    n_merged: usize,
    symbols: Arc<Symbols>,
    bytes: Vec<u8>,
    /// Token `index` is `bytes[starts[index]..starts[index + 1]]`.
    starts: Vec<u32>,
    ids: Vec<u32>,
    by_bytes: HashTable<u32>,
    by_id: ById,
}

/// Id -> index.
#[derive(Clone, Debug)]
enum ById {
    /// At place `id` the index, or `u32::MAX`.
    Dense(Vec<u32>),
    /// For ids far beyond the number of tokens: (id, index), sorted.
    Sparse(Vec<(u32, u32)>),
}

impl Default for ById {
    fn default() -> Self {
        Self::Dense(Vec::new())
    }
}

impl ById {
    fn new(ids: &[u32]) -> Result<Self, OutOfMemory> {
        let highest = ids.iter().max().map_or(0, |&id| id as usize);
        let pairs = ids.iter().enumerate().map(|(i, &id)| (id, i as u32));
        if highest / 8 > ids.len() {
            let mut pairs = memory::collect(pairs)?;
            pairs.sort_unstable();
            return Ok(Self::Sparse(pairs));
        }
        let mut places = memory::filled(u32::MAX, highest + 1)?;
        for (id, index) in pairs {
            places[id as usize] = index;
        }
        Ok(Self::Dense(places))
    }

    #[inline]
    fn get(&self, id: u32) -> Option<usize> {
        let index = match self {
            Self::Dense(places) => *places.get(id as usize)?,
            Self::Sparse(pairs) => {
                let place = pairs.binary_search_by_key(&id, |p| p.0).ok()?;
                pairs[place].1
            }
        };
        (index != u32::MAX).then_some(index as usize)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

fn bad(value: impl ToString, reason: &str) -> Error {
    Error::argument("mergeable_ranks", value.to_string(), reason.to_owned())
}

/// Tokens with their ids.
type Tokens<T> = Vec<(T, u32)>;

/// The single bytes in their order, and all others in the order given.
fn parted<T: AsRef<[u8]>>(mut tokens: Tokens<T>) -> Result<(Tokens<T>, Tokens<T>), OutOfMemory> {
    let (mut bytes, mut longer) = (Vec::new(), memory::with_capacity(tokens.len())?);
    for token in tokens.drain(..) {
        match token.0.as_ref().len() {
            1 => memory::push(&mut bytes, token)?,
            _ => longer.push(token),
        }
    }
    bytes.sort_unstable_by(|a, b| (a.0.as_ref(), a.1).cmp(&(b.0.as_ref(), b.1)));
    Ok((bytes, longer))
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
        let (mut bytes, mut longer) = parted(tokens)?;
        longer.sort_unstable_by_key(|token| token.1);
        bytes.try_reserve(longer.len())?;
        bytes.append(&mut longer);
        Self::of(bytes, usize::MAX)
    }

    /// A table from tokens and ids, where ranks are not ids: the tokens of two bytes and more are in the
    /// order of ranks, the first `n_merged` of them; the rest no merge makes.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn ordered(tokens: Vec<(Vec<u8>, u32)>, n_merged: usize) -> Result<Self> {
        let (mut bytes, mut longer) = parted(tokens)?;
        let n_bytes = bytes.len();
        bytes.try_reserve(longer.len())?;
        bytes.append(&mut longer);
        Self::of(bytes, n_bytes.saturating_add(n_merged))
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
        let mut ids: Vec<u32> = memory::collect(tokens.iter().map(|t| t.1))?;
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|w| w[0] == w[1]) {
            return Err(bad(twice[0], "two tokens have this rank"));
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
            ids: memory::with_capacity(tokens.len())?,
            by_bytes: HashTable::new(),
            by_id: ById::default(),
        };
        let made = ranks.by_bytes.try_reserve(tokens.len(), |_| 0);
        made.map_err(|_| OutOfMemory)?;
        ranks.starts.push(0);
        for (token, rank) in &tokens {
            let token = token.as_ref();
            if token.is_empty() {
                return Err(bad(rank, "a token must not be empty"));
            }
            if let Some(other) = ranks.get(token) {
                let reason = format!("the same bytes also have rank {other}");
                return Err(bad(rank, &reason));
            }
            let index = ranks.ids.len() as u32;
            ranks.bytes.extend_from_slice(token);
            ranks.starts.push(ranks.bytes.len() as u32);
            ranks.ids.push(*rank);
            let (bytes, starts) = (&ranks.bytes, &ranks.starts);
            ranks.by_bytes.insert_unique(hash(token), index, |&i| {
                let (from, to) = (starts[i as usize], starts[i as usize + 1]);
                hash(&bytes[from as usize..to as usize])
            });
        }
        for byte in 0..=255u8 {
            if ranks.get(&[byte]).is_none() {
                let reason = "this single byte is missing; a byte-level vocabulary holds all 256";
                return Err(bad(format!("0x{byte:02x}"), reason));
            }
        }
        ranks.by_id = ById::new(&ranks.ids)?;
        Ok(ranks)
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
        let is_it = |&i: &u32| self.at(i as usize) == token;
        self.by_bytes.find(hash(token), is_it).copied()
    }

    /// The rank of a token.
    #[inline]
    pub fn get(&self, token: &[u8]) -> Option<u32> {
        self.index(token).map(|i| self.ids[i as usize])
    }

    /// The bytes of the token of this rank.
    #[inline]
    pub fn token(&self, rank: u32) -> Option<&[u8]> {
        self.by_id.get(rank).map(|i| self.at(i))
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

    /// "id length", a newline and the bytes of each token, by id: what says all about them.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn listing(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut listing = memory::with_capacity(self.bytes.len() + 12 * self.len())?;
        for (token, id) in self.sorted()? {
            memory::append(&mut listing, format!("{id} {}\n", token.len()).as_bytes())?;
            memory::append(&mut listing, token)?;
        }
        Ok(listing)
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
