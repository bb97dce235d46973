//! Text -> pretokens: the spans that a split pattern cuts text into, before any merging.
//!
//! A span is what `re.finditer` would give: text between matches belongs to no pretoken. All named
//! patterns match every character, so nothing is lost with them.

mod automaton;
mod chain;
mod compiled;
pub mod cut;
mod grammar;
pub mod pattern;
mod regex;
mod scan;
mod scan_cl100k;
mod scan_gpt2;
mod scan_o200k;
mod unicode;

use crate::error::Result;
use crate::pretokenize::pattern::Named;
use crate::simd::level::{self, Job, Level};
pub use compiled::Compiled;
use cut::Cuts;
pub use regex::RegexSplitter;
use scan::Each;
pub(crate) use scan::PretokenSink;
pub use scan::Scanner;
pub use scan_cl100k::{Cl100k, Nanochat};
pub use scan_gpt2::Gpt2;
pub use scan_o200k::O200k;

/// Splits text by one pattern.
#[derive(Clone, Debug)]
pub enum Pretokenizer {
    /// The `gpt2` pattern, by its scanner.
    Gpt2(Gpt2),
    /// The `cl100k` pattern, by its scanner.
    Cl100k(Cl100k),
    /// The `o200k` pattern, by its scanner.
    O200k(O200k),
    /// The `nanochat` pattern, by its scanner.
    Nanochat(Nanochat),
    /// Another pattern of the same family, by tables made for it.
    Compiled(Compiled),
    /// Any other pattern, by fancy-regex.
    Regex(RegexSplitter),
}

impl Pretokenizer {
    /// A pretokenizer for a pattern's name ([`pattern::Named`]) or a regex. Texts that are known to
    /// split as a named pattern does get its scanner.
    ///
    /// # Errors
    /// [`crate::error::Error::Pattern`] if it is neither.
    pub fn new(name_or_regex: &str) -> Result<Self> {
        Ok(match Named::find(name_or_regex) {
            Some(Named::Gpt2) => Self::Gpt2(Gpt2::default()),
            Some(Named::Cl100k) => Self::Cl100k(Cl100k::default()),
            Some(Named::O200k) => Self::O200k(O200k::default()),
            Some(Named::Nanochat) => Self::Nanochat(Nanochat::default()),
            None => {
                // The engine decides what is a pattern at all.
                let regex = RegexSplitter::new(name_or_regex)?;
                match Compiled::new(name_or_regex) {
                    Some(compiled) => Self::Compiled(compiled),
                    None => Self::Regex(regex),
                }
            }
        })
    }

    /// Whether this does without a regex engine: linear in the text, and it never fails.
    pub fn is_linear(&self) -> bool {
        !matches!(self, Self::Regex(_))
    }

    /// Where a long document may be cut so that its parts give the document's pretokens.
    pub fn cuts(&self) -> Cuts {
        match self {
            Self::Gpt2(_) | Self::Cl100k(_) | Self::O200k(_) | Self::Nanochat(_) => Cuts::Named,
            Self::Compiled(s) => s.cuts(),
            Self::Regex(_) => Cuts::Nowhere,
        }
    }

    /// Calls `emit(start, end)` for each pretoken of `text`, in order; byte offsets.
    ///
    /// # Errors
    /// [`crate::error::Error::Match`] if the regex engine gives up; scanners never fail.
    #[inline]
    pub fn split(&self, text: &str, emit: impl FnMut(usize, usize)) -> Result<()> {
        let sink = &mut Each(emit);
        level::run(Split {
            pretokenizer: self,
            text,
            sink,
        })
    }

    /// As [`Self::split`], within a job.
    #[inline(always)]
    pub(crate) fn split_into<L: Level>(
        &self,
        level: L,
        text: &str,
        sink: &mut impl PretokenSink,
    ) -> Result<()> {
        match self {
            Self::Gpt2(s) => s.split(level, text, sink),
            Self::Cl100k(s) => s.split(level, text, sink),
            Self::O200k(s) => s.split(level, text, sink),
            Self::Nanochat(s) => s.split(level, text, sink),
            Self::Compiled(s) => s.split(text, |start, end| {
                sink.put(start, end, 1);
            }),
            Self::Regex(r) => {
                return r.split(text, &mut |start, end| {
                    sink.put(start, end, 1);
                });
            }
        }
        Ok(())
    }
}

struct Split<'a, S> {
    pretokenizer: &'a Pretokenizer,
    text: &'a str,
    sink: &'a mut S,
}

impl<S: PretokenSink> Job for Split<'_, S> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<()> {
        self.pretokenizer.split_into(level, self.text, self.sink)
    }
}
