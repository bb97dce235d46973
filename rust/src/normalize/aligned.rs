//! Normalized text that remembers, for each of its bytes, which bytes of the original it stands for.

use super::changes::Changes;
use super::{Normalizer, Step, stripped};
use crate::error::{OutOfMemory, Result};
use crate::system::memory;
use std::ops::Range;

/// A text on its way through a [`Normalizer`].
#[derive(Clone, Debug)]
pub struct Aligned {
    /// The text.
    pub text: String,
    /// For each byte of it the bytes of the original.
    pub from: Vec<(usize, usize)>,
}

impl Aligned {
    /// A part of a text as it is.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(text: &str, range: Range<usize>) -> Result<Self, OutOfMemory> {
        let mut from = memory::with_capacity(range.len())?;
        for (at, c) in text[range.clone()].char_indices() {
            let start = range.start + at;
            let span = (start, start + c.len_utf8());
            from.extend(std::iter::repeat_n(span, c.len_utf8()));
        }
        Ok(Self {
            text: memory::string(&[&text[range]])?,
            from,
        })
    }

    /// Puts `before` in front of text that is not empty; it stands for the first character.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn prepend(&mut self, before: &str) -> Result<(), OutOfMemory> {
        if let Some(&first) = self.from.first() {
            self.text.try_reserve(before.len())?;
            self.from.try_reserve(before.len())?;
            self.text.insert_str(0, before);
            let same = std::iter::repeat_n(first, before.len());
            self.from.splice(0..0, same);
        }
        Ok(())
    }

    /// Replaces all characters. Each new one has a change: 0 if it takes the place of an old one, `-n` if
    /// of an old one and the `n` after it, 1 if it is put in after the last one.
    fn transform(&mut self, changes: Vec<(char, isize)>) -> Result<(), OutOfMemory> {
        let mut text = String::new();
        text.try_reserve(self.text.len())?;
        let mut from = memory::with_capacity(self.from.len())?;
        let mut old = self.text.chars();
        let mut at = 0;
        for (c, change) in changes {
            let span = match change > 0 {
                true if at == 0 => Some(&(0, 0)),
                true => self.from.get(at - 1),
                false => self.from.get(at),
            };
            let span = span.copied().unwrap_or((0, 0));
            if change <= 0 {
                let taken = 1 + change.unsigned_abs();
                at += old.by_ref().take(taken).map(char::len_utf8).sum::<usize>();
            }
            memory::push_char(&mut text, c)?;
            from.try_reserve(4)?;
            from.extend(std::iter::repeat_n(span, c.len_utf8()));
        }
        (self.text, self.from) = (text, from);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Form(form) => {
                let mut changes = Changes::default();
                changes.set(*form, &self.text)?;
                self.transform(changes.all)?;
            }
            Step::Lowercase => {
                let one = |c: char| {
                    let lower = c.to_lowercase().enumerate();
                    lower.map(|(i, c)| (c, isize::from(i > 0)))
                };
                let mut changes = Vec::new();
                for change in self.text.chars().flat_map(one) {
                    memory::push(&mut changes, change)?;
                }
                self.transform(changes)?;
            }
            Step::Strip { left, right } => {
                let range = stripped(&self.text, *left, *right);
                self.text.truncate(range.end);
                self.text.drain(..range.start);
                self.from.truncate(range.end);
                self.from.drain(..range.start);
            }
            Step::ReplaceText(_, new) | Step::ReplaceMatches(_, new) => {
                let (mut text, mut from, mut at) = (String::new(), Vec::new(), 0);
                let matches = step.matches(&self.text)?;
                let room = self.text.len() + matches.len() * new.len();
                text.try_reserve(room)?;
                from.try_reserve(room)?;
                for (start, end) in matches {
                    text.push_str(&self.text[at..start]);
                    from.extend_from_slice(&self.from[at..start]);
                    text.push_str(new);
                    let last = self.from[end - 1];
                    from.extend(std::iter::repeat_n(last, new.len()));
                    at = end;
                }
                text.push_str(&self.text[at..]);
                from.extend_from_slice(&self.from[at..]);
                (self.text, self.from) = (text, from);
            }
            Step::Prepend(before) => self.prepend(before)?,
            Step::Refuse(bytes) => Step::check(&self.text, bytes)?,
        }
        Ok(())
    }
}

impl Normalizer {
    /// As [`Self::apply`], with where everything came from.
    ///
    /// # Errors
    /// As there.
    pub fn align(&self, text: &mut Aligned) -> Result<()> {
        for step in &self.steps {
            text.step(step)?;
        }
        Ok(())
    }
}
