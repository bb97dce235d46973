//! Ids on their way from a worker to whoever keeps them.

use crate::error::Result;
use std::sync::{Mutex, PoisonError};

/// A document, or a part of one, in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where its ids end, in bytes of [`Encoded::ids`] (in a batch: in ids); they begin where the part
    /// before ends.
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
    /// Ids, packed to the width asked for, if one was.
    pub(crate) words: Vec<u32>,
    /// Bytes of them.
    pub(crate) len: usize,
    /// What they belong to, without gaps.
    pub parts: Vec<Part>,
    /// The text's buffer, to be used again.
    pub(crate) spare: Vec<u8>,
}

impl Encoded {
    /// Ids of the width asked for, little endian.
    pub fn ids(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

/// Buffers for ids that are not in use. There are as many as threads, or a few more, not one for each
/// piece of work that waits: memory is dear to touch for the first time.
pub(crate) struct Rooms {
    free: Mutex<Vec<Vec<u32>>>,
    /// Buffers with room for more ids than this are not kept.
    most: usize,
}

impl Rooms {
    pub fn new(most: usize) -> Self {
        Self {
            free: Mutex::default(),
            most,
        }
    }

    /// An empty buffer.
    pub fn get(&self) -> Vec<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn put(&self, mut room: Vec<u32>) {
        if room.capacity() <= self.most {
            room.clear();
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(room);
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
