//! The pairs that are tracked: their counts, their occurrences, and which is next.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::system::threads::Team;
use crate::train::tokens::{Candidate, Tokens};
use crate::train::words::{Symbol, Words};
use dary_heap::{OctonaryHeap, PeekMut};
use rustc_hash::FxHashMap;
use std::ops::Range;

/// A pair of ids as one number.
pub fn key(left: usize, right: usize) -> u64 {
    (left as u64) << 32 | right as u64
}

fn ids(key: u64) -> (usize, usize) {
    ((key >> 32) as usize, key as u32 as usize)
}

/// A pair that is tracked.
#[derive(Debug)]
pub struct Pair {
    /// Occurrences, weighted; exact at any time.
    pub count: u64,
    /// Ascending slots where the left token was when the list was made; some may be out of date.
    pub at: Box<[u32]>,
}

/// All pairs that are tracked: those that had `threshold` occurrences or more when they came into being.
#[derive(Debug)]
pub struct Pairs<'a> {
    map: FxHashMap<u64, Pair>,
    heap: OctonaryHeap<Candidate<'a>>,
    tokens: &'a Tokens,
    threshold: u64,
}

impl<'a> Pairs<'a> {
    /// None yet.
    pub fn new(tokens: &'a Tokens) -> Self {
        Self {
            map: FxHashMap::default(),
            heap: OctonaryHeap::new(),
            tokens,
            threshold: u64::MAX,
        }
    }

    /// Pairs below this count are not tracked.
    pub fn threshold(&self) -> u64 {
        self.threshold
    }

    /// Takes out the pair to merge next: of the highest count, ties broken by the tokens' rule.
    ///
    /// `None` if no tracked pair reaches the threshold: an untracked one may be greater then.
    pub fn pop(&mut self) -> Option<(usize, usize, Pair)> {
        loop {
            let mut best = self.heap.peek_mut()?;
            let (a, b) = (best.pair.0 as usize, best.pair.1 as usize);
            match self.map.get(&key(a, b)).map(|pair| pair.count) {
                Some(count) if count == best.count => {
                    PeekMut::pop(best);
                    let pair = self.map.remove(&key(a, b))?;
                    return Some((a, b, pair));
                }
                // It sinks to its place when the borrow ends.
                Some(count) if count >= self.threshold => best.count = count,
                _ => {
                    PeekMut::pop(best);
                }
            }
        }
    }

    /// Starts tracking a pair.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn track(
        &mut self,
        a: usize,
        b: usize,
        count: u64,
        at: Vec<u32>,
    ) -> Result<(), OutOfMemory> {
        let candidate = Candidate::new(count, (a as u32, b as u32), self.tokens);
        self.heap.try_reserve(1)?;
        self.map.try_reserve(1)?;
        self.heap.push(candidate);
        let at = at.into_boxed_slice();
        self.map.insert(key(a, b), Pair { count, at });
        Ok(())
    }

    /// Takes `weight` occurrences from a pair, if it is tracked.
    #[inline]
    pub fn decrease(&mut self, a: usize, b: usize, weight: u64) {
        if let Some(pair) = self.map.get_mut(&key(a, b)) {
            pair.count -= weight;
        }
    }

    /// Begins anew with the pairs of `words` as they are now, at a threshold that `choose` sets from the highest
    /// count there may be. `may_join(a, b)` says which pairs count at all.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn rebuild<S: Symbol>(
        &mut self,
        words: &Words<S>,
        lens: &[u32],
        team: &Team,
        choose: impl Fn(u64) -> u64,
        may_join: impl Fn(usize, usize) -> bool,
    ) -> Result<(), OutOfMemory> {
        self.map.clear();
        self.heap.clear();
        let mut ranges: Vec<RangePairs> = words
            .divide(team.size())
            .into_iter()
            .map(RangePairs::new)
            .collect();
        let bits = match lens.len() {
            256 => None,
            _ => Some(sketch_bits(words.slots.len())),
        };
        team.run(&mut ranges, |range| {
            range.found = range.sketch(words, lens, bits)
        });
        for range in &ranges {
            range.found?;
        }
        let sketch = Sketch::sum(&ranges, bits)?;
        self.threshold = choose(sketch.highest());
        let numbers = sketch.number(self.threshold)?;
        team.run(&mut ranges, |range| {
            range.found = range.find(words, lens, &numbers)
        });
        for range in &ranges {
            range.found?;
        }
        self.track_found(ranges, numbers.len, may_join)
    }

    /// Tracks what the ranges have found, put together.
    fn track_found(
        &mut self,
        mut ranges: Vec<RangePairs>,
        n_lists: usize,
        may_join: impl Fn(usize, usize) -> bool,
    ) -> Result<(), OutOfMemory> {
        let mut track = |pair: u64, count: u64, at: Vec<u32>| {
            let (a, b) = ids(pair);
            match count >= self.threshold && may_join(a, b) {
                true => self.track(a, b, count, at),
                false => Ok(()),
            }
        };
        let mut disputed = Vec::new();
        for number in 0..n_lists {
            let lists = ranges.iter().map(|range| (range, range.lists[number]));
            let lists = lists.filter(|(_, list)| list.n > 0);
            let Some((_, first)) = lists.clone().next() else {
                continue;
            };
            if lists.clone().any(|(_, list)| list.pair != first.pair) {
                memory::push(&mut disputed, number)?;
                continue;
            }
            let n: u32 = lists.clone().map(|(_, list)| list.n).sum();
            let mut at = memory::with_capacity(n as usize)?;
            let mut count = 0;
            for (range, list) in lists {
                at.extend_from_slice(range.occurrences(list));
                count += list.count;
            }
            track(first.pair, count, at)?;
        }
        // Where the ranges disagree on whose the list is, and for the pairs that found it taken.
        let mut others: FxHashMap<u64, (u64, Vec<u32>)> = FxHashMap::default();
        for range in &mut ranges {
            let collided = std::mem::take(&mut range.collided);
            let disputed = disputed.iter().map(|&number| range.lists[number]);
            let lists = disputed.map(|list| (list.pair, list.count, range.occurrences(list)));
            let collided = collided
                .iter()
                .map(|(&pair, (count, at))| (pair, *count, &at[..]));
            for (pair, count, at) in lists.chain(collided) {
                others.try_reserve(1)?;
                let other = others.entry(pair).or_default();
                other.0 += count;
                memory::append(&mut other.1, at)?;
            }
        }
        for (pair, (count, at)) in others {
            track(pair, count, at)?;
        }
        Ok(())
    }
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
struct Sketch {
    counts: Vec<u32>,
    bits: Option<u32>,
}

