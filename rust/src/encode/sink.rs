//! Where ids go: to a list, or only into a count.

use crate::encode::short_cache::{CachedIds, MAX_IDS};
use crate::error::OutOfMemory;
use crate::system::memory;
use std::ops::Range;

/// Pretokens that a group has room for.
pub(crate) const GROUP: usize = 256;

/// Room for the ids of a group if all of them are in the cache.
pub(crate) type GroupIds = [u32; GROUP * MAX_IDS + 1];

/// Takes ids.
pub(crate) trait IdSink {
    /// Puts ids from the cache into `group`, which has `n` so far; returns how many it has then.
    fn gather(group: &mut GroupIds, n: usize, cached: &CachedIds) -> usize;
    /// Appends some of what has been gathered.
    fn append_gathered(&mut self, group: &GroupIds, range: Range<usize>)
    -> Result<(), OutOfMemory>;
    /// Appends ids.
    fn append(&mut self, ids: &[u32]) -> Result<(), OutOfMemory>;
    /// The list to which ids may be appended without a copy, if there is one.
    fn as_list(&mut self) -> Option<&mut Vec<u32>>;
}

impl IdSink for Vec<u32> {
    #[inline(always)]
    fn gather(group: &mut GroupIds, n: usize, cached: &CachedIds) -> usize {
        // Copying all of them is cheaper than copying some; the surplus is overwritten.
        if let Some(room) = group[n..].first_chunk_mut() {
            *room = cached.ids;
        }
        n + cached.n
    }

    #[inline(always)]
    fn append_gathered(
        &mut self,
        group: &GroupIds,
        range: Range<usize>,
    ) -> Result<(), OutOfMemory> {
        memory::append(self, &group[range])
    }

    #[inline(always)]
    fn append(&mut self, ids: &[u32]) -> Result<(), OutOfMemory> {
        memory::append(self, ids)
    }

    fn as_list(&mut self) -> Option<&mut Vec<u32>> {
        Some(self)
    }
}

/// Counts ids.
pub(crate) struct IdCount(pub usize);

impl IdSink for IdCount {
    #[inline(always)]
    fn gather(_: &mut GroupIds, n: usize, cached: &CachedIds) -> usize {
        n + cached.n
    }

    #[inline(always)]
    fn append_gathered(&mut self, _: &GroupIds, range: Range<usize>) -> Result<(), OutOfMemory> {
        self.0 += range.len();
        Ok(())
    }

    #[inline(always)]
    fn append(&mut self, ids: &[u32]) -> Result<(), OutOfMemory> {
        self.0 += ids.len();
        Ok(())
    }

    fn as_list(&mut self) -> Option<&mut Vec<u32>> {
        None
    }
}
