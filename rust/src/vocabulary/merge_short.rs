//! Merging pieces of up to 16 bytes, as most pretokens are that no cache has.
//!
//! A merge waits for memory to say what the new token merges with. So several pieces are merged at a
//! time: each takes a step and asks for what its next step needs, which arrives while the others take
//! theirs.

use crate::simd::level::{self, Job, Lanes, Level};
use crate::vocabulary::pair_map::{LIMIT, NONE, PairMap};

/// The most bytes of a piece that is merged here, which includes all that the cache of short pretokens
/// holds.
pub(crate) const SHORT: usize = 16;

/// Bits for a place in a piece.
const PLACE_BITS: u32 = 4;

/// Pieces merged at a time: as many as it takes for memory to answer meanwhile.
pub(crate) const CONCURRENT: usize = 8;

/// What a piece was merged to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergedPiece {
    tokens: [u32; SHORT],
    n: usize,
}

impl MergedPiece {
    pub(crate) const EMPTY: Self = Self {
        tokens: [0; SHORT],
        n: 0,
    };

    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens[..self.n]
    }

    pub(crate) fn tokens_mut(&mut self) -> &mut [u32] {
        &mut self.tokens[..self.n]
    }
}

/// The tokens that merging gives for a piece of at most [`SHORT`] bytes.
pub(crate) fn merge_short(pairs: &PairMap, piece: &[u8]) -> MergedPiece {
    let mut merged = [MergedPiece::EMPTY];
    level::run(MergeShort::<_, 1> {
        pairs,
        piece: |_| piece,
        merged: &mut merged,
    });
    merged[0]
}

/// The merging of pieces, `piece(i)` to `merged[i]`, `N` at a time.
pub(crate) struct MergeShort<'a, F, const N: usize> {
    pub(crate) pairs: &'a PairMap,
    pub(crate) piece: F,
    pub(crate) merged: &'a mut [MergedPiece],
}

impl<'p, F: Fn(usize) -> &'p [u8], const N: usize> Job for MergeShort<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let Self {
            pairs,
            piece,
            merged,
        } = self;
        let mut open = [PieceInProgress::new(level); N];
        let mut n_begun = merged.len().min(N);
        for (i, current) in open[..n_begun].iter_mut().enumerate() {
            current.begin(level, pairs, piece(i), i);
        }
        let mut n_open = n_begun;
        while n_open > 0 {
            let mut i = 0;
            while i < n_open {
                let current = &mut open[i];
                i += 1;
                if current.step(pairs) {
                    continue;
                }
                current.finish(&mut merged[current.piece]);
                if n_begun < merged.len() {
                    current.begin(level, pairs, piece(n_begun), n_begun);
                    n_begun += 1;
                } else {
                    n_open -= 1;
                    open[i - 1] = open[n_open];
                    i -= 1;
                }
            }
        }
    }
}

/// One piece being merged.
#[derive(Clone, Copy)]
struct PieceInProgress<X> {
    /// What the token at byte i and the next would make, above i; so the lowest of all is the next merge.
    joined: X,
    /// The token at byte i, if `begins` says that one begins there. The last entry stands for what lies
    /// beyond either end: it merges with nothing.
    token_at: [u32; SHORT + 1],
    begins: u32,
    /// Where the last token was made, where the one before it begins, and what comes after it.
    at: usize,
    before: usize,
    right: u32,
    piece: usize,
}

#[inline(always)]
fn join(token: u32, at: usize) -> u32 {
    match token {
        NONE => u32::MAX,
        _ => token << PLACE_BITS | at as u32,
    }
}

impl<X: Lanes> PieceInProgress<X> {
    #[inline(always)]
    fn new<L: Level<Lanes = X>>(level: L) -> Self {
        Self {
            joined: level.lanes([u32::MAX; SHORT]),
            token_at: [LIMIT as u32; SHORT + 1],
            begins: 0,
            at: SHORT,
            before: SHORT,
            right: LIMIT as u32,
            piece: 0,
        }
    }

    #[inline(always)]
    fn begin<L: Level<Lanes = X>>(
        &mut self,
        level: L,
        pairs: &PairMap,
        piece: &[u8],
        index: usize,
    ) {
        let n = piece.len().min(SHORT);
        let mut joined = [u32::MAX; SHORT];
        for (i, &byte) in piece[..n].iter().enumerate() {
            self.token_at[i] = u32::from(byte);
            if i + 1 < n {
                joined[i] = join(pairs.of_bytes(byte, piece[i + 1]), i);
            }
        }
        self.joined = level.lanes(joined);
        self.begins = (1 << n) - 1;
        self.at = SHORT;
        self.piece = index;
    }

    /// Merges once, if there is something to merge.
    #[inline(always)]
    fn step(&mut self, pairs: &PairMap) -> bool {
        if self.at < SHORT {
            let token = self.token_at[self.at];
            let joined = join(pairs.get(token, self.right), self.at);
            self.joined.set(self.at, joined);
            let joined = join(pairs.get(self.token_at[self.before], token), self.before);
            self.joined.set(self.before, joined);
        }
        let lowest = self.joined.min();
        if lowest == u32::MAX {
            return false;
        }
        let (token, i) = (
            lowest >> PLACE_BITS,
            (lowest & ((1 << PLACE_BITS) - 1)) as usize,
        );
        // Tokens that begin after i: the one that goes, and the next.
        let after = self.begins & (!1 << i);
        let gone = after.trailing_zeros();
        let next = (after & after.wrapping_sub(1)).trailing_zeros() as usize;
        self.begins &= !(1 << gone);
        let before = self.begins & ((1 << i) - 1);
        self.before = (31_u32.wrapping_sub(before.leading_zeros()) as usize).min(SHORT);
        self.token_at[i] = token;
        self.joined.set(gone as usize, u32::MAX);
        self.at = i;
        self.right = self.token_at[next.min(SHORT)];
        pairs.fetch(token, self.right);
        pairs.fetch(self.token_at[self.before], token);
        true
    }

    #[inline(always)]
    fn finish(&self, merged: &mut MergedPiece) {
        let mut begins = self.begins;
        merged.n = 0;
        while begins != 0 {
            merged.tokens[merged.n % SHORT] =
                self.token_at[begins.trailing_zeros() as usize % SHORT];
            merged.n += 1;
            begins &= begins - 1;
        }
    }
}
