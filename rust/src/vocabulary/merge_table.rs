//! A vocabulary prepared for encoding: what merges to what, what each token was merged from, and a
//! trie of the tokens.
//!
//! Tokens are named by their index in [`Ranks`]: single bytes are themselves, symbols that are characters follow,
//! and all others are in order of rank, so that an index is also a priority.
//!
//! **Why pairs suffice.** While a pretoken is merged, take any token T whose bytes are just now two
//! adjacent parts. Nothing has crossed T's ends, so inside it happened what happens when T's bytes
//! are merged alone, lowest rank first, leftmost of equals. So the two parts are the same wherever T
//! comes about, and a map from pairs of tokens to tokens says all that the bytes could say. A
//! token that its own bytes do not merge to comes about nowhere; it is found only as a whole pretoken
//! ([`MergeTable::unmerged`]).

use crate::error::OutOfMemory;
use crate::simd::level;
use crate::system::memory;
use crate::vocabulary::merge_by_rank;
use crate::vocabulary::merge_short::{CONCURRENT, MergeShort, MergedPiece, SHORT, merge_short};
use crate::vocabulary::pair_map::{LIMIT, NONE, PairMap};
use crate::vocabulary::ranks::Ranks;
use crate::vocabulary::symbols::Symbols;
use crate::vocabulary::trie::Trie;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Pieces of up to this many bytes are merged by looking for the lowest pair again and again, longer
/// ones with a heap.
const SCAN: usize = 64;

/// Tokens whose parts are looked for together when the table is made.
const AHEAD: usize = 32;

/// What a token was merged from, and a hint at what it merges with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Symbols: themselves.
    pub left: u32,
    /// Symbols: [`NONE`].
    pub right: u32,
    /// One bit for each token that merges with this one on its right, or more tokens than one.
    followers: u32,
    /// The same for tokens on its left.
    leaders: u32,
}

/// A token's bit in [`Origin::followers`] and [`Origin::leaders`].
#[inline(always)]
fn bit(token: u32) -> u32 {
    1 << (token.wrapping_mul(0x9e37_79b9) >> 27)
}

impl Origin {
    /// That of a single byte, or of a token of which nothing is known yet.
    pub(crate) fn of_byte(token: u32) -> Self {
        Self {
            left: token,
            right: NONE,
            followers: 0,
            leaders: 0,
        }
    }

    /// Notes what a token is merged from.
    pub(crate) fn join(origins: &mut [Self], (left, right): (u32, u32), token: u32) {
        origins[left as usize].followers |= bit(right);
        origins[right as usize].leaders |= bit(left);
        let origin = &mut origins[token as usize];
        (origin.left, origin.right) = (left, right);
    }

    /// The two tokens, if it was merged from two.
    pub(crate) fn parts(&self) -> Option<(u32, u32)> {
        (self.right != NONE).then_some((self.left, self.right))
    }

    /// False if `left` and `right`, whose origins these are, do not merge; true for few of the pairs
    /// that do not. Most pairs do not, and a look-up in `pairs` is often a miss in all caches, while
    /// origins are being read anyway.
    #[inline(always)]
    pub(crate) fn may_merge(left: (u32, &Origin), right: (u32, &Origin)) -> bool {
        left.1.followers & bit(right.0) != 0 && right.1.leaders & bit(left.0) != 0
    }
}

/// See the module.
#[derive(Debug)]
pub struct MergeTable {
    pub(crate) symbols: Arc<Symbols>,
    /// Tokens from this index on are merged.
    pub(crate) n_symbols: u32,
    pub(crate) pairs: PairMap,
    /// All tokens but those in `unmerged`.
    pub(crate) trie: Trie,
    pub(crate) origins: Vec<Origin>,
    /// The longest token that each token begins with, itself apart; symbols: [`NONE`].
    pub(crate) shorter: Vec<u32>,
    pub(crate) len: Vec<u32>,
    /// Tokens that no merging leads to, with their ids.
    unmerged: FxHashMap<Box<[u8]>, u32>,
    /// Whether all merged tokens come from tokens of lower rank, as after training. Then a list of
    /// tokens is what merging gives if each two neighbours are (`merge_longest.rs`).
    pub(crate) ordered: bool,
}

