//! Several splits, one after the other: each cuts what the one before has left, as in a tokenizer.json.
//!
//! A split finds matches in a piece of text; they and what lies between them become pieces, by one of
//! five behaviors. Splits may also work on bytes, written as GPT-2 writes them (a printable character for
//! each), which is what follows a `ByteLevel` in a sequence; their pieces may begin and end inside a
//! character.

use crate::error::{Error, Result};
use crate::pretokenize::scan::{Each, PretokenSink};
use crate::simd::level::{self, Job, Level};
use crate::system::memory;
use serde_json::Value;
use std::ops::Range;
use std::sync::Arc;

/// What such a pattern's text begins with. No regex does.
pub const MARK: &str = "{\"splits\":";

/// What finds the matches of one split.
pub trait Matcher: Sized {
    /// From a pattern's text.
    ///
    /// # Errors
    /// [`Error::Pattern`] if it is not one; [`Error::Memory`].
    fn read(pattern: &str) -> Result<Self>;

    /// Gives `sink` the matches in `text`, if this is not itself several splits.
    ///
    /// # Errors
    /// [`Error::Match`] if a regex engine gives up.
    fn split_alone<L: Level>(
        &self,
        level: L,
        text: &str,
        sink: &mut impl PretokenSink,
    ) -> Result<()>;
}

/// What becomes of matches and of what lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behavior {
    /// Matches go.
    Removed,
    /// Each is a piece.
    Isolated,
    /// Matches next to each other are one piece.
    Contiguous,
    /// A match belongs to what is before it.
    MergedWithPrevious,
    /// A match belongs to what follows it.
    MergedWithNext,
}

/// One split.
#[derive(Clone, Debug)]
struct Split<M> {
    matches: M,
    behavior: Behavior,
    /// Whether what lies between matches is taken for matches, and the other way about.
    invert: bool,
    /// Whether the matches are the pieces.
    plain: bool,
    bytes: bool,
}

/// Splits in their order; one at least.
#[derive(Clone, Debug)]
pub struct Splits<M> {
    splits: Arc<[Split<M>]>,
}

impl<M: Matcher> Splits<M> {
    /// Reads `{"splits":[{"pattern": .., "behavior": .., "invert": .., "covers": .., "bytes": ..}, ..]}`.
    ///
    /// `covers` says that the pattern matches every text whole.
    ///
    /// # Errors
    /// [`Error::Pattern`] for anything else.
    pub fn new(text: &str) -> Result<Self> {
        let bad = |reason: String| Error::Pattern {
            pattern: text.to_owned(),
            reason,
        };
        let value: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let items = value["splits"].as_array().filter(|items| !items.is_empty());
        let items = items.ok_or_else(|| bad("\"splits\" is not a list of splits".to_owned()))?;
        let mut splits = Vec::new();
        for item in items {
            let pattern = item["pattern"].as_str();
            let pattern = pattern.ok_or_else(|| bad(format!("{item} has no pattern")))?;
            if pattern.starts_with(MARK) {
                return Err(bad("a split cannot hold splits".to_owned()));
            }
            let behavior = match item["behavior"].as_str().unwrap_or_default() {
                "Removed" => Behavior::Removed,
                "Isolated" => Behavior::Isolated,
                "Contiguous" => Behavior::Contiguous,
                "MergedWithPrevious" => Behavior::MergedWithPrevious,
                "MergedWithNext" => Behavior::MergedWithNext,
                _ => return Err(bad(format!("{item} has no behavior"))),
            };
            let is = |key: &str| item[key].as_bool().unwrap_or_default();
            let invert = is("invert");
            splits.push(Split {
                matches: M::read(pattern)?,
                behavior,
                invert,
                plain: match behavior {
                    Behavior::Removed => invert,
                    Behavior::Isolated => is("covers"),
                    _ => false,
                },
                bytes: is("bytes"),
            });
        }
        Ok(Self {
            splits: splits.into(),
        })
    }

    /// Gives `sink` the pretokens of `text`.
    ///
    /// # Errors
    /// [`Error::Match`] if a regex engine gives up.
    pub(crate) fn split_into<L: Level>(
        &self,
        level: L,
        text: &str,
        sink: &mut impl PretokenSink,
    ) -> Result<()> {
        match self.splits.split_last() {
            Some((last, before)) if last.plain && !last.bytes => {
                let mut done = Ok(());
                pieces(before, text, 0..text.len(), &mut |piece| {
                    if done.is_ok() {
                        done = level.run(Alone {
                            matches: &last.matches,
                            text: &text[piece.clone()],
                            sink: &mut Shifted(sink, piece.start),
                        });
                    }
                })?;
                done
            }
            _ => pieces(&self.splits, text, 0..text.len(), &mut |piece| {
                sink.put(piece.start, piece.end, 1);
            }),
        }
    }
}

