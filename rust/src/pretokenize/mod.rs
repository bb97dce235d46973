//! Text -> pretokens: the spans that a split pattern cuts text into, before any merging.
//!
//! A span is what `re.finditer` would give: text between matches belongs to no pretoken. All named
//! patterns match every character, so nothing is lost with them.

pub(crate) mod cut;
mod regex;

use crate::error::Result;
use crate::pattern;
pub use regex::RegexSplitter;

/// Splits text by one pattern.
#[derive(Clone, Debug)]
pub enum Pretokenizer {
    /// Any other pattern, by fancy-regex.
    Regex(RegexSplitter),
}

impl Pretokenizer {
    /// A pretokenizer for a pattern's name ([`pattern::Named`]) or a regex.
    ///
    /// # Errors
    /// [`crate::error::Error::Pattern`] if it is neither.
    pub fn new(name_or_regex: &str) -> Result<Self> {
        RegexSplitter::new(pattern::pat_str(name_or_regex)).map(Pretokenizer::Regex)
    }

    /// Whether this is a scanner: linear in the text, and fit to work on a long document in parts
    /// (see `documents`).
    pub fn is_scanner(&self) -> bool {
        match self {
            Pretokenizer::Regex(_) => false,
        }
    }

    /// Calls `emit(start, end)` for each pretoken of `text`, in order; byte offsets.
    ///
    /// # Errors
    /// [`crate::error::Error::Match`] if the regex engine gives up; scanners never fail.
    #[inline]
    pub fn split(&self, text: &str, mut emit: impl FnMut(usize, usize)) -> Result<()> {
        match self {
            Pretokenizer::Regex(r) => r.split(text, &mut emit),
        }
    }
}
