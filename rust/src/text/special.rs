//! Finding special tokens in text: leftmost, and of several at one place the longest.

use crate::error::{Error, Result};
use aho_corasick::{AhoCorasick, MatchKind};

/// A set of special tokens, ready to search with.
#[derive(Clone, Debug)]
pub struct SpecialTokens {
    tokens: Vec<String>,
    finder: Option<AhoCorasick>,
    longest: usize,
}

impl SpecialTokens {
    /// A set from the tokens' texts, in the order of their ids.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty token or one given twice.
    pub fn new<S: AsRef<str>>(tokens: impl IntoIterator<Item = S>) -> Result<Self> {
        let tokens: Vec<String> = tokens.into_iter().map(|t| t.as_ref().to_owned()).collect();
        for (i, token) in tokens.iter().enumerate() {
            let reason = if token.is_empty() {
                "a special token must not be empty"
            } else if tokens[..i].contains(token) {
                "a special token must be given only once"
            } else {
                continue;
            };
            return Err(Error::Argument {
                name: "special_tokens",
                value: format!("{token:?}"),
                reason: reason.to_owned(),
            });
        }
        let finder = if tokens.is_empty() {
            None
        } else {
            let built = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&tokens);
            Some(built.map_err(|e| Error::Argument {
                name: "special_tokens",
                value: format!("{} tokens", tokens.len()),
                reason: e.to_string(),
            })?)
        };
        let longest = tokens.iter().map(String::len).max().unwrap_or(0);
        Ok(Self {
            tokens,
            finder,
            longest,
        })
    }

    /// The tokens in the order given.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Length in bytes of the longest token; 0 if there is none.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The first special token in `text` at or after `from`: (index in the set, start, end).
    pub fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize, usize)> {
        let finder = self.finder.as_ref()?;
        let m = finder.find(aho_corasick::Input::new(text).range(from..))?;
        Some((m.pattern().as_usize(), m.start(), m.end()))
    }
}
