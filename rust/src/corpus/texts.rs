//! The texts of a batch -> tasks -> ids, in the order of the texts.
//!
//! The work is shared out by bytes: short texts in groups, a long one in parts. The calling thread makes
//! the tasks, and encodes beside the others when there are enough of them, or no more to come. So it may
//! hold a lock (Python's) while it makes tasks, and has to release it only a few times.

use crate::corpus::encoded::{BufferPool, Consumer, DocumentPart, Encoded};
use crate::corpus::width::Width;
use crate::encode::{Encoder, Session};
use crate::error::{Error, Result};
use crate::streaming::long_text;
use crate::system::memory;
use crate::system::pipeline::{self, Pipeline, Worker};
use crate::system::threads::{self, Watch};
use crate::text::special::SpecialTokens;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes below which no second thread is worth its start.
const ONE_THREAD: usize = 32 << 10;

/// Bytes of one task, at least and at most.
const TASK_BYTES: Range<usize> = 16 << 10..128 << 10;

/// What each text costs beside its bytes, as if it were bytes.
const TEXT_OVERHEAD: usize = 16;

/// Tasks that may wait, beside those being done.
const MAX_WAITING: usize = 32;

/// What is wanted of texts.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Ids as they are.
    Ids,
    /// Ids packed to a width.
    #[cfg_attr(not(feature = "python"), expect(dead_code, reason = "for shards"))]
    Packed(Width),
    /// How many ids there are.
    Count,
}

/// How a batch is encoded.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    encoder: &'a Encoder,
    allowed: &'a SpecialTokens,
    goal: Goal,
    num_threads: Option<usize>,
}

impl<'a> Options<'a> {
    pub fn new(
        encoder: &'a Encoder,
        allowed: &'a SpecialTokens,
        goal: Goal,
        num_threads: Option<usize>,
    ) -> Self {
        Self {
            encoder,
            allowed,
            goal,
            num_threads,
        }
    }
}

/// Calls `feed` with where to put `n_texts` texts of `n_chars` characters or bytes together; it must
/// end with [`TextFeed::finish`]. `consumer` may have taken ids when an error is returned.
///
/// # Errors
/// What `feed` and `consumer` return; [`Error::Argument`] for 0 threads.
pub(crate) fn run<'a, E: From<Error>>(
    options: &Options<'a>,
    n_texts: usize,
    n_chars: usize,
    consumer: &mut dyn Consumer,
    feed: impl FnOnce(&mut TextFeed<'_, 'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut n_threads = threads::resolve(options.num_threads)?;
    let n_bytes = n_chars.saturating_add(n_texts.saturating_mul(TEXT_OVERHEAD));
    if n_bytes < ONE_THREAD {
        n_threads = 1;
    }
    let size = (n_bytes / (n_threads * 16)).clamp(TASK_BYTES.start, TASK_BYTES.end);
    let n_threads = n_threads.min(n_bytes.div_ceil(size)).max(1);
    // A part that cannot be cut may be long.
    let buffers = Arc::new(BufferPool::new(4 * TASK_BYTES.end));
    let make = || TaskEncoder {
        session: options.encoder.session(),
        allowed: options.allowed,
        goal: options.goal,
        buffers: Arc::clone(&buffers),
    };
    pipeline::run(n_threads, make, |pipeline| {
        let mut texts = TextFeed {
            pipeline,
            consumer,
            options: *options,
            task: Task::default(),
            filled: 0,
            size,
            max_under_way: 2 * n_threads + MAX_WAITING,
            spare: Vec::new(),
            buffers: Arc::clone(&buffers),
        };
        feed(&mut texts)
    })
}

/// Where texts are put.
pub(crate) struct TextFeed<'p, 'a: 'p> {
    pipeline: Pipeline<'p, TaskEncoder<'a>>,
    consumer: &'p mut dyn Consumer,
    options: Options<'a>,
    /// The task that is being made.
    task: Task<'a>,
    /// Bytes in it.
    filled: usize,
    /// Bytes in a task.
    size: usize,
    /// The most tasks that may be under way.
    max_under_way: usize,
    /// Tasks done, whose buffers are used again.
    spare: Vec<Task<'a>>,
    buffers: Arc<BufferPool>,
}

