//! The merge loop: pairs, their occurrences, and what one merge changes.
//!
//! All occurrences of a pair come into being in one merge, the one that makes the younger of its two
//! tokens; after that they only get fewer. So a pair's occurrence list is made once, at its exact size,
//! and a pair that starts out with fewer occurrences than the last merge of the training will have
//! needs no list at all. That count is not known, so training goes in epochs: each guesses a threshold,
//! tracks the pairs that reach it, and ends when no pair does any more; the next epoch scans the words as
//! they then are, with a lower threshold. A wrong guess costs time, never exactness.

use crate::error::Result;
use crate::tokens::{Candidate, Tokens};
use crate::word::{Symbol, Words};
use dary_heap::OctonaryHeap;
use rustc_hash::FxHashMap;

/// A pair that is tracked.
#[derive(Debug)]
struct Pair {
    /// Occurrences, weighted; exact at any time.
    count: u64,
    /// Ascending slots where the left token was when the list was made; some may be out of date.
    at: Box<[u32]>,
}

/// What one merge adds up for one neighbouring token.
#[derive(Clone, Copy, Debug, Default)]
struct Neighbour {
    weight: u64,
    n: u32,
    /// Where in [`Trainer::lists`] its new pair's occurrences go; 0 is nowhere.
    list: u32,
}

/// Neighbours of the merged occurrences on one side, by id.
#[derive(Debug)]
struct Side {
    by_id: Vec<Neighbour>,
    touched: Vec<u32>,
}

impl Side {
    fn new(n_tokens: usize) -> Self {
        Self {
            by_id: vec![Neighbour::default(); n_tokens],
            touched: Vec::new(),
        }
    }

    #[inline]
    fn add(&mut self, id: usize, weight: u64) {
        let neighbour = &mut self.by_id[id];
        if neighbour.n == 0 {
            self.touched.push(id as u32);
        }
        neighbour.weight += weight;
        neighbour.n += 1;
    }

    fn clear(&mut self) {
        for &id in &self.touched {
            self.by_id[id as usize] = Neighbour::default();
        }
        self.touched.clear();
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
pub struct Trainer<'a, S> {
    words: Words<S>,
    tokens: &'a Tokens,
    limits: Limits,
    /// Length in bytes of each token.
    lens: Vec<u32>,
    merges: Vec<(u32, u32)>,
    /// The count at each merge.
    merge_counts: Vec<u64>,
    ids: FxHashMap<Box<[u8]>, u32>,
    pairs: FxHashMap<u64, Pair>,
    heap: OctonaryHeap<Candidate<'a>>,
    /// Pairs below this count are not tracked.
    threshold: u64,
    left: Side,
    right: Side,
    lists: Vec<Vec<u32>>,
}

fn key(left: usize, right: usize) -> u64 {
    (left as u64) << 32 | right as u64
}

impl<'a, S: Symbol> Trainer<'a, S> {
    /// A trainer over words that are single bytes.
    pub fn new(words: Words<S>, tokens: &'a Tokens, limits: Limits) -> Self {
        let n = limits.n_tokens;
        Self {
            words,
            tokens,
            limits,
            lens: vec![1; 256],
            merges: Vec::new(),
            merge_counts: Vec::new(),
            ids: FxHashMap::default(),
            pairs: FxHashMap::default(),
            heap: OctonaryHeap::new(),
            threshold: u64::MAX,
            left: Side::new(n),
            right: Side::new(n),
            lists: Vec::new(),
        }
    }

