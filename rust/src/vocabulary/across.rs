//! Merging from a rank on: rows of tokens that all merges below that rank have been applied to.
//!
//! Such tokens are *first tokens* here. Most of them stay as they are, so they are not gone through one by one
//! with a choice at each. A look at all pairs of neighbours, without branches, leaves two bits for each:
//! whether the two stand side by side in some token, and whether they merge. A run of the former that has
//! none of the latter stays as it is. The bits come from a small table of hashes, in which a pair may seem to do
//! either that does not; that only costs time.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::vocabulary::merge_by_rank;
use crate::vocabulary::merge_table::MergeTable;
use crate::vocabulary::pair_map::{NONE, PairMap};
use std::ops::Range;

/// Runs of up to this many tokens are merged by looking for the lowest pair again and again, longer ones with
/// a heap.
const SCAN: usize = 32;

/// Tokens copied at once.
const COPY: usize = 8;

/// The bits of a pair.
const BESIDE: u64 = 1;
const MERGES: u64 = 2;

/// The merges from a rank on; `encode/superwords.rs` says what for. Tokens are named by their index.
#[derive(Debug)]
pub(crate) struct Across {
    pairs: PairMap,
    hints: Hints,
}

/// Two bits for each hash of two neighbouring first tokens.
#[derive(Debug)]
struct Hints {
    words: Vec<u64>,
    shift: u32,
}

impl Hints {
    /// # Errors
    /// [`OutOfMemory`].
    fn new(n_pairs: usize) -> Result<Self, OutOfMemory> {
        // About one hash in 32 is taken. More of them would not stay close to the processor.
        let n = (16 * n_pairs).next_power_of_two().clamp(1 << 10, 1 << 21);
        Ok(Self {
            words: memory::zeroed(n / 32)?,
            shift: u64::BITS - n.trailing_zeros(),
        })
    }

