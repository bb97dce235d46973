//! The pairs that are tracked: their counts, their occurrences, and which is next.

use crate::error::{OutOfMemory, Result};
use crate::system::memory;
use crate::system::threads::Team;
use crate::train::range_pairs::{RangePairs, Sketch, ids, key, sketch_bits};
use crate::train::tokens::{Candidate, Tokens};
use crate::train::words::{Symbol, Words};
use dary_heap::{OctonaryHeap, PeekMut};
use rustc_hash::FxHashMap;

/// Slots that a thread looks at before Ctrl-C is looked for.
const ROUND: usize = 1 << 23;

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
    /// count there may be. `may_join(a, b)` says which pairs count at all. `tick` is called now and then.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`]; what `tick` returns.
    pub fn rebuild<S: Symbol>(
        &mut self,
        words: &Words<S>,
        lens: &[u32],
        team: &Team,
        choose: impl Fn(u64) -> u64,
        may_join: impl Fn(usize, usize) -> bool,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        self.map.clear();
        self.heap.clear();
        let n_rounds = 1 + words.slots.len() / (ROUND * team.size());
        let parts = words.divide(n_rounds * team.size());
        let ranges = parts.chunks(n_rounds).map(RangePairs::new);
        let mut ranges: Vec<RangePairs> = ranges.collect();
        let bits = match lens.len() {
            256 => None,
            _ => Some(sketch_bits(words.slots.len())),
        };
        for round in 0..n_rounds {
            team.run(&mut ranges, |range| {
                range.found = range.sketch(words, round, lens, bits)
            });
            ranges.iter().try_for_each(|range| range.found)?;
            tick()?;
        }
        let sketch = Sketch::sum(&ranges, bits)?;
        self.threshold = choose(sketch.highest());
        let numbers = sketch.number(self.threshold)?;
        for round in 0..n_rounds {
            team.run(&mut ranges, |range| {
                range.found = range.find(words, round, lens, &numbers)
            });
            ranges.iter().try_for_each(|range| range.found)?;
            tick()?;
        }
        Ok(self.track_found(ranges, numbers.len, may_join)?)
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
