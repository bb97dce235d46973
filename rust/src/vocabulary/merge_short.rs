//! Merging pieces of up to 16 bytes, which is most of what a text has not brought before.
//!
//! A merge waits for memory, which says what the new token merges with. So several pieces are merged
//! at a time: each takes a step and asks for what its next step needs, which comes while others take
//! theirs.

use crate::simd::level::{self, Job, Lanes, Level};
use crate::vocabulary::merge_table::{MergeTable, SHORT};
use crate::vocabulary::pair_map::{LIMIT, NONE};

/// Bits for a place in a piece.
const AT: u32 = 4;

/// Pieces merged at a time: as many as it takes for memory to answer meanwhile.
pub(crate) const WAYS: usize = 8;

/// What a piece was merged to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    tokens: [u32; SHORT],
    n: usize,
}

impl Short {
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

impl MergeTable {
    /// The tokens that merging gives for a piece of at most [`SHORT`] bytes.
    pub(crate) fn merge_short(&self, piece: &[u8]) -> Short {
        let mut short = [Short::EMPTY];
        level::run(Merge::<_, 1> {
            table: self,
            piece: |_| piece,
            merged: &mut short,
        });
        short[0]
    }
}

/// The merging of pieces, `piece(i)` to `merged[i]`, `N` at a time.
pub(crate) struct Merge<'a, F, const N: usize> {
    pub(crate) table: &'a MergeTable,
    pub(crate) piece: F,
    pub(crate) merged: &'a mut [Short],
}

impl<'p, F: Fn(usize) -> &'p [u8], const N: usize> Job for Merge<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let Self {
            table,
            piece,
            merged,
        } = self;
        let mut ways = [Way::new(level); N];
        let mut n_begun = merged.len().min(N);
        for (i, way) in ways[..n_begun].iter_mut().enumerate() {
            way.begin(level, table, piece(i), i);
        }
        let mut n_open = n_begun;
        while n_open > 0 {
            let mut i = 0;
            while i < n_open {
                let way = &mut ways[i];
                i += 1;
                if way.goes_on(table) {
                    continue;
                }
                way.tokens(&mut merged[way.piece]);
                if n_begun < merged.len() {
                    way.begin(level, table, piece(n_begun), n_begun);
                    n_begun += 1;
                } else {
                    n_open -= 1;
                    ways[i - 1] = ways[n_open];
                    i -= 1;
                }
            }
        }
    }
}

/// One piece being merged.
#[derive(Clone, Copy)]
struct Way<X> {
    /// What the token at byte i and the next would make, above i; so the least of all is the next merge.
    joined: X,
    /// The token at byte i, if one begins there, which `begins` tells. The last one is what is beside
    /// either end: it merges with nothing.
    parts: [u32; SHORT + 1],
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
        _ => token << AT | at as u32,
    }
}

impl<X: Lanes> Way<X> {
    #[inline(always)]
    fn new<L: Level<Lanes = X>>(level: L) -> Self {
        Self {
            joined: level.lanes([u32::MAX; SHORT]),
            parts: [LIMIT as u32; SHORT + 1],
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
        table: &MergeTable,
        piece: &[u8],
        index: usize,
    ) {
        let n = piece.len().min(SHORT);
        let mut joined = [u32::MAX; SHORT];
        for (i, &byte) in piece[..n].iter().enumerate() {
            self.parts[i] = u32::from(byte);
            if i + 1 < n {
                let pair = usize::from(byte) << 8 | usize::from(piece[i + 1]);
                joined[i] = join(table.bytes[pair], i);
            }
        }
        self.joined = level.lanes(joined);
        self.begins = (1 << n) - 1;
        self.at = SHORT;
        self.piece = index;
    }

    /// Merges once, if there is something to merge.
    #[inline(always)]
    fn goes_on(&mut self, table: &MergeTable) -> bool {
        if self.at < SHORT {
            let token = self.parts[self.at];
            let joined = join(table.pairs.get(token, self.right), self.at);
            self.joined.set(self.at, joined);
            let joined = join(table.pairs.get(self.parts[self.before], token), self.before);
            self.joined.set(self.before, joined);
        }
        let least = self.joined.least();
        if least == u32::MAX {
            return false;
        }
        let (token, i) = (least >> AT, (least & ((1 << AT) - 1)) as usize);
        // Tokens that begin after i: the one that goes, and the next.
        let after = self.begins & (!1 << i);
        let gone = after.trailing_zeros();
        let next = (after & after.wrapping_sub(1)).trailing_zeros() as usize;
        self.begins &= !(1 << gone);
        let before = self.begins & ((1 << i) - 1);
        self.before = (31_u32.wrapping_sub(before.leading_zeros()) as usize).min(SHORT);
        self.parts[i] = token;
        self.joined.set(gone as usize, u32::MAX);
        self.at = i;
        self.right = self.parts[next.min(SHORT)];
        table.pairs.fetch(token, self.right);
        table.pairs.fetch(self.parts[self.before], token);
        true
    }

    #[inline(always)]
    fn tokens(&self, short: &mut Short) {
        let mut begins = self.begins;
        short.n = 0;
        while begins != 0 {
            short.tokens[short.n % SHORT] = self.parts[begins.trailing_zeros() as usize % SHORT];
            short.n += 1;
            begins &= begins - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Ranks;
    use crate::error::Result;
    use crate::simd::level::Least;

    /// As merging one by one does that looks at all bytes each time.
    #[test]
    fn pieces_at_a_time() -> Result<()> {
        let mut state = 1_u64;
        let mut below = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % n
        };
        let mut letters = |n| (0..n).map(|_| b'a' + below(3) as u8).collect::<Vec<u8>>();
        for n_tokens in [0, 3, 20, 100] {
            let mut tokens: Vec<Vec<u8>> = (0..=255).map(|b| vec![b]).collect();
            for i in 0..n_tokens {
                let token = letters(2 + i % 5);
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
            }
            let ranks = Ranks::new((0..).zip(tokens).map(|(id, t)| (t, id)))?;
            let table = &MergeTable::new(&ranks).expect("few tokens");
            for n in 0..40 {
                let pieces: Vec<_> = (0..n).map(|i| letters((7 * i + n) % (SHORT + 1))).collect();
                let piece = |i: usize| &pieces[i][..];
                let mut least = vec![Short::EMPTY; n];
                let mut best = least.clone();
                let merged = &mut least[..];
                Least.run(Merge::<_, WAYS> {
                    table,
                    piece,
                    merged,
                });
                let merged = &mut best[..];
                level::run(Merge::<_, 3> {
                    table,
                    piece,
                    merged,
                });
                for ((piece, least), best) in pieces.iter().zip(&least).zip(&best) {
                    let mut expected = Vec::new();
                    ranks.encode_pretoken(piece, &mut expected);
                    let alone = table.unmerged(piece).map(|id| vec![id]);
                    let tokens = alone.unwrap_or(least.tokens().to_vec());
                    assert_eq!(tokens, expected, "{piece:?}");
                    assert_eq!(least.tokens(), best.tokens(), "{piece:?}");
                }
            }
        }
        Ok(())
    }
}
