//! Which of the tracked pairs is next: the one of the highest count, ties broken by the tokens' rule.
//!
//! Counts only fall, and a new pair's is not above that of the merge it comes from. So pairs wait in buckets, by
//! count while counts are small and by their first digits where they are large, and only those of the highest bucket
//! are in a heap. A pair whose count has fallen is moved to its bucket when it is met.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::train::pair_table::{NONE, Pair};
use crate::train::tokens::{Candidate, Tokens};
use dary_heap::{OctonaryHeap, PeekMut};

/// Binary digits that tell buckets apart.
const DIGITS: u32 = 10;

/// The bucket of a count.
#[inline]
fn bucket(count: u64) -> usize {
    let left_out = (u64::BITS - count.leading_zeros()).saturating_sub(DIGITS);
    ((left_out as usize) << (DIGITS - 1)) + (count >> left_out) as usize
}

/// Pairs that wait, by number.
#[derive(Debug)]
pub struct Queue<'a> {
    tokens: &'a Tokens,
    /// The first pair of each bucket; each pair names the next.
    first: Vec<u32>,
    /// The bucket whose pairs are in the heap; no higher one has any.
    highest: usize,
    heap: OctonaryHeap<Candidate<'a>>,
}

impl<'a> Queue<'a> {
    /// No pairs yet.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(tokens: &'a Tokens) -> Result<Self, OutOfMemory> {
        let n_buckets = bucket(u64::MAX) + 1;
        Ok(Self {
            tokens,
            first: memory::filled(NONE, n_buckets)?,
            highest: n_buckets,
            heap: OctonaryHeap::new(),
        })
    }

    /// Forgets all pairs.
    pub fn clear(&mut self) {
        self.heap.clear();
        self.first.fill(NONE);
        self.highest = self.first.len();
    }

    /// Has a pair wait.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    #[inline]
    pub fn push(&mut self, pairs: &mut [Pair], number: u32) -> Result<(), OutOfMemory> {
        let pair = &mut pairs[number as usize];
        let bucket = bucket(pair.count);
        if bucket < self.highest {
            pair.next = std::mem::replace(&mut self.first[bucket], number);
            return Ok(());
        }
        let candidate = Candidate::new(pair.count, pair.ids, number, self.tokens);
        self.heap.try_reserve(1)?;
        self.heap.push(candidate);
        Ok(())
    }

    /// Takes out the pair that is next; `None` if none reaches the threshold. `drop` is given those that don't.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn pop(
        &mut self,
        pairs: &mut [Pair],
        threshold: u64,
        mut drop: impl FnMut(&Pair),
    ) -> Result<Option<u32>, OutOfMemory> {
        loop {
            let Some(mut best) = self.heap.peek_mut() else {
                if !self.fill(pairs, threshold, &mut drop)? {
                    return Ok(None);
                }
                continue;
            };
            let number = best.number;
            let pair = &pairs[number as usize];
            if pair.count == best.count {
                PeekMut::pop(best);
                return Ok(Some(number));
            }
            if pair.count < threshold {
                drop(pair);
                PeekMut::pop(best);
            } else if bucket(pair.count) == self.highest {
                // It sinks to its place when the borrow ends.
                best.count = pair.count;
            } else {
                PeekMut::pop(best);
                self.push(pairs, number)?;
            }
        }
    }

    /// Puts the pairs of the highest bucket that has some into the heap, which is empty, but for those that have
    /// fallen; false if there is none that may reach the threshold.
    fn fill(
        &mut self,
        pairs: &mut [Pair],
        threshold: u64,
        drop: &mut impl FnMut(&Pair),
    ) -> Result<bool, OutOfMemory> {
        let lowest = bucket(threshold);
        let mut waiting = self.first[..self.highest].iter();
        let Some(highest) = waiting.rposition(|&first| first != NONE) else {
            return Ok(false);
        };
        if highest < lowest {
            return Ok(false);
        }
        self.highest = highest;
        let mut list = std::mem::take(&mut self.heap).into_vec();
        let mut number = std::mem::replace(&mut self.first[highest], NONE);
        while number != NONE {
            let pair = &mut pairs[number as usize];
            let next = pair.next;
            let fallen = bucket(pair.count);
            if fallen == highest {
                let candidate = Candidate::new(pair.count, pair.ids, number, self.tokens);
                memory::push(&mut list, candidate)?;
            } else if pair.count < threshold {
                drop(pair);
            } else {
                pair.next = std::mem::replace(&mut self.first[fallen], number);
            }
            number = next;
        }
        self.heap = list.into();
        Ok(true)
    }
}
