//! Pretoken -> ids, for the pretokens met lately: of fixed size, so that no text can make it grow.
//!
//! Pretokens of up to 15 bytes with up to three ids are in one table for all threads ([`Cache`]), so
//! that what one thread has encoded none has to encode again. Longer ones, up to [`WIDE_BYTES`] bytes
//! and [`WIDE_IDS`] ids, are in a table that each thread has of its own ([`WideCache`]). Whatever is
//! larger is encoded afresh each time.
//!
//! Nobody waits for anybody: each cache line has a version, which is odd while a thread writes there. A
//! reader that sees it odd or changed has not found anything; a writer that sees it odd does not
//! write. So threads that only read do not disturb each other, and a process that is forked while
//! another thread writes loses one line.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Most ids in a short entry.
pub const FEW: usize = 3;
/// Most bytes in a wide entry.
pub const WIDE_BYTES: usize = 62;
/// Most ids in a wide entry.
pub const WIDE_IDS: usize = 16;

/// Lines of two short entries, as a power of two: 8 MiB, of which the system gives those pages that are
/// used.
const LINES: u32 = 17;
/// Wide entries at first, and at most (1 MiB), as powers of two.
const FIRST_WIDES: u32 = 5;
const WIDES: u32 = 13;

/// A pretoken of up to 15 bytes as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    low: u64,
    /// The length is in the top byte.
    high: u64,
}

/// The first n bytes of 16.
const MASKS: [u128; 16] = {
    let mut masks = [0; 16];
    let mut n = 1;
    while n < 16 {
        masks[n] = (1 << (8 * n)) - 1;
        n += 1;
    }
    masks
};

impl Key {
    /// The key of nothing, which is never found.
    pub const NONE: Key = Key { low: 1, high: 0 };

    /// The key of `data[start..end]`, [`Key::NONE`] if that is empty or too long.
    #[inline(always)]
    pub fn new(data: &[u8], start: usize, end: usize) -> Key {
        let len = end - start;
        let Some(mask) = MASKS.get(len) else {
            return Key::NONE;
        };
        let number = match data.get(start..).and_then(|b| b.first_chunk::<16>()) {
            Some(chunk) => u128::from_le_bytes(*chunk),
            None => near_end(&data[start..end]),
        } & mask;
        Key {
            low: number as u64,
            high: (number >> 64) as u64 | (len as u64) << 56,
        }
    }

    /// What the key's place in the cache comes from.
    #[inline(always)]
    pub fn hash(self) -> u64 {
        fold(
            self.low ^ 0x9e37_79b9_7f4a_7c15,
            self.high ^ 0xd1b5_4a32_d192_ed03,
        )
    }
}

/// At most 15 bytes.
#[inline(never)]
fn near_end(bytes: &[u8]) -> u128 {
    let mut chunk = [0; 16];
    chunk[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(chunk)
}

/// Folded multiplication: both halves of the product depend on all bits of both.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Where the number of ids is in `high`, above the key's length.
const N_IDS: u32 = 60;

/// Two entries in one cache line. The first one to come stays in front as a rule, which is where words
/// that are met often are, as those come early.
struct Line<'a> {
    version: &'a AtomicU64,
    entries: [Entry<'a>; 2],
    /// The third id of either.
    third: &'a AtomicU64,
}

/// Words of a line.
const WORDS: usize = 8;

#[derive(Clone, Copy)]
struct Entry<'a> {
    low: &'a AtomicU64,
    high: &'a AtomicU64,
    /// The first two ids.
    ids: &'a AtomicU64,
}

/// Ids found, to be copied: only the first `n` of them.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The ids.
    pub ids: [u32; FEW],
    /// How many there are.
    pub n: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cache(OnceLock<Box<[AtomicU64]>>);

/// The table itself, which is made when it is first needed.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a>(&'a [[AtomicU64; WORDS]]);

impl Cache {
    /// The table.
    #[inline]
    pub fn lines(&self) -> Lines<'_> {
        // Zeros from the system cost nothing until they are used, but come with no more than the usual
        // alignment.
        let words = self
            .0
            .get_or_init(|| bytemuck::zeroed_slice_box((WORDS << LINES) + WORDS));
        let start = words.as_ptr().align_offset(64).min(WORDS);
        Lines(words[start..].as_chunks().0)
    }
}

impl<'a> Lines<'a> {
    #[inline(always)]
    fn line(&self, hash: u64) -> Line<'a> {
        let [version, low, high, ids, low_2, high_2, ids_2, third] =
            &self.0[(hash >> (u64::BITS - LINES)) as usize];
        let entry = |low, high, ids| Entry { low, high, ids };
        Line {
            version,
            entries: [entry(low, high, ids), entry(low_2, high_2, ids_2)],
            third,
        }
    }

    /// The ids of a short pretoken, given with its hash.
    #[inline(always)]
    pub fn find(&self, key: Key, hash: u64) -> Option<Found> {
        let line = self.line(hash);
        let version = line.version.load(Ordering::Acquire);
        let third = line.third.load(Ordering::Relaxed);
        let mut found = line.entries[0].find(key, third as u32);
        if found.is_none() {
            found = line.entries[1].find(key, (third >> 32) as u32);
        }
        let found = found?;
        fence(Ordering::Acquire);
        let same = line.version.load(Ordering::Relaxed) == version && version & 1 == 0;
        same.then_some(found)
    }

    /// Keeps the ids of a short pretoken that was not found; tells whether they fit.
    #[inline]
    pub fn keep(&self, key: Key, hash: u64, ids: &[u32]) -> bool {
        if ids.len() > FEW {
            return false;
        }
        let line = self.line(hash);
        let version = line.version.load(Ordering::Relaxed);
        let locked = version & 1 == 0
            && line
                .version
                .compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !locked {
            return true;
        }
        fence(Ordering::Release);
        let id = |i: usize| u64::from(ids.get(i).copied().unwrap_or(0));
        let third = line.third.load(Ordering::Relaxed);
        let [first, second] = &line.entries;
        let front = first.high.load(Ordering::Relaxed) == 0;
        // Now and then the one in front has to go, or it would stay for ever.
        let make_room = version & 0b1110 == 0b1110;
        if make_room && !front {
            second.copy(first);
        }
        let (entry, third) = if front || make_room {
            (first, third << 32 | id(2))
        } else {
            (second, third & u64::from(u32::MAX) | id(2) << 32)
        };
        entry.low.store(key.low, Ordering::Relaxed);
        let high = key.high | (ids.len() as u64) << N_IDS;
        entry.high.store(high, Ordering::Relaxed);
        entry.ids.store(id(0) | id(1) << 32, Ordering::Relaxed);
        line.third.store(third, Ordering::Relaxed);
        line.version.store(version + 2, Ordering::Release);
        true
    }
}

impl Entry<'_> {
    #[inline(always)]
    fn find(&self, key: Key, third: u32) -> Option<Found> {
        let high = self.high.load(Ordering::Relaxed);
        // An empty entry has length 0, which no key has.
        if self.low.load(Ordering::Relaxed) != key.low
            || (high ^ key.high) << (u64::BITS - N_IDS) != 0
        {
            return None;
        }
        let ids = self.ids.load(Ordering::Relaxed);
        Some(Found {
            ids: [ids as u32, (ids >> 32) as u32, third],
            n: (high >> N_IDS) as usize,
        })
    }

    fn copy(&self, other: &Entry<'_>) {
        for (to, from) in [
            (self.low, other.low),
            (self.high, other.high),
            (self.ids, other.ids),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

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