    /// Merges until there are tokens enough or no pair is left; returns the merges.
    ///
    /// # Errors
    /// What `tick(merges done)` returns.
    pub fn run(mut self, tick: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<(u32, u32)>> {
        while self.lens.len() < self.limits.n_tokens && self.next_epoch() {
            while self.lens.len() < self.limits.n_tokens {
                let Some(best) = self.heap.pop() else { break };
                let (a, b) = (best.pair.0 as usize, best.pair.1 as usize);
                let Some(pair) = self.pairs.get(&key(a, b)) else { continue };
                if pair.count != best.count {
                    // Below the threshold others may be greater, untracked; leave it for the next epoch.
                    if pair.count >= self.threshold {
                        let count = pair.count;
                        self.heap.push(Candidate { count, ..best });
                    }
                    continue;
                }
                if let Some(pair) = self.pairs.remove(&key(a, b)) {
                    self.merge(a, b, pair);
                }
                tick(self.merges.len())?;
            }
        }
        Ok(self.merges)
    }

    /// Merges one pair everywhere.
    fn merge(&mut self, a: usize, b: usize, pair: Pair) {
        let joined = [self.tokens.bytes(a as u32), self.tokens.bytes(b as u32)].concat();
        let known = self.ids.get(joined.as_slice()).copied();
        let id = known.unwrap_or(self.lens.len() as u32) as usize;
        let mut at = pair.at.into_vec();
        let adjacent = self.replace(a, b, id, &mut at);
        for &x in &self.left.touched {
            decrease(&mut self.pairs, key(x as usize, a), self.left.by_id[x as usize].weight);
        }
        for &y in &self.right.touched {
            decrease(&mut self.pairs, key(b, y as usize), self.right.by_id[y as usize].weight);
        }
        if known.is_some() {
            // The pair's bytes are a token already: its occurrences have become that token, whose pairs,
            // alone of all, have gained occurrences. Rare enough to find them all by looking.
            self.find_neighbours(id, &mut at);
        } else {
            let joined = joined.into_boxed_slice();
            self.tokens.add(id, joined.clone());
            self.lens.push(joined.len() as u32);
            self.ids.insert(joined, id as u32);
            self.merges.push((a as u32, b as u32));
            self.merge_counts.push(pair.count);
            if adjacent.n > 0 {
                // Where two new tokens meet, the left one's right neighbour is no longer `a`.
                self.right.by_id[a].weight -= adjacent.weight;
                self.right.by_id[a].n -= adjacent.n;
                self.right.by_id[id] = adjacent;
                self.right.touched.push(id as u32);
            }
        }
        self.track_new_pairs(id, &at, known.is_some());
        self.left.clear();
        self.right.clear();
    }

    /// Writes token `id` over the occurrences of `(a, b)`, which stay in `at`, and adds their neighbours up.
    ///
    /// Leftmost first, as runs like `aaa` want it. Returns how often two new tokens are adjacent: the
    /// left neighbour is then not counted, as its pair with `a` is none of the pairs that were.
    fn replace(&mut self, a: usize, b: usize, id: usize, at: &mut Vec<u32>) -> Neighbour {
        let (len_a, len) = (self.lens[a] as usize, (self.lens[a] + self.lens[b]) as usize);
        let (sym_a, sym_b, sym) = (S::new(a as u32), S::new(b as u32), S::new(id as u32));
        let slots = &mut self.words.slots[..];
        let (mut step, mut previous_end, mut n_live) = (0, 0, 0);
        let mut adjacent = Neighbour::default();
        for i in 0..at.len() {
            let position = at[i];
            let p = position as usize;
            // A token that begins at `p` cannot be `a` again after it was swallowed, as tokens only grow.
            if slots[p] != sym_a || slots[p + len_a] != sym_b {
                continue;
            }
            let weight = self.words.weights.at(position, &mut step);
            let (x, y) = (slots[p - 1], slots[p + len]);
            if p == previous_end {
                adjacent.weight += weight;
                adjacent.n += 1;
            } else if x != S::FILLER {
                self.left.add(x.index(), weight);
            }
            if y != S::FILLER {
                self.right.add(y.index(), weight);
            }
            slots[p + len_a - 1] = S::FILLER;
            slots[p + len_a] = S::FILLER;
            slots[p] = sym;
            slots[p + len - 1] = sym;
            previous_end = p + len;
            at[n_live] = position;
            n_live += 1;
        }
        at.truncate(n_live);
        adjacent
    }

    /// Finds all occurrences of token `id` and adds its neighbours up afresh.
    fn find_neighbours(&mut self, id: usize, at: &mut Vec<u32>) {
        self.left.clear();
        self.right.clear();
        at.clear();
        let (sym, len) = (S::new(id as u32), self.lens[id] as usize);
        let slots = &self.words.slots[..];
        let (mut step, mut p) = (0, 1);
        while let Some(found) = slots[p..].iter().position(|&s| s == sym) {
            p += found;
            let weight = self.words.weights.at(p as u32, &mut step);
            let (x, y) = (slots[p - 1], slots[p + len]);
            if x != S::FILLER && x != sym {
                self.left.add(x.index(), weight);
            }
            if y != S::FILLER {
                self.right.add(y.index(), weight);
            }
            at.push(p as u32);
            p += len;
        }
    }

    /// Starts tracking the pairs of token `id`, which occurs at `at`, that reach the threshold.
    fn track_new_pairs(&mut self, id: usize, at: &[u32], was_known: bool) {
        self.lists.clear();
        self.lists.push(Vec::new());
        let max_len = self.limits.max_token_length;
        let len = self.lens[id];
        for side in [&mut self.left, &mut self.right] {
            for &other in &side.touched {
                let neighbour = &mut side.by_id[other as usize];
                let joined = (len + self.lens[other as usize]) as usize;
                if neighbour.weight >= self.threshold && joined <= max_len {
                    neighbour.list = self.lists.len() as u32;
                    self.lists.push(Vec::with_capacity(neighbour.n as usize));
                }
            }
        }
        if self.lists.len() > 1 {
            let (slots, sym) = (&self.words.slots[..], S::new(id as u32));
            for &position in at {
                let p = position as usize;
                let (x, y) = (slots[p - 1], slots[p + len as usize]);
                if x != S::FILLER && x != sym {
                    let list = self.left.by_id[x.index()].list as usize;
                    if list > 0 {
                        self.lists[list].push(position - self.lens[x.index()]);
                    }
                }
                if y != S::FILLER {
                    let list = self.right.by_id[y.index()].list as usize;
                    if list > 0 {
                        self.lists[list].push(position);
                    }
                }
            }
        }
        for (side, is_left) in [(&self.left, true), (&self.right, false)] {
            for &other in &side.touched {
                let neighbour = side.by_id[other as usize];
                let (a, b) = if is_left { (other as usize, id) } else { (id, other as usize) };
                if neighbour.list == 0 {
                    if was_known {
                        self.pairs.remove(&key(a, b));
                    }
                    continue;
                }
                let at = std::mem::take(&mut self.lists[neighbour.list as usize]);
                track(&mut self.pairs, &mut self.heap, self.tokens, (a, b), neighbour.weight, at);
            }
        }
    }

    /// Finds the pairs that reach the next threshold, a lower one; `false` if there can be none.
    fn next_epoch(&mut self) -> bool {
        self.pairs.clear();
        self.heap.clear();
        let Some(found) = self.count_pairs() else {
            return false;
        };
        let mut lists: FxHashMap<u64, Vec<u32>> = FxHashMap::default();
        for (&pair, &(_, n)) in &found {
            lists.insert(pair, Vec::with_capacity(n as usize));
        }
        self.words.for_each_pair(&self.lens, |p, a, b, _| {
            if let Some(list) = lists.get_mut(&key(a, b)) {
                list.push(p);
            }
        });
        for (pair, at) in lists {
            let (a, b) = ((pair >> 32) as usize, pair as u32 as usize);
            let count = found[&pair].0;
            track(&mut self.pairs, &mut self.heap, self.tokens, (a, b), count, at);
        }
        true
    }

    /// Sets the threshold and returns the pairs that reach it: weight and number of occurrences.
    fn count_pairs(&mut self) -> Option<FxHashMap<u64, (u64, u32)>> {
        let floor = self.limits.min_frequency.max(1);
        if self.threshold <= floor {
            return None;
        }
        let mut found: FxHashMap<u64, (u64, u32)> = FxHashMap::default();
        self.words.for_each_pair(&self.lens, |_, a, b, weight| {
            let (count, n) = found.entry(key(a, b)).or_default();
            *count += weight;
            *n += 1;
        });
        let max_len = self.limits.max_token_length;
        found.retain(|&pair, _| {
            let (a, b) = ((pair >> 32) as usize, pair as u32 as usize);
            (self.lens[a] + self.lens[b]) as usize <= max_len
        });
        let best = found.values().map(|f| f.0).max()?;
        self.threshold = self.guess(best).clamp(floor, self.threshold - 1);
        found.retain(|_, f| f.0 >= self.threshold);
        Some(found)
    }

    /// A guess at the count of the last merge to come, from the best count now and the counts so far, which fall
    /// like a power of the number of merges.
    fn guess(&self, best: u64) -> u64 {
        let done = self.merge_counts.len();
        let all = self.limits.n_tokens - 256;
        if done < 64 {
            return best / (all as u64).clamp(1, 1024);
        }
        let fall = self.merge_counts[done / 2] as f64 / self.merge_counts[done - 1] as f64;
        let exponent = fall.log2().clamp(0.5, 2.0);
        let last = best as f64 * (done as f64 / all as f64).powf(exponent);
        (last * 0.9) as u64
    }
}

fn decrease(pairs: &mut FxHashMap<u64, Pair>, pair: u64, by: u64) {
    if let Some(pair) = pairs.get_mut(&pair) {
        pair.count -= by;
    }
}

fn track<'a>(
    pairs: &mut FxHashMap<u64, Pair>,
    heap: &mut OctonaryHeap<Candidate<'a>>,
    tokens: &'a Tokens,
    (a, b): (usize, usize),
    count: u64,
    at: Vec<u32>,
) {
    heap.push(Candidate {
        count,
        pair: (a as u32, b as u32),
        tokens,
    });
    let at = at.into_boxed_slice();
    pairs.insert(key(a, b), Pair { count, at });
}
