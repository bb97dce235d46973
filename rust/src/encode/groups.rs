//! Pretokens in groups: looked up in a cache, and encoded where they are new.
//!
//! Each step is done for a whole group: the steps of different pretokens do not depend on each other, so
//! that the processor works on several at a time while one waits for memory.

use crate::encode::misses::{Miss, MissScratch, Misses};
use crate::encode::short_cache::{MAX_IDS, Place};
use crate::encode::sink::{GROUP, GroupIds, IdSink};
use crate::encode::spans::SpanScratch;
use crate::encode::tables::Tables;
use crate::error::{OutOfMemory, Result};
use crate::pretokenize::{PretokenSink, Pretokenizer};
use crate::simd::level::{self, Job, Level};
use crate::text::key::Key;
use crate::utf8;

/// The most pretokens that the pretokenizer hands over at once.
pub(crate) const MAX_ENDS: usize = 64;

/// What one thread needs while it encodes.
#[derive(Debug)]
pub(crate) struct State {
    /// Where the pretokens of a group end; each begins where the one before ends.
    ends: [usize; GROUP],
    keys: [(Key, Place); GROUP],
    /// Ids found in the cache, on their way to the sink.
    ids: GroupIds,
    misses: [Miss; GROUP],
    scratch: MissScratch,
    pub(crate) spans: SpanScratch,
}

impl State {
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            ends: [0; GROUP],
            keys: [(Key::TOO_LONG, Place::default()); GROUP],
            ids: [0; GROUP * MAX_IDS + 1],
            misses: [Miss::default(); GROUP],
            scratch: MissScratch::new()?,
            spans: SpanScratch::default(),
        })
    }
}

/// Gives `out` the ids of `text`; special tokens in it are text like any other.
///
/// # Errors
/// [`crate::error::Error::Match`] if the regex engine gives up; [`crate::error::Error::Memory`].
pub(crate) fn encode(
    pretokenizer: &Pretokenizer,
    tables: &Tables,
    state: &mut State,
    text: &str,
    out: &mut impl IdSink,
) -> Result<()> {
    level::run(EncodeOrdinary {
        pretokenizer,
        tables,
        state,
        text,
        out,
    })
}

/// The encoding of a text without special tokens.
struct EncodeOrdinary<'a, I> {
    pretokenizer: &'a Pretokenizer,
    tables: &'a Tables,
    state: &'a mut State,
    text: &'a str,
    out: &'a mut I,
}

impl<I: IdSink> Job for EncodeOrdinary<'_, I> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<()> {
        let text = self.text.as_bytes();
        let mut groups = Groups::new(level, self.tables, self.state, text, self.out);
        self.pretokenizer
            .split_into(level, self.text, &mut groups)?;
        groups.finish()
    }
}

/// Gathers pretokens in groups.
pub(crate) struct Groups<'a, L, I> {
    level: L,
    tables: &'a Tables,
    state: &'a mut State,
    text: &'a [u8],
    out: &'a mut I,
    /// Where the group's first pretoken begins.
    start: usize,
    /// Where its last one ends.
    last: usize,
    /// Pretokens in it.
    n: usize,
    /// Of the groups before. The pretokenizer cannot be stopped.
    done: Result<(), OutOfMemory>,
}

impl<L: Level, I: IdSink> PretokenSink for Groups<'_, L, I> {
    #[inline(always)]
    fn put(&mut self, start: usize, base: usize, ends: u64) -> usize {
        if start != self.last {
            // With some patterns there is text between pretokens.
            self.look_up();
            (self.start, self.last) = (start, start);
        } else if self.n > GROUP - MAX_ENDS {
            self.look_up();
        }
        if base == start {
            self.expand(base, ends);
        } else {
            self.one(start, base);
        }
        self.last
    }
}

impl<'a, L: Level, I: IdSink> Groups<'a, L, I> {
    #[inline(always)]
    pub(crate) fn new(
        level: L,
        tables: &'a Tables,
        state: &'a mut State,
        text: &'a [u8],
        out: &'a mut I,
    ) -> Self {
        Self {
            level,
            tables,
            state,
            text,
            out,
            start: 0,
            last: 0,
            n: 0,
            done: Ok(()),
        }
    }

    /// Hands the last group on.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`], of this or an earlier group.
    #[inline(always)]
    pub(crate) fn finish(mut self) -> Result<()> {
        self.look_up();
        Ok(self.done?)
    }

    #[inline(always)]
    fn one(&mut self, start: usize, end: usize) {
        // Looking pieces up at once, and not only where the whole is not found, keeps the cache for
        // pieces, of which there are fewer.
        if end - start > 3
            && let Some(borders) = self.tables.vocabulary.borders()
            && self.text[start..end]
                .iter()
                .any(|&b| utf8::begins_long_char(b))
        {
            return borders.split(&self.text[start..end], |_, to| self.add(start + to));
        }
        self.add(end);
    }

