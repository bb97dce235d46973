//! The symbols of all distinct pretokens, in one array.
//!
//! Each byte of a pretoken has a slot. A token of `L` bytes that begins at slot `p` has its id in slot
//! `p` and in slot `p + L - 1`; slots between hold [`Symbol::FILLER`]. A slot of filler separates
//! pretokens. Words may also be laid out in longer tokens to begin with, each of which then takes the one slot
//! that a byte would. So the token left of `p` is in slot `p - 1`, the one to the right in slot `p + L`,
//! no list of neighbours is needed, and a merge writes four slots in place.
//!
//! Pretokens are sorted by count, the highest first. So a position's weight (its pretoken's count) is a
//! step function, and the pretokens that the most frequent pairs hit lie together.

use crate::error::{Error, OutOfMemory, Result};
use crate::system::memory;
use crate::train::count_table::CountTable;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};

/// A token id as it is stored: 16 bits if the vocabulary allows, to halve the traffic.
///
/// The slots are atomic cells, read and written without ordering, so that several threads can merge
/// in places that do not touch; on common machines that costs nothing.
pub trait Symbol: Copy + Eq + Send + Sync + Default {
    /// Stands for no token.
    const FILLER: Self;
    /// What a slot is made of.
    type Cell: Send + Sync;
    /// An id, which must be below that of the filler.
    fn new(id: u32) -> Self;
    /// The id as an index.
    fn index(self) -> usize;
    /// A slot with this in it.
    fn cell(self) -> Self::Cell;
    /// What is in a slot.
    fn load(cell: &Self::Cell) -> Self;
    /// Puts this into a slot.
    fn store(self, cell: &Self::Cell);
}

macro_rules! symbol {
    ($int:ty, $cell:ty) => {
        impl Symbol for $int {
            const FILLER: $int = <$int>::MAX;
            type Cell = $cell;
            #[inline]
            fn new(id: u32) -> $int {
                id as $int
            }
            #[inline]
            fn index(self) -> usize {
                self as usize
            }
            #[inline]
            fn cell(self) -> $cell {
                <$cell>::new(self)
            }
            #[inline]
            fn load(cell: &$cell) -> $int {
                cell.load(Relaxed)
            }
            #[inline]
            fn store(self, cell: &$cell) {
                cell.store(self, Relaxed);
            }
        }
    };
}

symbol!(u16, AtomicU16);
symbol!(u32, AtomicU32);

/// A stretch of slots with one weight.
#[derive(Clone, Copy, Debug)]
struct Step {
    end: u32,
    /// Words up to its end.
    n_words: u32,
    weight: u64,
}

/// Takes a row of tokens, of two and more, and its weight, which is not above that of the row before.
pub type Put<'a> = dyn FnMut(u64, &[u32]) -> Result<()> + 'a;

/// Words that are being laid out.
struct Layout<S: Symbol> {
    slots: Vec<S::Cell>,
    steps: Vec<Step>,
    starts: Vec<u32>,
    n_words: u32,
}

impl<S: Symbol> Layout<S> {
    fn new(n_slots: usize) -> Result<Self, OutOfMemory> {
        let mut slots = memory::with_capacity(n_slots)?;
        slots.push(S::FILLER.cell());
        Ok(Self {
            slots,
            steps: Vec::new(),
            starts: Vec::new(),
            n_words: 0,
        })
    }

    /// Adds a word.
    fn word(
        &mut self,
        weight: u64,
        tokens: impl ExactSizeIterator<Item = u32>,
    ) -> Result<(), OutOfMemory> {
        self.slots.try_reserve(tokens.len() + 1)?;
        if self.starts.len() * STRIDE < self.slots.len() {
            memory::push(&mut self.starts, self.slots.len() as u32)?;
        }
        self.slots.extend(tokens.map(|token| S::new(token).cell()));
        self.slots.push(S::FILLER.cell());
        self.n_words += 1;
        add_step(&mut self.steps, weight, self.slots.len(), self.n_words)
    }

    fn finish(self) -> Result<Words<S>> {
        Ok(Words {
            slots: self.slots,
            weights: Weights::new(self.steps)?,
            starts: self.starts,
        })
    }
}

/// Extends the last step, or adds one: so many words end at `end`, and the last has this weight.
fn add_step(
    steps: &mut Vec<Step>,
    weight: u64,
    end: usize,
    n_words: u32,
) -> Result<(), OutOfMemory> {
    let end = end as u32;
    match steps.last_mut() {
        Some(step) if step.weight == weight => (step.end, step.n_words) = (end, n_words),
        _ => {
            let step = Step {
                end,
                n_words,
                weight,
            };
            memory::push(steps, step)?;
        }
    }
    Ok(())
}

/// Positions are grouped by this many bits to find their step.
const WEIGHT_BLOCK_BITS: u32 = 8;

/// The weight of each position.
#[derive(Debug)]
pub struct Weights {
    steps: Vec<Step>,
    /// The step that each block of positions begins in.
    first: Vec<u32>,
}

impl Weights {
    fn new(steps: Vec<Step>) -> Result<Self, OutOfMemory> {
        let mut first = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            while (first.len() << WEIGHT_BLOCK_BITS) < step.end as usize {
                memory::push(&mut first, i as u32)?;
            }
        }
        Ok(Self { steps, first })
    }

    /// The weight of word `n` of those that have the highest, counted from 1; 0 if there are fewer.
    pub fn of_word(&self, n: usize) -> u64 {
        let before = self
            .steps
            .partition_point(|step| (step.n_words as usize) < n);
        self.steps.get(before).map_or(0, |step| step.weight)
    }

    /// The weight at `position`; `step` remembers where, which is fast for ascending positions.
    #[inline]
    pub fn at(&self, position: u32, step: &mut usize) -> u64 {
        if self.steps[*step].end <= position {
            *step = (*step).max(self.first[(position >> WEIGHT_BLOCK_BITS) as usize] as usize);
            while self.steps[*step].end <= position {
                *step += 1;
            }
        }
        self.steps[*step].weight
    }
}

