//! Longer pretoken -> ids, for the pretokens one thread has met lately; of fixed size.
//!
//! What is larger than an entry is encoded afresh each time.

use crate::encode::short_cache::fold;

/// Most bytes in an entry.
pub const WIDE_BYTES: usize = 62;
/// Most ids in an entry.
pub const WIDE_IDS: usize = 16;

/// Entries at first, and at most (1 MiB), as powers of two.
const FIRST_WIDES: u32 = 5;
const WIDES: u32 = 13;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Wide {
    /// 0: empty.
    len: u8,
    n_ids: u8,
    bytes: [u8; WIDE_BYTES],
    ids: [u32; WIDE_IDS],
}

const EMPTY: Wide = Wide {
    len: 0,
    n_ids: 0,
    bytes: [0; WIDE_BYTES],
    ids: [0; WIDE_IDS],
};

/// Longer pretokens, for one thread.
#[derive(Clone, Debug)]
pub struct WideCache {
    wides: Vec<Wide>,
    /// Low bits of each entry's hash, so that most look-ups in vain stay out of the large table.
    tags: Vec<u16>,
    /// A hash's place is in its top bits.
    shift: u32,
    /// Entries made since the table last grew.
    kept: usize,
}

impl Default for WideCache {
    fn default() -> Self {
        Self {
            wides: vec![EMPTY; 1 << FIRST_WIDES],
            tags: vec![0; 1 << FIRST_WIDES],
            shift: u64::BITS - FIRST_WIDES,
            kept: 0,
        }
    }
}

impl WideCache {
    /// The hash of a pretoken; `None` if it is too long.
    #[inline]
    pub fn hash(bytes: &[u8]) -> Option<u64> {
        if bytes.len() > WIDE_BYTES {
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
        let wide = &self.wides[place];
        let same = usize::from(wide.len) == bytes.len() && wide.bytes[..bytes.len()] == *bytes;
        same.then(|| &wide.ids[..usize::from(wide.n_ids)])
    }

    /// Keeps the ids of a pretoken if they are few enough.
    #[inline]
    pub fn keep(&mut self, hash: u64, bytes: &[u8], ids: &[u32]) {
        if ids.len() > WIDE_IDS || bytes.len() > WIDE_BYTES {
            return;
        }
        if self.kept > self.wides.len() && self.wides.len() < 1 << WIDES {
            // Starts afresh: what matters comes back.
            self.shift -= 2;
            self.kept = 0;
            self.wides = vec![EMPTY; self.wides.len() * 4];
            self.tags = vec![0; self.wides.len()];
        }
        self.kept += 1;
        let place = (hash >> self.shift) as usize;
        self.tags[place] = hash as u16;
        let wide = &mut self.wides[place];
        wide.len = bytes.len() as u8;
        wide.n_ids = ids.len() as u8;
        wide.bytes[..bytes.len()].copy_from_slice(bytes);
        wide.ids[..ids.len()].copy_from_slice(ids);
    }
}
