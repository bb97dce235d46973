//! Documents -> pretoken counts, in worker threads.
//!
//! The calling thread reads text and cuts it into blocks ([`crate::text::documents`]); workers take blocks from a
//! bounded channel and count into a table each; the tables are added up at the end. Counts are sums,
//! so neither threads nor cuts nor the order of documents can show in them.

use crate::error::{Error, Result};
use crate::pretokenize::Pretokenizer;
use crate::pretokenize::pattern;
use crate::text::documents::{BLOCK, Block, Splitter};
use crate::text::feed::{BlockSink, Feed, FeedOptions};
use crate::text::special::SpecialTokens;
use crate::train::count_table::Table;
use crate::train::counts::Counts;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

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
    /// Worker threads; as many as there are cores if `None`.
    pub num_threads: Option<usize>,
    /// How much text a worker takes at a time, in bytes; it shows in speed and memory only.
    pub block_size: usize,
    /// Read invalid UTF-8 as U+FFFD instead of failing.
    pub replace_invalid: bool,
}

impl CountOptions {
    /// Options with the given pattern and nothing else set.
    ///
    /// # Errors
    /// [`Error::Pattern`] if it is neither a name nor a valid regex.
    pub fn new(pattern: &str) -> Result<Self> {
        Pretokenizer::new(pattern)?;
        Ok(Self {
            pattern: pattern.to_owned(),
            special: SpecialTokens::new::<&str>([])?,
            doc_cap: None,
            max_chars: None,
            num_threads: None,
            block_size: BLOCK,
            replace_invalid: false,
        })
    }

    /// Counts the pretokens of documents.
    ///
    /// # Errors
    /// As [`Pass::run`].
    pub fn count_texts<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Result<Counts> {
        let mut pass = Pass::new(self)?;
        pass.run(|feed| {
            for text in texts {
                feed.text(text);
                feed.send()?;
            }
            Ok::<(), Error>(())
        })?;
        pass.finish()
    }

    /// Counts the pretokens of plain text files.
    ///
    /// # Errors
    /// As [`Pass::run`], and [`Error::Io`].
    pub fn count_files<P: AsRef<Path>>(
        &self,
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Counts> {
        let mut pass = Pass::new(self)?;
        pass.run(|feed| {
            for path in paths {
                feed.file(path.as_ref(), &mut |_| Ok(()))?;
            }
            Ok::<(), Error>(())
        })?;
        pass.finish()
    }
}

/// One worker's state, kept between runs.
#[derive(Debug, Default)]
struct Worker {
    table: Table,
}

impl Worker {
    fn count(&mut self, block: &Block, pretokenizer: &Pretokenizer) -> Result<()> {
        for span in &block.spans {
            let text = std::str::from_utf8(&block.data[span.clone()]).map_err(|e| {
                let (name, offset) = block.origin(span.start + e.valid_up_to());
                Error::InvalidUtf8 {
                    source_name: name.to_string(),
                    offset,
                }
            })?;
            let (data, base) = (&block.data[..], span.start);
            let table = &mut self.table;
            pretokenizer.split(text, |start, end| {
                table.add(data, base + start, base + end, 1);
            })?;
        }
        Ok(())
    }
}

/// The error of the earliest block that failed: the same one whichever worker met it.
type Failure = Mutex<Option<(u64, Error)>>;

fn note_failure(failure: &Failure, index: u64, error: Error) {
    let mut slot = failure.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.as_ref().is_none_or(|(other, _)| index < *other) {
        *slot = Some((index, error));
    }
}

/// One pass over an input, in one or more runs.
#[derive(Debug)]
pub struct Pass {
    pretokenizer: Pretokenizer,
    options: CountOptions,
    splitter: Splitter,
    workers: Vec<Worker>,
    n_bytes: u64,
}

impl Pass {
    /// Begins a pass.
    ///
    /// # Errors
    /// [`Error::Pattern`] for a broken pattern, [`Error::Argument`] for a limit or thread count of 0.
    pub fn new(options: &CountOptions) -> Result<Self> {
        let at_least_one = |name, value: Option<u64>| match value {
            Some(0) => Err(Error::Argument {
                name,
                value: "0".to_owned(),
                reason: "it must be at least 1 (or None)".to_owned(),
            }),
            _ => Ok(()),
        };
        at_least_one("doc_cap", options.doc_cap)?;
        at_least_one("max_chars", options.max_chars)?;
        let n_threads = crate::system::threads::resolve(options.num_threads)?;
        let pretokenizer = Pretokenizer::new(&options.pattern)?;
        Ok(Self {
            splitter: Splitter::new(
                options.special.clone(),
                pretokenizer.cuts(),
                options.doc_cap,
                options.max_chars,
                options.block_size,
            ),
            pretokenizer,
            options: options.clone(),
            workers: (0..n_threads).map(|_| Worker::default()).collect(),
            n_bytes: 0,
        })
    }