/// The matches of one split in a piece of text.
struct Alone<'a, M, S> {
    matches: &'a M,
    text: &'a str,
    sink: &'a mut S,
}

impl<M: Matcher, S: PretokenSink> Job for Alone<'_, M, S> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<()> {
        self.matches.split_alone(level, self.text, self.sink)
    }
}

/// A sink for a part of the text, and where the part begins.
struct Shifted<'a, S>(&'a mut S, usize);

impl<S: PretokenSink> PretokenSink for Shifted<'_, S> {
    #[inline(always)]
    fn put(&mut self, start: usize, base: usize, ends: u64) -> usize {
        self.0.put(start + self.1, base + self.1, ends) - self.1
    }
}

/// Calls `emit` with the pieces that `splits` make of a part of `text`.
fn pieces<M: Matcher>(
    splits: &[Split<M>],
    text: &str,
    part: Range<usize>,
    emit: &mut dyn FnMut(Range<usize>),
) -> Result<()> {
    let Some((split, rest)) = splits.split_first() else {
        emit(part);
        return Ok(());
    };
    let mut done = Ok(());
    split.split(text, part, &mut |piece| {
        if done.is_ok() && !piece.is_empty() {
            done = pieces(rest, text, piece, emit);
        }
    })?;
    done
}

impl<M: Matcher> Split<M> {
    fn split(
        &self,
        text: &str,
        part: Range<usize>,
        emit: &mut dyn FnMut(Range<usize>),
    ) -> Result<()> {
        if self.bytes {
            let mut written = String::new();
            for &b in &text.as_bytes()[part.clone()] {
                memory::push_char(&mut written, byte_char(b))?;
            }
            // Each of these characters is a byte.
            let (mut at, mut n) = (0, part.start);
            let mut place = |to: usize| {
                n += written[at..to].chars().count();
                at = to;
                n
            };
            return self.split_str(&written, &mut |piece| {
                let start = place(piece.start);
                emit(start..place(piece.end));
            });
        }
        self.split_str(&text[part.clone()], &mut |piece| {
            emit(part.start + piece.start..part.start + piece.end);
        })
    }

    fn split_str(&self, text: &str, emit: &mut dyn FnMut(Range<usize>)) -> Result<()> {
        if self.plain {
            return self.find(text, &mut |start, end| emit(start..end));
        }
        let mut pieces = Pieces {
            behavior: self.behavior,
            invert: self.invert,
            held: None,
            emit,
        };
        let mut at = 0;
        self.find(text, &mut |start, end| {
            if at < start {
                pieces.take(at..start, false);
            }
            pieces.take(start..end, true);
            at = end;
        })?;
        if at < text.len() {
            pieces.take(at..text.len(), false);
        }
        pieces.finish();
        Ok(())
    }

    fn find(&self, text: &str, found: &mut dyn FnMut(usize, usize)) -> Result<()> {
        level::run(Alone {
            matches: &self.matches,
            text,
            sink: &mut Each(found),
        })
    }
}

/// Turns matches, and what lies between them, into pieces.
struct Pieces<'a> {
    behavior: Behavior,
    invert: bool,
    /// What may still grow, and whether it ends with a match.
    held: Option<(Range<usize>, bool)>,
    emit: &'a mut dyn FnMut(Range<usize>),
}

impl Pieces<'_> {
    fn take(&mut self, range: Range<usize>, is_match: bool) {
        let is_match = is_match != self.invert;
        let joins = |before: bool| match self.behavior {
            Behavior::Removed | Behavior::Isolated => false,
            Behavior::Contiguous => is_match == before,
            Behavior::MergedWithPrevious => is_match && !before,
            Behavior::MergedWithNext => !is_match && before,
        };
        if self.behavior == Behavior::Removed && is_match {
            return;
        }
        match self.held.take() {
            Some((held, before)) if joins(before) => {
                self.held = Some((held.start..range.end, is_match));
            }
            held => {
                if let Some((held, _)) = held {
                    (self.emit)(held);
                }
                self.held = Some((range, is_match));
            }
        }
    }

    fn finish(&mut self) {
        if let Some((held, _)) = self.held.take() {
            (self.emit)(held);
        }
    }
}

/// GPT-2's printable character for a byte.
fn byte_char(byte: u8) -> char {
    let code = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0..=b' ' => 256 + u32::from(byte),
        0x7f..=0xa0 => 256 + 33 + u32::from(byte) - 0x7f,
        0xad => 256 + 67,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}
