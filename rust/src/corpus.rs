//! Documents -> ids, in worker threads, in the order of the documents.
//!
//! The calling thread reads text, cuts it into blocks ([`crate::documents`]), encodes some itself while
//! there are enough for the others, and hands results on in the order of the blocks; so neither threads nor cuts can show in what comes out. It
//! sends no block while too much text is under way, which bounds memory.

use crate::documents::{BLOCK, Block, Splitter};
use crate::encode::{Encoder, Session};
use crate::error::{Error, Result};
use crate::feed::{BlockSink, Feed, FeedOptions};
pub use crate::width::Width;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

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

/// A document, or a part of one, in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where its ids end, in bytes of [`Encoded::ids`]; they begin where the part before ends.
    pub end: usize,
    /// Bytes of its text.
    pub n_bytes: u64,
    /// CRC-32 of its text, if it was asked for; else 0.
    pub crc32: u32,
    /// Whether the document ends here; otherwise it goes on in the next block.
    pub ends: bool,
    /// Which source it came from: 1 is the first. 0 if it does not end here.
    pub source: u64,
}

/// A block's ids.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Ids, packed to the width asked for.
    words: Vec<u32>,
    /// Bytes of them.
    len: usize,
    /// What they belong to, without gaps.
    pub parts: Vec<Part>,
    /// The text's buffer, to be used again.
    spare: Vec<u8>,
}

impl Encoded {
    /// Ids of the width asked for, little endian.
    pub fn ids(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

/// Takes the blocks' ids, in the order of the blocks, on the calling thread.
pub trait Consumer: Send {
    /// Takes a block's ids.
    ///
    /// # Errors
    /// Whatever ends the work.
    fn take(&mut self, encoded: &mut Encoded) -> Result<()>;
}

/// Encodes what `produce` feeds, on this thread, beside the workers.
///
/// Special tokens of the encoder separate documents; empty documents are left out. `consumer` may have
/// taken the first blocks of ids when an error is returned.
///
/// # Errors
/// What `produce` and `consumer` return; [`Error::InvalidUtf8`] and [`Error::Match`] of the first
/// document that has them; [`Error::Argument`] for 0 threads.
pub fn encode_corpus<E: From<Error>>(
    encoder: &Encoder,
    options: &CorpusOptions,
    consumer: &mut dyn Consumer,
    produce: impl FnOnce(&mut Feed) -> Result<(), E>,
) -> Result<(), E> {
    let n_threads = crate::threads::resolve(options.num_threads)?;
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
    if n_threads == 1 {
        let mut sink = Inline {
            worker: Worker::new(encoder, options),
            consumer,
            spare: Vec::new(),
            room: Vec::new(),
        };
        let mut feed = Feed::new(&mut splitter, &mut n_bytes, input, &mut sink);
        produce(&mut feed)?;
        return Ok(feed.flush()?);
    }
    // This thread is one of them.
    let pool = crate::threads::pool(n_threads - 1)?;
    let (jobs, queue) = channel::<Job>();
    let queue = Mutex::new(queue);
    let (done, results) = channel();
    pool.in_place_scope(|scope| {
        for _ in 1..n_threads {
            let (queue, done) = (&queue, done.clone());
            scope.spawn(move |_| work(Worker::new(encoder, options), queue, &done));
        }
        // The results end with the workers.
        drop(done);
        let mut sink = Parallel {
            worker: Worker::new(encoder, options),
            queue: &queue,
            jobs,
            results,
            consumer,
            waiting: BTreeMap::new(),
            next: 0,
            under_way: 0,
            n_under_way: 0,
            most: 2 * n_threads + 2,
            spare: Vec::new(),
            rooms: Vec::new(),
        };
        let mut feed = Feed::new(&mut splitter, &mut n_bytes, input, &mut sink);
        produce(&mut feed)?;
        feed.flush()?;
        while sink.n_under_way > 0 {
            sink.work()?;
        }
        // The workers end when the jobs do, as `sink` is dropped.
        Ok(())
    })
}

/// One worker's buffers.
struct Worker<'a> {
    session: Session<'a>,
    options: &'a CorpusOptions,
}

impl<'a> Worker<'a> {
    fn new(encoder: &'a Encoder, options: &'a CorpusOptions) -> Self {
        Self {
            session: encoder.session(),
            options,
        }
    }

