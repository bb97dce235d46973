//! The pairs that are tracked: their counts, their occurrences, and which is next.

use crate::threads::Team;
use crate::tokens::{Candidate, Tokens};
use crate::word::{Symbol, Words};
use dary_heap::OctonaryHeap;
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
            let best = self.heap.pop()?;
            let (a, b) = (best.pair.0 as usize, best.pair.1 as usize);
            match self.map.get(&key(a, b)).map(|pair| pair.count) {
                Some(count) if count == best.count => {
                    let pair = self.map.remove(&key(a, b))?;
                    return Some((a, b, pair));
                }
                Some(count) if count >= self.threshold => {
                    self.heap.push(best.with_count(count));
                }
                _ => {}
            }
        }
    }

    /// Starts tracking a pair, in place of what was known of it.
    pub fn track(&mut self, a: usize, b: usize, count: u64, at: Vec<u32>) {
        let candidate = Candidate::new(count, (a as u32, b as u32), self.tokens);
        self.heap.push(candidate);
        let at = at.into_boxed_slice();
        self.map.insert(key(a, b), Pair { count, at });
    }

    /// Stops tracking a pair.
    pub fn forget(&mut self, a: usize, b: usize) {
        self.map.remove(&key(a, b));
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
        let ranges = words.divide(team.size());
        let sketch = Sketch::new(words, lens, team, &ranges);
        self.threshold = choose(sketch.highest());
        let mut parts: Vec<Part> = ranges.iter().cloned().map(Part::new).collect();
        team.run(&mut parts, |part| part.find(words, lens, &sketch, self.threshold));
        let mut parts = parts.into_iter();
        let mut found = parts.next().map_or_else(FxHashMap::default, |part| part.found);
        for part in parts {
            for (pair, more) in part.found {
                let all = found.entry(pair).or_default();
                all.0 += more.0;
                all.1.extend_from_slice(&more.1);
            }
        }
        let n = found.values().filter(|f| f.0 >= self.threshold).count();
        self.map.reserve(2 * n);
        for (pair, (count, at)) in found {
            let (a, b) = ids(pair);
            if count >= self.threshold && may_join(a, b) {
                self.track(a, b, count, at);
            }
        }
    }
}

/// An upper bound of each pair's count: sums by a hash of the pair; while all tokens are bytes, exact.
struct Sketch {
    sums: Vec<u64>,
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
    fn new<S: Symbol>(words: &Words<S>, lens: &[u32], team: &Team, ranges: &[Range<usize>]) -> Self {
        let exact = lens.len() == 256;
        let size = if exact { 1 << 16 } else { 1 << SKETCH_BITS };
        let mut parts: Vec<(Range<usize>, Vec<u64>)> =
            ranges.iter().map(|r| (r.clone(), Vec::new())).collect();
        team.run(&mut parts, |(range, sums)| {
            sums.resize(size, 0);
            let sums = &mut sums[..size];
            words.for_each_pair(range.clone(), lens, |_, a, b, weight| {
                sums[bucket(exact, a, b)] += weight;
            });
        });
        let mut parts = parts.into_iter().map(|part| part.1);
        let mut sums = parts.next().unwrap_or_default();
        for part in parts {
            for (sum, more) in sums.iter_mut().zip(part) {
                *sum += more;
            }
        }
        Self { sums, exact }
    }

    fn highest(&self) -> u64 {
        self.sums.iter().copied().max().unwrap_or(0)
    }

    #[inline]
    fn bound(&self, a: usize, b: usize) -> u64 {
        self.sums[bucket(self.exact, a, b)]
    }
}

/// What one thread finds in its range.
struct Part {
    range: Range<usize>,
    /// Count and occurrences of the pairs that may reach the threshold.
    found: FxHashMap<u64, (u64, Vec<u32>)>,
}

impl Part {
    fn new(range: Range<usize>) -> Self {
        Self {
            range,
            found: FxHashMap::default(),
        }
    }

    fn find<S: Symbol>(&mut self, words: &Words<S>, lens: &[u32], sketch: &Sketch, threshold: u64) {
        words.for_each_pair(self.range.clone(), lens, |at, a, b, weight| {
            if sketch.bound(a, b) >= threshold {
                let pair = self.found.entry(key(a, b)).or_default();
                pair.0 += weight;
                pair.1.push(at);
            }
        });
    }
}