/// All distinct pretokens of two bytes and more.
#[derive(Debug)]
pub struct Words<S: Symbol> {
    /// The slots.
    pub slots: Vec<S::Cell>,
    /// Their weights.
    pub weights: Weights,
    /// Where words begin, one for each [`STRIDE`] slots or so: where the slots can be divided.
    starts: Vec<u32>,
}

const STRIDE: usize = 1 << 12;

impl<S: Symbol> Words<S> {
    /// Lays out the pretokens of a table as single bytes.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are 4 GiB of distinct pretokens or more; [`Error::Memory`].
    pub fn new(table: &CountTable) -> Result<Self> {
        let (mut words, n_bytes) = table.words()?;
        words.sort_unstable_by_key(|&(n, _)| std::cmp::Reverse(n));
        let n_slots = 1 + n_bytes + words.len();
        if u32::try_from(n_slots + 1).is_err() {
            return Err(Error::argument(
                "counts",
                format!("{n_slots} bytes of distinct pretokens"),
                "training holds at most 4 GiB of them; set a doc_cap, or a pattern \
                 that splits the text more finely",
            ));
        }
        let mut layout = Layout::new(n_slots)?;
        for (i, &(weight, word)) in words.iter().enumerate() {
            // They lie all over the table.
            if let Some(&(_, later)) = words.get(i + 16) {
                table.prefetch(later);
            }
            table.with_word(word, |bytes| {
                layout.word(weight, bytes.iter().map(|&b| u32::from(b)))
            })?;
        }
        layout.finish()
    }

    /// Lays out rows of tokens as `fill` puts them, one by one: there is no second copy of them.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are 2**32 tokens or more; [`Error::Memory`]; what `fill` returns.
    pub fn of_rows(fill: impl FnOnce(&mut Put<'_>) -> Result<()>) -> Result<Self> {
        let mut layout = Layout::new(1)?;
        fill(&mut |weight, row| {
            let n_slots = layout.slots.len() + row.len() + 1;
            if u32::try_from(n_slots + 1).is_err() {
                return Err(Error::argument(
                    "superwords_from",
                    format!("{n_slots} tokens in distinct spans"),
                    "training holds at most 2**32 of them; set a doc_cap, or count less text",
                ));
            }
            Ok(layout.word(weight, row.iter().copied())?)
        })?;
        layout.finish()
    }

    /// Divides the slots into `n` ranges of about the same size, between words.
    pub fn divide(&self, n: usize) -> Vec<Range<usize>> {
        let mut bounds: Vec<usize> = (0..n)
            .filter_map(|i| self.starts.get(i * self.starts.len() / n))
            .map(|&start| start as usize)
            .collect();
        bounds.push(self.slots.len());
        bounds.windows(2).map(|w| w[0]..w[1]).collect()
    }

    /// Lays the words out in the tokens that they have become, one slot each, and leaves out those of a single token;
    /// `lens` has the slots that each token takes so far.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn compact(&mut self, lens: &[u32]) -> Result<(), OutOfMemory> {
        let mut steps = memory::with_capacity(self.weights.steps.len())?;
        let mut starts = memory::with_capacity(self.starts.len())?;
        let slots = &self.slots[..];
        let (mut at, mut to, mut n_words) = (1, 1, 0);
        for step in &self.weights.steps {
            while at < step.end as usize {
                let start = to;
                loop {
                    let token = S::load(&slots[at]);
                    if token == S::FILLER {
                        break;
                    }
                    // It is not before what has been read.
                    token.store(&slots[to]);
                    to += 1;
                    at += lens[token.index()] as usize;
                }
                at += 1;
                if to < start + 2 {
                    to = start;
                    continue;
                }
                S::FILLER.store(&slots[to]);
                to += 1;
                n_words += 1;
                if starts.len() * STRIDE < start {
                    memory::push(&mut starts, start as u32)?;
                }
                add_step(&mut steps, step.weight, to, n_words)?;
            }
        }
        self.slots.truncate(to);
        if to <= self.slots.capacity() / 2 {
            let mut fewer = memory::with_capacity(to)?;
            fewer.extend(self.slots.iter().map(|slot| S::load(slot).cell()));
            self.slots = fewer;
        }
        self.weights = Weights::new(steps)?;
        self.starts = starts;
        Ok(())
    }

    /// Calls `visit(position, left id, right id, weight)` for each adjacent pair in a range of whole words, of which
    /// each token takes one slot.
    #[inline]
    pub fn for_each_pair(
        &self,
        range: Range<usize>,
        mut visit: impl FnMut(u32, usize, usize, u64),
    ) {
        let (mut step, mut at) = (0, range.start);
        while at < range.end {
            let weight = self.weights.at(at as u32, &mut step);
            let end = range.end.min(self.weights.steps[step].end as usize);
            let mut left = S::FILLER;
            for (position, slot) in (at..end).zip(&self.slots[at..end]) {
                let right = S::load(slot);
                if left != S::FILLER && right != S::FILLER {
                    visit(position as u32 - 1, left.index(), right.index(), weight);
                }
                left = right;
            }
            at = end;
        }
    }
}
