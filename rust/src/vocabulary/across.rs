//! Merging from a rank on: rows of tokens that all merges below that rank have been applied to.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::vocabulary::merge_table::MergeTable;
use crate::vocabulary::pair_map::{LIMIT, NONE, PairMap};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Stands for two first tokens that stand side by side in some token, but do not merge themselves.
const BESIDE: u32 = LIMIT as u32 - 1;

/// Rows of up to this many tokens are merged by looking for the lowest pair again and again, longer ones with
/// a heap.
const SCAN: usize = 32;

/// The merges from a rank on; `encode/superwords.rs` says what for. Tokens are named by their index.
#[derive(Debug)]
pub(crate) struct Across {
    pairs: PairMap,
    len: Vec<u32>,
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
        Ok(Some(Self {
            pairs,
            len: memory::collect(table.len.iter().copied())?,
        }))
    }

    /// The length of a token in bytes.
    #[inline(always)]
    pub(crate) fn len(&self, token: u32) -> usize {
        self.len[token as usize] as usize
    }

    /// Appends what merging makes of a row of first tokens.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn merge(&self, row: &[u32], out: &mut Vec<u32>) -> Result<(), OutOfMemory> {
        out.try_reserve(row.len())?;
        let mut from = 0;
        for at in 1..=row.len() {
            if at < row.len() && self.pairs.get(row[at - 1], row[at]) != NONE {
                continue;
            }
            match &row[from..at] {
                [alone] => out.push(*alone),
                run if run.len() <= SCAN => self.scan(run, out),
                run => self.merge_long(run, out)?,
            }
            from = at;
        }
        Ok(())
    }

    /// What two tokens merge to, or [`NONE`] or more.
    #[inline(always)]
    fn joined(&self, left: u32, right: u32) -> u32 {
        self.pairs.get(left, right)
    }

    fn scan(&self, run: &[u32], out: &mut Vec<u32>) {
        let mut parts = [0; SCAN];
        // What part i and the next merge to.
        let mut joined = [NONE; SCAN];
        let mut n = run.len();
        parts[..n].copy_from_slice(run);
        for i in 1..n {
            joined[i - 1] = self.joined(run[i - 1], run[i]);
        }
        while n > 1 {
            let (mut best, mut at) = (BESIDE, 0);
            for (i, &token) in joined[..n - 1].iter().enumerate() {
                if token < best {
                    (best, at) = (token, i);
                }
            }
            if best == BESIDE {
                break;
            }
            parts[at] = best;
            parts.copy_within(at + 2..n, at + 1);
            joined.copy_within(at + 1..n, at);
            n -= 1;
            if at + 1 < n {
                joined[at] = self.joined(best, parts[at + 1]);
            }
            if at > 0 {
                joined[at - 1] = self.joined(parts[at - 1], best);
            }
        }
        out.extend_from_slice(&parts[..n]);
    }

    /// A heap over a linked list: near-linear.
    fn merge_long(&self, run: &[u32], out: &mut Vec<u32>) -> Result<(), OutOfMemory> {
        let n = run.len();
        // NONE once it has been swallowed.
        let mut parts = memory::collect(run.iter().copied())?;
        let mut next: Vec<usize> = memory::collect(1..n + 1)?;
        let mut previous: Vec<usize> = memory::collect((0..n).map(|i| i.wrapping_sub(1)))?;
        let mut heap = BinaryHeap::new();
        for i in 1..n {
            let token = self.joined(run[i - 1], run[i]);
            if token < BESIDE {
                memory::push_heap(&mut heap, Reverse((token, i - 1)))?;
            }
        }
        while let Some(Reverse((token, i))) = heap.pop() {
            let gone = next[i];
            // Out of date if either part has changed since.
            if parts[i] == NONE || gone >= n || self.joined(parts[i], parts[gone]) != token {
                continue;
            }
            parts[i] = token;
            parts[gone] = NONE;
            let after = next[gone];
            next[i] = after;
            if after < n {
                previous[after] = i;
                let larger = self.joined(token, parts[after]);
                if larger < BESIDE {
                    memory::push_heap(&mut heap, Reverse((larger, i)))?;
                }
            }
            if i > 0 {
                let before = previous[i];
                let larger = self.joined(parts[before], token);
                if larger < BESIDE {
                    memory::push_heap(&mut heap, Reverse((larger, before)))?;
                }
            }
        }
        parts.retain(|&token| token != NONE);
        memory::append(out, &parts)
    }
}
