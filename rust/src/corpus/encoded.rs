//! Ids on their way from the thread that makes them to whoever keeps them.

use crate::corpus::width::Width;
use crate::error::Result;
use crate::system::memory;
use std::sync::{Mutex, PoisonError};

/// A document, or a part of one, in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentPart {
    /// How many of the block's ids lie before its end; its own begin where the part before ends.
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

/// A block's ids, or only how many there are.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The ids; once packed, the room they are packed in. Empty if they were only counted.
    pub(crate) ids: Vec<u32>,
    /// How many ids there are.
    pub(crate) n_ids: usize,
    /// What they have been packed to.
    pub(crate) width: Option<Width>,
    /// What they belong to, without gaps.
    pub parts: Vec<DocumentPart>,
    /// The text's buffer, to be used again.
    pub(crate) text: Vec<u8>,
}

impl Encoded {
    /// The ids in the width they were packed to, little endian; none if they were not packed.
    pub fn packed(&self) -> &[u8] {
        let item = self.width.map_or(0, Width::bytes);
        &bytemuck::cast_slice(&self.ids)[..self.n_ids * item]
    }

    /// The parts, each with its packed ids.
    pub fn packed_parts(&self) -> impl Iterator<Item = (&DocumentPart, &[u8])> {
        let (packed, item) = (self.packed(), self.width.map_or(0, Width::bytes));
        let mut start = 0;
        self.parts.iter().map(move |part| {
            let ids = &packed[start * item..part.end * item];
            start = part.end;
            (part, ids)
        })
    }
}

/// Buffers for ids that are not in use. There are as many as threads, or a few more, not one for each
/// piece of work that waits: first-touch page faults are expensive.
pub(crate) struct BufferPool {
    free: Mutex<Vec<Vec<u32>>>,
    /// Buffers with room for more ids than this are not kept.
    max_capacity: usize,
}

impl BufferPool {
    pub fn new(max_capacity: usize) -> Self {
        Self {
            free: Mutex::default(),
            max_capacity,
        }
    }

    /// An empty buffer.
    pub fn get(&self) -> Vec<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn put(&self, mut buffer: Vec<u32>) {
        if buffer.capacity() <= self.max_capacity {
            buffer.clear();
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            // Where there is no memory to keep it, it is dropped.
            let _ = memory::push(&mut free, buffer);
        }
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
