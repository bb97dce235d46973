//! Documents -> pretoken counts, in several threads.
//!
//! Blocks of text ([`crate::text::documents`]) go through a pipeline; each thread counts into a table of
//! its own, and the tables are added up at the end. Counts are sums, so neither threads nor cuts nor the
//! order of documents can show in them.

use crate::error::{Error, Result};
use crate::pretokenize::{Pretokenizer, pattern};
use crate::system::pipeline::Worker;
use crate::system::threads;
use crate::text::block_pipeline;
use crate::text::documents::{DEFAULT_BLOCK_SIZE, Splitter, TextBlock};
use crate::text::feed::{Feed, FeedOptions};
use crate::text::special::SpecialTokens;
use crate::train::count_table::CountTable;
use crate::train::counts::Counts;
use std::path::Path;
use std::sync::atomic::AtomicBool;
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
    /// Threads, the caller's included; as many as there are cores if `None`.
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
            block_size: DEFAULT_BLOCK_SIZE,
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
                feed.text(text)?;
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
                feed.file(path.as_ref(), &mut |_| Ok::<(), Error>(()))?;
            }
            Ok::<(), Error>(())
        })?;
        pass.finish()
    }
}

/// Counts blocks in one thread.
struct BlockCounter<'a> {
    pretokenizer: &'a Pretokenizer,
    table: CountTable,
    /// Where the table goes afterwards.
    tables: &'a Mutex<Vec<CountTable>>,
}

impl Worker for BlockCounter<'_> {
    type Job = TextBlock;
    /// The block's buffer.
    type Done = Vec<u8>;

    fn work(&mut self, block: TextBlock, _: &AtomicBool) -> Result<Vec<u8>> {
        for span in &block.spans {
            let (data, base) = (&block.data[..], span.start);
            let table = &mut self.table;
            self.pretokenizer.split(block.text(span)?, |start, end| {
                table.add(data, base + start, base + end, 1);
            })?;
            self.table.complete()?;
        }
        Ok(block.data)
    }
}

impl Drop for BlockCounter<'_> {
    fn drop(&mut self) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        // A list of few words, one for each thread.
        tables.push(std::mem::take(&mut self.table));
    }
}

/// One pass over an input, in one or more runs.
#[derive(Debug)]
pub struct Pass {
    pretokenizer: Pretokenizer,
    options: CountOptions,
    splitter: Splitter,
    n_threads: usize,
    /// One for each thread, between runs.
    tables: Mutex<Vec<CountTable>>,
    n_bytes: u64,
}

impl Pass {
    /// Begins a pass.
    ///
    /// # Errors
    /// [`Error::Pattern`] for a broken pattern, [`Error::Argument`] for a limit or thread count of 0.
    pub fn new(options: &CountOptions) -> Result<Self> {
        let at_least_one = |name, value: Option<u64>| match value {
            Some(0) => Err(Error::argument(
                name,
                "0",
                "it must be at least 1 (or None)",
            )),
            _ => Ok(()),
        };
        at_least_one("doc_cap", options.doc_cap)?;
        at_least_one("max_chars", options.max_chars)?;
        let n_threads = threads::resolve(options.num_threads)?;
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
            n_threads,
            tables: Mutex::default(),
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

    /// Runs `produce`, which feeds text, on this thread, beside the others.
    ///
    /// After an error the pass is spoiled: drop it.
    ///
    /// # Errors
    /// What `produce` returns; [`Error::InvalidUtf8`] and [`Error::Match`] of the first block that has
    /// them.
    pub fn run<E: From<Error>>(
        &mut self,
        produce: impl FnOnce(&mut Feed) -> Result<(), E>,
    ) -> Result<(), E> {
        let options = FeedOptions {
            replace_invalid: self.options.replace_invalid,
            block_size: self.options.block_size,
        };
        let (pretokenizer, tables) = (&self.pretokenizer, &self.tables);
        let make = || BlockCounter {
            pretokenizer,
            table: tables
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
                .unwrap_or_default(),
            tables,
        };
        let input = (&mut self.splitter, &mut self.n_bytes, options);
        block_pipeline::run(self.n_threads, make, input, Ok, produce)
    }

    /// Ends the pass and adds the tables up.
    ///
    /// # Errors
    /// [`Error::Argument`] if a count exceeds 64 bits; [`Error::Memory`].
    pub fn finish(self) -> Result<Counts> {
        let tables = self.tables.into_inner();
        let all = CountTable::sum(tables.unwrap_or_else(PoisonError::into_inner))?;
        let pat_str = pattern::pat_str(&self.options.pattern);
        Counts::new(pat_str, self.options.special.tokens(), all)
    }
}
