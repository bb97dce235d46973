//! Merging a row of tokens by rank: the lowest first, of equals the leftmost. For any row and any merges; what two
//! tokens merge to is the caller's to say, [`NONE`] for nothing.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::vocabulary::pair_map::NONE;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Merges a row by looking for the lowest pair again and again: for short ones. `joined` has, for each token but the
/// last, what it and the next merge to. Returns how many tokens are left, at the beginning of `parts`.
#[inline(always)]
pub(super) fn scan(
    parts: &mut [u32],
    joined: &mut [u32],
    joined_of: impl Fn(u32, u32) -> u32,
) -> usize {
    let mut n = parts.len();
    while n > 1 {
        let mut best = joined[0];
        let mut at = 0;
        for (i, &token) in joined[..n - 1].iter().enumerate() {
            if token < best {
                (best, at) = (token, i);
            }
        }
        if best == NONE {
            break;
        }
        parts[at] = best;
        parts.copy_within(at + 2..n, at + 1);
        joined.copy_within(at + 1..n - 1, at);
        n -= 1;
        if at + 1 < n {
            joined[at] = joined_of(best, parts[at + 1]);
        }
        if at > 0 {
            joined[at - 1] = joined_of(parts[at - 1], best);
        }
    }
    n
}

/// Appends what merging makes of a row, by a heap over a linked list: near-linear.
///
/// # Errors
/// [`OutOfMemory`].
pub(super) fn with_heap(
    row: impl ExactSizeIterator<Item = u32>,
    joined_of: impl Fn(u32, u32) -> u32,
    out: &mut Vec<u32>,
) -> Result<(), OutOfMemory> {
    // NONE once it has been swallowed by the part before it.
    let mut parts = memory::collect(row)?;
    let n = parts.len();
    let mut next: Vec<usize> = memory::collect(1..n + 1)?;
    let mut previous: Vec<usize> = memory::collect((0..n).map(|i| i.wrapping_sub(1)))?;
    let mut heap = BinaryHeap::new();
    for i in 1..n {
        let token = joined_of(parts[i - 1], parts[i]);
        if token != NONE {
            memory::push_heap(&mut heap, Reverse((token, i - 1)))?;
        }
    }
    while let Some(Reverse((token, i))) = heap.pop() {
        let gone = next[i];
        // Out of date if this part or the next has changed since. If it has, and the pair makes the same token
        // all the same, this entry is as good as the other one.
        if parts[i] == NONE || gone >= n || joined_of(parts[i], parts[gone]) != token {
            continue;
        }
        parts[i] = token;
        parts[gone] = NONE;
        let after = next[gone];
        next[i] = after;
        if after < n {
            previous[after] = i;
            let larger = joined_of(token, parts[after]);
            if larger != NONE {
                memory::push_heap(&mut heap, Reverse((larger, i)))?;
            }
        }
        if i > 0 {
            let before = previous[i];
            let larger = joined_of(parts[before], token);
            if larger != NONE {
                memory::push_heap(&mut heap, Reverse((larger, before)))?;
            }
        }
    }
    parts.retain(|&token| token != NONE);
    memory::append(out, &parts)
}
