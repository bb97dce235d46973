//! Added tokens as Hugging Face's tokenizers look for them: in two passes, the second in normalized text,
//! and with manners of their own (words only, white space beside them taken along).

use crate::error::{Error, Result};
use aho_corasick::{AhoCorasick, MatchKind};
use fancy_regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

/// What an added token asks of its surroundings, and takes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// It is not found beside a letter, digit or the like.
    pub single_word: bool,
    /// White space before it belongs to it.
    pub lstrip: bool,
    /// White space after it belongs to it.
    pub rstrip: bool,
}

/// A token to look for: its index in a set, the text to look for, its manner.
pub type Sought = (usize, String, Manner);

/// A stretch of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Text without an added token; not empty.
    Ordinary(Range<usize>),
    /// The added token of this index, and what it takes.
    Token(usize, Range<usize>),
}

/// One pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    finder: Option<AhoCorasick>,
    tokens: Vec<(usize, Manner)>,
}

/// Both passes.
#[derive(Clone, Debug, Default)]
pub struct Passes {
    pub(super) early: Pass,
    pub(super) late: Pass,
}

impl Passes {
    /// Those of tokens that are looked for in the text as it is, and in normalized text.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are too many.
    pub fn new(early: Vec<Sought>, late: Vec<Sought>) -> Result<Self> {
        Ok(Self {
            early: Pass::new(early)?,
            late: Pass::new(late)?,
        })
    }
}

static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\w").ok());

fn is_word(c: Option<char>) -> bool {
    let Some(c) = c else { return false };
    let found = |regex: &Regex| regex.is_match(c.encode_utf8(&mut [0; 4])).ok();
    WORD.as_ref().and_then(found).unwrap_or_default()
}

impl Pass {
    fn new(sought: Vec<Sought>) -> Result<Self> {
        if sought.is_empty() {
            return Ok(Self::default());
        }
        let built = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(sought.iter().map(|s| &s.1));
        let finder = built.map_err(|e| {
            let value = format!("{} tokens", sought.len());
            Error::argument("special_tokens", value, e.to_string())
        })?;
        Ok(Self {
            finder: Some(finder),
            tokens: sought.into_iter().map(|s| (s.0, s.2)).collect(),
        })
    }

    /// Calls `visit` with what `text` is made of. A token that begins with white space may take some that
    /// one before it has taken as well, as in `tokenizers`; where it takes only what is left, and nothing is,
    /// there is no token.
    ///
    /// # Errors
    /// What `visit` returns.
    pub(super) fn split<E>(
        &self,
        text: &str,
        mut visit: impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = 0;
        if let Some(finder) = &self.finder {
            for found in finder.find_iter(text) {
                let (index, manner) = self.tokens[found.pattern().as_usize()];
                let (mut start, mut end) = (found.start(), found.end());
                if manner.single_word
                    && (is_word(text[..start].chars().next_back())
                        || is_word(text[end..].chars().next()))
                {
                    continue;
                }
                if manner.lstrip {
                    start = text[..start].trim_end().len().max(from);
                }
                if manner.rstrip {
                    end = text.len() - text[end..].trim_start().len();
                }
                if from < start {
                    visit(Found::Ordinary(from..start))?;
                }
                // What is left of white space that the one before has taken may be nothing.
                if start < end {
                    visit(Found::Token(index, start..end))?;
                    from = end;
                }
            }
        }
        if from != text.len() {
            visit(Found::Ordinary(from..text.len()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `tokenizers` has it, which drops a token of no characters.
    #[test]
    fn white_space_is_taken_once() -> Result<()> {
        let manner = |lstrip, rstrip| Manner {
            lstrip,
            rstrip,
            ..Manner::default()
        };
        let sought = vec![
            (0, "  ".to_owned(), manner(true, true)),
            (1, "x".to_owned(), manner(false, true)),
        ];
        let pass = Pass::new(sought)?;
        for (text, expected) in [
            ("    ", vec![Found::Token(0, 0..4)]),
            ("x  ", vec![Found::Token(1, 0..3)]),
            ("x    a", vec![Found::Token(1, 0..5), Found::Ordinary(5..6)]),
            ("a   ", vec![Found::Ordinary(0..1), Found::Token(0, 1..4)]),
        ] {
            let mut found = Vec::new();
            pass.split(text, |part| {
                found.push(part);
                Ok::<(), Error>(())
            })?;
            assert_eq!(found, expected, "{text:?}");
        }
        Ok(())
    }
}
