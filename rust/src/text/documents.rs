//! A stream of bytes -> documents: splitting on special tokens, limits, and blocks for the workers.
//!
//! Text arrives in pieces of any size. It leaves as [`TextBlock`]s of [`DEFAULT_BLOCK_SIZE`] bytes or so,
//! each with the spans of the documents in it. A document longer than a block is cut where no pretoken
//! can cross and no look-ahead can see the difference, so the spans' pretokens are the document's.

use crate::error::{Error, OutOfMemory, Result};
use crate::pretokenize::cut::Cuts;
use crate::system::memory;
use crate::text::key::PADDING;
use crate::text::special::SpecialTokens;
use crate::utf8;
use std::ops::Range;
use std::sync::Arc;

/// How much text usually makes a block, in bytes: small enough for a core's own cache.
pub const DEFAULT_BLOCK_SIZE: usize = 512 << 10;

/// Where bytes of a block came from, for error messages.
#[derive(Clone, Debug)]
struct Origin {
    /// Position in the block from which on this holds.
    at: usize,
    name: Arc<str>,
    /// Offset in the source of the byte at `at`.
    offset: u64,
}

/// The end of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How many of the block's spans lie before it.
    pub spans: usize,
    /// Which source it came from: 1 is the first that began.
    pub source: u64,
}

/// A piece of the input and the spans of documents in it.
#[derive(Debug, Default)]
pub struct TextBlock {
    /// Position in the order of blocks.
    pub index: u64,
    /// The text, followed by [`PADDING`] bytes that belong to no span.
    pub data: Vec<u8>,
    /// Documents, or parts of one, to be pretokenized apart.
    pub spans: Vec<Range<usize>>,
    /// Where documents end, empty ones left out; what follows the last goes on in the next block.
    pub ends: Vec<End>,
    /// Whether the first document began in an earlier block.
    pub continues: bool,
    origins: Vec<Origin>,
}

impl TextBlock {
    /// The text of one of the spans.
    ///
    /// # Errors
    /// [`Error::InvalidUtf8`] with the place in the source.
    pub fn text(&self, span: &Range<usize>) -> Result<&str> {
        std::str::from_utf8(&self.data[span.clone()]).map_err(|e| {
            let (name, offset) = self.origin(span.start + e.valid_up_to());
            Error::InvalidUtf8 {
                source_name: name.to_string(),
                offset,
            }
        })
    }

    /// The source's name and the offset in it of the byte at `at`.
    fn origin(&self, at: usize) -> (Arc<str>, u64) {
        match self.origins.iter().rev().find(|o| o.at <= at) {
            Some(o) => (o.name.clone(), o.offset + (at - o.at) as u64),
            None => (Arc::from("text"), at as u64),
        }
    }
}

/// Cuts the stream.
#[derive(Debug)]
pub struct Splitter {
    special: SpecialTokens,
    /// Where documents may be cut inside.
    cuts: Cuts,
    doc_cap: Option<u64>,
    block_size: usize,
    /// Characters that may still be taken from this document and in all.
    doc_left: u64,
    all_left: u64,
    block: TextBlock,
    /// Where the current document, or what is left of it, begins.
    doc_start: usize,
    /// No special token begins before this position in the current document.
    searched: usize,
    /// No cut lies before this position.
    no_cut_before: usize,
    n_chars: u64,
    /// Whether the current document has any text so far.
    has_text: bool,
    /// Documents still to be left out.
    skip: u64,
    n_sources: u64,
}

impl Splitter {
    /// A splitter. Caps are in characters, the block size in bytes; `cuts` says where a document may be
    /// cut inside.
    pub fn new(
        special: SpecialTokens,
        cuts: Cuts,
        doc_cap: Option<u64>,
        max_chars: Option<u64>,
        block_size: usize,
    ) -> Self {
        Self {
            special,
            cuts,
            doc_cap,
            block_size,
            doc_left: doc_cap.unwrap_or(u64::MAX),
            all_left: max_chars.unwrap_or(u64::MAX),
            block: TextBlock::default(),
            doc_start: 0,
            searched: 0,
            no_cut_before: 0,
            n_chars: 0,
            has_text: false,
            skip: 0,
            n_sources: 0,
        }
    }

    /// Begins after `n_sources` sources and `n_documents` of the next, empty ones not counted, which are
    /// left out.
    pub fn start_after(&mut self, n_sources: u64, n_documents: u64) {
        self.n_sources = n_sources;
        self.skip = n_documents;
    }

    /// Whether `max_chars` is used up.
    pub fn full(&self) -> bool {
        self.all_left == 0
    }

    /// Characters taken, if there are caps to count for; else 0.
    pub fn n_chars(&self) -> u64 {
        self.n_chars
    }

