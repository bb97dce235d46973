//! The merge loop, and what one merge changes.
//!
//! All occurrences of a pair come into being in one merge, the one that makes the younger of its two
//! tokens; after that they only get fewer. So a pair's occurrence list is made once, at its exact size,
//! and a pair that starts out with fewer occurrences than the last merge of the training will have
//! needs no list at all. That count is not known, so training goes in epochs: each guesses a threshold,
//! tracks the pairs that reach it, and ends when no pair does any more; the next epoch scans the words as
//! they then are, laid out anew with a slot for each token, with a lower threshold. A wrong guess costs time, never exactness.
//!
//! No two merges make the same bytes, so every merge makes a new token. For look at a stretch of a
//! word whose ends no token crosses. All merges so far, leftmost first, have done inside it what
//! they do to its bytes alone, as whatever reaches over an end would have left a token across it.
//! When `p` and `q` were merged to a token of bytes `T`, those merges took `T` alone to `p q`; with that
//! merge, and ever after, they take it to one token. So a stretch of bytes `T` is never `u v` again.

use crate::error::{OutOfMemory, Result};
use crate::system::memory;
use crate::system::threads::Team;
use crate::train::lists::List;
use crate::train::neighbours::Side;
use crate::train::pair_table::Pair;
use crate::train::pairs::Pairs;
use crate::train::tokens::Tokens;
use crate::train::words::{Symbol, Weights, Words};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The pair being merged and its result.
#[derive(Clone, Copy, Debug)]
struct Merge {
    a: usize,
    b: usize,
    id: usize,
    len_a: usize,
    /// Slots of the result.
    len: usize,
}

/// One thread's share of a merge: what it replaced, and the neighbours.
#[derive(Debug)]
struct Share<S> {
    left: Side,
    right: Side,
    /// Occurrences replaced, with the ids on either side; [`Symbol::FILLER`] where there is none to count.
    merged: Vec<(u32, S, S)>,
    /// Where two new tokens meet.
    adjacent: (u64, u32),
}

/// Occurrences looked at together, so that their cache misses overlap.
const BATCH: usize = 64;

impl<S: Symbol> Share<S> {
    fn new(n_tokens: usize) -> Result<Self, OutOfMemory> {
        Ok(Self {
            left: Side::new(n_tokens)?,
            right: Side::new(n_tokens)?,
            merged: Vec::new(),
            adjacent: (0, 0),
        })
    }

    /// Writes the result over the occurrences, leftmost first as runs like `aaa` want it, and adds their
    /// neighbours up.
    ///
    /// `at` are ascending slots where the pair may be; there must be room for as many in `merged`. Where two new tokens meet, the left neighbour
    /// is not counted: its pair with `a` is none of the pairs that were.
    fn replace(&mut self, slots: &[S::Cell], weights: &Weights, merge: Merge, at: &[AtomicU32]) {
        let Merge {
            a,
            b,
            id,
            len_a,
            len,
        } = merge;
        let (a, b, new) = (S::new(a as u32), S::new(b as u32), S::new(id as u32));
        // A token that begins at `p` cannot be `a` again once it was swallowed, as tokens only grow.
        let is_live = |p: usize| S::load(&slots[p]) == a && S::load(&slots[p + len_a]) == b;
        let (mut step, mut previous_end) = (0, 0);
        self.adjacent = (0, 0);
        let mut live = [0; BATCH];
        for batch in at.chunks(BATCH) {
            // Without branches: these loads go out together.
            let mut n_live = 0;
            for position in batch {
                let position = position.load(Relaxed);
                live[n_live] = position;
                n_live += usize::from(is_live(position as usize));
            }
            for &position in &live[..n_live] {
                let p = position as usize;
                // Overlapping ones in runs were live only until the one before them was replaced.
                if a == b && !is_live(p) {
                    continue;
                }
                let weight = weights.at(position, &mut step);
                let (mut x, y) = (S::load(&slots[p - 1]), S::load(&slots[p + len]));
                if p == previous_end {
                    self.adjacent.0 += weight;
                    self.adjacent.1 += 1;
                    x = S::FILLER;
                    if let Some(previous) = self.merged.last_mut() {
                        previous.2 = new;
                    }
                } else if x != S::FILLER {
                    self.left.add(x.index(), weight, 1);
                }
                if y != S::FILLER {
                    self.right.add(y.index(), weight, 1);
                }
                S::FILLER.store(&slots[p + len_a - 1]);
                S::FILLER.store(&slots[p + len_a]);
                new.store(&slots[p]);
                new.store(&slots[p + len - 1]);
                previous_end = p + len;
                self.merged.push((position, x, y));
            }
        }
    }
}