    #[inline(always)]
    fn place(&self, left: u32, right: u32) -> usize {
        let pair = u64::from(left) << u32::BITS | u64::from(right);
        (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn add(&mut self, left: u32, right: u32, bits: u64) {
        let place = self.place(left, right);
        self.words[place / 32] |= bits << (2 * (place % 32));
    }

    #[inline(always)]
    fn of(&self, left: u32, right: u32) -> u64 {
        let place = self.place(left, right);
        let word = self.words.get(place / 32).copied().unwrap_or(0);
        word >> (2 * (place % 32)) & (BESIDE | MERGES)
    }
}

/// Bits of the tokens of a row, each with the one behind it: memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Joints(Vec<Bits>);

#[derive(Clone, Copy, Debug, Default)]
struct Bits {
    beside: u64,
    merges: u64,
}

impl Joints {
    /// Whether a token stands beside the next.
    #[inline(always)]
    fn beside(&self, at: usize) -> bool {
        self.0[at / 64].beside >> (at % 64) & 1 != 0
    }
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
        let mut pairs = PairMap::with_capacity(n - n_first)?;
        let mut hints = Hints::new(n - n_first)?;
        // The first and the last of each token's first tokens.
        let mut outer: Vec<(u32, u32)> = memory::with_capacity(n)?;
        outer.extend((0..n_first as u32).map(|token| (token, token)));
        for (token, origin) in table.origins.iter().enumerate().skip(n_first) {
            let (left, right) = (origin.left, origin.right);
            pairs.insert(left, right, token as u32)?;
            // Side by side in it are those in either part, and where the parts meet.
            let (first, last) = (outer[left as usize], outer[right as usize]);
            let bits = match (first.1, last.0) == (left, right) {
                true => BESIDE | MERGES,
                false => BESIDE,
            };
            hints.add(first.1, last.0, bits);
            outer.push((first.0, last.1));
        }
        Ok(Some(Self { pairs, hints }))
    }

    /// Appends what rows of first tokens, which lie one after the other, are merged to. `ends` is asked of each token
    /// in turn whether a row ends with it.
    ///
    /// # Errors
    /// [`OutOfMemory`]; then nothing is appended.
    #[inline(always)]
    pub(crate) fn merge(
        &self,
        tokens: &mut Vec<u32>,
        ends: impl FnMut(u32) -> bool,
        joints: &mut Joints,
        out: &mut Vec<u32>,
    ) -> Result<(), OutOfMemory> {
        self.look(tokens, ends, joints)?;
        let (from, n) = (out.len(), tokens.len());
        // What is copied may be some tokens too many.
        memory::append_zeros(tokens, COPY)?;
        memory::append_zeros(out, n + COPY)?;
        let merged = self.merge_runs(tokens, n, joints, &mut out[from..]);
        tokens.truncate(n);
        out.truncate(from + *merged.as_ref().unwrap_or(&0));
        merged.map(|_| ())
    }

    /// The bits of all tokens.
    #[inline(always)]
    fn look(
        &self,
        tokens: &[u32],
        mut ends: impl FnMut(u32) -> bool,
        joints: &mut Joints,
    ) -> Result<(), OutOfMemory> {
        joints.0.clear();
        let n_words = tokens.len() / 64 + 1;
        joints.0.try_reserve(n_words)?;
        joints.0.resize(n_words, Bits::default());
        let next = tokens.get(1..).unwrap_or_default();
        let blocks = tokens.chunks(64).zip(next.chunks(64));
        for ((block, next), bits) in blocks.zip(&mut joints.0) {
            let (mut beside, mut merges) = (0, 0);
            for (i, (&left, &right)) in block.iter().zip(next).enumerate() {
                let hint = match ends(left) {
                    true => 0,
                    false => self.hints.of(left, right),
                };
                beside |= (hint & BESIDE) << i;
                merges |= (hint / MERGES) << i;
            }
            *bits = Bits { beside, merges };
        }
        Ok(())
    }

    /// Writes what comes of the first `n` tokens to `out`, and returns how many there are. [`COPY`] tokens more are in
    /// `tokens` and fit in `out`.
    #[inline(always)]
    fn merge_runs(
        &self,
        tokens: &[u32],
        n: usize,
        joints: &Joints,
        out: &mut [u32],
    ) -> Result<usize, OutOfMemory> {
        let (mut at, mut to) = (0, 0);
        for (i, bits) in joints.0.iter().enumerate() {
            let mut merges = bits.merges;
            while merges != 0 {
                let first = 64 * i + merges.trailing_zeros() as usize;
                merges &= merges - 1;
                if first < at {
                    continue;
                }
                let mut start = first;
                while start > at && joints.beside(start - 1) {
                    start -= 1;
                }
                let mut end = first + 2;
                while joints.beside(end - 1) {
                    end += 1;
                }
                to = copy(tokens, at..start, out, to);
                to = self.merge_run(&tokens[start..end], out, to)?;
                at = end;
            }
        }
        Ok(copy(tokens, at..n, out, to))
    }

    /// What two tokens merge to, or [`NONE`].
    #[inline(always)]
    fn joined(&self, left: u32, right: u32) -> u32 {
        self.pairs.get(left, right)
    }

    /// Merges a run of two or more, puts what it becomes at `to` and says where that ends.
    #[inline(always)]
    fn merge_run(&self, run: &[u32], out: &mut [u32], to: usize) -> Result<usize, OutOfMemory> {
        match *run {
            [left, right] => {
                let joined = self.joined(left, right);
                if joined == NONE {
                    // The hint was wrong, which is rare; where to go on is known without waiting for `joined`.
                    return Ok(stay(run, out, to));
                }
                out[to] = joined;
                Ok(to + 1)
            }
            [a, b, c] => {
                let (before, after) = (self.joined(a, b), self.joined(b, c));
                // The left one of equals.
                let (left, right) = match before <= after {
                    true => (before, c),
                    false => (a, after),
                };
                if before.min(after) == NONE {
                    return Ok(stay(run, out, to));
                }
                let joined = self.joined(left, right);
                let is_one = joined != NONE;
                out[to] = if is_one { joined } else { left };
                out[to + 1] = right;
                Ok(to + 2 - usize::from(is_one))
            }
            _ if run.len() <= SCAN => Ok(to + self.scan(run, &mut out[to..])),
            _ => self.merge_long(run, out, to),
        }
    }

    /// Merges a run of up to [`SCAN`] at the beginning of `out`; returns how many tokens it becomes.
    #[inline(never)]
    fn scan(&self, run: &[u32], out: &mut [u32]) -> usize {
        let mut joined = [NONE; SCAN];
        for (pair, joined) in run.windows(2).zip(&mut joined) {
            *joined = self.joined(pair[0], pair[1]);
        }
        let parts = &mut out[..run.len()];
        parts.copy_from_slice(run);
        merge_by_rank::scan(parts, &mut joined, |a, b| self.joined(a, b))
    }

    #[cold]
    fn merge_long(&self, run: &[u32], out: &mut [u32], to: usize) -> Result<usize, OutOfMemory> {
        let mut merged = Vec::new();
        let row = run.iter().copied();
        merge_by_rank::with_heap(row, |a, b| self.joined(a, b), &mut merged)?;
        out[to..to + merged.len()].copy_from_slice(&merged);
        Ok(to + merged.len())
    }
}

/// A run of which nothing merges.
#[cold]
#[inline(never)]
fn stay(run: &[u32], out: &mut [u32], to: usize) -> usize {
    out[to..to + run.len()].copy_from_slice(run);
    to + run.len()
}

/// Copies tokens to `to` and says where they end; what is behind that may be overwritten.
#[inline(always)]
fn copy(tokens: &[u32], range: Range<usize>, out: &mut [u32], to: usize) -> usize {
    let (mut at, mut place) = (range.start, to);
    // Mostly there are fewer than can be copied at once; more than are wanted come cheaper than a choice.
    while let Some(some) = tokens[at..].first_chunk::<COPY>()
        && let Some(room) = out[place..].first_chunk_mut::<COPY>()
    {
        *room = *some;
        (at, place) = (at + COPY, place + COPY);
        if at >= range.end {
            break;
        }
    }
    to + range.len()
}
