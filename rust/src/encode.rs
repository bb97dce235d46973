//! Text -> ids -> bytes: a vocabulary's merges applied as tiktoken applies them.
//!
//! A pretoken that is a token is its id. Otherwise it starts as single bytes; of all adjacent pairs
//! whose joined bytes are a token the one of lowest rank is joined, the leftmost of equals, until
//! none is left.

use crate::error::{Error, Result};
use crate::pretokenize::Pretokenizer;
use crate::special::SpecialTokens;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Tokens by their bytes, with their ranks (which are their ids).
#[derive(Clone, Debug, Default)]
pub struct Ranks {
    by_bytes: FxHashMap<Box<[u8]>, u32>,
}

impl Ranks {
    /// A table from tokens and ranks.
    ///
    /// # Errors
    /// [`Error::Argument`] if a single byte is missing, or a rank or token comes twice.
    pub fn new(tokens: impl IntoIterator<Item = (Vec<u8>, u32)>) -> Result<Self> {
        let bad = |value: String, reason: &str| Error::Argument {
            name: "mergeable_ranks",
            value,
            reason: reason.to_owned(),
        };
        let mut by_bytes = FxHashMap::default();
        let mut seen = rustc_hash::FxHashSet::default();
        for (token, rank) in tokens {
            if token.is_empty() {
                return Err(bad(format!("{rank}"), "a token must not be empty"));
            }
            if !seen.insert(rank) {
                return Err(bad(format!("{rank}"), "two tokens have this rank"));
            }
            if let Some(other) = by_bytes.insert(token.into_boxed_slice(), rank) {
                return Err(bad(
                    format!("{rank}"),
                    &format!("the same bytes also have rank {other}"),
                ));
            }
        }
        for byte in 0..=255u8 {
            if !by_bytes.contains_key([byte].as_slice()) {
                return Err(bad(
                    format!("0x{byte:02x}"),
                    "this single byte is missing; a byte-level vocabulary holds all 256",
                ));
            }
        }
        Ok(Self { by_bytes })
    }

    /// The rank of a token.
    #[inline]
    pub fn get(&self, token: &[u8]) -> Option<u32> {
        self.by_bytes.get(token).copied()
    }

    /// All tokens with their ranks, by rank.
    pub fn sorted(&self) -> Vec<(&[u8], u32)> {
        let mut all: Vec<(&[u8], u32)> = self.by_bytes.iter().map(|(t, &r)| (&**t, r)).collect();
        all.sort_unstable_by_key(|&(_, rank)| rank);
        all
    }

    /// The pair of tokens each token was merged from, by rank of the result.
    ///
    /// It is found by encoding the token's bytes with lower ranks only, which leaves exactly two parts
    /// when the vocabulary comes from BPE training.
    ///
    /// # Errors
    /// [`Error::Argument`] naming a token that no merge of earlier tokens gives.
    pub fn merges(&self) -> Result<Vec<(u32, u32)>> {
        let mut merges = Vec::new();
        let mut parts = Vec::new();
        for (token, rank) in self.sorted() {
            if token.len() < 2 {
                continue;
            }
            parts.clear();
            self.merge_into(token, rank, &mut parts);
            match parts[..] {
                [left, right] => merges.push((left, right)),
                _ => {
                    return Err(Error::Argument {
                        name: "mergeable_ranks",
                        value: format!("{:?} (rank {rank})", String::from_utf8_lossy(token)),
                        reason:
                            "no two tokens of lower rank merge to this token, so it cannot come \
                                 from byte-pair merges"
                                .to_owned(),
                    });
                }
            }
        }
        Ok(merges)
    }

    /// Appends the ids of one pretoken.
    pub fn encode_pretoken(&self, pretoken: &[u8], out: &mut Vec<u32>) {
        match self.get(pretoken) {
            Some(id) => out.push(id),
            None => self.merge_into(pretoken, u32::MAX, out),
        }
    }