/// Limits on merging.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many tokens to make, the 256 bytes included.
    pub n_tokens: usize,
    /// The lowest count that is merged, at least 1.
    pub min_frequency: u64,
    /// The longest token in bytes.
    pub max_token_length: usize,
}

/// The state of training.
pub struct Trainer<'a, S: Symbol> {
    words: Words<S>,
    tokens: &'a Tokens,
    team: &'a Team,
    limits: Limits,
    /// How many tokens there are to begin with: those that words are laid out in.
    n_first: usize,
    /// Slots that each token takes: its bytes, if words are laid out in bytes.
    lens: Vec<u32>,
    merges: Vec<(u32, u32)>,
    /// The count at each merge.
    counts: Vec<u64>,
    pairs: Pairs<'a>,
    /// One a thread.
    shares: Vec<Share<S>>,
    /// The lists of new pairs, with how many occurrences they have so far; the first is none.
    new_lists: Vec<(List, u32)>,
}

/// A list of occurrences shorter than this is not worth a second thread.
const WORTH_SHARING: usize = 1 << 14;

impl<'a, S: Symbol> Trainer<'a, S> {
    /// A trainer over words that are laid out in the first `n_first` tokens.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        words: Words<S>,
        tokens: &'a Tokens,
        n_first: usize,
        team: &'a Team,
        limits: Limits,
    ) -> Result<Self, OutOfMemory> {
        let n_tokens = limits.n_tokens;
        let mut lens = memory::with_capacity(n_tokens)?;
        lens.resize(n_first, 1);
        let mut shares = memory::with_capacity(team.size())?;
        for _ in 0..team.size() {
            shares.push(Share::new(n_tokens)?);
        }
        Ok(Self {
            words,
            tokens,
            team,
            n_first,
            lens,
            merges: memory::with_capacity(n_tokens)?,
            counts: memory::with_capacity(n_tokens)?,
            pairs: Pairs::new(tokens)?,
            shares,
            new_lists: Vec::new(),
            limits,
        })
    }

    /// Merges until there are tokens enough or no pair is left; returns the merges.
    ///
    /// # Errors
    /// What `tick(merges done)` returns; [`crate::error::Error::Memory`].
    pub fn run(mut self, tick: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<(u32, u32)>> {
        let floor = self.limits.min_frequency.max(1);
        while self.lens.len() < self.limits.n_tokens && self.pairs.threshold() > floor {
            let done = self.merges.len();
            self.next_epoch(floor, &mut || tick(done))?;
            while self.lens.len() < self.limits.n_tokens
                && let Some(pair) = self.pairs.pop()?
            {
                self.merge(pair)?;
                tick(self.merges.len())?;
            }
        }
        Ok(self.merges)
    }

    fn next_epoch(&mut self, floor: u64, tick: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        if !self.merges.is_empty() {
            self.words.compact(&self.lens)?;
            self.lens.fill(1);
        }
        let tokens = self.tokens;
        let max_len = self.limits.max_token_length;
        let below = self.pairs.threshold() - 1;
        let (counts, n_merges) = (&self.counts[..], self.limits.n_tokens - self.n_first);
        let weights = &self.words.weights;
        self.pairs.rebuild(
            &self.words,
            self.lens.len(),
            self.team,
            |highest| guess(counts, n_merges, highest.min(below), weights).clamp(floor, below),
            |a, b| tokens.len(a) + tokens.len(b) <= max_len,
            tick,
        )
    }

    /// Merges a pair everywhere.
    fn merge(&mut self, pair: Pair) -> Result<(), OutOfMemory> {
        let (left, right) = (self.tokens.bytes(pair.ids.0), self.tokens.bytes(pair.ids.1));
        let mut joined = memory::with_capacity(left.len() + right.len())?;
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        let (a, b) = (pair.ids.0 as usize, pair.ids.1 as usize);
        let merge = Merge {
            a,
            b,
            id: self.lens.len(),
            len_a: self.lens[a] as usize,
            len: (self.lens[a] + self.lens[b]) as usize,
        };
        self.replace(merge, pair.at)?;
        let first = &mut self.shares[0];
        for x in &first.left.touched {
            self.pairs.decrease(x.id as usize, a, x.weight);
        }
        for y in &first.right.touched {
            self.pairs.decrease(b, y.id as usize, y.weight);
        }
        let (weight, n) = first.adjacent;
        if n > 0 {
            // There the left one's right neighbour is no longer `a` but a new token.
            let next = first.right.get(a);
            next.weight -= weight;
            next.n -= n;
            first.right.add(merge.id, weight, n);
        }
        self.lens.push(merge.len as u32);
        self.tokens.add(merge.id, joined.into_boxed_slice());
        self.merges.push(pair.ids);
        self.counts.push(pair.count);
        self.track_new_pairs(merge)
    }

    /// Replaces the occurrences, in several threads if there are many; the sums end up in the first share. The list is
    /// gone then.
    fn replace(&mut self, merge: Merge, list: List) -> Result<(), OutOfMemory> {
        let at = self.pairs.lists.get(list);
        let n = if at.len() < WORTH_SHARING {
            1
        } else {
            self.shares.len()
        };
        let mut rest = at;
        let mut parts = memory::with_capacity(n)?;
        for (i, share) in self.shares.iter_mut().enumerate() {
            let mut end = if i < n { rest.len() / (n - i) } else { 0 };
            // Occurrences that touch stay together.
            let position = |i: usize| rest[i].load(Relaxed);
            while end > 0
                && end < rest.len()
                && (position(end) - position(end - 1)) as usize <= merge.len
            {
                end += 1;
            }
            let (part, later) = rest.split_at(end);
            rest = later;
            share.merged.clear();
            if part.is_empty() {
                share.adjacent = (0, 0);
            } else {
                share.merged.try_reserve(part.len())?;
                parts.push((share, part));
            }
        }
        let Words { slots, weights, .. } = &self.words;
        self.team.run(&mut parts, |(share, part)| {
            share.replace(slots, weights, merge, part)
        });
        let ran = parts.len();
        if let [first, others @ ..] = &mut self.shares[..ran.max(1)] {
            for other in others {
                first.left.take(&mut other.left);
                first.right.take(&mut other.right);
                first.adjacent.0 += other.adjacent.0;
                first.adjacent.1 += other.adjacent.1;
            }
        }
        self.pairs.lists.release(list);
        Ok(())
    }

    /// Starts tracking the merged token's pairs that reach the threshold.
    fn track_new_pairs(&mut self, merge: Merge) -> Result<(), OutOfMemory> {
        let (threshold, max_len) = (self.pairs.threshold(), self.limits.max_token_length);
        let (first, others) = self.shares.split_at_mut(1);
        let Share {
            left,
            right,
            merged,
            ..
        } = &mut first[0];
        let id = merge.id;
        let lists = &mut self.pairs.lists;
        self.new_lists.clear();
        for side in [&mut *left, &mut *right] {
            for neighbour in &mut side.touched {
                // Few reach the threshold, and looking lengths up takes time.
                if neighbour.weight >= threshold
                    && self.tokens.len(id) + self.tokens.len(neighbour.id as usize) <= max_len
                {
                    memory::push(&mut self.new_lists, (lists.reserve(neighbour.n)?, 0))?;
                    neighbour.list = self.new_lists.len() as u32;
                }
            }
        }
        if !self.new_lists.is_empty() {
            let mut put = |number: u32, position: u32| {
                if number > 0 {
                    let (list, n) = &mut self.new_lists[number as usize - 1];
                    lists.get(*list)[*n as usize].store(position, Relaxed);
                    *n += 1;
                }
            };
            let others = others.iter().flat_map(|share| &share.merged);
            for &(position, x, y) in merged.iter().chain(others) {
                if x != S::FILLER {
                    put(left.get(x.index()).list, position - self.lens[x.index()]);
                }
                if y != S::FILLER {
                    put(right.get(y.index()).list, position);
                }
            }
        }
        for (side, is_left) in [(left, true), (right, false)] {
            for neighbour in &side.touched {
                if neighbour.list > 0 {
                    let other = neighbour.id as usize;
                    let (a, b) = if is_left { (other, id) } else { (id, other) };
                    let (list, _) = self.new_lists[neighbour.list as usize - 1];
                    self.pairs.track(a, b, neighbour.weight, list)?;
                }
            }
            side.clear();
        }
        Ok(())
    }
}

/// A guess at the count of the last of `n_merges`, from the highest count now, the `counts` of the merges so far, which
/// fall like a power of the number of merges, and the weights of the words as they are now; at most half the highest.
///
/// Each of the n heaviest words takes a merge at least that counts as often as the lightest of them is there: in n
/// merges none counts less, unless tokens have a greatest length.
fn guess(counts: &[u64], n_merges: usize, highest: u64, weights: &Weights) -> u64 {
    let done = counts.len();
    let at_least = weights.of_word(n_merges - done);
    let last = if done < 64 {
        weights.of_word(n_merges / 16).saturating_mul(3)
    } else {
        let fall = counts[done / 2] as f64 / counts[done - 1] as f64;
        let exponent = fall.log2().clamp(0.5, 2.0);
        let last = highest as f64 * (done as f64 / n_merges as f64).powf(exponent);
        (last * 0.4) as u64
    };
    last.max(at_least).min(highest / 2)
}
