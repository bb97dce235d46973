//! Documents -> pretoken counts.

use crate::error::Result;
use crate::pattern;
use crate::pretokenize::Pretokenizer;
use crate::special::SpecialTokens;
use rustc_hash::FxHashMap;

/// How text is cut before it is counted.
#[derive(Clone, Debug)]
pub struct CountOptions {
    /// A pattern's name or a regex.
    pub pattern: String,
    /// Special tokens: they separate documents and are not counted.
    pub special: SpecialTokens,
    /// Count at most this many characters of each document.
    pub doc_cap: Option<u64>,
    /// Count at most this many characters in all.
    pub max_chars: Option<u64>,
    /// Worker threads; all cores if `None`.
    pub num_threads: Option<usize>,
}

impl CountOptions {
    /// Options with the given pattern and nothing else set.
    ///
    /// # Errors
    /// [`crate::error::Error::Pattern`] if it is neither a name nor a valid regex.
    pub fn new(pattern: &str) -> Result<Self> {
        Pretokenizer::new(pattern)?;
        Ok(Self {
            pattern: pattern.to_owned(),
            special: SpecialTokens::new::<&str>([])?,
            doc_cap: None,
            max_chars: None,
            num_threads: None,
        })
    }

    /// Counts the pretokens of documents.
    ///
    /// # Errors
    /// As [`Pass::feed_text`].
    pub fn count_texts<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Result<Counts> {
        let mut pass = Pass::new(self)?;
        for text in texts {
            pass.feed_text(text)?;
        }
        pass.finish()
    }
}

/// Pretoken counts, and what they were made with.
#[derive(Clone, Debug)]
pub struct Counts {
    pat_str: String,
    special_tokens: Vec<String>,
    map: FxHashMap<Vec<u8>, u64>,
}

impl Counts {
    /// The regex of the pattern.
    pub fn pat_str(&self) -> &str {
        &self.pat_str
    }

    /// The special tokens.
    pub fn special_tokens(&self) -> &[String] {
        &self.special_tokens
    }

    /// All pretokens with their counts, in no particular order.
    pub fn items(&self) -> Vec<(Vec<u8>, u64)> {
        self.map.iter().map(|(k, &v)| (k.clone(), v)).collect()
    }
}

/// One pass over an input.
pub struct Pass {
    pretokenizer: Pretokenizer,
    options: CountOptions,
    map: FxHashMap<Vec<u8>, u64>,
}

impl Pass {
    /// Begins a pass.
    ///
    /// # Errors
    /// [`crate::error::Error::Pattern`].
    pub fn new(options: &CountOptions) -> Result<Self> {
        Ok(Self {
            pretokenizer: Pretokenizer::new(&options.pattern)?,
            options: options.clone(),
            map: FxHashMap::default(),
        })
    }

    /// Counts one document.
    ///
    /// # Errors
    /// [`crate::error::Error::Match`] if the regex engine gives up.
    pub fn feed_text(&mut self, text: &str) -> Result<()> {
        let mut from = 0;
        loop {
            let hit = self.options.special.find(text.as_bytes(), from);
            let part = &text[from..hit.map_or(text.len(), |h| h.1)];
            let map = &mut self.map;
            self.pretokenizer.split(part, |s, e| {
                *map.entry(part.as_bytes()[s..e].to_vec()).or_default() += 1;
            })?;
            match hit {
                Some(h) => from = h.2,
                None => return Ok(()),
            }
        }
    }

    /// Ends the pass.
    ///
    /// # Errors
    /// None yet.
    pub fn finish(self) -> Result<Counts> {
        Ok(Counts {
            pat_str: pattern::pat_str(&self.options.pattern).to_owned(),
            special_tokens: self.options.special.tokens().to_vec(),
            map: self.map,
        })
    }
}
