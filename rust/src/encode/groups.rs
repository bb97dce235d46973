//! Pretokens in groups: looked up in a cache, and encoded where they are new.
//!
//! Each step is done for a whole group: the steps of different pretokens do not depend on each other, so
//! that the processor works on several at a time while one waits for memory.

use crate::encode::Encoder;
use crate::encode::misses::{Miss, Misses, Work};
use crate::encode::short_cache::{FEW, Found, Key, Place};
use crate::error::Result;
use crate::pretokenize::Sink;
use crate::simd::level::{self, Job, Level};
use std::ops::Range;

/// Pretokens that a group has room for. A group is handed on when a block of text might not fit.
pub(crate) const GROUP: usize = 256;

/// Ends that a block of text has at most.
const BLOCK: usize = 64;

/// What one thread needs while it encodes.
#[derive(Debug)]
pub(crate) struct State {
    /// Where the pretokens of a group end; each begins where the one before ends.
    ends: [usize; GROUP],
    keys: [(Key, Place); GROUP],
    /// Ids found, on their way.
    row: Row,
    misses: [Miss; GROUP],
    work: Work,
}

impl Default for State {
    fn default() -> Self {
        Self {
            ends: [0; GROUP],
            keys: [(Key::NONE, Place::default()); GROUP],
            row: [0; GROUP * FEW + 1],
            misses: [Miss::default(); GROUP],
            work: Work::default(),
        }
    }
}

/// Gives `out` the ids of `text`; special tokens in it are text like any other.
///
/// # Errors
/// [`crate::error::Error::Match`] if the regex engine gives up.
pub(crate) fn encode(
    encoder: &Encoder,
    state: &mut State,
    text: &str,
    out: &mut impl Ids,
) -> Result<()> {
    level::run(Ordinary {
        encoder,
        state,
        text,
        out,
    })
}

/// Room for the ids of a group, if all are found.
pub(crate) type Row = [u32; GROUP * FEW + 1];

/// Where ids go.
pub(crate) trait Ids {
    /// Takes ids that were found for a pretoken into `row`, which has `n` so far; how many there are
    /// then.
    fn few(row: &mut Row, n: usize, found: &Found) -> usize;
    /// Takes some of `row`.
    fn row(&mut self, row: &Row, range: Range<usize>);
    fn many(&mut self, ids: &[u32]);
    /// Where ids may be appended without a copy, if they are kept.
    fn list(&mut self) -> Option<&mut Vec<u32>>;
}

impl Ids for Vec<u32> {
    #[inline(always)]
    fn few(row: &mut Row, n: usize, found: &Found) -> usize {
        // All are cheaper to copy than some; those too many are overwritten.
        if let Some(room) = row[n..].first_chunk_mut() {
            *room = found.ids;
        }
        n + found.n
    }

    #[inline(always)]
    fn row(&mut self, row: &Row, range: Range<usize>) {
        self.extend_from_slice(&row[range]);
    }

    #[inline(always)]
    fn many(&mut self, ids: &[u32]) {
        self.extend_from_slice(ids);
    }

    fn list(&mut self) -> Option<&mut Vec<u32>> {
        Some(self)
    }
}

/// Ids that are only counted.
pub(crate) struct Count(pub usize);

impl Ids for Count {
    #[inline(always)]
    fn few(_: &mut Row, n: usize, found: &Found) -> usize {
        n + found.n
    }

    #[inline(always)]
    fn row(&mut self, _: &Row, range: Range<usize>) {
        self.0 += range.len();
    }

    #[inline(always)]
    fn many(&mut self, ids: &[u32]) {
        self.0 += ids.len();
    }

    fn list(&mut self) -> Option<&mut Vec<u32>> {
        None
    }
}

/// The encoding of a text without special tokens.
struct Ordinary<'a, I> {
    encoder: &'a Encoder,
    state: &'a mut State,
    text: &'a str,
    out: &'a mut I,
}

impl<I: Ids> Job for Ordinary<'_, I> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<()> {
        let mut groups = Groups {
            level,
            encoder: self.encoder,
            state: self.state,
            text: self.text.as_bytes(),
            out: self.out,
            start: 0,
            last: 0,
            n: 0,
        };
        self.encoder
            .pretokenizer()
            .split_into(level, self.text, &mut groups)?;
        groups.look_up();
        Ok(())
    }
}

/// Gathers pretokens in groups.
struct Groups<'a, L, I> {
    level: L,
    encoder: &'a Encoder,
    state: &'a mut State,
    text: &'a [u8],
    out: &'a mut I,
    /// Where the group's first pretoken begins.
    start: usize,
    /// Where its last one ends.
    last: usize,
    /// Pretokens in it.
    n: usize,
}

