//! Encoding a pretoken from left to right, by longest matches that are checked and taken back.
//!
//! With an ordered vocabulary ([`MergeTable::ordered`]) a list of tokens is what merging gives if and
//! only if each two neighbours are what merging gives for the two of them (a border that merging
//! crosses is crossed by a token that spans it, and the first such merge looks the same from the two
//! tokens alone; the rust-gems `bpe` crate works this out at length). So tokens can be taken from the left:
//! the longest that the text goes on with and that may stand beside the one before; if none may, the
//! one before was wrong and a shorter one takes its place. Every prefix of the text has one
//! encoding, so a place that turned out to lead nowhere is marked and never tried again, which makes
//! all of it linear in the text.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::vocabulary::merge_short::SHORT;
use crate::vocabulary::merge_table::MergeTable;
use crate::vocabulary::pair_map::{NONE, Origin, PairMap};

/// Working memory.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Bit `i`: no encoding of the text's first `i` bytes leads on.
    dead: Vec<u64>,
}

/// Working memory beyond this many words is given back.
const KEEP: usize = 1 << 14;

impl MergeTable {
    /// Appends the tokens of a pretoken that is not one of [`MergeTable::unmerged`].
    #[inline]
    pub(crate) fn merge(
        &self,
        piece: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<(), OutOfMemory> {
        if self.ordered && piece.len() > SHORT {
            self.merge_from_left(piece, scratch, out)
        } else {
            self.merge_by_rank(piece, out)
        }
    }

    fn merge_from_left(
        &self,
        piece: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<(), OutOfMemory> {
        let base = out.len();
        scratch.dead.clear();
        memory::resize(&mut scratch.dead, piece.len() / 64 + 1, 0)?;
        let mut at = 0;
        while at < piece.len() {
            let (mut token, mut len, _) = self.trie.longest(&piece[at..]);
            // Tries ever shorter tokens here, and where all fail, in place of the token before.
            loop {
                let last = if out.len() > base {
                    out.last().copied()
                } else {
                    None
                };
                while token != NONE {
                    let end = at + len;
                    let alive = scratch.dead[end / 64] >> (end % 64) & 1 == 0;
                    if alive
                        && last.is_none_or(|last| {
                            is_valid_pair(&self.pairs, &self.origins, self.n_symbols, last, token)
                        })
                    {
                        break;
                    }
                    (token, len) = self.shorter(token);
                }
                if token != NONE {
                    memory::push(out, token)?;
                    at += len;
                    if last == Some(token) {
                        at = self.repeat(piece, at, token, &scratch.dead, out)?;
                    }
                    break;
                }
                scratch.dead[at / 64] |= 1 << (at % 64);
                let Some(wrong) = last else {
                    // Every text has an encoding, so this is not reached.
                    return self.merge_by_rank(piece, out);
                };
                out.pop();
                at -= self.len[wrong as usize] as usize;
                (token, len) = self.shorter(wrong);
            }
        }
        if scratch.dead.len() > KEEP {
            scratch.dead = Vec::new();
        }
        Ok(())
    }

    /// In a run of anything a token that ends at `at`, and may stand beside itself, comes again and again,
    /// which is seen without walking down the trie each time. Appends it as often as that is seen, and
    /// returns where it ends then.
    #[inline(never)]
    fn repeat(
        &self,
        piece: &[u8],
        mut at: usize,
        token: u32,
        dead: &[u64],
        out: &mut Vec<u32>,
    ) -> Result<usize, OutOfMemory> {
        let last = &piece[at - self.len[token as usize] as usize..];
        let (longest, len, seen) = self.trie.longest(last);
        // Where the same bytes are seen, it is the longest again.
        let Some(bytes) = last.get(..seen).filter(|_| longest == token) else {
            return Ok(at);
        };
        while piece[at..].starts_with(bytes) {
            let end = at + len;
            if dead[end / 64] >> (end % 64) & 1 != 0 {
                break;
            }
            memory::push(out, token)?;
            at = end;
        }
        Ok(at)
    }

    /// The longest token that another one begins with, and its length.
    #[inline]
    fn shorter(&self, token: u32) -> (u32, usize) {
        let shorter = self.shorter[token as usize];
        let len = self.len.get(shorter as usize);
        (shorter, len.map_or(0, |&len| len as usize))
    }
}

/// Whether merging the bytes of `left` and `right` together gives `left` and `right`.
///
/// It undoes the merges that made them, the last first, and looks at each moment whether the two parts
/// at the border would have merged before the next thing that did happen.
#[inline(always)]
pub(crate) fn is_valid_pair(
    pairs: &PairMap,
    origins: &[Origin],
    n_symbols: u32,
    mut left: u32,
    mut right: u32,
) -> bool {
    let origin = |token: u32| &origins[token as usize];
    let (mut of_left, mut of_right) = (origin(left), origin(right));
    let mut limit = u32::MAX;
    loop {
        // NONE is not below any limit.
        if Origin::may_merge((left, of_left), (right, of_right)) && pairs.get(left, right) < limit {
            return false;
        }
        // Of equal merges the left one came first, so the right one is undone first.
        if left > right && left >= n_symbols {
            limit = left;
            left = of_left.right;
            of_left = origin(left);
        } else if right >= n_symbols {
            // The border's pair is left of this merge: it would win also when equal.
            limit = right + 1;
            right = of_right.left;
            of_right = origin(right);
        } else {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::ranks::Ranks;

    /// Runs of all lengths, of what is one token, many or none, in turns, against merging with a heap.
    #[test]
    fn runs_are_what_merging_gives() -> crate::error::Result<()> {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        for text in [
            "aa", "aaaa", "aaaaaaaa", "ab", "abab", "ababab", "ba", "bab", "bb", "bbb", "ca",
            "caa", "cc", "cccc", "ccccc",
        ] {
            tokens.push(text.into());
        }
        let ranks = Ranks::new((0..).zip(tokens).map(|(id, token)| (token, id)))?;
        let table = MergeTable::new(&ranks)?.expect("a small vocabulary");
        assert!(table.ordered);
        let mut scratch = Scratch::default();
        let units = [
            "a", "b", "c", "ab", "ba", "bab", "ca", "caa", "d", "da", "abc",
        ];
        for unit in units {
            for n in 0..60 {
                for other in ["", "a", "b", "c", "ba", "d"] {
                    for text in [
                        [&unit.repeat(n), other, "aaaabbbbccccabababab"].concat(),
                        ["ddddddddddddddd", other, &unit.repeat(n + 17), other].concat(),
                        [&unit.repeat(n + 17), other, &unit.repeat(50 - n / 2)].concat(),
                    ] {
                        // What comes before is another pretoken's, though it would merge with this one.
                        let before = u32::from(text.as_bytes()[0]);
                        let (mut found, mut expected) = (vec![before], vec![before]);
                        table.merge_from_left(text.as_bytes(), &mut scratch, &mut found)?;
                        table.merge_by_rank(text.as_bytes(), &mut expected)?;
                        assert_eq!(found, expected, "{text}");
                    }
                }
            }
        }
        Ok(())
    }

    /// With characters to begin with, all ways of merging against the definition, and no byte of a character
    /// that is a token is ever alone.
    #[test]
    fn characters_are_never_taken_apart() -> crate::error::Result<()> {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        let merged = [" é", "中文", "é中", "中文文", "a文", "éé", "éééé", " 中文"];
        let chars = ["é", "中", "文", "😀"];
        for text in chars.iter().chain(&merged) {
            tokens.push(text.as_bytes().to_vec());
        }
        let ranks = Ranks::of_characters(tokens.into_iter().zip(0..).collect(), usize::MAX - 256)?;
        let table = MergeTable::new(&ranks)?.expect("a small vocabulary");
        assert!(table.ordered && table.n_symbols == 260);
        let units = ["é", "中", "文", "😀", "ê", "丯", "a", " ", "中文", "éé"];
        let mut scratch = Scratch::default();
        let mut state = 1_u64;
        for n in 0..3000 {
            let mut text = String::new();
            for _ in 0..n % 41 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push_str(units[(state >> 33) as usize % units.len()]);
            }
            let (mut left, mut by_rank, mut slow) = (Vec::new(), Vec::new(), Vec::new());
            table.merge_from_left(text.as_bytes(), &mut scratch, &mut left)?;
            table.merge_by_rank(text.as_bytes(), &mut by_rank)?;
            ranks.encode_pretoken(text.as_bytes(), &mut slow)?;
            assert_eq!(left, by_rank, "{text}");
            // The ids are the indices.
            assert_eq!(by_rank, slow, "{text}");
            let mut at = 0;
            for &token in &slow {
                let alone = token > 127 && token < 256;
                let whole = chars
                    .iter()
                    .any(|c| text[..].get(at..).is_some_and(|t| t.starts_with(c)));
                assert!(!(alone && whole), "{text}");
                at += ranks.at(token as usize).len();
            }
        }
        Ok(())
    }
}