    /// Merges with ranks below `limit` only. Near-linear: a heap of candidates over a linked list.
    fn merge_into(&self, piece: &[u8], limit: u32, out: &mut Vec<u32>) {
        const NONE: u32 = u32::MAX;
        let n = piece.len();
        // Part i starts at byte i; `end[i]` is 0 once it has been swallowed by the part before it.
        let mut end: Vec<u32> = (1..=n as u32).collect();
        let mut prev: Vec<u32> = (0..n as u32).map(|i| i.wrapping_sub(1)).collect();
        let rank_of = |from: usize, to: usize| self.get(&piece[from..to]).filter(|&r| r < limit);
        let mut heap = BinaryHeap::new();
        for i in 0..n.saturating_sub(1) {
            if let Some(rank) = rank_of(i, i + 2) {
                heap.push(Reverse((rank, i as u32, i as u32 + 2)));
            }
        }
        while let Some(Reverse((_, at, to))) = heap.pop() {
            let i = at as usize;
            let next = end[i] as usize;
            // Stale if this part or the next has changed since.
            if next == 0 || next >= n || end[next] != to {
                continue;
            }
            end[next] = 0;
            end[i] = to;
            if (to as usize) < n {
                prev[to as usize] = at;
                let far = end[to as usize];
                if let Some(rank) = rank_of(i, far as usize) {
                    heap.push(Reverse((rank, at, far)));
                }
            }
            if prev[i] != NONE
                && let Some(rank) = rank_of(prev[i] as usize, to as usize)
            {
                heap.push(Reverse((rank, prev[i], to)));
            }
        }
        let mut i = 0;
        while i < n {
            let to = end[i] as usize;
            // Every part is a single byte or the result of a merge, hence a token.
            out.extend(self.get(&piece[i..to]));
            i = to;
        }
    }
}

/// A whole encoder: pattern, ranks and special tokens.
#[derive(Clone, Debug)]
pub struct Encoder {
    pretokenizer: Pretokenizer,
    ranks: Ranks,
    special: SpecialTokens,
    special_ids: Vec<u32>,
    bytes_of: FxHashMap<u32, Box<[u8]>>,
}

impl Encoder {
    /// Puts an encoder together.
    ///
    /// # Errors
    /// [`Error::Argument`] for ids that collide; [`Error::Pattern`] for a broken pattern.
    pub fn new(ranks: Ranks, special: Vec<(String, u32)>, pattern: &str) -> Result<Self> {
        let pretokenizer = Pretokenizer::new(pattern)?;
        let mut bytes_of: FxHashMap<u32, Box<[u8]>> = FxHashMap::default();
        for (token, rank) in ranks.sorted() {
            bytes_of.insert(rank, token.into());
        }
        let special_ids = special.iter().map(|s| s.1).collect();
        for (token, id) in &special {
            if bytes_of
                .get(id)
                .is_some_and(|bytes| ranks.get(bytes) == Some(*id))
            {
                return Err(Error::Argument {
                    name: "special_tokens",
                    value: format!("{token:?}"),
                    reason: format!("its id {id} is taken by another token"),
                });
            }
            // Two special tokens may share an id, as in o200k_harmony: it decodes to the first.
            bytes_of
                .entry(*id)
                .or_insert_with(|| token.as_bytes().into());
        }
        Ok(Self {
            pretokenizer,
            ranks,
            special: SpecialTokens::new(special.iter().map(|s| &s.0))?,
            special_ids,
            bytes_of,
        })
    }

    /// The table of ranks.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// What cuts text into pretokens.
    pub fn pretokenizer(&self) -> &Pretokenizer {
        &self.pretokenizer
    }

    /// The special tokens, in the order given.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The ids of `text`; special tokens in it are text like any other.
    ///
    /// # Errors
    /// [`Error::Match`] if the regex engine gives up.
    pub fn encode_ordinary(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let bytes = text.as_bytes();
        self.pretokenizer.split(text, |start, end| {
            self.ranks.encode_pretoken(&bytes[start..end], out);
        })
    }

    /// The ids of `text`, with the special tokens in `allowed` (a set drawn from this encoder's, of which
    /// the longest at a place wins) becoming their ids.
    ///
    /// # Errors
    /// [`Error::Match`] if the regex engine gives up.
    pub fn encode(&self, text: &str, allowed: &SpecialTokens, out: &mut Vec<u32>) -> Result<()> {
        let mut from = 0;
        while let Some((which, start, end)) = allowed.find(text.as_bytes(), from) {
            self.encode_ordinary(&text[from..start], out)?;
            let token = &allowed.tokens()[which];
            let index = self.special.tokens().iter().position(|t| t == token);
            out.extend(index.map(|i| self.special_ids[i]));
            from = end;
        }
        self.encode_ordinary(&text[from..], out)
    }

    /// The bytes of one id, special or not.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.bytes_of.get(&id).map(|b| &**b)
    }
}
