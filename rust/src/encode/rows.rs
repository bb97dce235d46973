//! Spans -> rows of the tokens that training has made so far: the first level of `superwords` alone.

use crate::encode::first_level::FirstLevel;
use crate::encode::groups::State;
use crate::error::Result;
use crate::system::memory;
use crate::text::key::PADDING;
use crate::vocabulary::{Scratch, Vocabulary};

/// Merges spans, each as one stretch.
#[derive(Debug)]
pub(crate) struct RowEncoder {
    level: FirstLevel,
    /// False if there are more tokens than a table can have, or a token is made of one behind it; then spans are
    /// merged by the tokens' bytes.
    in_pieces: bool,
}

/// What one thread works with, and what comes of it.
#[derive(Debug)]
pub(crate) struct RowWorker {
    state: Box<State>,
    scratch: Scratch,
    /// Spans that have not been merged yet, one after the other.
    text: Vec<u8>,
    spans: Vec<(usize, usize)>,
    /// Tokens of all spans.
    tokens: Vec<u32>,
    /// Where the tokens of each span end.
    ends: Vec<usize>,
}

/// Bytes of spans that are merged together.
const BATCH: usize = 1 << 15;

impl RowEncoder {
    /// With the tokens of training, each merged from tokens before it.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn new(tokens: &[Box<[u8]>]) -> Result<Self> {
        let level = FirstLevel::new(tokens.iter().map(|token| &token[..]))?;
        let table = level.tables.vocabulary.table();
        Ok(Self {
            in_pieces: table.is_some_and(|table| table.ordered),
            level,
        })
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.level.tables.vocabulary
    }

    /// Adds a span.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn push(&self, worker: &mut RowWorker, span: &[u8]) -> Result<()> {
        if !self.in_pieces || std::str::from_utf8(span).is_err() {
            self.flush(worker)?;
            let (tokens, scratch) = (&mut worker.tokens, &mut worker.scratch);
            self.vocabulary().encode_piece(span, scratch, tokens)?;
            return Ok(memory::push(&mut worker.ends, worker.tokens.len())?);
        }
        let start = worker.text.len();
        memory::append(&mut worker.text, span)?;
        memory::push(&mut worker.spans, (start, worker.text.len()))?;
        match worker.text.len() < BATCH {
            true => Ok(()),
            false => self.flush(worker),
        }
    }

    /// Merges what has been added.
    ///
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn flush(&self, worker: &mut RowWorker) -> Result<()> {
        let RowWorker {
            state,
            text,
            spans,
            tokens,
            ends,
            ..
        } = worker;
        memory::append(text, &[0; PADDING])?;
        let mut at = tokens.len();
        self.level.encode(text, spans, state, tokens)?;
        ends.try_reserve(spans.len())?;
        let mut bytes = 0;
        for &(_, end) in &*spans {
            while bytes < end {
                bytes += self.level.len(tokens[at]);
                at += 1;
            }
            ends.push(at);
        }
        text.clear();
        spans.clear();
        Ok(())
    }
}

impl RowWorker {
    /// # Errors
    /// [`crate::error::Error::Memory`].
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            state: memory::boxed(State::new()?)?,
            scratch: Scratch::default(),
            text: Vec::new(),
            spans: Vec::new(),
            tokens: Vec::new(),
            ends: Vec::new(),
        })
    }

    /// Hands on the tokens of each span that was merged, in their order, and forgets them.
    ///
    /// # Errors
    /// What `take` returns.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(&[u32]) -> Result<()>) -> Result<()> {
        let mut start = 0;
        for &end in &self.ends {
            take(&self.tokens[start..end])?;
            start = end;
        }
        self.tokens.clear();
        self.ends.clear();
        Ok(())
    }
}
