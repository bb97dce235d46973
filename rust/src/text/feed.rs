//! Texts and files -> blocks of documents, on the thread that reads them.

use crate::error::{Error, Result};
use crate::system::memory;
use crate::text::documents::{Splitter, TextBlock};
use crate::utf8;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Room beyond what is read, in bytes.
const MORE: usize = 64;

/// Where blocks go: to workers, or work done at once.
pub trait BlockSink: Send {
    /// Takes a block; may wait until there is room.
    ///
    /// # Errors
    /// Whatever ends the work.
    fn put(&mut self, block: TextBlock) -> Result<()>;

    /// A buffer that is no longer in use, or a new one.
    fn spare(&mut self) -> Vec<u8>;
}

/// How input is read.
#[derive(Clone, Copy, Debug)]
pub struct FeedOptions {
    /// Read invalid UTF-8 as U+FFFD; otherwise it is passed on as it is.
    pub replace_invalid: bool,
    /// How much text usually makes a block, in bytes.
    pub block_size: usize,
}

/// Where the producer of a pass puts text.
pub struct Feed<'a> {
    splitter: &'a mut Splitter,
    n_bytes: &'a mut u64,
    options: FeedOptions,
    sink: &'a mut dyn BlockSink,
}

impl<'a> Feed<'a> {
    /// A feed through `splitter` into `sink`; `n_bytes` is where taken bytes are counted.
    pub fn new(
        splitter: &'a mut Splitter,
        n_bytes: &'a mut u64,
        options: FeedOptions,
        sink: &'a mut dyn BlockSink,
    ) -> Self {
        Self {
            splitter,
            n_bytes,
            options,
            sink,
        }
    }

    /// Appends a document. Call [`Self::send`] whenever [`Self::ready`].
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn text(&mut self, text: &str) -> Result<()> {
        *self.n_bytes += text.len() as u64;
        memory::append(self.splitter.buffer(), text.as_bytes())?;
        Ok(self.splitter.end_document()?)
    }

    /// Whether enough text waits for [`Self::send`] to have work to do.
    pub fn ready(&self) -> bool {
        self.splitter.ready()
    }

    /// Whether `max_chars` has been reached, so that further text is not counted.
    pub fn full(&self) -> bool {
        self.splitter.full()
    }

    /// Bytes taken in so far.
    pub fn n_bytes(&self) -> u64 {
        *self.n_bytes
    }

    /// Hands waiting text to the workers if there is enough of it; may block until they have room.
    ///
    /// # Errors
    /// That of an earlier block, or whatever else ends the work.
    pub fn send(&mut self) -> Result<()> {
        if self.ready() { self.flush() } else { Ok(()) }
    }

    /// Hands all waiting text to the workers, but for what of the current document must wait for more.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn flush(&mut self) -> Result<()> {
        let spare = self.sink.spare();
        match self.splitter.take_block(spare)? {
            Some(block) => self.sink.put(block),
            None => Ok(()),
        }
    }

    /// From here on, whole texts come from `name`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn begin_source(&mut self, name: &str) -> Result<()> {
        Ok(self.splitter.begin_source(&Arc::from(name))?)
    }

    /// Feeds one text in pieces that `next` appends to a buffer, until it appends nothing.
    ///
    /// # Errors
    /// What `next` returns, and as [`Self::send`].
    pub fn pieces<E: From<Error>>(
        &mut self,
        name: &str,
        mut next: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.begin_source(name)?;
        let mut raw = Vec::new();
        loop {
            let before = self.splitter.buffer().len();
            let n_read = if self.options.replace_invalid {
                let held = raw.len();
                next(&mut raw)?;
                let n_read = raw.len() - held;
                utf8::replace_invalid(&mut raw, n_read == 0, self.splitter.buffer())
                    .map_err(Error::from)?;
                n_read
            } else {
                next(self.splitter.buffer())?;
                self.splitter.buffer().len() - before
            };
            if n_read == 0 {
                self.splitter.end_document().map_err(Error::from)?;
                self.send()?;
                return Ok(());
            }
            *self.n_bytes += n_read as u64;
            self.splitter.absorb().map_err(Error::from)?;
            self.send()?;
            if self.full() {
                return Ok(());
            }
        }
    }

    /// Feeds a plain text file. `tick` is called with the bytes taken in so far, for every block.
    ///
    /// # Errors
    /// [`Error::Io`], what `tick` returns, and as [`Self::send`].
    pub fn file<E: From<Error>>(
        &mut self,
        path: &Path,
        tick: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        self.file_range(&path.display().to_string(), path, 0..u64::MAX, tick)
    }

    /// As [`Self::file`], of some bytes of a file, which errors call `name`.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn file_range<E: From<Error>>(
        &mut self,
        name: &str,
        path: &Path,
        range: Range<u64>,
        tick: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        if range.start > 0 {
            // What cannot seek, as a pipe, can still be read whole.
            file.seek(SeekFrom::Start(range.start))
                .map_err(Error::io(path))?;
        }
        let mut left = range.end.saturating_sub(range.start);
        let mut done = *self.n_bytes;
        let block_size = self.options.block_size as u64;
        let room = self.options.block_size + MORE;
        self.pieces(name, |buffer| {
            // A list that may become just full is made larger by `read_to_end` itself, which aborts the process
            // where there is no memory.
            buffer.try_reserve(room).map_err(Error::from)?;
            let n_read = (&mut file)
                .take(block_size.min(left))
                .read_to_end(buffer)
                .map_err(Error::io(path))? as u64;
            left -= n_read;
            done += n_read;
            tick(done)
        })
    }
}
