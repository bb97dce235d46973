//! What stands between a text and its pretokens in a tokenizer that comes from a tokenizer.json: added tokens
//! of several kinds, a normalizer, a space put before.

use crate::error::{Error, Result};
use crate::normalize::Normalizer;
use crate::pretokenize::cut::Cuts;
use crate::system::memory;
use crate::text::added::{Found, Manner, Passes};
use crate::text::special::SpecialTokens;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// A token that is looked for before the text is cut into pretokens.
#[derive(Clone, Debug)]
pub struct Added {
    /// Its text.
    pub content: String,
    /// Whether it is a special token: then it is looked for only where it is allowed.
    pub special: bool,
    /// Whether it is looked for in the normalized text.
    pub normalized: bool,
    /// What else it asks for.
    pub manner: Manner,
}

/// What a [`Front`] is made of.
#[derive(Clone, Debug, Default)]
pub struct FrontOptions {
    /// What is done to the text.
    pub normalizer: Normalizer,
    /// Whether each stretch between added tokens that does not begin with a space is given one.
    pub prefix_space: bool,
    /// Whether only one with which the text begins is.
    pub prefix_first: bool,
    /// The added tokens.
    pub added: Vec<Added>,
    /// Whether they are looked for in two passes and with manners; otherwise simply by their texts.
    pub passes: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Front {
    options: FrontOptions,
    /// Those that are not special.
    always: SpecialTokens,
    /// Those that are.
    separators: SpecialTokens,
}

impl Front {
    pub(crate) fn new(options: FrontOptions) -> Result<Self> {
        let of = |special| {
            let some = options.added.iter().filter(move |a| a.special == special);
            some.map(|a| a.content.clone()).collect::<Vec<_>>()
        };
        let mut front = Self {
            always: SpecialTokens::new::<&str>([])?,
            separators: SpecialTokens::new(of(true))?,
            options: options.clone(),
        };
        front.always = front.set(&of(false))?;
        Ok(front)
    }

    /// The special tokens, as they separate documents.
    pub fn separators(&self) -> &SpecialTokens {
        &self.separators
    }

    /// The added tokens that are not special.
    pub fn always(&self) -> &SpecialTokens {
        &self.always
    }

    /// A set of these tokens and of all that are not special.
    ///
    /// # Errors
    /// [`Error::Argument`] for tokens that cannot be told apart in normalized text; as [`Normalizer::apply`].
    pub fn set(&self, tokens: &[String]) -> Result<SpecialTokens> {
        let given: FxHashSet<&String> = tokens.iter().collect();
        let added = self.options.added.iter();
        let some: Vec<&Added> = added
            .filter(|a| !a.special || given.contains(&a.content))
            .collect();
        let set = SpecialTokens::new(some.iter().map(|a| &a.content))?;
        if !self.options.passes {
            return Ok(set);
        }
        let (mut early, mut late) = (Vec::new(), Vec::new());
        let mut seen = FxHashSet::default();
        for (index, added) in some.into_iter().enumerate() {
            if !added.normalized {
                early.push((index, added.content.clone(), added.manner));
                continue;
            }
            let text = self.options.normalizer.apply(&added.content)?.into_owned();
            if text.is_empty() || !seen.insert(text.clone()) {
                let reason = "normalized, it is nothing, or another added token";
                let value = format!("{:?}", added.content);
                return Err(Error::argument("added_tokens", value, reason));
            }
            late.push((index, text, added.manner));
        }
        Ok(set.with_passes(Passes::new(early, late)?))
    }

    /// Whether a text may be cut where its pretokens may, between ASCII characters.
    pub(crate) fn is_local(&self) -> bool {
        self.options.normalizer.is_local()
            && !self.options.prefix_space
            && !self.options.prefix_first
    }

    /// Whether text is cut into pretokens as it is.
    pub(crate) fn leaves_text(&self) -> bool {
        self.options.normalizer.is_empty()
            && !self.options.prefix_space
            && !self.options.prefix_first
    }

    /// The normalizer.
    pub fn normalizer(&self) -> &Normalizer {
        &self.options.normalizer
    }

    /// What is put before a stretch of normalized text, which may be what the whole text begins with.
    pub fn prefix(&self, text: &str, is_first: bool) -> &'static str {
        let asked = match is_first {
            true => self.options.prefix_space || self.options.prefix_first,
            false => self.options.prefix_space,
        };
        match asked && !text.is_empty() && !text.starts_with(' ') {
            true => " ",
            false => "",
        }
    }

    /// Which of a pattern's cuts a text between special tokens may be cut at.
    pub(crate) fn cuts(&self, cuts: Cuts) -> Cuts {
        match cuts {
            _ if !self.is_local() => Cuts::Nowhere,
            Cuts::Nowhere => Cuts::Nowhere,
            cuts if self.options.normalizer.is_empty() => cuts,
            cuts => Cuts::BetweenAscii(Arc::new(cuts)),
        }
    }

    /// Calls `token` with added tokens and `ordinary` with what lies between them, ready for the
    /// pretokenizer.
    ///
    /// # Errors
    /// What they return; as [`Normalizer::apply`].
    pub(crate) fn each_stretch<S>(
        &self,
        text: &str,
        allowed: &SpecialTokens,
        to: &mut S,
        token: impl Fn(&mut S, &str) -> Result<()>,
        ordinary: impl Fn(&mut S, &str) -> Result<()>,
    ) -> Result<()> {
        let tokens = allowed.tokens();
        allowed.split_early(text, |found| {
            let range = match found {
                Found::Token(index, _) => return token(to, &tokens[index]),
                Found::Ordinary(range) => range,
            };
            let at = range.start;
            let text = self.options.normalizer.apply(&text[range])?;
            allowed.split_late(&text, |found| match found {
                Found::Token(index, _) => token(to, &tokens[index]),
                Found::Ordinary(range) => {
                    match self.prefix(&text[range.clone()], at + range.start == 0) {
                        "" => ordinary(to, &text[range]),
                        prefix => ordinary(to, &memory::string(&[prefix, &text[range]])?),
                    }
                }
            })
        })
    }
}
