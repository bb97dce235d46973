//! What is done to text before it is cut into pretokens, as a tokenizer.json says: Unicode's normal forms,
//! lower case, replacing, stripping, prepending.
//!
//! Most text is in normal form already. [`forms`] finds the places where it may not be, and only those
//! are looked at closely (`changes`). [`aligned`] does the same slowly and remembers where each byte came from: for
//! offsets, and as an oracle.

pub mod aligned;
mod changes;
pub mod forms;

use crate::error::{Error, OutOfMemory, Result};
use crate::system::memory;
use fancy_regex::Regex;
use forms::Form;
use std::borrow::Cow;

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A normal form of Unicode.
    Form(Form),
    /// Each character in lower case, without a look at its neighbours.
    Lowercase,
    /// White space at the ends goes.
    Strip {
        /// At the beginning.
        left: bool,
        /// At the end.
        right: bool,
    },
    /// Each occurrence of a text is replaced.
    ReplaceText(String, String),
    /// Each match of a regex, which takes at least a character, is replaced.
    ReplaceMatches(Box<Regex>, String),
    /// Put before text that is not empty.
    Prepend(String),
    /// Text with one of these bytes is refused; the vocabulary has no token for them.
    Refuse(Box<[u8]>),
}

impl Step {
    /// A step that replaces what `pattern` matches.
    ///
    /// # Errors
    /// [`Error::Pattern`] with the engine's reason.
    pub fn replace_matches(pattern: &str, content: &str) -> Result<Self> {
        let regex = Regex::new(pattern).map_err(|error| Error::Pattern {
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self::ReplaceMatches(Box::new(regex), content.to_owned()))
    }

    /// Where the step replaces something in `text`.
    fn matches(&self, text: &str) -> Result<Vec<(usize, usize)>> {
        let mut found = Vec::new();
        match self {
            Self::ReplaceText(old, _) => {
                for (at, old) in text.match_indices(old) {
                    memory::push(&mut found, (at, at + old.len()))?;
                }
            }
            Self::ReplaceMatches(regex, _) => {
                for one in regex.find_iter(text) {
                    let one = one.map_err(|error| Error::Match {
                        pattern: regex.as_str().to_owned(),
                        offset: found.last().map_or(0, |&(_, end)| end),
                        reason: error.to_string(),
                    })?;
                    if one.start() < one.end() {
                        memory::push(&mut found, (one.start(), one.end()))?;
                    }
                }
            }
            _ => {}
        }
        Ok(found)
    }

    /// Looks for bytes that are refused.
    fn check(text: &str, refused: &[u8]) -> Result<()> {
        let mut is_refused = [false; 256];
        for &byte in refused {
            is_refused[usize::from(byte)] = true;
        }
        let Some(at) = text.bytes().position(|byte| is_refused[usize::from(byte)]) else {
            return Ok(());
        };
        let value = text[at..].chars().next().map(|c| format!("{c:?}"));
        Err(Error::argument(
            "text",
            value.unwrap_or_default(),
            format!(
                "it has the byte 0x{:02x}, for which the vocabulary has no token; `tokenizers` would leave it \
                 out without a word; take it out",
                text.as_bytes()[at]
            ),
        ))
    }

    fn apply<'a>(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>> {
        let changed = match self {
            Self::Form(form) => form.changed(&text)?,
            Self::Lowercase => {
                let is_lower = |c: char| c.to_lowercase().eq([c]);
                match text.chars().all(is_lower) {
                    true => None,
                    false => {
                        let mut lower = with_capacity(text.len())?;
                        for c in text.chars().flat_map(char::to_lowercase) {
                            memory::push_char(&mut lower, c)?;
                        }
                        Some(lower)
                    }
                }
            }
            Self::Strip { left, right } => {
                let range = stripped(&text, *left, *right);
                match range.len() < text.len() {
                    true => Some(memory::string(&[&text[range]])?),
                    false => None,
                }
            }
            Self::ReplaceText(_, new) | Self::ReplaceMatches(_, new) => {
                let matches = self.matches(&text)?;
                if matches.is_empty() {
                    return Ok(text);
                }
                let mut replaced = with_capacity(text.len() + matches.len() * new.len())?;
                let mut from = 0;
                for (start, end) in matches {
                    replaced.push_str(&text[from..start]);
                    replaced.push_str(new);
                    from = end;
                }
                replaced.push_str(&text[from..]);
                Some(replaced)
            }
            Self::Prepend(before) => match text.is_empty() {
                true => None,
                false => Some(memory::string(&[before, &text])?),
            },
            Self::Refuse(bytes) => {
                Self::check(&text, bytes)?;
                None
            }
        };
        Ok(changed.map_or(text, Cow::Owned))
    }
}

fn with_capacity(n: usize) -> Result<String, OutOfMemory> {
    let mut text = String::new();
    text.try_reserve(n)?;
    Ok(text)
}

/// What is left of `text` without white space at its ends.
fn stripped(text: &str, left: bool, right: bool) -> std::ops::Range<usize> {
    let end = if right {
        text.trim_end().len()
    } else {
        text.len()
    };
    let rest = &text[..end];
    let start = if left {
        end - rest.trim_start().len()
    } else {
        0
    };
    start..end
}

/// Steps, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Normalizer {
    steps: Vec<Step>,
}

impl Normalizer {
    /// These steps.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// Whether it leaves all text as it is.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether text may be cut between two ASCII characters, each of which stays itself: the parts,
    /// normalized, are then the whole, normalized.
    pub fn is_local(&self) -> bool {
        let is_local = |step: &Step| match step {
            Step::Form(_) => true,
            Step::ReplaceText(old, _) => old.bytes().all(|byte| !byte.is_ascii()),
            Step::Refuse(_) => true,
            _ => false,
        };
        self.steps.iter().all(is_local)
    }

    /// The normalized text.
    ///
    /// # Errors
    /// [`Error::Match`] if a regex gives up; [`Error::Memory`].
    pub fn apply<'a>(&self, text: &'a str) -> Result<Cow<'a, str>> {
        let mut text = Cow::Borrowed(text);
        for step in &self.steps {
            text = step.apply(text)?;
        }
        Ok(text)
    }
}
