//! Pretokens that are cut into pieces before they go through the cache: the first level of `superwords`.

use crate::encode::groups::{Groups, MAX_ENDS, State};
use crate::encode::sink::IdSink;
use crate::encode::spans::Adjacent;
use crate::encode::tables::Tables;
use crate::error::Result;
use crate::pretokenize::{PretokenSink, Pretokenizer};
use crate::simd::level::{self, Job, Level};
use crate::system::memory;

/// As [`crate::encode::groups::encode`], of the pieces that pretokens are cut into between bytes that are not
/// adjacent. Up to where each pretoken reaches goes to a list, in bytes of all of them.
///
/// # Errors
/// As there.
pub(crate) fn encode_pieces(
    pretokenizer: &Pretokenizer,
    tables: &Tables,
    (adjacent, ends): (&Adjacent, &mut Vec<usize>),
    state: &mut State,
    text: &str,
    out: &mut Vec<u32>,
) -> Result<()> {
    // All pretokens first: they are few, and the scanners need not be compiled once more.
    let (mut spans, mut done) = (Vec::new(), Ok(()));
    pretokenizer.split(text, |start, end| {
        if let Err(error) = memory::push(&mut spans, (start, end)) {
            done = Err(error);
        }
    })?;
    done?;
    level::run(EncodePieces {
        spans: &spans,
        tables,
        adjacent,
        ends,
        state,
        text: text.as_bytes(),
        out,
    })
}

struct EncodePieces<'a> {
    spans: &'a [(usize, usize)],
    tables: &'a Tables,
    adjacent: &'a Adjacent,
    ends: &'a mut Vec<usize>,
    state: &'a mut State,
    text: &'a [u8],
    out: &'a mut Vec<u32>,
}

impl Job for EncodePieces<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<()> {
        self.ends.try_reserve(self.spans.len())?;
        let mut pieces = Pieces {
            groups: Groups::new(level, self.tables, self.state, self.text, self.out),
            text: self.text,
            adjacent: self.adjacent,
        };
        let mut reached = 0;
        for &(mut start, end) in self.spans {
            reached += end - start;
            self.ends.push(reached);
            while start < end {
                start = pieces.next(start, end);
            }
        }
        pieces.groups.finish()
    }
}

/// Cuts pretokens into pieces.
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