    /// Bytes taken in so far.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Characters taken in so far, if there are limits to count for; else 0.
    pub fn n_chars(&self) -> u64 {
        self.splitter.n_chars()
    }

    /// Whether `max_chars` has been reached.
    pub fn full(&self) -> bool {
        self.splitter.full()
    }

    /// Runs `produce`, which feeds text on this thread, beside the workers.
    ///
    /// After an error the pass is spoiled: drop it.
    ///
    /// # Errors
    /// What `produce` returns; [`Error::InvalidUtf8`] and [`Error::Match`] from the workers.
    pub fn run<E: From<Error>>(
        &mut self,
        produce: impl FnOnce(&mut Feed) -> Result<(), E>,
    ) -> Result<(), E> {
        let failure = Failure::default();
        let (spare_in, spare) = channel();
        let pretokenizer = &self.pretokenizer;
        let mut counting = Counting {
            failure: &failure,
            spare,
            sink: Sink::Closed,
        };
        let input = FeedOptions {
            replace_invalid: self.options.replace_invalid,
            block_size: self.options.block_size,
        };
        let (splitter, n_bytes) = (&mut self.splitter, &mut self.n_bytes);
        let mut produced = Ok(());
        match &mut self.workers[..] {
            [worker] => {
                counting.sink = Sink::Inline(worker, pretokenizer, spare_in);
                let mut feed = Feed::new(splitter, n_bytes, input, &mut counting);
                produced = produce(&mut feed).and_then(|()| Ok(feed.flush()?));
            }
            workers => {
                let pool = crate::system::threads::pool(workers.len())?;
                let (blocks, queue) = sync_channel::<Block>(workers.len());
                let queue = Mutex::new(queue);
                pool.in_place_scope(|scope| {
                    for worker in workers {
                        let (queue, failure, spare_in) = (&queue, &failure, spare_in.clone());
                        scope.spawn(move |_| work(worker, pretokenizer, queue, failure, &spare_in));
                    }
                    counting.sink = Sink::Channel(blocks);
                    let mut feed = Feed::new(splitter, n_bytes, input, &mut counting);
                    produced = produce(&mut feed).and_then(|()| Ok(feed.flush()?));
                    // The workers end when the channel does.
                    counting.sink = Sink::Closed;
                });
            }
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error.into()),
            None => produced,
        }
    }

    /// Ends the pass and adds the workers' tables up.
    ///
    /// # Errors
    /// [`Error::Argument`] if a count exceeds 64 bits.
    pub fn finish(self) -> Result<Counts> {
        let mut tables: Vec<Table> = self.workers.into_iter().map(|w| w.table).collect();
        // Into the largest, so that the fewest entries move.
        tables.sort_by_key(Table::len);
        let mut all = tables.pop().unwrap_or_default();
        while let Some(table) = tables.pop() {
            all.merge(&table);
        }
        let pat_str = pattern::pat_str(&self.options.pattern);
        Counts::new(pat_str, self.options.special.tokens(), all)
    }
}

fn work(
    worker: &mut Worker,
    pretokenizer: &Pretokenizer,
    queue: &Mutex<Receiver<Block>>,
    failure: &Failure,
    spare: &Sender<Vec<u8>>,
) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(block) = next else { return };
        if let Err(error) = worker.count(&block, pretokenizer) {
            note_failure(failure, block.index, error);
        }
        // Nobody may be left to reuse the buffer.
        let _ = spare.send(block.data);
    }
}

/// Where the blocks of one run go.
struct Counting<'a> {
    failure: &'a Failure,
    spare: Receiver<Vec<u8>>,
    sink: Sink<'a>,
}

enum Sink<'a> {
    /// One thread: count here and now.
    Inline(&'a mut Worker, &'a Pretokenizer, Sender<Vec<u8>>),
    Channel(SyncSender<Block>),
    Closed,
}

impl BlockSink for Counting<'_> {
    fn put(&mut self, block: Block) -> Result<()> {
        match &mut self.sink {
            Sink::Inline(worker, pretokenizer, spare) => {
                let counted = worker.count(&block, pretokenizer);
                let _ = spare.send(block.data);
                if let Err(error) = counted {
                    note_failure(self.failure, block.index, error);
                }
                Ok(())
            }
            Sink::Channel(blocks) => blocks.send(block).map_err(|_| Error::Interrupted),
            Sink::Closed => Err(Error::Interrupted),
        }
    }

    fn failed(&self) -> bool {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.is_some()
    }

    fn spare(&mut self) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_default()
    }
}
