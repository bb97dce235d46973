//! The first of the two levels of `superwords`: text is cut into pieces at the bytes that no token joins, and
//! these go through the cache.

use crate::encode::groups::{Groups, MAX_ENDS, State};
use crate::encode::sink::IdSink;
use crate::encode::spans::{Adjacent, Marks};
use crate::encode::tables::Tables;
use crate::error::Result;
use crate::pretokenize::PretokenSink;
use crate::pretokenize::spans::Row;
use crate::simd::level::{self, Job, Level};
use crate::system::memory;
use crate::vocabulary::Vocabulary;
use crate::vocabulary::ranks::Ranks;

/// The tokens of the first level, whose ids are their indices.
#[derive(Debug)]
pub(crate) struct FirstLevel {
    pub(crate) tables: Tables,
    adjacent: Adjacent,
    /// The tokens' lengths, [`LONG`] for those that are as long or longer: a table that caches have room for.
    lens: Vec<u8>,
}

const LONG: u8 = u8::MAX;

impl FirstLevel {
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn new<'a>(tokens: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Result<Self> {
        let with_ids = tokens.clone().enumerate();
        let copies = memory::collect(with_ids.map(|(id, token)| (token, id as u32)))?;
        Ok(Self {
            tables: Tables::new(Vocabulary::new(Ranks::by_rank(copies)?)?)?,
            lens: memory::collect(tokens.clone().map(|token| match u8::try_from(token.len()) {
                Ok(len) => len,
                Err(_) => LONG,
            }))?,
            adjacent: Adjacent::new(tokens.skip(256))?,
        })
    }

    /// How many bytes a token has.
    #[inline(always)]
    pub(crate) fn len(&self, token: u32) -> usize {
        match self.lens[token as usize] {
            LONG => self.tables.vocabulary.ranks().at(token as usize).len(),
            len => usize::from(len),
        }
    }

    /// Appends the tokens of pretokens that spans are made of, of all bytes of `text`. Where spans end is marked in
    /// `ends`, which has room for it.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn encode_pretokens(
        &self,
        text: &[u8],
        pretokens: &[Row],
        ends: &mut Marks,
        state: &mut State,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let parts = Pretokens { pretokens, ends };
        level::run(self.job(text, parts, state, out))
    }

    /// Appends the tokens of stretches of `text`, each of whole characters.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn encode(
        &self,
        text: &[u8],
        stretches: &[(usize, usize)],
        state: &mut State,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        level::run(self.job(text, stretches, state, out))
    }

    fn job<'a, T>(
        &'a self,
        text: &'a [u8],
        parts: T,
        state: &'a mut State,
        out: &'a mut Vec<u32>,
    ) -> Encode<'a, T> {
        Encode {
            parts,
            tables: &self.tables,
            adjacent: &self.adjacent,
            state,
            text,
            out,
        }
    }
}

/// The encoding of parts of a text: of pretokens or of stretches.
struct Encode<'a, T> {
    parts: T,
    tables: &'a Tables,
    adjacent: &'a Adjacent,
    state: &'a mut State,
    text: &'a [u8],
    out: &'a mut Vec<u32>,
}

/// Pretokens that spans are made of, and marks of where these end.
struct Pretokens<'a> {
    pretokens: &'a [Row],
    ends: &'a mut Marks,
}

/// Pretokens are pieces by themselves where the bytes around their ends are not joined by a token. That is nearly
/// everywhere, and places within pretokens need not be looked at: cutting at fewer places gives the same.
impl Job for Encode<'_, Pretokens<'_>> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<()> {
        let text = self.text;
        let Pretokens { pretokens, ends } = self.parts;
        let mut groups = Groups::new(level, self.tables, self.state, text, self.out);
        let (mut start, mut is_ascii) = (0, true);
        for row in pretokens {
            ends.set_all(row.base, row.spans);
            let mut cuts = row.starts & !self.adjacent.joined(text, row);
            if row.base == 0 {
                // Nothing ends there.
                cuts &= !1;
            }
            if cuts != 0 && !is_ascii {
                let end = row.base + cuts.trailing_zeros() as usize;
                groups.put(start, end, 1);
                (start, is_ascii) = (end, true);
                cuts &= cuts - 1;
            }
            if cuts != 0 {
                start = groups.add_all(row.base, cuts);
            }
            is_ascii &= row.is_ascii;
        }
        ends.set(text.len(), true);
        match is_ascii {
            true if start < text.len() => groups.add(text.len()),
            true => {}
            false => {
                groups.put(start, text.len(), 1);
            }
        }
        groups.finish()
    }
}

/// Stretches are cut wherever they may be.
impl Job for Encode<'_, &[(usize, usize)]> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<()> {
        let mut pieces = Pieces {
            groups: Groups::new(level, self.tables, self.state, self.text, self.out),
            text: self.text,
            adjacent: self.adjacent,
        };
        for &(mut start, end) in self.parts {
            while start < end {
                start = pieces.next(start, end);
            }
        }
        pieces.groups.finish()
    }
}

/// Cuts stretches into pieces.
struct Pieces<'a, L, I> {
    groups: Groups<'a, L, I>,
    text: &'a [u8],
    adjacent: &'a Adjacent,
}

impl<L: Level, I: IdSink> Pieces<'_, L, I> {
    /// Hands on the pieces of the next bytes up to `end`; returns where the last of them ends.
    #[inline(always)]
    fn next(&mut self, at: usize, end: usize) -> usize {
        let text = self.text;
        let block = &text[at..end.min(at + MAX_ENDS - 1)];
        // Bit i: a piece ends at byte i of the block.
        let mut cuts = 0;
        for (i, pair) in block.windows(2).enumerate() {
            cuts |= u64::from(!self.adjacent.has(pair[0], pair[1])) << (i + 1);
        }
        if at + block.len() == end {
            cuts |= 1 << block.len();
        }
        if cuts == 0 {
            let mut to = at + block.len();
            while to < end && self.adjacent.has(text[to - 1], text[to]) {
                to += 1;
            }
            return self.groups.put(at, to, 1);
        }
        if block.is_ascii() {
            return self.groups.put(at, at, cuts);
        }
        let mut start = at;
        while cuts != 0 {
            let end = at + cuts.trailing_zeros() as usize;
            start = self.groups.put(start, end, 1);
            cuts &= cuts - 1;
        }
        start
    }
}