    /// Where text is appended. Call [`Self::absorb`] or [`Self::end_document`] after appending.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.block.data
    }

    /// Whether there is enough for a block.
    pub fn ready(&self) -> bool {
        self.block.data.len() >= self.block_size
    }

    /// From here on text comes from `name`, beginning at its first byte.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn begin_source(&mut self, name: &Arc<str>) -> Result<(), OutOfMemory> {
        let origin = Origin {
            at: self.block.data.len(),
            name: name.clone(),
            offset: 0,
        };
        memory::push(&mut self.block.origins, origin)?;
        self.n_sources += 1;
        Ok(())
    }

    /// Finds the documents that end in what has been appended. The current one goes on.
    ///
    /// # Errors
    /// [`OutOfMemory`]; some of the text is lost then.
    pub fn absorb(&mut self) -> Result<(), OutOfMemory> {
        let len = self.block.data.len();
        while let Some((_, start, end)) = self.special.find(&self.block.data, self.searched) {
            if start + self.special.longest() > len {
                // With more text a longer token may begin here, or before.
                break;
            }
            self.push_document(start, end)?;
        }
        let reach = self.special.longest().saturating_sub(1);
        self.searched = self.searched.max(len.saturating_sub(reach));
        Ok(())
    }

    /// Ends the current document with what has been appended.
    ///
    /// # Errors
    /// As [`Self::absorb`].
    pub fn end_document(&mut self) -> Result<(), OutOfMemory> {
        while let Some((_, start, end)) = self.special.find(&self.block.data, self.searched) {
            self.push_document(start, end)?;
        }
        let len = self.block.data.len();
        self.push_document(len, len)
    }

    fn push_document(&mut self, end: usize, next: usize) -> Result<(), OutOfMemory> {
        self.push_span(self.doc_start..end)?;
        if self.has_text {
            self.has_text = false;
            if self.skip > 0 {
                self.skip -= 1;
            } else {
                let end = End {
                    spans: self.block.spans.len(),
                    source: self.n_sources,
                };
                memory::push(&mut self.block.ends, end)?;
            }
        }
        self.doc_left = self.doc_cap.unwrap_or(u64::MAX);
        self.doc_start = next;
        self.searched = next;
        self.no_cut_before = next;
        Ok(())
    }

    fn push_span(&mut self, mut span: Range<usize>) -> Result<(), OutOfMemory> {
        let left = self.doc_left.min(self.all_left);
        if left < u64::MAX && !span.is_empty() {
            let text = &self.block.data[span.clone()];
            let n = utf8::count_chars(text) as u64;
            if n > left {
                span.end = span.start + utf8::char_offset(text, left as usize);
            }
            let n = n.min(left);
            self.n_chars += n;
            self.doc_left = self.doc_left.saturating_sub(n);
            // u64::MAX stands for no limit and stays.
            if self.all_left < u64::MAX {
                self.all_left -= n;
            }
        }
        if !span.is_empty() {
            self.has_text = true;
            if self.skip == 0 {
                memory::push(&mut self.block.spans, span)?;
            }
        }
        Ok(())
    }

    /// Takes what can be counted by now; the rest of the current document stays.
    ///
    /// `None` if that is nothing: the document must grow first.
    ///
    /// # Errors
    /// As [`Self::absorb`].
    pub fn take_block(&mut self, spare: Vec<u8>) -> Result<Option<TextBlock>, OutOfMemory> {
        if self.cuts.exist() {
            let from = self.no_cut_before.max(self.doc_start);
            match self.cuts.last(&self.block.data, from, self.searched) {
                Some(cut) => {
                    self.push_span(self.doc_start..cut)?;
                    self.doc_start = cut;
                }
                None => self.no_cut_before = self.searched.max(from),
            }
        }
        if self.full() {
            self.doc_start = self.block.data.len();
        }
        if self.doc_start == 0 {
            return Ok(None);
        }
        let keep = self.doc_start;
        let (name, offset) = self.block.origin(keep);
        let mut rest = TextBlock {
            index: self.block.index + 1,
            data: spare,
            spans: Vec::new(),
            ends: Vec::new(),
            continues: self.has_text && self.skip == 0,
            origins: vec![Origin {
                at: 0,
                name,
                offset,
            }],
        };
        rest.data.clear();
        memory::append(&mut rest.data, &self.block.data[keep..])?;
        let mut block = std::mem::replace(&mut self.block, rest);
        block.data.truncate(keep);
        memory::resize(&mut block.data, keep + PADDING, 0)?;
        self.doc_start = 0;
        self.searched = self.searched.saturating_sub(keep);
        self.no_cut_before = self.no_cut_before.saturating_sub(keep);
        Ok(Some(block))
    }
}
