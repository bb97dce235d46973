//! (a, b) -> c, all three below 2**21, in one word each: what merges to what ([`PairMap`]); and what each token was
//! merged from ([`Origin`]).

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::system::pages::Pages;
use crate::system::prefetch::prefetch;
use std::sync::{Mutex, PoisonError};

/// No value.
pub const NONE: u32 = u32::MAX;

/// Keys and values are below this.
pub const LIMIT: usize = (1 << BITS) - 1;

const BITS: u32 = 21;
const MASK: u64 = (1 << BITS) - 1;
/// No entry has all bits set, as values are below [`LIMIT`].
const EMPTY: u64 = u64::MAX;
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// An open-addressed hash table, at most half full, with a plain array beside it for pairs of bytes.
#[derive(Debug)]
pub struct PairMap {
    slots: Pages<u64>,
    len: usize,
    shift: u32,
    /// A bit for each hash that a key has, of [`MORE`] bits more than a place takes: most pairs that
    /// are asked for have no value, and this much smaller table tells so nearly always.
    seen: Pages<u64>,
    /// The value of each pair of numbers below 256, or [`NONE`]; also in `slots`.
    of_bytes: Vec<u32>,
}

const MORE: u32 = 3;

impl PairMap {
    /// A table with room for `n` entries before it grows.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn with_capacity(n: usize) -> Result<Self, OutOfMemory> {
        let size = (2 * n).next_power_of_two().max(1024);
        let mut slots = Pages::zeroed(size)?;
        slots.fill(EMPTY);
        Ok(Self {
            slots,
            len: 0,
            shift: u64::BITS - size.trailing_zeros(),
            seen: Pages::zeroed((size << MORE) / 64)?,
            of_bytes: memory::filled(NONE, 1 << 16)?,
        })
    }

    #[inline(always)]
    fn hash(&self, key: u64) -> usize {
        (key.wrapping_mul(ODD) >> (self.shift - MORE)) as usize
    }

    /// Begins to load what [`Self::get`] will look at.
    #[inline(always)]
    pub fn fetch(&self, a: u32, b: u32) {
        let hash = self.hash(u64::from(a) << BITS | u64::from(b));
        prefetch(&self.seen[hash / 64]);
        prefetch(&self.slots[hash >> MORE]);
    }

    /// The value of (a, b), or [`NONE`].
    #[inline(always)]
    pub fn get(&self, a: u32, b: u32) -> u32 {
        let key = u64::from(a) << BITS | u64::from(b);
        let hash = self.hash(key);
        if self.seen[hash / 64] >> (hash % 64) & 1 == 0 {
            return NONE;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash >> MORE;
        loop {
            let slot = self.slots[at & mask];
            if slot >> BITS == key {
                return (slot & MASK) as u32;
            }
            if slot == EMPTY {
                return NONE;
            }
            at += 1;
        }
    }

    /// The value of a pair of numbers below 256, or [`NONE`].
    #[inline(always)]
    pub fn of_bytes(&self, a: u8, b: u8) -> u32 {
        self.of_bytes[usize::from(a) << 8 | usize::from(b)]
    }

    /// Sets the value of (a, b), which has none yet.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn insert(&mut self, a: u32, b: u32, value: u32) -> Result<(), OutOfMemory> {
        if 2 * (self.len + 1) > self.slots.len() {
            let larger = Self::with_capacity(self.slots.len())?;
            let old = std::mem::replace(self, larger);
            for slot in old.slots.iter().copied().filter(|&s| s != EMPTY) {
                self.insert(
                    (slot >> (2 * BITS)) as u32,
                    (slot >> BITS & MASK) as u32,
                    (slot & MASK) as u32,
                )?;
            }
        }
        let mask = self.slots.len() - 1;
        let key = u64::from(a) << BITS | u64::from(b);
        let hash = self.hash(key);
        self.seen[hash / 64] |= 1 << (hash % 64);
        let mut at = hash >> MORE;
        while self.slots[at & mask] != EMPTY {
            at += 1;
        }
        self.slots[at & mask] = key << BITS | u64::from(value);
        if a < 256 && b < 256 {
            self.of_bytes[(a << 8 | b) as usize] = value;
        }
        self.len += 1;
        Ok(())
    }
}

/// What a token was merged from, and a hint at what it merges with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Origin {
    /// Symbols: themselves.
    pub left: u32,
    /// Symbols: [`NONE`].
    pub right: u32,
    /// One bit for each token that merges with this one on its right, or more tokens than one.
    followers: u32,
    /// The same for tokens on its left.
    leaders: u32,
}

/// A token's bit in [`Origin::followers`] and [`Origin::leaders`].
#[inline(always)]
fn bit(token: u32) -> u32 {
    1 << (token.wrapping_mul(0x9e37_79b9) >> 27)
}

impl Origin {
    /// That of a single byte, or of a token of which nothing is known yet.
    pub(crate) fn of_byte(token: u32) -> Self {
        Self {
            left: token,
            right: NONE,
            followers: 0,
            leaders: 0,
        }
    }

    /// Notes what a token is merged from.
    pub(crate) fn join(origins: &mut [Self], (left, right): (u32, u32), token: u32) {
        origins[left as usize].followers |= bit(right);
        origins[right as usize].leaders |= bit(left);
        let origin = &mut origins[token as usize];
        (origin.left, origin.right) = (left, right);
    }

    /// The two tokens, if it was merged from two.
    pub(crate) fn parts(&self) -> Option<(u32, u32)> {
        (self.right != NONE).then_some((self.left, self.right))
    }

    /// False if `left` and `right`, whose origins these are, do not merge; true for few of the pairs
    /// that do not. Most pairs do not, and a look-up in `pairs` is often a miss in all caches, while
    /// origins are being read anyway.
    #[inline(always)]
    pub(crate) fn may_merge(left: (u32, &Origin), right: (u32, &Origin)) -> bool {
        left.1.followers & bit(right.0) != 0 && right.1.leaders & bit(left.0) != 0
    }
}

/// Merges, both ways.
#[derive(Debug)]
pub(crate) struct Merges {
    /// What merges to what.
    pub(crate) pairs: PairMap,
    /// By token.
    pub(crate) origins: Vec<Origin>,
}

impl Merges {
    /// None yet, of `n` tokens.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn new(n: usize) -> Result<Self, OutOfMemory> {
        Ok(Self {
            pairs: PairMap::with_capacity(n)?,
            origins: memory::collect((0..n as u32).map(Origin::of_byte))?,
        })
    }

    /// Begins to load what is looked at and changed where two tokens are joined.
    #[inline(always)]
    pub(crate) fn fetch(&self, left: u32, right: u32) {
        self.pairs.fetch(left, right);
        prefetch(&raw const self.origins[left as usize]);
        prefetch(&raw const self.origins[right as usize]);
    }

    /// Notes what a token is merged from.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn join(&mut self, left: u32, right: u32, token: u32) -> Result<(), OutOfMemory> {
        Origin::join(&mut self.origins, (left, right), token);
        self.pairs.insert(left, right, token)
    }
}

/// Merges that are kept for whoever takes them first; a copy has none.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Option<Merges>>);

impl Kept {
    pub(crate) fn new(merges: Merges) -> Self {
        Self(Mutex::new(Some(merges)))
    }

    pub(crate) fn take(&self) -> Option<Merges> {
        let mut merges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        merges.take()
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}