impl<'a> TextFeed<'_, 'a> {
    /// Whether a text of so many bytes is taken in parts, for which it may have to be waited.
    pub fn is_long(&self, len: usize) -> bool {
        len > 2 * self.size
    }

    /// Adds a text.
    ///
    /// # Errors
    /// That of an earlier text; what `watch` is answered.
    pub fn text(&mut self, text: &'a str, watch: &mut Watch) -> Result<()> {
        self.each_part(text, watch, |range| Source::Kept(&text[range]))
    }

    /// As [`Self::text`], for a text that must be kept.
    ///
    /// # Errors
    /// As there.
    #[cfg_attr(
        not(feature = "python"),
        expect(dead_code, reason = "for Python's texts")
    )]
    pub fn owned(&mut self, text: String, watch: &mut Watch) -> Result<()> {
        let text = Arc::new(text);
        self.each_part(&text, watch, |range| {
            Source::Shared(Arc::clone(&text), range)
        })
    }

    fn each_part(
        &mut self,
        text: &str,
        watch: &mut Watch,
        source: impl Fn(Range<usize>) -> Source<'a>,
    ) -> Result<()> {
        if !self.is_long(text.len()) {
            return self.add(source(0..text.len()), text.len(), true);
        }
        let (encoder, allowed) = (self.options.encoder, self.options.allowed);
        long_text::split(encoder, text, allowed, self.size, |range| {
            let (n, ends) = (range.len(), range.end == text.len());
            self.add(source(range), n, ends)?;
            if self.is_full() {
                self.make_room(watch)?;
            }
            watch.look()
        })
    }

    fn add(&mut self, source: Source<'a>, n_bytes: usize, ends: bool) -> Result<()> {
        memory::push(&mut self.task.pieces, Piece { source, ends })?;
        self.filled += n_bytes + TEXT_OVERHEAD;
        if self.filled >= self.size {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let next = self.spare.pop().unwrap_or_default();
        self.filled = 0;
        self.pipeline
            .send(std::mem::replace(&mut self.task, next))?;
        self.drain()
    }

    /// Hands on what has been encoded.
    fn drain(&mut self) -> Result<()> {
        while let Some(result) = self.pipeline.take() {
            let mut task = result?;
            self.consumer.take(&mut task.encoded)?;
            self.buffers.put(std::mem::take(&mut task.encoded.ids));
            task.pieces.clear();
            task.encoded.parts.clear();
            memory::push(&mut self.spare, task)?;
        }
        Ok(())
    }

    /// Whether so much is under way that [`Self::make_room`] should be called.
    pub fn is_full(&self) -> bool {
        self.pipeline.under_way() >= self.max_under_way
    }

    /// Works until there is room for more.
    ///
    /// # Errors
    /// That of an earlier text; what `watch` is answered.
    pub fn make_room(&mut self, watch: &mut Watch) -> Result<()> {
        self.work_until(self.max_under_way / 2, watch)
    }

    /// Works until all ids have come to the consumer.
    ///
    /// # Errors
    /// As [`Self::make_room`].
    pub fn finish(&mut self, watch: &mut Watch) -> Result<()> {
        if !self.task.pieces.is_empty() {
            self.send()?;
        }
        self.work_until(0, watch)
    }

    fn work_until(&mut self, max_under_way: usize, watch: &mut Watch) -> Result<()> {
        self.drain()?;
        while self.pipeline.under_way() > max_under_way {
            self.pipeline.work(watch)?;
            self.drain()?;
        }
        Ok(())
    }
}

/// Where a piece of text is.
enum Source<'a> {
    Kept(&'a str),
    Shared(Arc<String>, Range<usize>),
}

/// A text, or a part of one.
struct Piece<'a> {
    source: Source<'a>,
    /// Whether the text ends here.
    ends: bool,
}

/// What a thread does at a time.
#[derive(Default)]
struct Task<'a> {
    pieces: Vec<Piece<'a>>,
    encoded: Encoded,
}

/// Encodes tasks in one thread.
struct TaskEncoder<'a> {
    session: Session<'a>,
    allowed: &'a SpecialTokens,
    goal: Goal,
    buffers: Arc<BufferPool>,
}

impl<'a> Worker for TaskEncoder<'a> {
    type Job = Task<'a>;
    type Done = Task<'a>;

    fn work(&mut self, mut task: Task<'a>, stop: &AtomicBool) -> Result<Task<'a>> {
        let encoded = &mut task.encoded;
        if !matches!(self.goal, Goal::Count) {
            encoded.ids = self.buffers.get();
        }
        encoded.parts.try_reserve(task.pieces.len())?;
        let mut end = 0;
        for piece in &task.pieces {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let text = match &piece.source {
                Source::Kept(text) => text,
                Source::Shared(text, range) => &text[range.clone()],
            };
            if let Goal::Count = self.goal {
                end += self.session.count(text, self.allowed)?;
            } else {
                let ids = &mut encoded.ids;
                self.session.encode(text, self.allowed, ids)?;
                end = ids.len();
            }
            encoded.parts.push(DocumentPart {
                end,
                n_bytes: text.len() as u64,
                crc32: 0,
                ends: piece.ends,
                source: 0,
            });
        }
        encoded.n_ids = end;
        if let Goal::Packed(width) = self.goal {
            width.pack(&mut encoded.ids);
            encoded.width = Some(width);
        }
        Ok(task)
    }
}
