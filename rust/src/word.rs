//! The symbols of all distinct pretokens, in one array.
//!
//! Each byte of a pretoken has a slot. A token of `L` bytes that begins at slot `p` has its id in slot
//! `p` and in slot `p + L - 1`; slots between hold [`Symbol::FILLER`]. A slot of filler separates
//! pretokens. So the token left of `p` is in slot `p - 1`, the one to the right in slot `p + L`,
//! no list of neighbours is needed, and a merge writes four slots in place.
//!
//! Pretokens are sorted by count, the highest first. So a position's weight (its pretoken's count) is a
//! step function, and the pretokens that the most frequent pairs hit lie together.

use crate::error::{Error, Result};
use crate::table::Table;

/// A token id as it is stored: 16 bits if the vocabulary allows, to halve the traffic.
pub trait Symbol: Copy + Eq + Send + Sync {
    /// What is no token.
    const FILLER: Self;
    /// An id, which must be below that of the filler.
    fn new(id: u32) -> Self;
    /// The id as an index.
    fn index(self) -> usize;
}

impl Symbol for u16 {
    const FILLER: u16 = u16::MAX;
    #[inline]
    fn new(id: u32) -> u16 {
        id as u16
    }
    #[inline]
    fn index(self) -> usize {
        usize::from(self)
    }
}

impl Symbol for u32 {
    const FILLER: u32 = u32::MAX;
    #[inline]
    fn new(id: u32) -> u32 {
        id
    }
    #[inline]
    fn index(self) -> usize {
        self as usize
    }
}

/// A stretch of slots with one weight.
#[derive(Clone, Copy, Debug)]
struct Step {
    end: u32,
    weight: u64,
}

/// Positions are grouped by this many bits to find their step.
const BLOCK_BITS: u32 = 8;

/// The weight of each position.
#[derive(Debug)]
pub struct Weights {
    steps: Vec<Step>,
    /// The step that each block of positions begins in.
    first: Vec<u32>,
}

impl Weights {
    /// The weight at `position`; `step` remembers where, which is fast for ascending positions.
    #[inline]
    pub fn at(&self, position: u32, step: &mut usize) -> u64 {
        if self.steps[*step].end <= position {
            *step = (*step).max(self.first[(position >> BLOCK_BITS) as usize] as usize);
            while self.steps[*step].end <= position {
                *step += 1;
            }
        }
        self.steps[*step].weight
    }
}

/// All distinct pretokens of two bytes and more.
#[derive(Debug)]
pub struct Words<S> {
    /// The slots.
    pub slots: Vec<S>,
    /// Their weights.
    pub weights: Weights,
}

impl<S: Symbol> Words<S> {
    /// Lays out the pretokens of a table as single bytes.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are 4 GiB of distinct pretokens or more.
    pub fn new(table: &Table) -> Result<Self> {
        let mut words = table.words();
        words.sort_unstable_by_key(|&(n, _)| std::cmp::Reverse(n));
        let mut n_slots = 1;
        for &(_, word) in &words {
            n_slots += table.with_word(word, <[u8]>::len) + 1;
        }
        if u32::try_from(n_slots + 1).is_err() {
            return Err(Error::Argument {
                name: "counts",
                value: format!("{n_slots} bytes of distinct pretokens"),
                reason: "training holds at most 4 GiB of them; raise the bar with a doc_cap or \
                         split the text more finely"
                    .to_owned(),
            });
        }
        let mut slots = Vec::with_capacity(n_slots);
        let mut steps: Vec<Step> = Vec::new();
        slots.push(S::FILLER);
        for &(weight, word) in &words {
            table.with_word(word, |bytes| {
                slots.extend(bytes.iter().map(|&b| S::new(u32::from(b))));
            });
            slots.push(S::FILLER);
            let end = slots.len() as u32;
            match steps.last_mut() {
                Some(step) if step.weight == weight => step.end = end,
                _ => steps.push(Step { end, weight }),
            }
        }
        let mut first = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            while (first.len() << BLOCK_BITS) < step.end as usize {
                first.push(i as u32);
            }
        }
        Ok(Self {
            slots,
            weights: Weights { steps, first },
        })
    }

    /// Calls `visit(position, left id, right id, weight)` for each adjacent pair; `lens` has the length of each
    /// token.
    #[inline]
    pub fn for_each_pair(&self, lens: &[u32], mut visit: impl FnMut(u32, usize, usize, u64)) {
        let mut step = 0;
        let mut at = 1;
        while at < self.slots.len() {
            let left = self.slots[at];
            if left == S::FILLER {
                at += 1;
                continue;
            }
            let next = at + lens[left.index()] as usize;
            let right = self.slots[next];
            if right != S::FILLER {
                let weight = self.weights.at(at as u32, &mut step);
                visit(at as u32, left.index(), right.index(), weight);
            }
            at = next;
        }
    }
}