impl MergeTable {
    /// The table of a vocabulary; `None` if it has more than about two million tokens.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(ranks: &Ranks) -> Result<Option<Self>, OutOfMemory> {
        let n = ranks.len();
        if n >= LIMIT {
            return Ok(None);
        }
        let n_symbols = ranks.symbols().len();
        let mut table = Self {
            symbols: ranks.symbols().clone(),
            n_symbols: n_symbols as u32,
            pairs: PairMap::with_capacity(n)?,
            trie: Trie::new(&[], |_, _| ())?,
            origins: memory::collect((0..n as u32).map(Origin::of_byte))?,
            shorter: memory::filled(NONE, n)?,
            len: memory::collect((0..n).map(|i| ranks.at(i).len() as u32))?,
            unmerged: FxHashMap::default(),
            ordered: true,
        };
        let mut parts = Vec::new();
        let mut ahead = [MergedPiece::EMPTY; AHEAD];
        for index in n_symbols..n {
            let token = ranks.at(index);
            // Only tokens of lower rank are in the table by now.
            parts.clear();
            let is_merged = index < ranks.n_merged();
            if is_merged {
                let place = (index - n_symbols) % AHEAD;
                if place == 0 && table.symbols.are_bytes() {
                    table.merge_ahead(ranks, index, &mut ahead);
                }
                match ahead[place].tokens() {
                    two @ [_, _] => memory::append(&mut parts, two)?,
                    _ => table.merge_by_rank(token, &mut parts)?,
                }
            }
            let two = match parts[..] {
                [] => None,
                [left, right] => Some((left, right)),
                // Seldom: the token is out of reach, or made of parts of higher rank.
                _ => ranks.last_merge(token)?,
            };
            if let Some((left, right)) = two {
                table.ordered &= parts.len() == 2;
                Origin::join(&mut table.origins, (left, right), index as u32);
                table.pairs.insert(left, right, index as u32)?;
            } else {
                table.unmerged.try_reserve(1)?;
                let token = memory::boxed_slice(token)?;
                table.unmerged.insert(token, ranks.ids()[index]);
            }
        }
        let reached = |&i: &usize| i < n_symbols || table.origins[i].right != NONE;
        let mut tokens = memory::with_capacity(n)?;
        tokens.extend((0..n).filter(reached).map(|i| (ranks.at(i), i as u32)));
        let shorter = &mut table.shorter;
        table.trie = Trie::new(&tokens, |token, other| {
            // The first byte of a character that is a token is never alone.
            if token as usize >= n_symbols {
                shorter[token as usize] = other;
            }
        })?;
        Ok(Some(table))
    }

    /// Merges the short ones of the tokens from `index` on with what is in the table so far, several at a
    /// time, which takes half as long as one by one.
    ///
    /// Where this leaves two parts, so do the tokens of lower rank that are still to come: as their ranks
    /// are above all in the table, none of them merges anything before these two are all that is left.
    fn merge_ahead(&self, ranks: &Ranks, index: usize, merged: &mut [MergedPiece; AHEAD]) {
        let n = (ranks.len() - index).min(AHEAD);
        let merged = &mut merged[..n];
        let piece = |i: usize| {
            let token = ranks.at(index + i);
            if token.len() <= SHORT { token } else { &[] }
        };
        level::run(MergeShort::<_, CONCURRENT> {
            pairs: &self.pairs,
            piece,
            merged,
        });
    }

    /// Takes only what merging gives: a pretoken that is a token is not that token by itself.
    pub(crate) fn forget_unmerged(&mut self) {
        self.unmerged = FxHashMap::default();
    }

    /// Whether merging gives every token from its own bytes.
    pub(crate) fn gives_all(&self) -> bool {
        self.unmerged.is_empty()
    }

    /// The id of a pretoken that is a token which merging would not give.
    #[inline]
    pub(crate) fn unmerged(&self, pretoken: &[u8]) -> Option<u32> {
        if self.unmerged.is_empty() {
            return None;
        }
        self.unmerged.get(pretoken).copied()
    }

    /// Appends the tokens that merging gives, lowest rank first, leftmost of equals. For every table;
    /// near-linear.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn merge_by_rank(
        &self,
        piece: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), OutOfMemory> {
        if piece.len() <= SHORT && self.symbols.are_bytes() {
            memory::append(out, merge_short(&self.pairs, piece).tokens())
        } else if piece.len() <= SCAN {
            self.merge_scanning(piece, out)
        } else {
            let joined = |left, right| self.pairs.get(left, right);
            if self.symbols.are_bytes() {
                return merge_by_rank::with_heap(piece.iter().map(|&b| u32::from(b)), joined, out);
            }
            let mut row = memory::with_capacity(piece.len())?;
            self.symbols.each(piece, |_, symbol| row.push(symbol));
            merge_by_rank::with_heap(row.into_iter(), joined, out)
        }
    }

    fn merge_scanning(&self, piece: &[u8], out: &mut Vec<u32>) -> Result<(), OutOfMemory> {
        let mut parts = [0; SCAN];
        let mut joined = [NONE; SCAN];
        let mut n = 0;
        self.symbols.each(piece, |_, symbol| {
            parts[n] = symbol;
            n += 1;
        });
        let parts = &mut parts[..n];
        for (joined, pair) in joined.iter_mut().zip(parts.windows(2)) {
            *joined = self.pairs.get(pair[0], pair[1]);
        }
        let n = merge_by_rank::scan(parts, &mut joined, |a, b| self.pairs.get(a, b));
        memory::append(out, &parts[..n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::simd::level::{Baseline, Level as _};

    /// Several pieces at a time give what the definition gives for each.
    #[test]
    fn short_pieces_at_a_time() -> Result<()> {
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
            let table = &MergeTable::new(&ranks)?.expect("few tokens");
            for n in 0..40 {
                let pieces: Vec<_> = (0..n).map(|i| letters((7 * i + n) % (SHORT + 1))).collect();
                let piece = |i: usize| &pieces[i][..];
                let mut baseline = vec![MergedPiece::EMPTY; n];
                let mut best = baseline.clone();
                let merged = &mut baseline[..];
                Baseline.run(MergeShort::<_, CONCURRENT> {
                    pairs: &table.pairs,
                    piece,
                    merged,
                });
                let merged = &mut best[..];
                level::run(MergeShort::<_, 3> {
                    pairs: &table.pairs,
                    piece,
                    merged,
                });
                for ((piece, baseline), best) in pieces.iter().zip(&baseline).zip(&best) {
                    let mut expected = Vec::new();
                    ranks.encode_pretoken(piece, &mut expected)?;
                    let alone = table.unmerged(piece).map(|id| vec![id]);
                    let tokens = alone.unwrap_or(baseline.tokens().to_vec());
                    assert_eq!(tokens, expected, "{piece:?}");
                    assert_eq!(baseline.tokens(), best.tokens(), "{piece:?}");
                }
            }
        }
        Ok(())
    }
}
