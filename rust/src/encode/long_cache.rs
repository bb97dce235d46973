//! Longer pretoken -> ids, for the pretokens one thread has met lately; of fixed size.
//!
//! What does not fit in an entry is encoded afresh each time.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::text::key::fold;

/// Most bytes in an entry.
pub const MAX_BYTES: usize = 62;
/// Most ids in an entry.
pub const MAX_IDS: usize = 16;

/// Entries at first, and at most (1 MiB), as powers of two.
const FIRST_ENTRIES: u32 = 5;
const MAX_ENTRIES: u32 = 13;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Entry {
    /// 0: empty.
    len: u8,
    n_ids: u8,
    bytes: [u8; MAX_BYTES],
    ids: [u32; MAX_IDS],
}

const EMPTY: Entry = Entry {
    len: 0,
    n_ids: 0,
    bytes: [0; MAX_BYTES],
    ids: [0; MAX_IDS],
};

/// Longer pretokens, for one thread.
#[derive(Debug)]
pub struct LongCache {
    entries: Vec<Entry>,
    /// Low bits of each entry's hash, so that most failing look-ups stay out of the large table.
    tags: Vec<u16>,
    /// A hash's place is in its top bits.
    shift: u32,
    /// Entries made since the table last grew.
    kept: usize,
}

impl LongCache {
    /// An empty cache, small at first.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            entries: memory::filled(EMPTY, 1 << FIRST_ENTRIES)?,
            tags: memory::zeroed(1 << FIRST_ENTRIES)?,
            shift: u64::BITS - FIRST_ENTRIES,
            kept: 0,
        })
    }

    /// The hash of a pretoken; `None` if it is too long.
    #[inline]
    pub fn hash(bytes: &[u8]) -> Option<u64> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let mut hash = bytes.len() as u64;
        let mut mix = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = fold(hash ^ u64::from_le_bytes(word), 0x9e37_79b9_7f4a_7c15);
        };
        let mut chunks = bytes.chunks_exact(8);
        chunks.by_ref().for_each(&mut mix);
        match bytes.last_chunk::<8>() {
            Some(last) => mix(last),
            None => mix(chunks.remainder()),
        }
        Some(hash)
    }

    /// The ids of a pretoken with this hash.
    #[inline]
    pub fn find(&self, hash: u64, bytes: &[u8]) -> Option<&[u32]> {
        let place = (hash >> self.shift) as usize;
        if self.tags[place] != hash as u16 {
            return None;
        }
        let entry = &self.entries[place];
        let same = usize::from(entry.len) == bytes.len() && entry.bytes[..bytes.len()] == *bytes;
        same.then(|| &entry.ids[..usize::from(entry.n_ids)])
    }

    /// Keeps the ids of a pretoken if they are few enough.
    #[inline]
    pub fn keep(&mut self, hash: u64, bytes: &[u8], ids: &[u32]) {
        if ids.len() > MAX_IDS || bytes.len() > MAX_BYTES {
            return;
        }
        if self.kept > self.entries.len() && self.entries.len() < 1 << MAX_ENTRIES {
            self.kept = 0;
            let size = self.entries.len() * 4;
            // Where there is no memory for it, the small one will do.
            if let (Ok(entries), Ok(tags)) = (memory::filled(EMPTY, size), memory::zeroed(size)) {
                // Starts empty: what matters comes back.
                self.shift -= 2;
                (self.entries, self.tags) = (entries, tags);
            }
        }
        self.kept += 1;
        let place = (hash >> self.shift) as usize;
        self.tags[place] = hash as u16;
        let entry = &mut self.entries[place];
        entry.len = bytes.len() as u8;
        entry.n_ids = ids.len() as u8;
        entry.bytes[..bytes.len()].copy_from_slice(bytes);
        entry.ids[..ids.len()].copy_from_slice(ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has the same hash, which no test comes upon by chance, is told apart all the same.
    #[test]
    fn only_the_same_bytes_are_found() -> Result<(), OutOfMemory> {
        let mut cache = LongCache::new()?;
        let (hash, kept) = (0x0123_4567_89ab_cdef, b"a pretoken that is kept");
        cache.keep(hash, kept, &[5, 7]);
        assert_eq!(cache.find(hash, kept), Some(&[5, 7][..]));
        assert_eq!(cache.find(hash, b"another of as many byte"), None);
        assert_eq!(cache.find(hash, b"a pretoken that is kep"), None);
        assert_eq!(cache.find(hash, b"a pretoken that is kept\0"), None);
        // The later one takes the place.
        cache.keep(hash, b"another of as many byte", &[9]);
        assert_eq!(cache.find(hash, kept), None);
        Ok(())
    }
}
