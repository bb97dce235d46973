//! Tokens that span words: two levels, of which the first is the ordinary one, with its cache.
//!
//! Where a vocabulary's last tokens span spaces, pretokens are whole stretches of text, of which no two are
//! alike, and caching them is of no use. But its first tokens lie within words. Let R be the rank of
//! the first token that has a space behind other than white space in it. A stretch is cut into pieces at
//! all places whose two bytes stand side by side in no token below R, and these are encoded with the
//! tokens below R alone; what comes of all pieces is then merged by the ranks from R on.
//!
//! **Why that is what merging the stretch gives**, lowest rank first, leftmost of equals. All tokens of an
//! `ordered` vocabulary are merged from tokens of lower rank, so a pair with a part of rank R or more
//! merges to a rank above R, and a merge below R makes no use of merges from R on: all merges below R come
//! first. None of them crosses the end of a piece, as its result would have the two bytes there side by
//! side. So pieces do not see each other, and in each the order of merges is what it is alone. What
//! is then left to merge are the tokens of rank R and more, by rank.
//!
//! **Runs.** Most neighbours never come to be in one token. A token T of rank R or more stands, in a stretch as in
//! its own bytes alone, for the first tokens that its bytes are merged to: nothing crosses its ends.
//! So two neighbouring first tokens that stand side by side in no token's first tokens stay apart, and
//! only runs between such places are merged. Side by side in T are those in its two parts, and
//! where these meet.

use crate::encode::groups::State;
use crate::encode::pieces::encode_pieces;
use crate::encode::sink::IdSink;
use crate::encode::spans::{Adjacent, SpanScratch};
use crate::encode::tables::Tables;
use crate::error::Result;
use crate::pretokenize::Pretokenizer;
use crate::system::memory;
use crate::vocabulary::ranks::Ranks;
use crate::vocabulary::{Across, Vocabulary};

/// See the module.
#[derive(Debug)]
pub(crate) struct Superwords {
    /// The tokens below R, whose ids are their indices.
    first: Tables,
    adjacent: Adjacent,
    across: Across,
}

/// Working memory beyond this many tokens is given back.
const KEEP: usize = 1 << 18;

/// Whether a space follows something other than white space in a token.
fn spans_words(token: &[u8]) -> bool {
    let pairs = &mut token.windows(2);
    pairs.any(|pair| matches!(pair, [b'!'..=b'~', b' ']))
}

impl Superwords {
    /// The two levels of a vocabulary; `None` if it has no tokens across words, or too many to gain by.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Option<Self>> {
        let ranks = vocabulary.ranks();
        let n = ranks.len();
        match (256..n).find(|&i| spans_words(ranks.at(i))) {
            Some(first) if first - 256 >= (n - 256) / 4 => Self::with(vocabulary, first),
            _ => Ok(None),
        }
    }

    /// Those whose first level is the first `n_first` tokens; `None` if the vocabulary is not as training
    /// makes it.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn with(vocabulary: &Vocabulary, n_first: usize) -> Result<Option<Self>> {
        let Some(across) = vocabulary.across(n_first)? else {
            return Ok(None);
        };
        let ranks = vocabulary.ranks();
        let mut tokens = memory::with_capacity(n_first)?;
        for i in 0..n_first {
            tokens.push((memory::copied(ranks.at(i))?, i as u32));
        }
        Ok(Some(Self {
            first: Tables::new(Vocabulary::new(Ranks::new(tokens)?)?)?,
            adjacent: Adjacent::new((256..n_first).map(|i| ranks.at(i)))?,
            across,
        }))
    }

    /// As [`crate::encode::groups::encode`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn encode(
        &self,
        pretokenizer: &Pretokenizer,
        vocabulary: &Vocabulary,
        state: &mut State,
        text: &str,
        out: &mut impl IdSink,
    ) -> Result<()> {
        let mut scratch = std::mem::take(&mut state.spans);
        let done = self.encode_with(pretokenizer, vocabulary, state, &mut scratch, text, out);
        if scratch.tokens.capacity() <= KEEP {
            state.spans = scratch;
        }
        done
    }

    fn encode_with(
        &self,
        pretokenizer: &Pretokenizer,
        vocabulary: &Vocabulary,
        state: &mut State,
        scratch: &mut SpanScratch,
        text: &str,
        out: &mut impl IdSink,
    ) -> Result<()> {
        let SpanScratch {
            tokens,
            ends,
            merged,
        } = scratch;
        tokens.clear();
        ends.clear();
        merged.clear();
        let pieces = (&self.adjacent, &mut *ends);
        encode_pieces(pretokenizer, &self.first, pieces, state, text, tokens)?;
        let (mut from, mut reached) = (0, 0);
        for &end in &*ends {
            let mut to = from;
            while reached < end {
                reached += self.across.len(tokens[to]);
                to += 1;
            }
            self.across.merge(&tokens[from..to], merged)?;
            from = to;
        }
        vocabulary.make_ids(merged);
        Ok(out.append(merged)?)
    }
}
