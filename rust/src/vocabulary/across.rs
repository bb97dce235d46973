//! Merging from a rank on: rows of tokens that all merges below that rank have been applied to.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::vocabulary::merge_by_rank;
use crate::vocabulary::merge_table::MergeTable;
use crate::vocabulary::pair_map::{LIMIT, NONE, PairMap};
use std::ops::Range;

/// Stands for two first tokens that stand side by side in some token, but do not merge themselves.
const BESIDE: u32 = LIMIT as u32 - 1;

/// Rows of up to this many tokens are merged by looking for the lowest pair again and again, longer ones with
/// a heap.
const SCAN: usize = 32;

/// The merges from a rank on; `encode/superwords.rs` says what for. Tokens are named by their index.
#[derive(Debug)]
pub(crate) struct Across {
    pairs: PairMap,
}

impl Across {
    /// The merges from token `n_first` on; `None` for a vocabulary that training does not make.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(super) fn new(table: &MergeTable, n_first: usize) -> Result<Option<Self>, OutOfMemory> {
        let mut merged = table.origins.iter().skip(256);
        if !table.ordered || !merged.all(|origin| origin.parts().is_some()) {
            return Ok(None);
        }
        let n = table.origins.len();
        let mut pairs = PairMap::with_capacity(2 * (n - n_first))?;
        // The first and the last of each token's first tokens.
        let mut outer: Vec<(u32, u32)> = memory::with_capacity(n)?;
        outer.extend((0..n_first as u32).map(|token| (token, token)));
        for (token, origin) in table.origins.iter().enumerate().skip(n_first) {
            let (left, right) = (origin.left, origin.right);
            pairs.insert(left, right, token as u32)?;
            outer.push((outer[left as usize].0, outer[right as usize].1));
        }
        for origin in &table.origins[n_first..] {
            let left = outer[origin.left as usize].1;
            let right = outer[origin.right as usize].0;
            if pairs.get(left, right) == NONE {
                pairs.insert(left, right, BESIDE)?;
            }
        }
        Ok(Some(Self { pairs }))
    }

    /// Merges rows of first tokens in place, which lie one after the other: `ends` says where each ends, in bytes of all,
    /// and `len` how many bytes a first token has.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    #[inline(always)]
    pub(crate) fn merge(
        &self,
        tokens: &mut Vec<u32>,
        ends: &[usize],
        len: impl Fn(u32) -> usize,
    ) -> Result<(), OutOfMemory> {
        // The run that ends next begins at `run`; what is before `to` is done.
        let (mut at, mut run, mut to, mut reached) = (0, 0, 0, 0);
        // What the run's tokens merge to with those behind them, as many as there is room for.
        let mut joined = [NONE; SCAN];
        for &end in ends {
            while reached < end {
                let token = tokens[at];
                reached += len(token);
                at += 1;
                if reached < end {
                    let found = self.pairs.get(token, tokens[at]);
                    if found != NONE {
                        if let Some(place) = joined.get_mut(at - 1 - run) {
                            *place = unless_beside(found);
                        }
                        continue;
                    }
                }
                to = match at - run {
                    1 => {
                        tokens[to] = token;
                        to + 1
                    }
                    n if n <= SCAN => {
                        let n = self.scan(&mut tokens[run..at], &mut joined);
                        tokens.copy_within(run..run + n, to);
                        to + n
                    }
                    _ => self.merge_long(tokens, run..at, to)?,
                };
                run = at;
            }
        }
        tokens.truncate(to);
        Ok(())
    }

    /// What two tokens merge to, or [`NONE`].
    #[inline(always)]
    fn joined(&self, left: u32, right: u32) -> u32 {
        unless_beside(self.pairs.get(left, right))
    }

    #[inline(always)]
    fn scan(&self, run: &mut [u32], joined: &mut [u32; SCAN]) -> usize {
        match run {
            [_, _] if joined[0] == NONE => 2,
            [first, _] => {
                *first = joined[0];
                1
            }
            _ => merge_by_rank::scan(run, joined, |a, b| self.joined(a, b)),
        }
    }

    /// Merges a run, puts what it becomes at `to` and says where it ends.
    #[cold]
    fn merge_long(
        &self,
        tokens: &mut [u32],
        run: Range<usize>,
        to: usize,
    ) -> Result<usize, OutOfMemory> {
        let mut merged = Vec::new();
        let row = tokens[run].iter().copied();
        merge_by_rank::with_heap(row, |a, b| self.joined(a, b), &mut merged)?;
        tokens[to..to + merged.len()].copy_from_slice(&merged);
        Ok(to + merged.len())
    }
}

#[inline(always)]
fn unless_beside(token: u32) -> u32 {
    match token {
        BESIDE => NONE,
        token => token,
    }
}
