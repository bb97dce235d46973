//! What a thread finds in its ranges of the words: bounds of all pairs' counts, and the occurrences of those that may
//! reach a threshold.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::train::lists::UNIT;
use crate::train::words::{Symbol, Words};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A pair of ids as one number.
pub fn key(left: usize, right: usize) -> u64 {
    (left as u64) << 32 | right as u64
}

/// The ids of such a pair.
pub fn ids(key: u64) -> (usize, usize) {
    ((key >> 32) as usize, key as u32 as usize)
}

/// What one range has of the pairs in a bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Bound {
    /// Occurrences, weighted; saturating.
    count: u32,
    /// Occurrences.
    n: u32,
}

/// Upper bounds of counts by bucket: a hash of the pair of so many bits, or `None` while all tokens are bytes:
/// then the pair itself, and the bounds are exact.
pub struct Sketch {
    counts: Vec<u32>,
    bits: Option<u32>,
}

/// Enough bits for a bucket a pair, as far as a cache has room for them.
pub fn sketch_bits(n_slots: usize) -> u32 {
    (n_slots / 4).max(1).ilog2().clamp(10, 20)
}

#[inline]
fn bucket(bits: Option<u32>, a: usize, b: usize) -> usize {
    match bits {
        None => (a & 0xff) << 8 | b & 0xff,
        Some(bits) => (key(a, b).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as usize,
    }
}

impl Sketch {
    /// The sums of the ranges' bounds.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn sum(ranges: &[RangePairs], bits: Option<u32>) -> Result<Self, OutOfMemory> {
        let mut counts: Vec<u32> = match ranges.first() {
            Some(first) => memory::collect(first.bounds.iter().map(|bound| bound.count))?,
            None => Vec::new(),
        };
        for range in ranges.iter().skip(1) {
            for (sum, more) in counts.iter_mut().zip(&range.bounds) {
                *sum = sum.saturating_add(more.count);
            }
        }
        Ok(Self { counts, bits })
    }

    /// The highest of all.
    pub fn highest(&self) -> u64 {
        self.counts.iter().copied().max().unwrap_or(0).into()
    }

    /// Numbers the buckets that may reach the threshold: each gets a list.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn number(self, threshold: u64) -> Result<Numbers, OutOfMemory> {
        let mut len = 0;
        let reaches = |count| u64::from(count) >= threshold || count == u32::MAX;
        let numbers = self.counts.iter().map(|&count| {
            if !reaches(count) {
                return NO_LIST;
            }
            len += 1;
            len as u32 - 1
        });
        Ok(Numbers {
            by_bucket: memory::collect(numbers)?,
            bits: self.bits,
            len,
        })
    }
}

const NO_LIST: u32 = u32::MAX;

/// The number of each bucket's list.
pub struct Numbers {
    by_bucket: Vec<u32>,
    bits: Option<u32>,
    /// How many lists there are.
    pub len: usize,
}

/// The occurrences of one pair, the first of its bucket that was met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// The pair, as [`key`] makes it.
    pub pair: u64,
    /// Its occurrences, weighted.
    pub count: u64,
    /// Where the range's part of the list begins, in the room for first lists.
    pub start: u32,
    /// Its occurrences.
    pub n: u32,
}

/// What one thread finds in its ranges.
#[derive(Debug)]
pub struct RangePairs<'a> {
    /// One for each round.
    ranges: &'a [Range<usize>],
    bounds: Vec<Bound>,
    /// By number.
    pub lists: Vec<Found>,
    /// Pairs that found their bucket's list taken by another.
    pub collided: FxHashMap<u64, (u64, Vec<u32>)>,
    /// Whether there was memory for all that.
    pub found: Result<(), OutOfMemory>,
}

impl<'a> RangePairs<'a> {
    /// Nothing yet.
    pub fn new(ranges: &'a [Range<usize>]) -> Self {
        Self {
            ranges,
            bounds: Vec::new(),
            lists: Vec::new(),
            collided: FxHashMap::default(),
            found: Ok(()),
        }
    }

    /// Adds up bounds in the range of a round.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn sketch<S: Symbol>(
        &mut self,
        words: &Words<S>,
        round: usize,
        bits: Option<u32>,
    ) -> Result<(), OutOfMemory> {
        if round == 0 {
            self.bounds = memory::filled(Bound::default(), 1 << bits.unwrap_or(16))?;
        }
        let Some(range) = self.ranges.get(round) else {
            return Ok(());
        };
        // Its length is said here so that no index has to be looked at below.
        let bounds = &mut self.bounds[..1 << bits.unwrap_or(16)];
        words.for_each_pair(range.clone(), |_, a, b, weight| {
            let bound = &mut bounds[bucket(bits, a, b)];
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            bound.count = bound.count.saturating_add(weight);
            bound.n += 1;
        });
        Ok(())
    }

    /// Finds the occurrences of numbered pairs in the range of a round.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn find<S: Symbol>(
        &mut self,
        words: &Words<S>,
        round: usize,
        numbers: &Numbers,
        room: &[AtomicU32],
    ) -> Result<(), OutOfMemory> {
        let Some(range) = self.ranges.get(round) else {
            return Ok(());
        };
        let mut done = Ok(());
        let lists = &mut self.lists[..];
        let collided = &mut self.collided;
        words.for_each_pair(range.clone(), |position, a, b, weight| {
            let number = numbers.by_bucket[bucket(numbers.bits, a, b)];
            if number == NO_LIST {
                return;
            }
            let list = &mut lists[number as usize];
            let pair = key(a, b);
            if list.n == 0 {
                list.pair = pair;
            }
            if list.pair == pair {
                list.count += weight;
                room[(list.start + list.n) as usize].store(position, Relaxed);
                list.n += 1;
            } else if done.is_ok() {
                done = collide(collided, pair, weight, position);
            }
        });
        done
    }
}

/// Divides the room for first lists: by number, each list's first unit, and at the end how many units there are; within
/// each list the ranges have as much as their bounds allow.
///
/// # Errors
/// [`OutOfMemory`].
pub fn divide_room(ranges: &mut [RangePairs], numbers: &Numbers) -> Result<Vec<u32>, OutOfMemory> {
    for range in ranges.iter_mut() {
        range.lists = memory::filled(Found::default(), numbers.len)?;
    }
    let mut units = memory::with_capacity(numbers.len + 1)?;
    let mut start = 0;
    for (bucket, &number) in numbers.by_bucket.iter().enumerate() {
        if number == NO_LIST {
            continue;
        }
        units.push((start / UNIT) as u32);
        for range in ranges.iter_mut() {
            range.lists[number as usize].start = start as u32;
            start += range.bounds[bucket].n as usize;
        }
        start = start.next_multiple_of(UNIT);
    }
    if u32::try_from(start).is_err() {
        return Err(OutOfMemory);
    }
    units.push((start / UNIT) as u32);
    for range in ranges.iter_mut() {
        range.bounds = Vec::new();
    }
    Ok(units)
}

/// Adds an occurrence of a pair whose bucket is another's. Apart, as it is rare.
#[cold]
#[inline(never)]
fn collide(
    collided: &mut FxHashMap<u64, (u64, Vec<u32>)>,
    pair: u64,
    weight: u64,
    position: u32,
) -> Result<(), OutOfMemory> {
    collided.try_reserve(1)?;
    let other = collided.entry(pair).or_default();
    other.0 += weight;
    memory::push(&mut other.1, position)
}
