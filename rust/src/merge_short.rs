//! Merging pieces of up to 16 bytes, which is most of what a text has not brought before.
//!
//! Everything is in registers or close to them but for the table of pairs, of which small words need
//! what common words have brought into the caches.

use crate::cpu::{self, Job, Lanes, Level};
use crate::merge_table::{MergeTable, SHORT};
use crate::pair_map::{LIMIT, NONE};

/// Bits for a place in a piece.
const AT: u32 = 4;

/// What a piece was merged to.
pub(crate) struct Short {
    tokens: [u32; SHORT],
    n: usize,
}

impl Short {
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens[..self.n]
    }
}

impl MergeTable {
    /// The tokens that merging gives for a piece of at most [`SHORT`] bytes.
    pub(crate) fn merge_short(&self, piece: &[u8]) -> Short {
        cpu::run(Merge { table: self, piece })
    }
}

struct Merge<'a> {
    table: &'a MergeTable,
    piece: &'a [u8],
}

impl Job for Merge<'_> {
    type Output = Short;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Short {
        let Self { table, piece } = self;
        let n = piece.len().min(SHORT);
        // The token at byte i, if one begins there, which `begins` tells. The last one is what is
        // beside either end: it merges with nothing.
        let mut parts = [LIMIT as u32; SHORT + 1];
        let mut begins: u32 = (1 << n) - 1;
        // What that one and the next would make, above i; so the least of all is the next merge.
        let mut joined = [u32::MAX; SHORT];
        let join = |token: u32, at: usize| match token {
            NONE => u32::MAX,
            _ => token << AT | at as u32,
        };
        for (i, &byte) in piece[..n].iter().enumerate() {
            parts[i] = u32::from(byte);
            if i + 1 < n {
                let pair = usize::from(byte) << 8 | usize::from(piece[i + 1]);
                joined[i] = join(table.bytes[pair], i);
            }
        }
        let mut joined = level.lanes(joined);
        loop {
            let least = joined.least();
            if least == u32::MAX {
                break;
            }
            let (token, i) = (least >> AT, (least & ((1 << AT) - 1)) as usize);
            // Tokens that begin after i: the one that goes, and the next.
            let after = begins & (!1 << i);
            let gone = after.trailing_zeros();
            let next = (after & after.wrapping_sub(1)).trailing_zeros() as usize;
            begins &= !(1 << gone);
            let before = begins & ((1 << i) - 1);
            let before = (31_u32.wrapping_sub(before.leading_zeros()) as usize).min(SHORT);
            parts[i] = token;
            joined.set(gone as usize, u32::MAX);
            let right = parts[next.min(SHORT)];
            joined.set(i, join(table.pairs.get(token, right), i));
            joined.set(before, join(table.pairs.get(parts[before], token), before));
        }
        let mut short = Short {
            tokens: [0; SHORT],
            n: 0,
        };
        while begins != 0 {
            short.tokens[short.n % SHORT] = parts[begins.trailing_zeros() as usize % SHORT];
            short.n += 1;
            begins &= begins - 1;
        }
        short
    }
}