/// Enough bits for a bucket a pair, as far as a cache has room for them.
fn sketch_bits(n_slots: usize) -> u32 {
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
    fn sum(ranges: &[RangePairs], bits: Option<u32>) -> Result<Self, OutOfMemory> {
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

    fn highest(&self) -> u64 {
        self.counts.iter().copied().max().unwrap_or(0).into()
    }

    /// Numbers the buckets that may reach the threshold: each gets a list.
    fn number(self, threshold: u64) -> Result<Numbers, OutOfMemory> {
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
struct Numbers {
    by_bucket: Vec<u32>,
    bits: Option<u32>,
    len: usize,
}

/// The occurrences of one pair, the first of its bucket that was met.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    pair: u64,
    count: u64,
    /// Where its room in [`RangePairs::at`] begins, and how many there are.
    start: u32,
    n: u32,
}

/// What one thread finds in its range.
#[derive(Debug)]
struct RangePairs {
    range: Range<usize>,
    bounds: Vec<Bound>,
    lists: Vec<List>,
    /// The occurrences of all lists.
    at: Vec<u32>,
    /// Pairs that found their bucket's list taken by another.
    collided: FxHashMap<u64, (u64, Vec<u32>)>,
    /// Whether there was memory for all that.
    found: Result<(), OutOfMemory>,
}

impl RangePairs {
    fn new(range: Range<usize>) -> Self {
        Self {
            range,
            bounds: Vec::new(),
            lists: Vec::new(),
            at: Vec::new(),
            collided: FxHashMap::default(),
            found: Ok(()),
        }
    }

    fn occurrences(&self, list: List) -> &[u32] {
        &self.at[list.start as usize..][..list.n as usize]
    }

    fn sketch<S: Symbol>(
        &mut self,
        words: &Words<S>,
        lens: &[u32],
        bits: Option<u32>,
    ) -> Result<(), OutOfMemory> {
        self.bounds = memory::filled(Bound::default(), 1 << bits.unwrap_or(16))?;
        // Its length is said here so that no index has to be looked at below.
        let bounds = &mut self.bounds[..1 << bits.unwrap_or(16)];
        words.for_each_pair(self.range.clone(), lens, |_, a, b, weight| {
            let bound = &mut bounds[bucket(bits, a, b)];
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            bound.count = bound.count.saturating_add(weight);
            bound.n += 1;
        });
        Ok(())
    }

    fn find<S: Symbol>(
        &mut self,
        words: &Words<S>,
        lens: &[u32],
        numbers: &Numbers,
    ) -> Result<(), OutOfMemory> {
        let mut start = 0;
        let bounds = std::mem::take(&mut self.bounds);
        self.lists = memory::with_capacity(numbers.len)?;
        for (&number, bound) in numbers.by_bucket.iter().zip(&bounds) {
            if number != NO_LIST {
                self.lists.push(List {
                    start,
                    ..List::default()
                });
                start += bound.n;
            }
        }
        self.at = memory::zeroed(start as usize)?;
        let mut done = Ok(());
        let (lists, at) = (&mut self.lists[..], &mut self.at[..]);
        let collided = &mut self.collided;
        words.for_each_pair(self.range.clone(), lens, |position, a, b, weight| {
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
                at[(list.start + list.n) as usize] = position;
                list.n += 1;
            } else if done.is_ok() {
                done = collide(collided, pair, weight, position);
            }
        });
        done
    }
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
