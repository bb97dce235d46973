//! The merge loop, and what one merge changes.
//!
//! All occurrences of a pair come into being in one merge, the one that makes the younger of its two
//! tokens; after that they only get fewer. So a pair's occurrence list is made once, at its exact size,
//! and a pair that starts out with fewer occurrences than the last merge of the training will have
//! needs no list at all. That count is not known, so training goes in epochs: each guesses a threshold,
//! tracks the pairs that reach it, and ends when no pair does any more; the next epoch scans the words as
//! they then are, with a lower threshold. A wrong guess costs time, never exactness.
//!
//! No two merges make the same bytes, so every merge makes a new token. For look at a stretch of a
//! word whose ends no token crosses. All merges so far, leftmost first, have done inside it what
//! they do to its bytes alone, as whatever reaches over an end would have left a token across it.
//! When `p` and `q` were merged to a token of bytes `T`, those merges took `T` alone to `p q`; with that
//! merge, and ever after, they take it to one token. So a stretch of bytes `T` is never `u v` again.

use crate::error::{OutOfMemory, Result};
use crate::system::memory;
use crate::system::threads::Team;
use crate::train::neighbours::Side;
use crate::train::pairs::Pairs;
use crate::train::tokens::Tokens;
use crate::train::words::{Symbol, Weights, Words};

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
    fn replace(&mut self, slots: &[S::Cell], weights: &Weights, merge: Merge, at: &[u32]) {
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
            for &position in batch {
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
    lists: Vec<Vec<u32>>,
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
            pairs: Pairs::new(tokens),
            shares,
            lists: Vec::new(),
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
                && let Some((a, b, pair)) = self.pairs.pop()
            {
                self.merge(a, b, pair.count, &pair.at)?;
                tick(self.merges.len())?;
            }
        }
        Ok(self.merges)
    }

    fn next_epoch(&mut self, floor: u64, tick: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let (lens, tokens) = (&self.lens[..], self.tokens);
        let max_len = self.limits.max_token_length;
        let below = self.pairs.threshold() - 1;
        let (counts, n_merges) = (&self.counts[..], self.limits.n_tokens - self.n_first);
        self.pairs.rebuild(
            &self.words,
            lens,
            self.team,
            |highest| guess(counts, n_merges, highest.min(below)).clamp(floor, below),
            |a, b| tokens.len(a) + tokens.len(b) <= max_len,
            tick,
        )
    }

    /// Merges a pair everywhere; `at` is where it may be.
    fn merge(&mut self, a: usize, b: usize, count: u64, at: &[u32]) -> Result<(), OutOfMemory> {
        let (left, right) = (self.tokens.bytes(a as u32), self.tokens.bytes(b as u32));
        let mut joined = memory::with_capacity(left.len() + right.len())?;
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        let merge = Merge {
            a,
            b,
            id: self.lens.len(),
            len_a: self.lens[a] as usize,
            len: (self.lens[a] + self.lens[b]) as usize,
        };
        self.replace(merge, at)?;
        let first = &mut self.shares[0];
        for &x in &first.left.touched {
            let weight = first.left.by_id[x as usize].weight;
            self.pairs.decrease(x as usize, a, weight);
        }
        for &y in &first.right.touched {
            let weight = first.right.by_id[y as usize].weight;
            self.pairs.decrease(b, y as usize, weight);
        }
        let (weight, n) = first.adjacent;
        if n > 0 {
            // There the left one's right neighbour is no longer `a` but a new token.
            first.right.by_id[a].weight -= weight;
            first.right.by_id[a].n -= n;
            first.right.add(merge.id, weight, n);
        }
        self.lens.push(merge.len as u32);
        self.tokens.add(merge.id, joined.into_boxed_slice());
        self.merges.push((a as u32, b as u32));
        self.counts.push(count);
        self.track_new_pairs(merge)
    }

    /// Replaces the occurrences, in several threads if there are many; the sums end up in the first share.
    fn replace(&mut self, merge: Merge, at: &[u32]) -> Result<(), OutOfMemory> {
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
            while end > 0 && end < rest.len() && (rest[end] - rest[end - 1]) as usize <= merge.len {
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
        self.lists.clear();
        memory::push(&mut self.lists, Vec::new())?;
        for side in [&mut *left, &mut *right] {
            for &other in &side.touched {
                let neighbour = &mut side.by_id[other as usize];
                // Few reach the threshold, and looking lengths up takes time.
                if neighbour.weight >= threshold
                    && self.tokens.len(id) + self.tokens.len(other as usize) <= max_len
                {
                    neighbour.list = self.lists.len() as u32;
                    let list = memory::with_capacity(neighbour.n as usize)?;
                    memory::push(&mut self.lists, list)?;
                }
            }
        }
        if self.lists.len() > 1 {
            let others = others.iter().flat_map(|share| &share.merged);
            for &(position, x, y) in merged.iter().chain(others) {
                if x != S::FILLER {
                    let list = left.by_id[x.index()].list as usize;
                    if list > 0 {
                        self.lists[list].push(position - self.lens[x.index()]);
                    }
                }
                if y != S::FILLER {
                    let list = right.by_id[y.index()].list as usize;
                    if list > 0 {
                        self.lists[list].push(position);
                    }
                }
            }
        }
        for (side, is_left) in [(left, true), (right, false)] {
            for &other in &side.touched {
                let neighbour = side.by_id[other as usize];
                if neighbour.list > 0 {
                    let (a, b) = if is_left {
                        (other as usize, id)
                    } else {
                        (id, other as usize)
                    };
                    let at = std::mem::take(&mut self.lists[neighbour.list as usize]);
                    self.pairs.track(a, b, neighbour.weight, at)?;
                }
            }
            side.clear();
        }
        Ok(())
    }
}

/// A guess at the count of the last of `n_merges`, from the highest count now and the `counts` of the merges
/// so far: they fall like a power of the number of merges.
fn guess(counts: &[u64], n_merges: usize, highest: u64) -> u64 {
    let done = counts.len();
    if done < 64 {
        return highest / (n_merges as u64).clamp(1, 1024);
    }
    let fall = counts[done / 2] as f64 / counts[done - 1] as f64;
    let exponent = fall.log2().clamp(0.5, 2.0);
    let last = highest as f64 * (done as f64 / n_merges as f64).powf(exponent);
    (last * 0.6) as u64
}
