//! Pairs by their ids.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::train::lists::List;
use crate::train::range_pairs::key;

/// Stands for no pair.
pub const NONE: u32 = u32::MAX;

/// A pair that is or was tracked.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Occurrences, weighted; exact until it is merged or given up.
    pub count: u64,
    /// Left and right.
    pub ids: (u32, u32),
    /// Ascending slots where the left token was when the list was made; some may be out of date.
    pub at: List,
    /// The next that waits with it; [`NONE`] if it is the last.
    pub next: u32,
}

/// Pairs and their numbers; none is ever taken out, as a pair that was merged never comes again.
#[derive(Debug)]
pub struct PairTable {
    /// Where pairs are looked up: the pair's number, counted from 1, and above it what tells most pairs apart. That is
    /// small, as most of the pairs looked for are not there.
    places: Vec<u64>,
    /// The pairs by number.
    pub pairs: Vec<Pair>,
}

/// Places, at least.
const FEWEST: usize = 1 << 8;

#[inline]
fn tag(a: usize, b: usize) -> u32 {
    (a as u32).rotate_left(16) ^ b as u32
}

impl PairTable {
    /// No pairs.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            places: memory::zeroed(FEWEST)?,
            pairs: Vec::new(),
        })
    }

    /// Forgets all pairs, and makes room for `n`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn restart(&mut self, n: usize) -> Result<(), OutOfMemory> {
        self.pairs.clear();
        self.pairs.try_reserve(n)?;
        self.places = Vec::new();
        self.places = memory::zeroed((2 * n).next_power_of_two().max(FEWEST))?;
        Ok(())
    }

    /// Where a pair is looked for first.
    #[inline]
    fn home(&self, a: usize, b: usize) -> usize {
        let bits = self.places.len().trailing_zeros();
        (key(a, b).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - bits)) as usize
    }

    /// The pair of these ids.
    #[inline]
    pub fn get_mut(&mut self, a: usize, b: usize) -> Option<&mut Pair> {
        let (tag, mask) = (tag(a, b), self.places.len() - 1);
        let mut at = self.home(a, b);
        loop {
            let place = self.places[at & mask];
            if place == 0 {
                return None;
            }
            if (place >> 32) as u32 == tag {
                let number = place as u32 as usize - 1;
                if self.pairs[number].ids == (a as u32, b as u32) {
                    return Some(&mut self.pairs[number]);
                }
            }
            at += 1;
        }
    }

    /// Adds a pair that is not there; returns its number.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn insert(&mut self, pair: Pair) -> Result<u32, OutOfMemory> {
        if (self.pairs.len() + 1) * 2 > self.places.len() {
            self.places = memory::zeroed(self.places.len() * 2)?;
            for number in 0..self.pairs.len() {
                self.place(number);
            }
        }
        let number = self.pairs.len();
        memory::push(&mut self.pairs, pair)?;
        self.place(number);
        Ok(number as u32)
    }

    fn place(&mut self, number: usize) {
        let (a, b) = self.pairs[number].ids;
        let (a, b) = (a as usize, b as usize);
        let mask = self.places.len() - 1;
        let mut at = self.home(a, b) & mask;
        while self.places[at] > 0 {
            at = (at + 1) & mask;
        }
        self.places[at] = u64::from(tag(a, b)) << 32 | (number as u64 + 1);
    }
}
