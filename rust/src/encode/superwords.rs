//! Tokens that span words: two levels, of which the first is the ordinary one, with its cache.
//!
//! Where a vocabulary's last tokens span spaces, pretokens are whole stretches of text, of which no two are
//! alike, and caching them is of no use. But its first tokens lie within words. Let R be the rank of
//! the first token that has a space behind a character that is not white space. A stretch is cut into pieces at
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
//! where these meet. A run's first merge is of two first tokens, and most runs that have none are a single token.

use crate::encode::first_level::FirstLevel;
use crate::encode::groups::State;
use crate::encode::sink::IdSink;
use crate::encode::spans::SpanScratch;
use crate::error::Result;
use crate::pretokenize::Pretokenizer;
use crate::system::memory;
use crate::utf8::is_continuation;
use crate::vocabulary::{Across, Vocabulary};

/// See the module.
#[derive(Debug)]
pub(crate) struct Superwords {
    /// The tokens below R.
    first: FirstLevel,
    across: Across,
    /// Whether ids are indices, as after training.
    same_ids: bool,
}

/// Bytes that are encoded together, or a few more.
const PART: usize = 1 << 16;

/// Working memory beyond this many tokens is given back.
const KEEP: usize = 1 << 18;

/// Whether a space follows a character that is not white space in a token.
fn spans_words(token: &[u8]) -> bool {
    let mut bytes = token.iter().enumerate();
    bytes.any(|(at, &byte)| byte == b' ' && ends_visibly(&token[..at]))
}

/// Whether the last character is seen; false if it is not there from its beginning.
fn ends_visibly(bytes: &[u8]) -> bool {
    let Some(from) = bytes.iter().rposition(|&byte| !is_continuation(byte)) else {
        return false;
    };
    let last = std::str::from_utf8(&bytes[from..]).unwrap_or_default();
    last.contains(|c: char| !c.is_whitespace() && !c.is_control())
}

impl Superwords {
    /// The two levels of a vocabulary; `None` if it has no tokens across words, or too many to gain by, or is not
    /// as training makes it.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Option<Self>> {
        let ranks = vocabulary.ranks();
        let n = ranks.len();
        let n_first = match (256..n).find(|&i| spans_words(ranks.at(i))) {
            Some(first) if first - 256 >= (n - 256) / 4 => first,
            _ => return Ok(None),
        };
        let Some(across) = vocabulary.across(n_first)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            first: FirstLevel::new((0..n_first).map(|i| ranks.at(i)))?,
            across,
            same_ids: ranks.ids().iter().zip(0..).all(|(&id, i)| id == i),
        }))
    }

    /// As [`crate::encode::groups::encode`], some kilobytes at a time where text may be cut, so that what is written
    /// is still in a cache when it is read.
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
        let (cuts, mut rest) = (pretokenizer.cuts(), text);
        let mut scratch = std::mem::take(&mut state.spans);
        while !rest.is_empty() {
            let mut size = PART;
            let cut = loop {
                if size >= rest.len() || !cuts.exist() {
                    break rest.len();
                }
                if let Some(cut) = cuts.last(rest.as_bytes(), 0, size) {
                    break cut;
                }
                size *= 4;
            };
            let part;
            (part, rest) = rest.split_at(cut);
            self.first_tokens(pretokenizer, state, &mut scratch, part)?;
            if let Some(list) = out.as_list() {
                self.merge(vocabulary, &mut scratch, list)?;
                continue;
            }
            let mut merged = std::mem::take(&mut scratch.merged);
            merged.clear();
            self.merge(vocabulary, &mut scratch, &mut merged)?;
            out.append(&merged)?;
            scratch.merged = merged;
        }
        if scratch.tokens.capacity() <= KEEP {
            state.spans = scratch;
        }
        Ok(())
    }

    /// Puts a text's first tokens into `scratch`, and where stretches end in it.
    fn first_tokens(
        &self,
        pretokenizer: &Pretokenizer,
        state: &mut State,
        scratch: &mut SpanScratch,
        text: &str,
    ) -> Result<()> {
        let SpanScratch {
            pretokens,
            stretches,
            ends,
            tokens,
            ..
        } = scratch;
        tokens.clear();
        ends.clear(text.len())?;
        let (first, bytes) = (&self.first, text.as_bytes());
        match pretokenizer.pretokens_of_spans(text, std::mem::take(pretokens))? {
            Some(found) => {
                *pretokens = found;
                first.encode_pretokens(bytes, pretokens, ends, state, tokens)
            }
            None => {
                stretches.clear();
                let mut done = Ok(());
                let mut reached = 0;
                pretokenizer.split(text, |start, end| {
                    reached += end - start;
                    ends.set(reached, true);
                    if let Err(error) = memory::push(stretches, (start, end)) {
                        done = Err(error);
                    }
                })?;
                done?;
                first.encode(bytes, stretches, state, tokens)
            }
        }
    }

    /// Appends the ids of what the first tokens merge to.
    fn merge(
        &self,
        vocabulary: &Vocabulary,
        scratch: &mut SpanScratch,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let SpanScratch {
            ends,
            tokens,
            joints,
            ..
        } = scratch;
        let (from, mut reached) = (out.len(), 0);
        let ends_stretch = |token| {
            reached += self.first.len(token);
            ends.has(reached)
        };
        self.across.merge(tokens, ends_stretch, joints, out)?;
        if !self.same_ids {
            vocabulary.make_ids(&mut out[from..]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_span_words() {
        for token in ["a b", ". ", "-  x", "а б", "中 ", "\u{301} e"] {
            assert!(spans_words(token.as_bytes()), "{token:?}");
        }
        for token in [
            "",
            " ",
            " a",
            "  a",
            "\n ",
            "\u{3000} ",
            "\u{a0} x",
            "\0 ",
            "ab",
        ] {
            assert!(!spans_words(token.as_bytes()), "{token:?}");
        }
        assert!(!spans_words(&"\u{3000} ".as_bytes()[1..]));
    }
}
