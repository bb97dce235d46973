//! Documents -> ids, in several threads, in the order of the documents.
//!
//! Files and other long inputs are here ([`encode_corpus`]): blocks of text go through a pipeline, and
//! what comes of them ([`Encoded`]) to a [`Consumer`], of which [`shards`] is one, which writes `.npy` files
//! (`npy`). Many short texts are in [`batch`], by way of tasks that are alike in size (`texts`).

pub mod batch;
pub mod checkpoint;
mod encoded;
mod npy;
pub mod shards;
pub(crate) mod texts;
mod width;

use crate::encode::{Encoder, Session};
use crate::error::{Error, Result};
use crate::system::memory;
use crate::system::pipeline::Worker;
use crate::system::threads;
use crate::text::block_pipeline::{self, LARGE_BLOCK};
use crate::text::documents::{DEFAULT_BLOCK_SIZE, Splitter, TextBlock};
use crate::text::feed::{Feed, FeedOptions};
use crate::vocabulary::FEWEST_TOKEN_BYTES;
use encoded::BufferPool;
pub use encoded::{Consumer, DocumentPart, Encoded};
use std::ops::Range;
use std::sync::atomic::AtomicBool;
pub use width::Width;

/// An id put at an end of each document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// Before the document, as a "beginning of sequence".
    Before(u32),
    /// After it, as an "end of text".
    After(u32),
}

/// How a corpus is encoded.
#[derive(Clone, Debug)]
pub struct CorpusOptions {
    /// What ids are written as.
    pub width: Width,
    /// The id around documents.
    pub separator: Option<Separator>,
    /// Whether to compute the CRC-32 of each document's text.
    pub hash: bool,
    /// Sources that come before the first that is fed, for [`DocumentPart::source`].
    pub skip_sources: u64,
    /// Documents at the beginning to leave out, empty ones not counted.
    pub skip_documents: u64,
    /// Threads, the caller's included; as many as there are cores if `None`.
    pub num_threads: Option<usize>,
    /// How much text a worker takes at a time, in bytes; it shows in speed and memory only.
    pub block_size: usize,
    /// Read invalid UTF-8 as U+FFFD instead of failing.
    pub replace_invalid: bool,
}

impl CorpusOptions {
    /// Options with nothing set but the width.
    pub fn new(width: Width) -> Self {
        Self {
            width,
            separator: None,
            hash: false,
            skip_sources: 0,
            skip_documents: 0,
            num_threads: None,
            block_size: DEFAULT_BLOCK_SIZE,
            replace_invalid: false,
        }
    }
}

/// Encodes what `produce` feeds, on this thread, beside the workers.
///
/// Special tokens of the encoder separate documents; empty documents are left out. `consumer` may have
/// taken the first blocks of ids when an error is returned.
///
/// # Errors
/// What `produce` and `consumer` return; [`Error::InvalidUtf8`] and [`Error::Match`] of the first
/// document that has them; [`Error::Argument`] for 0 threads.
pub fn encode_corpus<'a, E: From<Error>>(
    encoder: &'a Encoder,
    options: &'a CorpusOptions,
    consumer: &mut dyn Consumer,
    produce: impl FnOnce(&mut Feed) -> Result<(), E>,
) -> Result<(), E> {
    let n_threads = threads::resolve(options.num_threads)?;
    let mut splitter = Splitter::new(
        encoder.separators().clone(),
        encoder.document_cuts(),
        None,
        None,
        options.block_size,
    );
    splitter.start_after(options.skip_sources, options.skip_documents);
    let mut n_bytes = 0;
    let input = FeedOptions {
        replace_invalid: options.replace_invalid,
        block_size: options.block_size,
    };
    let input = (&mut splitter, &mut n_bytes, input);
    let buffers = BufferPool::new(LARGE_BLOCK / 4);
    let make = || BlockEncoder {
        session: encoder.session(),
        options,
        buffers: &buffers,
    };
    let take = |mut encoded: Encoded| {
        consumer.take(&mut encoded)?;
        buffers.put(encoded.ids);
        Ok(encoded.text)
    };
    block_pipeline::run(n_threads, make, input, take, produce)
}

/// Encodes blocks in one thread.
struct BlockEncoder<'a> {
    session: Session<'a>,
    options: &'a CorpusOptions,
    buffers: &'a BufferPool,
}

impl BlockEncoder<'_> {
    fn encode(&mut self, mut block: TextBlock) -> Result<Encoded> {
        let mut ids = self.buffers.get();
        ids.try_reserve(block.data.len() / FEWEST_TOKEN_BYTES)?;
        let mut parts = memory::with_capacity(block.ends.len() + 1)?;
        let mut begins = !block.continues;
        let mut from = 0;
        for end in &block.ends {
            let mut part = self.part(&block, from..end.spans, begins, &mut ids)?;
            if let Some(Separator::After(id)) = self.options.separator {
                memory::push(&mut ids, id)?;
            }
            part.end = ids.len();
            part.ends = true;
            part.source = end.source;
            parts.push(part);
            begins = true;
            from = end.spans;
        }
        if from < block.spans.len() {
            let part = self.part(&block, from..block.spans.len(), begins, &mut ids)?;
            parts.push(part);
        }
        let n_ids = ids.len();
        self.options.width.pack(&mut ids);
        Ok(Encoded {
            ids,
            n_ids,
            width: Some(self.options.width),
            parts,
            text: std::mem::take(&mut block.data),
        })
    }

    fn part(
        &mut self,
        block: &TextBlock,
        spans: Range<usize>,
        begins: bool,
        ids: &mut Vec<u32>,
    ) -> Result<DocumentPart> {
        if begins && let Some(Separator::Before(id)) = self.options.separator {
            memory::push(ids, id)?;
        }
        let mut crc32 = crc32fast::Hasher::new();
        let mut n_bytes = 0;
        for span in &block.spans[spans] {
            let text = block.text(span)?;
            self.session.encode_ordinary(text, ids)?;
            n_bytes += text.len() as u64;
            if self.options.hash {
                crc32.update(text.as_bytes());
            }
        }
        Ok(DocumentPart {
            end: ids.len(),
            n_bytes,
            crc32: crc32.finalize(),
            ends: false,
            source: 0,
        })
    }
}

impl Worker for BlockEncoder<'_> {
    type Job = TextBlock;
    type Done = Encoded;

    fn work(&mut self, block: TextBlock, _: &AtomicBool) -> Result<Encoded> {
        self.encode(block)
    }

    fn is_long(block: &TextBlock) -> bool {
        block.data.len() > LARGE_BLOCK
    }
}
