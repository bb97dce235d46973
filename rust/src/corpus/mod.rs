//! Documents -> ids, in worker threads, in the order of the documents.
//!
//! The calling thread reads text, cuts it into blocks ([`crate::text::documents`]), encodes some itself while
//! there are enough for the others, and hands results on in the order of the blocks; so neither threads
//! nor cuts can show in what comes out. It sends no block while too much text is under way, which bounds
//! memory.

pub mod batch;
mod encoded;
mod npy;
pub mod shards;
pub(crate) mod texts;
mod width;

use crate::corpus::encoded::Rooms;
pub use crate::corpus::encoded::{Consumer, Encoded, Part};
pub use crate::corpus::width::Width;
use crate::encode::{Encoder, Session};
use crate::error::{Error, Result};
use crate::system::pipeline::{self, Pipeline};
use crate::system::threads::Watch;
use crate::text::documents::{BLOCK, Block, Splitter};
use crate::text::feed::{BlockSink, Feed, FeedOptions};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How much text may be under way, in bytes; a document that is longer goes alone.
const UNDER_WAY: usize = 64 << 20;

/// Buffers larger than this, of which a long document needs one, are not kept.
const SPARE: usize = 4 << 20;

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
    /// Sources that come before the first that is fed, for [`Part::source`].
    pub skip_sources: u64,
    /// Documents at the beginning to leave out, empty ones not counted.
    pub skip_documents: u64,
    /// Worker threads; as many as there are cores if `None`.
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
            block_size: BLOCK,
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
    let n_threads = crate::system::threads::resolve(options.num_threads)?;
    let mut splitter = Splitter::new(
        encoder.special().clone(),
        encoder.pretokenizer().cuts(),
        None,
        None,
        options.block_size,
    );
    splitter.start_after(options.skip_sources, options.skip_documents);
    let input = FeedOptions {
        replace_invalid: options.replace_invalid,
        block_size: options.block_size,
    };
    let mut n_bytes = 0;
    let rooms = Arc::new(Rooms::new(SPARE / 4));
    let make = || Worker {
        session: encoder.session(),
        options,
        rooms: Arc::clone(&rooms),
    };
    pipeline::run(n_threads, make, |pipeline| -> Result<(), E> {
        let mut sink = Sink {
            pipeline,
            consumer,
            under_way: 0,
            most: if n_threads == 1 { 0 } else { 2 * n_threads + 1 },
            spare: Vec::new(),
            rooms: Arc::clone(&rooms),
        };
        let mut feed = Feed::new(&mut splitter, &mut n_bytes, input, &mut sink);
        produce(&mut feed)?;
        feed.flush()?;
        Ok(sink.work_until(0, usize::MAX)?)
    })
}

/// One worker's buffers.
struct Worker<'a> {
    session: Session<'a>,
    options: &'a CorpusOptions,
    rooms: Arc<Rooms>,
}

impl Worker<'_> {
    fn encode(&mut self, mut block: Block) -> Result<Encoded> {
        let mut ids = self.rooms.get();
        // Hardly any text has more.
        ids.reserve(block.data.len() / 2);
        let mut parts = Vec::with_capacity(block.ends.len() + 1);
        let mut begins = !block.continues;
        let mut from = 0;
        for end in &block.ends {
            let mut part = self.part(&block, from..end.spans, begins, &mut ids)?;
            if let Some(Separator::After(id)) = self.options.separator {
                ids.push(id);
            }
            part.end = ids.len() * self.options.width.bytes();
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
        self.options.width.pack(&mut ids);
        Ok(Encoded {
            len: ids.len() * self.options.width.bytes(),
            words: ids,
            parts,
            spare: std::mem::take(&mut block.data),
        })
    }

    fn part(
        &mut self,
        block: &Block,
        spans: Range<usize>,
        begins: bool,
        ids: &mut Vec<u32>,
    ) -> Result<Part> {
        if begins && let Some(Separator::Before(id)) = self.options.separator {
            ids.push(id);
        }
        let mut crc32 = crc32fast::Hasher::new();
        let mut n_bytes = 0;
        for span in &block.spans[spans] {
            let bytes = &block.data[span.clone()];
            let text = std::str::from_utf8(bytes).map_err(|e| {
                let (name, offset) = block.origin(span.start + e.valid_up_to());
                Error::InvalidUtf8 {
                    source_name: name.to_string(),
                    offset,
                }
            })?;
            self.session.encode_ordinary(text, ids)?;
            n_bytes += bytes.len() as u64;
            if self.options.hash {
                crc32.update(bytes);
            }
        }
        Ok(Part {
            end: ids.len() * self.options.width.bytes(),
            n_bytes,
            crc32: crc32.finalize(),
            ends: false,
            source: 0,
        })
    }
}

impl pipeline::Worker for Worker<'_> {
    type Job = Block;
    type Done = Encoded;

    fn work(&mut self, block: Block, _: &AtomicBool) -> Result<Encoded> {
        self.encode(block)
    }

    fn is_long(block: &Block) -> bool {
        block.data.len() > SPARE
    }
}

/// Where blocks are encoded.
struct Sink<'p, 'a> {
    pipeline: Pipeline<'p, Worker<'a>>,
    consumer: &'p mut dyn Consumer,
    /// Bytes of text that were sent and have not come to the consumer.
    under_way: usize,
    /// The most blocks that may be under way while the next is read.
    most: usize,
    /// Buffers for text to be used again.
    spare: Vec<Vec<u8>>,
    rooms: Arc<Rooms>,
}

impl Sink<'_, '_> {
    /// Hands on what has been encoded.
    fn drain(&mut self) -> Result<()> {
        while let Some(result) = self.pipeline.take() {
            let mut encoded = result?;
            self.under_way -= encoded.spare.len();
            self.consumer.take(&mut encoded)?;
            if encoded.spare.capacity() <= SPARE {
                self.spare.push(encoded.spare);
            }
            self.rooms.put(encoded.words);
        }
        Ok(())
    }

    /// Works until no more than `most` blocks and bytes are under way.
    fn work_until(&mut self, most: usize, most_bytes: usize) -> Result<()> {
        self.drain()?;
        while self.pipeline.under_way() > most
            || (self.pipeline.under_way() > 0 && self.under_way > most_bytes)
        {
            self.pipeline.work(&mut Watch::never())?;
            self.drain()?;
        }
        Ok(())
    }
}

impl BlockSink for Sink<'_, '_> {
    fn put(&mut self, block: Block) -> Result<()> {
        let len = block.data.len();
        self.work_until(usize::MAX, UNDER_WAY.saturating_sub(len))?;
        self.under_way += len;
        self.pipeline.send(block)?;
        self.work_until(self.most, usize::MAX)
    }

    fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }
}
