//! Tokens by their bytes: a hash table of their indices ([`TokenMap`]). Who asks for many asks for their places ahead,
//! so that their cache misses are waited for together. And tokens by their ids ([`ById`]).

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::system::pages::Pages;
use crate::system::prefetch::prefetch;

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The bytes of a token, and what is looked at first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    bytes: &'a [u8],
    /// The first eight bytes, the first the lowest; zeros if there are not so many.
    head: u64,
}

impl<'a> Key<'a> {
    /// That of no bytes.
    pub(super) const EMPTY: Self = Self {
        bytes: &[],
        head: 0,
    };

    /// That of `all[from..to]`.
    #[inline(always)]
    pub(super) fn new(all: &'a [u8], from: usize, to: usize) -> Self {
        let bytes = &all[from..to];
        let head = match all[from..].first_chunk() {
            // What follows a short one is cut off, which asks less than taking it together.
            Some(eight) => {
                let n_bits = 8 * bytes.len().min(8) as u32;
                u64::from_le_bytes(*eight) & u64::MAX.checked_shr(64 - n_bits).unwrap_or(0)
            }
            None => head(bytes),
        };
        Self { bytes, head }
    }

    /// The bytes.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether both are the same bytes.
    #[inline(always)]
    pub(super) fn is(&self, other: &Key<'_>) -> bool {
        self.head == other.head
            && self.bytes.len() == other.bytes.len()
            && (self.bytes.len() <= 8 || self.bytes[8..] == other.bytes[8..])
    }

    #[inline(always)]
    pub(super) fn hash(&self) -> u64 {
        let mut hash = mix(self.head, self.bytes.len() as u64);
        if self.bytes.len() > 8 {
            let mut rest = &self.bytes[8..];
            while let Some((eight, after)) = rest.split_first_chunk() {
                hash = mix(hash, u64::from_le_bytes(*eight));
                rest = after;
            }
            // Those that are left over come with some of those before.
            if let Some(eight) = self.bytes.last_chunk()
                && !rest.is_empty()
            {
                hash = mix(hash, u64::from_le_bytes(*eight));
            }
        }
        hash
    }
}

/// Up to eight bytes as a number, the first the lowest.
#[inline]
fn head(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// A number from two that depends on every bit of either.
#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ ODD) * u128::from((b ^ 0xd1b5_4a32_d192_ed03).wrapping_mul(ODD));
    product as u64 ^ (product >> 64) as u64
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct TokenMap {
    /// Zero, or half of a hash and an index plus 1. At most two thirds are taken.
    slots: Pages<u64>,
}

impl TokenMap {
    /// A table with room for `n` tokens, which are fewer than 2**32.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(super) fn with_capacity(n: usize) -> Result<Self, OutOfMemory> {
        let size = n.checked_mul(3).ok_or(OutOfMemory)? / 2 + 1;
        let size = size.checked_next_power_of_two().ok_or(OutOfMemory)?;
        Ok(Self {
            slots: Pages::zeroed(size)?,
        })
    }

    /// Begins to load what [`Self::find`] will look at.
    #[inline(always)]
    pub(super) fn fetch(&self, hash: u64) {
        prefetch(&raw const self.slots[hash as usize & (self.slots.len() - 1)]);
    }

    /// The place of the token of which `is_it` says so, or the one that it would have.
    #[inline(always)]
    fn place(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 || slot >> 32 == hash >> 32 && is_it(slot as u32 - 1) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    /// The index of the token with a hash of which `is_it` says so.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        (self.slots[self.place(hash, is_it)] as u32).checked_sub(1)
    }

    /// Puts a token in; or returns the index of the one that is there, if there is one of which `is_it` says so.
    #[inline(always)]
    pub(super) fn insert(
        &mut self,
        hash: u64,
        index: u32,
        is_it: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let place = self.place(hash, is_it);
        let slot = &mut self.slots[place];
        let there = (*slot as u32).checked_sub(1);
        if there.is_none() {
            *slot = hash >> 32 << 32 | u64::from(index + 1);
        }
        there
    }
}

/// Id -> index.
#[derive(Clone, Debug)]
pub(super) enum ById {
    /// At place `id` the index, or `u32::MAX`.
    Dense(Vec<u32>),
    /// For ids far beyond the number of tokens: (id, index), sorted.
    Sparse(Vec<(u32, u32)>),
}

