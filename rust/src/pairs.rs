//! The pairs that are tracked: their counts, their occurrences, and which is next.

use crate::threads::Team;
use crate::tokens::{Candidate, Tokens};
use crate::word::{Symbol, Words};
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
    pub fn track(&mut self, a: usize, b: usize, count: u64, at: Vec<u32>) {
        let candidate = Candidate::new(count, (a as u32, b as u32), self.tokens);
        self.heap.push(candidate);
        let at = at.into_boxed_slice();
        self.map.insert(key(a, b), Pair { count, at });
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
    pub fn rebuild<S: Symbol>(
        &mut self,
        words: &Words<S>,
        lens: &[u32],
        team: &Team,
        choose: impl Fn(u64) -> u64,
        may_join: impl Fn(usize, usize) -> bool,
    ) {
        self.map.clear();
        self.heap.clear();
        let mut parts: Vec<Part> = words
            .divide(team.size())
            .into_iter()
            .map(Part::new)
            .collect();
        let exact = lens.len() == 256;
        team.run(&mut parts, |part| part.sketch(words, lens, exact));
        let sketch = Sketch::sum(&parts, exact);
        self.threshold = choose(sketch.highest());
        let lists = sketch.number(self.threshold);
        team.run(&mut parts, |part| part.find(words, lens, &lists));
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { return };
        for part in parts {
            all.append(part, &lists);
        }
        let found = all.found.into_iter().chain(all.collided.into_values());
        let reached = found.filter(|f| f.count >= self.threshold).filter(|f| {
            let (a, b) = ids(f.key);
            may_join(a, b)
        });
        let reached: Vec<Found> = reached.collect();
        self.map.reserve(2 * reached.len());
        for found in reached {
            let (a, b) = ids(found.key);
            self.track(a, b, found.count, found.at);
        }
    }
}

/// An upper bound of counts: the sum over all pairs in a bucket, saturating.
#[derive(Clone, Copy, Debug, Default)]
struct Bound {
    count: u32,
    n: u32,
}

/// Bounds by a hash of the pair; while all tokens are bytes the pair itself, and then exact.
struct Sketch {
    bounds: Vec<Bound>,
    exact: bool,
}

const SKETCH_BITS: u32 = 20;

#[inline]
fn bucket(exact: bool, a: usize, b: usize) -> usize {
    if exact {
        (a & 0xff) << 8 | b & 0xff
    } else {
        let mixed = key(a, b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - SKETCH_BITS)) as usize
    }
}

impl Sketch {
    fn sum(parts: &[Part], exact: bool) -> Self {
        let mut bounds = parts
            .first()
            .map_or_else(Vec::new, |part| part.bounds.clone());
        for part in parts.iter().skip(1) {
            for (sum, more) in bounds.iter_mut().zip(&part.bounds) {
                sum.count = sum.count.saturating_add(more.count);
                sum.n += more.n;
            }
        }
        Self { bounds, exact }
    }

    fn highest(&self) -> u64 {
        self.bounds
            .iter()
            .map(|b| u64::from(b.count))
            .max()
            .unwrap_or(0)
    }

    /// Gives each bucket that may reach the threshold a list.
    fn number(self, threshold: u64) -> Lists {
        let mut sizes = Vec::new();
        let reaches = |count| u64::from(count) >= threshold || count == u32::MAX;
        let numbers = self.bounds.iter().map(|bound| {
            if !reaches(bound.count) {
                return NO_LIST;
            }
            sizes.push(bound.n);
            sizes.len() as u32 - 1
        });
        let numbers = numbers.collect();
        Lists {
            numbers,
            sizes,
            exact: self.exact,
        }
    }
}

const NO_LIST: u32 = u32::MAX;

/// The lists of the buckets that may reach the threshold: number by bucket, and sizes.
struct Lists {
    numbers: Vec<u32>,
    sizes: Vec<u32>,
    exact: bool,
}

/// A pair in a list of its own.
#[derive(Debug, Default)]
struct Found {
    key: u64,
    count: u64,
    at: Vec<u32>,
}

impl Found {
    #[inline]
    fn add(&mut self, at: u32, weight: u64) {
        self.count += weight;
        self.at.push(at);
    }
}

/// What one thread finds in its range.
#[derive(Debug)]
struct Part {
    range: Range<usize>,
    bounds: Vec<Bound>,
    /// By list number: the first pair of the bucket that was met.
    found: Vec<Found>,
    /// Pairs that share the bucket of another.
    collided: FxHashMap<u64, Found>,
}

impl Part {
    fn new(range: Range<usize>) -> Self {
        Self {
            range,
            bounds: Vec::new(),
            found: Vec::new(),
            collided: FxHashMap::default(),
        }
    }

    fn sketch<S: Symbol>(&mut self, words: &Words<S>, lens: &[u32], exact: bool) {
        self.bounds = vec![Bound::default(); if exact { 1 << 16 } else { 1 << SKETCH_BITS }];
        let bounds = &mut self.bounds[..];
        words.for_each_pair(self.range.clone(), lens, |_, a, b, weight| {
            let bound = &mut bounds[bucket(exact, a, b)];
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            bound.count = bound.count.saturating_add(weight);
            bound.n += 1;
        });
    }

    fn find<S: Symbol>(&mut self, words: &Words<S>, lens: &[u32], lists: &Lists) {
        // The first part's lists have room for the others'.
        let is_first = self.range.start <= 1;
        let own = std::mem::take(&mut self.bounds);
        self.found.resize_with(lists.sizes.len(), Found::default);
        for (&number, bound) in lists.numbers.iter().zip(&own) {
            if number != NO_LIST {
                let size = if is_first {
                    lists.sizes[number as usize]
                } else {
                    bound.n
                };
                self.found[number as usize].at.reserve_exact(size as usize);
            }
        }
        words.for_each_pair(self.range.clone(), lens, |at, a, b, weight| {
            let number = lists.numbers[bucket(lists.exact, a, b)];
            if number == NO_LIST {
                return;
            }
            let found = &mut self.found[number as usize];
            let key = key(a, b);
            if found.at.is_empty() {
                found.key = key;
            }
            if found.key == key {
                found.add(at, weight);
            } else {
                let collided = self.collided.entry(key).or_default();
                collided.key = key;
                collided.add(at, weight);
            }
        });
    }

    /// Adds what was found in a later range.
    fn append(&mut self, later: Part, lists: &Lists) {
        for found in later.found.into_iter().chain(later.collided.into_values()) {
            if found.at.is_empty() {
                continue;
            }
            let (a, b) = ids(found.key);
            let first = &mut self.found[lists.numbers[bucket(lists.exact, a, b)] as usize];
            let own = if first.at.is_empty() || first.key == found.key {
                first
            } else {
                self.collided.entry(found.key).or_default()
            };
            own.key = found.key;
            own.count += found.count;
            own.at.extend_from_slice(&found.at);
        }
    }
}
