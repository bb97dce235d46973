//! Text -> pretokens: the spans that a split pattern cuts text into, before any merging.
//!
//! A span is what `re.finditer` would give, except that matches of nothing are passed over: text between
//! matches belongs to no pretoken. All named patterns match every character, so nothing is lost with them.
//!
//! Named patterns ([`pattern`]) have scanners (`scan`, `scan_*`, with the character classes of `unicode`).
//! Other patterns of their kind are compiled (`grammar` -> `automaton` -> `chain` -> `compiled`); the rest
//! is left to a regex engine (`regex`). Several in a row are `steps`; [`spans`] joins a named pattern's pretokens. [`cut`] says where a document may be cut without a difference.

mod automaton;
mod chain;
mod compiled;
pub mod cut;
mod grammar;
pub mod pattern;
mod regex;
mod scan;
mod scan_cl100k;
mod scan_deepseek;
mod scan_gpt2;
mod scan_o200k;
pub mod spans;
mod steps;
mod unicode;

use crate::error::{OutOfMemory, Result};
use crate::pretokenize::pattern::Named;
use crate::simd::level::{self, Job, Level};
pub use compiled::Compiled;
use cut::Cuts;
pub use regex::RegexSplitter;
use scan::Each;
pub(crate) use scan::PretokenSink;
pub use scan::Scanner;
pub use scan_cl100k::{Cl100k, Llama3, Nanochat, Qwen2};
pub use scan_deepseek::DeepSeek;
pub use scan_gpt2::{Gpt2, StarCoder};
pub use scan_o200k::O200k;
use spans::{Row, Spans};
use steps::Matcher;
pub use steps::Splits;

/// Splits text by one pattern.
#[derive(Clone, Debug)]
pub enum Pretokenizer {
    /// A named pattern, by its scanner.
    Named(Named),
    /// Another pattern of the same family, by tables made for it.
    Compiled(Compiled),
    /// Any other pattern, by fancy-regex.
    Regex(RegexSplitter),
    /// The spans of a named pattern.
    Spans(Named),
    /// Several, one after the other.
    Splits(Splits<Pretokenizer>),
}

impl Pretokenizer {
    /// A pretokenizer for a pattern's name ([`pattern::Named`]) or a regex. Texts that are known to
    /// split as a named pattern does get its scanner.
    ///
    /// # Errors
    /// [`crate::error::Error::Pattern`] if it is neither; [`crate::error::Error::Memory`].
    pub fn new(name_or_regex: &str) -> Result<Self> {
        unicode::prepare()?;
        Ok(match Named::find(name_or_regex) {
            Some(named) => {
                if named == Named::DeepSeek {
                    scan_deepseek::prepare()?;
                }
                Self::Named(named)
            }
            None if name_or_regex.starts_with(steps::MARK) => {
                Self::Splits(Splits::new(name_or_regex)?)
            }
            None if let Some(named) = spans::find(name_or_regex) => Self::Spans(named),
            None => {
                // The engine decides what is a pattern at all.
                let regex = RegexSplitter::new(name_or_regex)?;
                match Compiled::new(name_or_regex)? {
                    Some(compiled) => Self::Compiled(compiled),
                    None => Self::Regex(regex),
                }
            }
        })
    }

    /// Whether this does without a regex engine: linear in the text, and it never fails.
    pub fn is_linear(&self) -> bool {
        !matches!(self, Self::Regex(_) | Self::Splits(_))
    }

    /// Where a long document may be cut so that its parts give the document's pretokens.
    pub fn cuts(&self) -> Cuts {
        match self {
            Self::Named(_) => Cuts::Named,
            Self::Spans(_) => Cuts::Lines,
            Self::Compiled(s) => s.cuts(),
            Self::Regex(_) | Self::Splits(_) => Cuts::Nowhere,
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

    /// The pretokens that a named pattern's spans are made of, in `rows`, in place of what is there;
    /// `None` for anything but such spans.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn pretokens_of_spans(
        &self,
        text: &str,
        rows: Vec<Row>,
    ) -> Result<Option<Vec<Row>>, OutOfMemory> {
        match *self {
            Self::Spans(named) => level::run(SplitSpans { named, text, rows }).map(Some),
            _ => Ok(None),
        }
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
            Self::Splits(s) => s.split_into(level, text, sink),
            alone => alone.split_alone(level, text, sink),
        }
    }
}

impl Matcher for Pretokenizer {
    fn read(pattern: &str) -> Result<Self> {
        Self::new(pattern)
    }

    #[inline(always)]
    fn split_alone<L: Level>(
        &self,
        level: L,
        text: &str,
        sink: &mut impl PretokenSink,
    ) -> Result<()> {
        match self {
            Self::Named(named) => split_named(*named, level, text, sink),
            Self::Spans(named) => {
                let (named, rows) = (*named, Vec::new());
                let rows = level::run(SplitSpans { named, text, rows })?;
                let mut start = 0;
                for end in spans::ends_of(&rows, text) {
                    start = sink.put(start, end, 1);
                }
            }
            Self::Compiled(s) => s.split(text, |start, end| {
                sink.put(start, end, 1);
            }),
            // They do not hold each other.
            Self::Splits(_) => {}
            Self::Regex(r) => {
                return r.split(text, &mut |start, end| {
                    sink.put(start, end, 1);
                });
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn split_named<L: Level>(named: Named, level: L, text: &str, sink: &mut impl PretokenSink) {
    match named {
        Named::Gpt2 => Gpt2::default().split(level, text, sink),
        Named::Cl100k => Cl100k::default().split(level, text, sink),
        Named::O200k => O200k::default().split(level, text, sink),
        Named::Nanochat => Nanochat::default().split(level, text, sink),
        Named::Llama3 => Llama3::default().split(level, text, sink),
        Named::Qwen2 => Qwen2::default().split(level, text, sink),
        Named::StarCoder => StarCoder::default().split(level, text, sink),
        Named::DeepSeek => DeepSeek::default().split(level, text, sink),
    }
}

/// The pretokens of spans: a job of its own, so that the scanners are compiled once for all that want them.
struct SplitSpans<'a> {
    named: Named,
    text: &'a str,
    rows: Vec<Row>,
}

impl Job for SplitSpans<'_> {
    type Output = Result<Vec<Row>, OutOfMemory>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<Vec<Row>, OutOfMemory> {
        let mut spans = Spans::new(level, self.named, self.text, self.rows);
        split_named(self.named, level, self.text, &mut spans);
        spans.into_rows()
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
