//! Blocks of text through a pipeline: what counting and encoding have in common.
//!
//! The calling thread reads text and cuts it into blocks, works on some of them itself while there are
//! enough for the others, and hands results on in the order of the blocks; so neither threads nor cuts
//! can show in what comes out, nor in which error does. No block is sent while too much text is under way,
//! which bounds memory.

use crate::error::{Error, Result};
use crate::system::memory;
use crate::system::pipeline::{self, Pipeline, Worker};
use crate::system::threads::Watch;
use crate::text::documents::{Splitter, TextBlock};
use crate::text::feed::{BlockSink, Feed, FeedOptions};

/// How much text may be under way, in bytes; a document that is longer goes alone.
const UNDER_WAY: usize = 64 << 20;

/// A block longer than this, in bytes, is an exception: its buffer is not kept.
pub(crate) const LARGE_BLOCK: usize = 4 << 20;

/// Works on what `produce` feeds, on this thread, beside the others. `n_bytes` is where bytes of text are
/// counted. `take` takes the results in the order of the blocks, and gives back each block's text buffer;
/// it may have taken the first when an error is returned.
///
/// # Errors
/// The error of the first block that has one, or of `take`; what `produce` returns if there is none.
pub(crate) fn run<W: Worker<Job = TextBlock>, E: From<Error>>(
    n_threads: usize,
    make: impl Fn() -> W + Sync,
    (splitter, n_bytes, options): (&mut Splitter, &mut u64, FeedOptions),
    take: impl FnMut(W::Done) -> Result<Vec<u8>> + Send,
    produce: impl FnOnce(&mut Feed) -> Result<(), E>,
) -> Result<(), E> {
    pipeline::run(n_threads, make, |pipeline| {
        let mut blocks = Blocks {
            pipeline,
            take,
            bytes_under_way: 0,
            max_under_way: if n_threads == 1 { 0 } else { 2 * n_threads + 1 },
            spare: Vec::new(),
            has_failed: false,
        };
        let mut feed = Feed::new(splitter, n_bytes, options, &mut blocks);
        let produced = produce(&mut feed).and_then(|()| Ok(feed.flush()?));
        if produced.is_err() && blocks.has_failed {
            return produced;
        }
        blocks.work_until(0, usize::MAX)?;
        produced
    })
}

/// Where blocks are put.
struct Blocks<'p, W: Worker<Job = TextBlock>, F> {
    pipeline: Pipeline<'p, W>,
    take: F,
    /// Bytes of text that were sent and whose results have not been taken.
    bytes_under_way: usize,
    /// The most blocks that may be under way while the next is read.
    max_under_way: usize,
    /// Buffers for text to be used again.
    spare: Vec<Vec<u8>>,
    has_failed: bool,
}

impl<W, F> Blocks<'_, W, F>
where
    W: Worker<Job = TextBlock>,
    F: FnMut(W::Done) -> Result<Vec<u8>> + Send,
{
    /// Hands on the results that have come.
    fn drain(&mut self) -> Result<()> {
        while let Some(result) = self.pipeline.take() {
            let taken = result.and_then(&mut self.take);
            self.has_failed |= taken.is_err();
            let text = taken?;
            self.bytes_under_way = self.bytes_under_way.saturating_sub(text.len());
            if text.capacity() <= LARGE_BLOCK {
                memory::push(&mut self.spare, text)?;
            }
        }
        Ok(())
    }

    /// Works until no more than `max_blocks` and `max_bytes` are under way.
    fn work_until(&mut self, max_blocks: usize, max_bytes: usize) -> Result<()> {
        self.drain()?;
        while self.pipeline.under_way() > max_blocks
            || (self.pipeline.under_way() > 0 && self.bytes_under_way > max_bytes)
        {
            self.pipeline.work(&mut Watch::never())?;
            self.drain()?;
        }
        Ok(())
    }
}

impl<W, F> BlockSink for Blocks<'_, W, F>
where
    W: Worker<Job = TextBlock>,
    F: FnMut(W::Done) -> Result<Vec<u8>> + Send,
{
    fn put(&mut self, block: TextBlock) -> Result<()> {
        let len = block.data.len();
        self.work_until(usize::MAX, UNDER_WAY.saturating_sub(len))?;
        self.bytes_under_way += len;
        self.pipeline.send(block)?;
        self.work_until(self.max_under_way, usize::MAX)
    }

    fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }
}
