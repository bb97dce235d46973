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
use crate::system::beside::beside;
use crate::system::memory;
use crate::vocabulary::merge_by_rank;
use crate::vocabulary::merge_short::{CONCURRENT, MergeShort, MergedPiece, SHORT, merge_short};
use crate::vocabulary::pair_map::{LIMIT, Merges, NONE, Origin, PairMap};
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

/// With so many tokens the trie is made in a thread of its own, in two milliseconds or more.
const WORTH_A_THREAD: usize = 1 << 14;

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

/// What tokens begin with.
struct Prefixes {
    trie: Trie,
    /// See [`MergeTable::shorter`].
    shorter: Vec<u32>,
}

impl Prefixes {
    /// Of the tokens that may be merged.
    fn new(ranks: &Ranks) -> Result<Self, OutOfMemory> {
        let n_symbols = ranks.symbols().len();
        let n = ranks.len().min(ranks.n_merged()).max(n_symbols);
        let mut shorter = memory::filled(NONE, ranks.len())?;
        let trie = Trie::new(
            n,
            |i| ranks.at(i),
            |token, other| {
                // The first byte of a character that is a token is never alone.
                if token as usize >= n_symbols {
                    shorter[token as usize] = other;
                }
            },
        )?;
        Ok(Self { trie, shorter })
    }
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
        // Neither needs anything of the other, and they take about as long.
        let (table, prefixes) = match n >= WORTH_A_THREAD {
            true => beside(|| Self::without_trie(ranks), || Prefixes::new(ranks)),
            false => (Self::without_trie(ranks), Prefixes::new(ranks)),
        };
        let (mut table, prefixes) = (table?, prefixes?);
        (table.trie, table.shorter) = (prefixes.trie, prefixes.shorter);
        table.leave_out_unmerged(ranks);
        Ok(Some(table))
    }

    fn without_trie(ranks: &Ranks) -> Result<Self, OutOfMemory> {
        let n = ranks.len();
        let n_symbols = ranks.symbols().len();
        let known = ranks.take_merges();
        let is_known = known.is_some();
        let merges = match known {
            Some(merges) => merges,
            None => Merges::new(n)?,
        };
        let mut table = Self {
            symbols: ranks.symbols().clone(),
            n_symbols: n_symbols as u32,
            pairs: merges.pairs,
            trie: Trie::new(0, |_| &[], |_, _| ())?,
            origins: merges.origins,
            shorter: Vec::new(),
            len: memory::collect((0..n).map(|i| ranks.at(i).len() as u32))?,
            unmerged: FxHashMap::default(),
            ordered: true,
        };
        if !is_known {
            table.find_merges(ranks)?;
        }
        for index in n_symbols..n {
            if table.origins[index].parts().is_none() {
                table.unmerged.try_reserve(1)?;
                let token = memory::boxed_slice(ranks.at(index))?;
                table.unmerged.insert(token, ranks.ids()[index]);
            }
        }
        Ok(table)
    }

    /// Finds what each token is merged from.
    fn find_merges(&mut self, ranks: &Ranks) -> Result<(), OutOfMemory> {
        let n_symbols = self.n_symbols as usize;
        let mut parts = Vec::new();
        let mut ahead = [MergedPiece::EMPTY; AHEAD];
        for index in n_symbols..ranks.len().min(ranks.n_merged()) {
            let token = ranks.at(index);
            // Only tokens of lower rank are in the table by now.
            parts.clear();
            let place = (index - n_symbols) % AHEAD;
            if place == 0 && self.symbols.are_bytes() {
                self.merge_ahead(ranks, index, &mut ahead);
            }
            match ahead[place].tokens() {
                two @ [_, _] => memory::append(&mut parts, two)?,
                _ => self.merge_by_rank(token, &mut parts)?,
            }
            let two = match parts[..] {
                [left, right] => Some((left, right)),
                // Seldom: the token is out of reach, or made of parts of higher rank.
                _ => ranks.last_merge(token)?,
            };
            if let Some((left, right)) = two {
                self.ordered &= parts.len() == 2;
                Origin::join(&mut self.origins, (left, right), index as u32);
                self.pairs.insert(left, right, index as u32)?;
            }
        }
        Ok(())
    }

    /// Takes the tokens that are not merged out of the trie.
    fn leave_out_unmerged(&mut self, ranks: &Ranks) {
        if self.unmerged.is_empty() {
            return;
        }
        let n_symbols = self.n_symbols as usize;
        let is_left_out = |origins: &[Origin], token: u32| {
            token as usize >= n_symbols && origins[token as usize].parts().is_none()
        };
        // Those behind have never been in it.
        for index in n_symbols..ranks.len().min(ranks.n_merged()) {
            if is_left_out(&self.origins, index as u32) {
                self.trie.remove(ranks.at(index));
            }
            let mut shorter = self.shorter[index];
            while shorter != NONE && is_left_out(&self.origins, shorter) {
                shorter = self.shorter[shorter as usize];
            }
            self.shorter[index] = shorter;
        }
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

    /// Tokens that no merge makes are in neither the trie nor the chains of prefixes.
    #[test]
    fn prefixes_are_merged_tokens() -> Result<()> {
        let mut state = 5_u64;
        let mut below = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % n
        };
        let mut letters = |n| (0..n).map(|_| b'a' + below(2) as u8).collect::<Vec<u8>>();
        for case in 0..60 {
            let mut tokens: Vec<Vec<u8>> = (0..=255).map(|b| vec![b]).collect();
            for i in 0..40 {
                let token = letters(2 + (i + case) % 12);
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
            }
            let n_merged = tokens.len() - 256 - case % 3 * 9;
            let tokens = tokens.into_iter().zip(0..).collect();
            let ranks = Ranks::ordered(tokens, n_merged)?;
            let table = MergeTable::new(&ranks)?.expect("few tokens");
            let made = |i: u32| i < 256 || table.origins[i as usize].parts().is_some();
            let longest = |text: &[u8], other: u32| {
                let all = (0..ranks.len() as u32).filter(|&i| i != other && made(i));
                let prefixes = all.filter(|&i| text.starts_with(ranks.at(i as usize)));
                prefixes.max_by_key(|&i| ranks.at(i as usize).len())
            };
            assert!(!table.gives_all());
            for i in 256..ranks.len() as u32 {
                let token = ranks.at(i as usize);
                let text = [token, &letters(3)].concat();
                let found = table.trie.longest(&text).0;
                assert_eq!(Some(found), longest(&text, NONE), "{text:?}");
                assert_eq!(table.trie.longest(token).0 == i, made(i), "{token:?}");
                if made(i) {
                    let shorter = table.shorter[i as usize];
                    assert_eq!(Some(shorter), longest(token, i), "{token:?}");
                }
            }
        }
        Ok(())
    }
}