    /// Takes pretokens that begin where the last one ended, and that need not be taken apart. Each bit of `ends` is an
    /// end, counted from `base`. Returns the last of them.
    #[inline(always)]
    pub(crate) fn add_all(&mut self, base: usize, ends: u64) -> usize {
        if self.n > GROUP - MAX_ENDS {
            self.look_up();
        }
        self.expand(base, ends);
        self.last
    }

    /// Puts ends into a group that has room for them.
    #[inline(always)]
    fn expand(&mut self, base: usize, mut ends: u64) {
        self.last = base + ends.ilog2() as usize;
        let n = ends.count_ones() as usize;
        if let Some(room) = self.state.ends[self.n..].first_chunk_mut::<MAX_ENDS>() {
            // Eight at a time: a branch for each end would be foreseen less often.
            for eight in room.as_chunks_mut::<8>().0 {
                for end in eight {
                    // Of eight, those past the last end are overwritten by the next block.
                    *end = base + ends.trailing_zeros() as usize;
                    ends &= ends.wrapping_sub(1);
                }
                if ends == 0 {
                    break;
                }
            }
        }
        self.n += n;
    }

    /// Takes a pretoken that begins where the last one ended, and that need not be taken apart: an ASCII one.
    #[inline(always)]
    pub(crate) fn add(&mut self, end: usize) {
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
        if self.done.is_ok() {
            self.done = self.level.run(LookUp {
                tables: self.tables,
                state: self.state,
                text: self.text,
                out: self.out,
                start: self.start,
                n: self.n,
            });
        }
        self.start = self.last;
        self.n = 0;
    }
}

/// The ids of a group.
struct LookUp<'a, I> {
    tables: &'a Tables,
    state: &'a mut State,
    text: &'a [u8],
    out: &'a mut I,
    start: usize,
    n: usize,
}

impl<I: IdSink> Job for LookUp<'_, I> {
    type Output = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<(), OutOfMemory> {
        let lines = self.tables.cache.lines();
        let State {
            ends,
            keys,
            ids,
            misses,
            scratch,
            ..
        } = self.state;
        let (ends, keys) = (&ends[..self.n], &mut keys[..self.n]);
        let mut start = self.start;
        for (key, &end) in keys.iter_mut().zip(ends) {
            let new = Key::new(self.text, start, end);
            let place = lines.place(new.hash());
            lines.fetch(place);
            *key = (new, place);
            start = end;
        }
        let (mut n, mut n_misses) = (0, 0);
        for (i, &(key, place)) in keys.iter().enumerate() {
            match lines.find(key, place) {
                Some(cached) => n = I::gather(ids, n, &cached),
                None => {
                    misses[n_misses] = Miss { at: i, before: n };
                    n_misses += 1;
                }
            }
        }
        if n_misses == 0 {
            return self.out.append_gathered(ids, 0..n);
        }
        level.run(Misses {
            tables: self.tables,
            lines,
            piece: |at| {
                let start = if at == 0 { self.start } else { ends[at - 1] };
                &self.text[start..ends[at]]
            },
            keys,
            misses: &misses[..n_misses],
            ids,
            n,
            scratch,
            out: self.out,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::short_cache::ShortCache;
    use crate::encode::sink::IdCount;
    use crate::pretokenize::pattern::Named;
    use crate::simd::level::Baseline;
    use crate::vocabulary::Vocabulary;
    use crate::vocabulary::ranks::Ranks;

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

    /// The baseline gives the ids that this processor's own level gives, which the tests of the whole
    /// crate compare with others.
    #[test]
    fn every_level_gives_the_same_ids() -> Result<()> {
        let words = "The end's IT, I'll say 1234567 times...\r\n\n  \tfn main() { 中文字符串没有空格, \
                     ünïcödé слово 😀😁 }\u{85} \u{a0}and a longer_word-without'spaces ";
        let tables = || -> Result<Tables> { Ok(Tables::new(Vocabulary::new(ranks(words)?)?)?) };
        let text = words.repeat(7);
        let others = [r"\p{L}{1,3}|\s+", r"(?=.)\w+"];
        for pattern in Named::ALL.map(Named::name).into_iter().chain(others) {
            let pretokenizer = Pretokenizer::new(pattern)?;
            let (tables, mut fresh) = (tables()?, tables()?);
            for from in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
                let text = &text[from..];
                let (mut baseline, mut best, mut count) = (Vec::new(), Vec::new(), IdCount(0));
                fresh.cache = ShortCache::new()?;
                Baseline.run(EncodeOrdinary {
                    pretokenizer: &pretokenizer,
                    tables: &fresh,
                    state: &mut State::new()?,
                    text,
                    out: &mut baseline,
                })?;
                let state = &mut State::new()?;
                encode(&pretokenizer, &tables, state, text, &mut best)?;
                assert_eq!(baseline, best, "{pattern} {text:?}");
                let state = &mut State::new()?;
                encode(&pretokenizer, &tables, state, text, &mut count)?;
                assert_eq!(count.0, best.len(), "{pattern} {text:?}");
            }
        }
        Ok(())
    }
}