impl ById {
    /// The table of ids, given by index, and the lowest one that comes twice.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(super) fn new(ids: &[u32]) -> Result<(Self, Option<u32>), OutOfMemory> {
        let highest = ids.iter().max().map_or(0, |&id| id as usize);
        let pairs = ids.iter().enumerate().map(|(i, &id)| (id, i as u32));
        if highest / 8 > ids.len() {
            let mut pairs = memory::collect(pairs)?;
            pairs.sort_unstable();
            let twice = pairs.windows(2).find(|w| w[0].0 == w[1].0);
            let twice = twice.map(|w| w[0].0);
            return Ok((Self::Sparse(pairs), twice));
        }
        let mut places = memory::filled(u32::MAX, highest + 1)?;
        let mut twice: Option<u32> = None;
        for (id, index) in pairs {
            let place = &mut places[id as usize];
            if *place != u32::MAX {
                twice = Some(twice.map_or(id, |other| other.min(id)));
            }
            *place = index;
        }
        Ok((Self::Dense(places), twice))
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<u32> {
        let index = match self {
            Self::Dense(places) => *places.get(id as usize)?,
            Self::Sparse(pairs) => {
                let place = pairs.binary_search_by_key(&id, |p| p.0).ok()?;
                pairs[place].1
            }
        };
        (index != u32::MAX).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn tokens() -> Vec<Vec<u8>> {
        let mut tokens = Vec::new();
        for n in 0..3000_u32 {
            let byte = |i: u32| (n.wrapping_mul(2_654_435_761) >> (5 * i % 24)) as u8 % 3;
            tokens.push((0..n % 21 + 1).map(byte).collect());
            tokens.push(vec![0; (n % 30 + 1) as usize]);
        }
        tokens
    }

    /// Wherever a token lies, its key is that of its bytes alone.
    #[test]
    fn keys_are_those_of_the_bytes() {
        let tokens = tokens();
        for (a, b) in tokens.iter().zip(tokens.iter().skip(1)) {
            let all = [&a[..], b].concat();
            let key = Key::new(&all, 0, a.len());
            let alone = Key::new(a, 0, a.len());
            assert_eq!((key.bytes(), key.head), (&a[..], alone.head));
            assert_eq!(key.hash(), alone.hash());
            assert!(key.is(&alone));
            let other = Key::new(&all, a.len(), all.len());
            assert_eq!(key.is(&other), a == b);
            assert_eq!(key.hash() == other.hash(), a == b);
        }
    }

    #[test]
    fn ids_are_found_and_those_that_come_twice() -> Result<(), OutOfMemory> {
        // Close to each other, and far from each other.
        for step in [1, 100_000] {
            let ids: Vec<u32> = (0..200).rev().map(|i| (7 + i) * step).collect();
            let (by_id, twice) = ById::new(&ids)?;
            assert_eq!(twice, None);
            assert_eq!(matches!(by_id, ById::Sparse(_)), step > 1);
            for (index, &id) in (0..).zip(&ids) {
                assert_eq!(by_id.get(id), Some(index));
            }
            for id in [0, 6 * step, 207 * step, u32::MAX] {
                assert_eq!(by_id.get(id), None);
            }
            let again = [&ids[..], &ids[20..30], &ids[10..15]].concat();
            assert_eq!(ById::new(&again)?.1, Some(ids[29]));
        }
        assert_eq!(ById::new(&[])?.1, None);
        Ok(())
    }

    #[test]
    fn tokens_are_found() -> Result<(), OutOfMemory> {
        let tokens = tokens();
        let mut expected = HashMap::new();
        let mut map = TokenMap::with_capacity(tokens.len())?;
        let key = |token: u32| Key::new(&tokens[token as usize], 0, tokens[token as usize].len());
        for (i, token) in (0..).zip(&tokens) {
            let (hash, is_it) = (key(i).hash(), |other| key(i).is(&key(other)));
            assert_eq!(map.find(hash, is_it), expected.get(token).copied());
            let there = map.insert(hash, i, is_it);
            assert_eq!(there, expected.get(token).copied());
            expected.entry(token).or_insert(i);
            assert_eq!(map.find(hash, is_it), expected.get(token).copied());
        }
        assert!(expected.len() > 1000, "{}", expected.len());
        Ok(())
    }
}
