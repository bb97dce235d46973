//! Where a pretoken can be taken apart while it is still open, before its end is known.
//!
//! A run of letters that never ends, as in Chinese without line ends, is one pretoken, and the ids of
//! its beginning are certain long before: nothing is merged across a place that [`Borders`] leaves
//! free. What is to be shown is that the pretokens are certain too. Let a text be A followed by B, let
//! A end with the letter x and B begin with the letter y, both of three bytes or more. Then A and B by
//! themselves give the pretokens of the whole text, with the one that x and y share taken apart
//! between them, for these patterns:
//!
//! `gpt2`, `cl100k`, `nanochat`, `llama3`, `qwen2`. The contractions have none of these letters (`ſ` takes two bytes), so
//! that only `\p{L}+` takes them, after at most one character that is not a letter. Nothing follows it in
//! its alternative, so it takes all letters there are, y too. In A alone it ends with x. What comes before
//! the pretoken of x is cut in the same way: each pretoken depends on the text from its start on up to,
//! at most, the first character that is no longer taken or that a look-ahead reads, and that is x at
//! the latest, as no other alternative goes on through x. B begins with y, which again only `\p{L}+`
//! takes, as far as it does in the whole text.
//!
//! `starcoder` and `deepseek` too: before words they only part numbers, and Chinese and Japanese characters,
//! from the rest, by what each character is. If x and y are parted, a pretoken ends there anyway. What
//! `deepseek` has more, a sign with `[A-Za-z]+` and what nothing else takes, does not take x or y.
//!
//! `o200k`, if x and y are of `\p{Lm}` or `\p{Lo}`, which both parts of a word take, the upper one
//! `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*` and the lower one `[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`. A word that has got
//! to x goes on through y in either part, and if the upper part has to give back, then to the
//! last letter that the lower one takes, which is y or a later one. A word of A ends with x, by the same
//! argument. For what comes before, see above. For B the two parts differ: if a letter of `\p{Ll}`
//! comes before x in its word, the word is in its lower part, and ends before the next letter of `\p{Lu}`
//! or `\p{Lt}`, with which B by itself would go on. So B must then be cut there once more
//! ([`word_end`]). All else that may follow ends either word, with the same contraction.
//!
//! Of other patterns nothing is known here.

use crate::encode::Encoder;
use crate::error::Result;
use crate::pretokenize::Pretokenizer;
use crate::vocabulary::Borders;
use regex_syntax::hir::{Class, HirKind};
use std::sync::LazyLock;

/// Letters and marks, by what words make of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Upper,
    Lower,
    /// A letter without case.
    Plain,
    Mark,
}

/// Ranges of code points, both ends included, in order.
static KINDS: LazyLock<Vec<(u32, u32, Kind)>> = LazyLock::new(|| {
    let mut kinds = Vec::new();
    for (class, kind) in [
        (r"[\p{Lu}\p{Lt}]", Kind::Upper),
        (r"\p{Ll}", Kind::Lower),
        (r"[\p{Lm}\p{Lo}]", Kind::Plain),
        (r"\p{M}", Kind::Mark),
    ] {
        // The scanners' classes come from here too.
        if let Ok(hir) = regex_syntax::parse(class)
            && let HirKind::Class(Class::Unicode(set)) = hir.kind()
        {
            let ranges = set.ranges().iter();
            kinds.extend(ranges.map(|r| (u32::from(r.start()), u32::from(r.end()), kind)));
        }
    }
    kinds.sort_unstable_by_key(|&(start, ..)| start);
    kinds
});

fn kind(c: char) -> Option<Kind> {
    let c = u32::from(c);
    let after = KINDS.partition_point(|&(start, ..)| start <= c);
    let &(_, end, kind) = KINDS.get(after.checked_sub(1)?)?;
    (c <= end).then_some(kind)
}

/// Finds places for one encoder where an open pretoken can be taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenPretoken<'a> {
    borders: &'a Borders,
    pretokenizer: &'a Pretokenizer,
    splits_case: bool,
}

impl<'a> OpenPretoken<'a> {
    /// `None` if nothing is known of the encoder's pattern, or if its vocabulary leaves no places.
    pub fn new(encoder: &'a Encoder) -> Option<Self> {
        if encoder.front().is_some_and(|front| !front.leaves_text()) {
            return None;
        }
        let pretokenizer = encoder.pretokenizer();
        let splits_case = match pretokenizer {
            Pretokenizer::Named(named) => named.splits_case(),
            Pretokenizer::Compiled(_)
            | Pretokenizer::Regex(_)
            | Pretokenizer::Spans(_)
            | Pretokenizer::Splits(_) => {
                return None;
            }
        };
        Some(Self {
            borders: encoder.vocabulary().borders()?,
            pretokenizer,
            splits_case,
        })
    }

    /// The last such place `c` with `from < c <= to`.
    pub fn last(&self, text: &str, from: usize, to: usize) -> Option<usize> {
        let mut chars = text.char_indices().rev();
        let (mut place, mut y) = chars.next()?;
        for (before, x) in chars {
            if place <= from {
                return None;
            }
            if place <= to
                && self.borders.may_split(x, y)
                && self.may_border(x)
                && self.may_border(y)
            {
                return Some(place);
            }
            (place, y) = (before, x);
        }
        None
    }

    fn may_border(&self, letter: char) -> bool {
        match kind(letter) {
            Some(Kind::Plain) => true,
            Some(Kind::Upper | Kind::Lower) => !self.splits_case,
            Some(Kind::Mark) | None => false,
        }
    }

    /// Whether the word that `text` ends inside of, at such a place, is in its lower part. `text` begins
    /// with a pretoken, or else inside a word, of which `before` tells the same.
    ///
    /// # Errors
    /// None, as the pattern has a scanner.
    pub fn in_lower_part(&self, text: &str, before: bool) -> Result<bool> {
        if !self.splits_case {
            return Ok(false);
        }
        let mut word = 0;
        self.pretokenizer.split(text, |start, _| word = start)?;
        let is_lower = |c| kind(c) == Some(Kind::Lower);
        Ok(before && word == 0 || text[word..].chars().any(is_lower))
    }
}

/// Where a word ends, in whose lower part `text` begins, if that is before an upper letter; by itself
/// `text` might not show it.
pub(crate) fn word_end(text: &str) -> Option<usize> {
    let ends = |&(_, c): &(usize, char)| matches!(kind(c), Some(Kind::Upper) | None);
    let (end, c) = text.char_indices().find(ends)?;
    (kind(c) == Some(Kind::Upper)).then_some(end)
}
