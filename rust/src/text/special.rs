//! Finding special tokens in text: leftmost, and of several at one place the longest.

use crate::error::{Error, Result};
use crate::text::added::{Found, Passes};
use aho_corasick::{AhoCorasick, MatchKind};
use std::ops::Range;
use std::sync::Arc;

/// A stretch of text, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Without special tokens.
    Ordinary(Range<usize>),
    /// A special token.
    Special(&'a str, Range<usize>),
}

/// A set of special tokens, ready to search with.
#[derive(Clone, Debug)]
pub struct SpecialTokens {
    tokens: Vec<String>,
    finder: Option<AhoCorasick>,
    longest: usize,
    /// How they are looked for, if it is not simply for their texts.
    passes: Option<Arc<Passes>>,
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
            let value = format!("{token:?}");
            return Err(Error::argument("special_tokens", value, reason));
        }
        let finder = if tokens.is_empty() {
            None
        } else {
            let built = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&tokens);
            Some(built.map_err(|e| {
                let value = format!("{} tokens", tokens.len());
                Error::argument("special_tokens", value, e.to_string())
            })?)
        };
        let longest = tokens.iter().map(String::len).max().unwrap_or(0);
        Ok(Self {
            tokens,
            finder,
            longest,
            passes: None,
        })
    }

    /// The same tokens, looked for in `passes`.
    pub fn with_passes(mut self, passes: Passes) -> Self {
        self.passes = Some(Arc::new(passes));
        self
    }

    /// Whether they are simply looked for by their texts, as all other methods do.
    pub fn is_plain(&self) -> bool {
        self.passes.is_none()
    }

    /// Calls `visit` with what text is made of before it is normalized.
    ///
    /// # Errors
    /// What `visit` returns.
    pub fn split_early<E>(
        &self,
        text: &str,
        mut visit: impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(passes) = &self.passes {
            return passes.early.split(text, visit);
        }
        let mut from = 0;
        while let Some((which, start, end)) = self.find(text.as_bytes(), from) {
            if from < start {
                visit(Found::Ordinary(from..start))?;
            }
            visit(Found::Token(which, start..end))?;
            from = end;
        }
        if from < text.len() {
            visit(Found::Ordinary(from..text.len()))?;
        }
        Ok(())
    }

    /// Calls `visit` with what a part of a text is made of after it was normalized.
    ///
    /// # Errors
    /// What `visit` returns.
    pub fn split_late<E>(
        &self,
        text: &str,
        mut visit: impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.passes {
            Some(passes) => passes.late.split(text, visit),
            None if text.is_empty() => Ok(()),
            None => visit(Found::Ordinary(0..text.len())),
        }
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

    /// Calls `visit` with what `text` is made of, in order: what lies before each special token, the
    /// token, and what follows the last. What lies between two tokens may be empty.
    ///
    /// # Errors
    /// What `visit` returns.
    #[inline]
    pub fn split<E>(
        &self,
        text: &str,
        mut visit: impl FnMut(Segment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = 0;
        while let Some((which, start, end)) = self.find(text.as_bytes(), from) {
            visit(Segment::Ordinary(from..start))?;
            visit(Segment::Special(&self.tokens[which], start..end))?;
            from = end;
        }
        visit(Segment::Ordinary(from..text.len()))
    }
}