impl<L: Level, I: Ids> Sink for Groups<'_, L, I> {
    #[inline(always)]
    fn put(&mut self, start: usize, base: usize, mut ends: u64) -> usize {
        if start != self.last {
            // With some patterns there is text between pretokens.
            self.look_up();
            (self.start, self.last) = (start, start);
        } else if self.n > GROUP - BLOCK {
            self.look_up();
        }
        if base == start {
            self.last = base + ends.ilog2() as usize;
            let n = ends.count_ones() as usize;
            if let Some(room) = self.state.ends[self.n..].first_chunk_mut::<BLOCK>() {
                // Eight at a time: a branch for each end would be foreseen less often.
                for eight in room.as_chunks_mut::<8>().0 {
                    for end in eight {
                        // One too many is overwritten by the next block.
                        *end = base + ends.trailing_zeros() as usize;
                        ends &= ends.wrapping_sub(1);
                    }
                    if ends == 0 {
                        break;
                    }
                }
            }
            self.n += n;
        } else {
            self.one(start, base);
        }
        self.last
    }
}

impl<L: Level, I: Ids> Groups<'_, L, I> {
    #[inline(always)]
    fn one(&mut self, start: usize, end: usize) {
        // Looking pieces up at once, and not only where the whole is not found, keeps the cache for
        // pieces, of which there are fewer.
        if end - start > 3
            && let Some(borders) = self.encoder.borders()
            && self.text[start..end].iter().any(|&b| b >= 0xe0)
        {
            return borders.split(&self.text[start..end], |_, to| self.add(start + to));
        }
        self.add(end);
    }

    #[inline(always)]
    fn add(&mut self, end: usize) {
        if self.n == GROUP {
            self.look_up();
        }
        self.state.ends[self.n] = end;
        self.last = end;
        self.n += 1;
    }

    /// Hands the group on.
    #[inline(always)]
    fn look_up(&mut self) {
        self.level.run(LookUp {
            encoder: self.encoder,
            state: self.state,
            text: self.text,
            out: self.out,
            start: self.start,
            n: self.n,
        });
        self.start = self.last;
        self.n = 0;
    }
}

/// The ids of a group.
struct LookUp<'a, I> {
    encoder: &'a Encoder,
    state: &'a mut State,
    text: &'a [u8],
    out: &'a mut I,
    start: usize,
    n: usize,
}

impl<I: Ids> Job for LookUp<'_, I> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let cache = self.encoder.cache.lines();
        let State {
            ends,
            keys,
            row,
            misses,
            work,
        } = self.state;
        let (ends, keys) = (&ends[..self.n], &mut keys[..self.n]);
        let mut start = self.start;
        for (key, &end) in keys.iter_mut().zip(ends) {
            let found = Key::new(self.text, start, end);
            let place = cache.place(found.hash());
            cache.fetch(place);
            *key = (found, place);
            start = end;
        }
        let (mut n, mut n_misses) = (0, 0);
        for (i, &(key, place)) in keys.iter().enumerate() {
            match cache.find(key, place) {
                Some(found) => n = I::few(row, n, &found),
                None => {
                    misses[n_misses] = Miss { at: i, before: n };
                    n_misses += 1;
                }
            }
        }
        if n_misses == 0 {
            return self.out.row(row, 0..n);
        }
        level.run(Misses {
            encoder: self.encoder,
            cache,
            piece: |at| {
                let start = if at == 0 { self.start } else { ends[at - 1] };
                &self.text[start..ends[at]]
            },
            keys,
            misses: &misses[..n_misses],
            row,
            n,
            work,
            out: self.out,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Ranks;
    use crate::simd::level::Least;

    /// Letters, pairs of letters and so on, of some of which tokens are made; never twice the same.
    fn ranks(text: &str) -> Result<Ranks> {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        for len in 2..9 {
            let words = text.as_bytes().windows(len).step_by(3);
            tokens.extend(words.map(<[u8]>::to_vec));
        }
        let mut seen = std::collections::HashSet::new();
        tokens.retain(|t| seen.insert(t.clone()));
        Ranks::new((0..).zip(tokens).map(|(id, t)| (t, id)))
    }

    /// What processors without more than the least do is what this one does, whose ids the tests of the
    /// whole crate compare with others'.
    #[test]
    fn every_level_gives_the_same_ids() -> Result<()> {
        let words = "The end's IT, I'll say 1234567 times...\r\n\n  \tfn main() { 中文字符串没有空格, \
                     ünïcödé слово 😀😁 }\u{85} \u{a0}and a longer_word-without'spaces ";
        let ranks = ranks(words)?;
        let text = words.repeat(7);
        for pattern in [
            "gpt2",
            "cl100k",
            "o200k",
            "nanochat",
            r"\p{L}{1,3}|\s+",
            r"(?=.)\w+",
        ] {
            let encoder = Encoder::new(ranks.clone(), Vec::new(), pattern)?;
            for from in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
                let text = &text[from..];
                let (mut least, mut best, mut count) = (Vec::new(), Vec::new(), Count(0));
                Least.run(Ordinary {
                    encoder: &encoder.clone(),
                    state: &mut State::default(),
                    text,
                    out: &mut least,
                })?;
                encode(&encoder, &mut State::default(), text, &mut best)?;
                assert_eq!(least, best, "{pattern} {text:?}");
                encode(&encoder, &mut State::default(), text, &mut count)?;
                assert_eq!(count.0, best.len(), "{pattern} {text:?}");
            }
        }
        Ok(())
    }
}