    /// The block's ids, in `ids`, whose content goes.
    fn encode(&mut self, mut block: Block, mut ids: Vec<u32>) -> Result<Encoded> {
        ids.clear();
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

/// A block to encode, and a buffer to put its ids in.
type Job = (Block, Vec<u32>);

/// A block's index and length, and what came of it.
type Done = (u64, usize, Result<Encoded>);

fn work(mut worker: Worker, queue: &Mutex<Receiver<Job>>, done: &Sender<Done>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, room)) = next else { return };
        let (index, len) = (block.index, block.data.len());
        let alarm = Alarm { done, index, len };
        let result = worker.encode(block, room);
        std::mem::forget(alarm);
        // Nobody may be left to take the result.
        let _ = done.send((index, len, result));
    }
}

/// Reports a block whose worker panics, for which the calling thread would wait forever.
struct Alarm<'a> {
    done: &'a Sender<Done>,
    index: u64,
    len: usize,
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        let _ = self
            .done
            .send((self.index, self.len, Err(Error::Interrupted)));
    }
}

/// One thread: encode here and now.
struct Inline<'a> {
    worker: Worker<'a>,
    consumer: &'a mut dyn Consumer,
    spare: Vec<u8>,
    room: Vec<u32>,
}

impl BlockSink for Inline<'_> {
    fn put(&mut self, block: Block) -> Result<()> {
        let room = std::mem::take(&mut self.room);
        let mut encoded = self.worker.encode(block, room)?;
        self.consumer.take(&mut encoded)?;
        (self.spare, self.room) = (encoded.spare, encoded.words);
        Ok(())
    }

    fn spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }
}

struct Parallel<'a> {
    worker: Worker<'a>,
    queue: &'a Mutex<Receiver<Job>>,
    jobs: Sender<Job>,
    results: Receiver<Done>,
    consumer: &'a mut dyn Consumer,
    /// Results that came before their turn.
    waiting: BTreeMap<u64, (usize, Result<Encoded>)>,
    /// The block whose turn it is.
    next: u64,
    /// Bytes of text that were sent and have not come to the consumer.
    under_way: usize,
    n_under_way: usize,
    /// The most blocks that may be under way.
    most: usize,
    /// Buffers to be used again, for text and for ids.
    spare: Vec<Vec<u8>>,
    rooms: Vec<Vec<u32>>,
}

impl Parallel<'_> {
    /// Encodes a block, or waits for one that another thread encodes. A thread that did nothing but
    /// read and wait would take its time from the workers.
    fn work(&mut self) -> Result<()> {
        // Who holds the queue waits for a job, so there is none; or takes one, and will bring a result.
        let job = self.queue.try_lock().ok().and_then(|q| q.try_recv().ok());
        match job {
            Some((block, room)) if block.data.len() <= SPARE => {
                let (index, len) = (block.index, block.data.len());
                let result = self.worker.encode(block, room);
                self.accept((index, len, result))
            }
            Some(long) => {
                // The workers would have nothing to do before this thread reads on.
                self.jobs.send(long).map_err(|_| Error::Interrupted)?;
                self.receive()
            }
            None => self.receive(),
        }
    }

    /// Waits for a result.
    fn receive(&mut self) -> Result<()> {
        let done = self.results.recv().map_err(|_| Error::Interrupted)?;
        self.accept(done)
    }

    fn accept(&mut self, (index, len, result): Done) -> Result<()> {
        self.waiting.insert(index, (len, result));
        while let Some((len, result)) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.under_way -= len;
            self.n_under_way -= 1;
            let mut encoded = result?;
            self.consumer.take(&mut encoded)?;
            if encoded.spare.capacity() <= SPARE {
                self.spare.push(encoded.spare);
            }
            if encoded.words.capacity() <= SPARE / 4 {
                self.rooms.push(encoded.words);
            }
        }
        Ok(())
    }
}

impl BlockSink for Parallel<'_> {
    fn put(&mut self, block: Block) -> Result<()> {
        while let Ok(done) = self.results.try_recv() {
            self.accept(done)?;
        }
        let len = block.data.len();
        while self.n_under_way == self.most
            || (self.n_under_way > 0 && self.under_way + len > UNDER_WAY)
        {
            self.work()?;
        }
        self.under_way += len;
        self.n_under_way += 1;
        let room = self.rooms.pop().unwrap_or_default();
        self.jobs
            .send((block, room))
            .map_err(|_| Error::Interrupted)
    }

    fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }
}
