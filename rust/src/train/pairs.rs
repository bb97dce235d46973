//! The pairs that are tracked: their counts, their occurrences, and which is next.

use crate::error::{OutOfMemory, Result};
use crate::system::memory;
use crate::system::threads::Team;
use crate::train::lists::{List, Lists, UNIT};
use crate::train::pair_table::{NONE, Pair, PairTable};
use crate::train::queue::Queue;
use crate::train::range_pairs::{RangePairs, Sketch, divide_room, ids, sketch_bits};
use crate::train::tokens::Tokens;
use crate::train::words::{Symbol, Words};
use rustc_hash::FxHashMap;
use std::sync::atomic::Ordering::Relaxed;

/// Slots that a thread looks at before Ctrl-C is looked for.
const ROUND: usize = 1 << 23;

/// All pairs that are tracked: those that had `threshold` occurrences or more when they came into being.
#[derive(Debug)]
pub struct Pairs<'a> {
    table: PairTable,
    /// Their occurrences.
    pub lists: Lists,
    queue: Queue<'a>,
    threshold: u64,
}

impl<'a> Pairs<'a> {
    /// None yet.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(tokens: &'a Tokens) -> Result<Self, OutOfMemory> {
        Ok(Self {
            table: PairTable::new()?,
            lists: Lists::new(),
            queue: Queue::new(tokens)?,
            threshold: u64::MAX,
        })
    }

    /// Pairs below this count are not tracked.
    pub fn threshold(&self) -> u64 {
        self.threshold
    }

    /// Takes out the pair to merge next: of the highest count, ties broken by the tokens' rule. Its list is the
    /// caller's to release.
    ///
    /// `None` if no tracked pair reaches the threshold: an untracked one may be greater then.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn pop(&mut self) -> Result<Option<Pair>, OutOfMemory> {
        let (pairs, lists) = (&mut self.table.pairs, &mut self.lists);
        let next = self
            .queue
            .pop(pairs, self.threshold, |pair| lists.release(pair.at))?;
        Ok(next.map(|number| pairs[number as usize]))
    }

    /// Starts tracking a pair.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn track(&mut self, a: usize, b: usize, count: u64, at: List) -> Result<(), OutOfMemory> {
        let ids = (a as u32, b as u32);
        let next = NONE;
        let number = self.table.insert(Pair {
            count,
            ids,
            at,
            next,
        })?;
        self.queue.push(&mut self.table.pairs, number)
    }

    /// Takes `weight` occurrences from a pair, if it is tracked.
    #[inline]
    pub fn decrease(&mut self, a: usize, b: usize, weight: u64) {
        if let Some(pair) = self.table.get_mut(a, b) {
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
        n_tokens: usize,
        team: &Team,
        choose: impl Fn(u64) -> u64,
        may_join: impl Fn(usize, usize) -> bool,
        tick: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        self.queue.clear();
        let n_rounds = 1 + words.slots.len() / (ROUND * team.size());
        let parts = words.divide(n_rounds * team.size());
        let ranges = parts.chunks(n_rounds).map(RangePairs::new);
        let mut ranges: Vec<RangePairs> = ranges.collect();
        let bits = match n_tokens {
            256 => None,
            _ => Some(sketch_bits(words.slots.len())),
        };
        for round in 0..n_rounds {
            team.run(&mut ranges, |range| {
                range.found = range.sketch(words, round, bits)
            });
            ranges.iter().try_for_each(|range| range.found)?;
            tick()?;
        }
        let sketch = Sketch::sum(&ranges, bits)?;
        self.threshold = choose(sketch.highest());
        let numbers = sketch.number(self.threshold)?;
        let units = divide_room(&mut ranges, &numbers)?;
        self.lists.restart(units[numbers.len] as usize)?;
        let room = self.lists.first();
        for round in 0..n_rounds {
            team.run(&mut ranges, |range| {
                range.found = range.find(words, round, &numbers, room)
            });
            ranges.iter().try_for_each(|range| range.found)?;
            tick()?;
        }
        drop(numbers);
        Ok(self.track_found(ranges, &units, may_join)?)
    }

    /// Tracks what the ranges have found, put together; `units` as of [`divide_room`].
    fn track_found(
        &mut self,
        mut ranges: Vec<RangePairs>,
        units: &[u32],
        may_join: impl Fn(usize, usize) -> bool,
    ) -> Result<(), OutOfMemory> {
        self.table.restart(units.len())?;
        let mut disputed = Vec::new();
        for (number, room) in units.windows(2).enumerate() {
            let lists = ranges.iter().map(|range| range.lists[number]);
            let lists = lists.filter(|list| list.n > 0);
            let Some(first) = lists.clone().next() else {
                continue;
            };
            if lists.clone().any(|list| list.pair != first.pair) {
                memory::push(&mut disputed, number)?;
                continue;
            }
            let ((a, b), mut count) = (ids(first.pair), 0);
            let (place, n_units) = (room[0] as usize, (room[1] - room[0]) as usize);
            let (start, mut n) = (place * UNIT, 0);
            for list in lists {
                count += list.count;
                let from = list.start as usize;
                if from > start + n {
                    let room = self.lists.first();
                    for i in 0..list.n as usize {
                        room[start + n + i].store(room[from + i].load(Relaxed), Relaxed);
                    }
                }
                n += list.n as usize;
            }
            let is_tracked = count >= self.threshold && may_join(a, b);
            let n = if is_tracked { n } else { 0 };
            if let Some(at) = self.lists.take(place, n_units, n) {
                self.track(a, b, count, at)?;
            }
        }
        self.track_others(&mut ranges, &disputed, may_join)
    }

    /// Tracks the pairs of lists that ranges disagree on, and those that found their bucket's list taken.
    fn track_others(
        &mut self,
        ranges: &mut [RangePairs],
        disputed: &[usize],
        may_join: impl Fn(usize, usize) -> bool,
    ) -> Result<(), OutOfMemory> {
        let mut others: FxHashMap<u64, (u64, Vec<u32>)> = FxHashMap::default();
        let room = self.lists.first();
        for range in ranges {
            for number in disputed {
                let list = range.lists[*number];
                let found = room[list.start as usize..][..list.n as usize].iter();
                let found = memory::collect(found.map(|position| position.load(Relaxed)))?;
                add(&mut others, list.pair, list.count, &found)?;
            }
            for (pair, (count, found)) in std::mem::take(&mut range.collided) {
                add(&mut others, pair, count, &found)?;
            }
        }
        for (pair, (count, found)) in others {
            let (a, b) = ids(pair);
            if count >= self.threshold && may_join(a, b) {
                let at = self.lists.reserve(found.len() as u32)?;
                for (place, position) in self.lists.get(at).iter().zip(found) {
                    place.store(position, Relaxed);
                }
                self.track(a, b, count, at)?;
            }
        }
        Ok(())
    }
}

/// Adds occurrences to those of a pair.
fn add(
    others: &mut FxHashMap<u64, (u64, Vec<u32>)>,
    pair: u64,
    count: u64,
    found: &[u32],
) -> Result<(), OutOfMemory> {
    if found.is_empty() {
        return Ok(());
    }
    others.try_reserve(1)?;
    let other = others.entry(pair).or_default();
    other.0 += count;
    memory::append(&mut other.1, found)
}
