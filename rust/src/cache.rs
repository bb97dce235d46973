//! Pretoken -> ids, for the pretokens met lately: of fixed size, one for each thread at work.
//!
//! Pretokens of up to 15 bytes with up to four ids take half a cache line in a table whose hot part
//! stays in a core's own cache. Longer ones, up to [`WIDE_BYTES`] bytes and [`WIDE_IDS`] ids, take two
//! lines each in a second table. Whatever is larger is encoded afresh each time, so no text can make a
//! cache grow.

use crate::pair_map::NONE;

const SHORT: usize = 15;
/// Most ids in a short entry.
pub const FEW: usize = 4;
/// Most bytes in a wide entry.
pub const WIDE_BYTES: usize = 62;
/// Most ids in a wide entry.
pub const WIDE_IDS: usize = 16;

/// Pairs of short entries at first, and at most (8 MiB), as powers of two.
const FIRST_SETS: u32 = 9;
const SETS: u32 = 17;
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

/// The first n bytes of 16, as numbers.
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

    /// The key of `data[start..end]` unless it is too long.
    #[inline(always)]
    pub fn new(data: &[u8], start: usize, end: usize) -> Option<Key> {
        let len = end - start;
        let mask = MASKS.get(len)?;
        let number = match data.get(start..).and_then(|b| b.first_chunk::<16>()) {
            Some(chunk) => u128::from_le_bytes(*chunk),
            None => near_end(data, start),
        } & mask;
        Some(Key {
            low: number as u64,
            high: (number >> 64) as u64 | (len as u64) << 56,
        })
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

/// The fewer than 16 bytes from `start` on.
#[cold]
fn near_end(data: &[u8], start: usize) -> u128 {
    match data.last_chunk::<16>() {
        Some(chunk) => u128::from_le_bytes(*chunk) >> (8 * (start + 16 - data.len())),
        None => {
            let mut chunk = [0; 16];
            chunk[..data.len() - start].copy_from_slice(&data[start..]);
            u128::from_le_bytes(chunk)
        }
    }
}

/// Folded multiplication: both halves of the product depend on all bits of both.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The number of ids is above the key's length, in the top four bits.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
pub struct Slot {
    low: u64,
    high: u64,
    /// The ids, and what is left over.
    pub ids: [u32; FEW],
}

const N_IDS: u32 = 60;

impl Slot {
    #[inline(always)]
    fn is(&self, key: Key) -> bool {
        // An empty slot has length 0, which no key has.
        self.low == key.low && (self.high ^ key.high) << (u64::BITS - N_IDS) == 0
    }

    /// How many ids there are.
    #[inline(always)]
    pub fn n_ids(&self) -> usize {
        (self.high >> N_IDS) as usize
    }
}

/// Two slots in one cache line; a new entry replaces the older one.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Set([Slot; 2]);

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

/// See the module.
#[derive(Clone, Debug)]
pub struct Cache {
    sets: Vec<Set>,
    /// A hash's place is in its top bits.
    shift: u32,
    /// Entries made since the table last grew.
    kept: usize,
    wides: Vec<Wide>,
    /// Low bits of the hash of each wide entry, so that most look-ups in vain stay out of the large table.
    tags: Vec<u16>,
    wide_shift: u32,
    kept_wide: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            sets: vec![Set::default(); 1 << FIRST_SETS],
            shift: u64::BITS - FIRST_SETS,
            kept: 0,
            wides: vec![EMPTY; 1 << FIRST_WIDES],
            tags: vec![0; 1 << FIRST_WIDES],
            wide_shift: u64::BITS - FIRST_WIDES,
            kept_wide: 0,
        }
    }
}

impl Cache {
    /// The ids of a short pretoken, given with its hash.
    #[inline(always)]
    pub fn find(&mut self, key: Key, hash: u64) -> Option<&Slot> {
        let set = &mut self.sets[(hash >> self.shift) as usize].0;
        if !set[0].is(key) {
            if !set[1].is(key) {
                return None;
            }
            set.swap(0, 1);
        }
        Some(&set[0])
    }

    /// Keeps the ids of a short pretoken that was not found; tells whether they fit.
    #[inline]
    pub fn keep(&mut self, key: Key, hash: u64, ids: &[u32]) -> bool {
        if ids.len() > FEW {
            return false;
        }
        if self.kept > self.sets.len() && self.sets.len() < 1 << SETS {
            self.grow();
        }
        self.kept += 1;
        let mut slot = Slot {
            low: key.low,
            high: key.high | (ids.len() as u64) << N_IDS,
            ids: [NONE; FEW],
        };
        slot.ids[..ids.len()].copy_from_slice(ids);
        self.put(hash, slot);
        true
    }

    #[inline]
    fn put(&mut self, hash: u64, slot: Slot) {
        let set = &mut self.sets[(hash >> self.shift) as usize].0;
        set[1] = set[0];
        set[0] = slot;
    }

    #[cold]
    fn grow(&mut self) {
        self.shift -= 2;
        self.kept = 0;
        let larger = vec![Set::default(); self.sets.len() * 4];
        for set in std::mem::replace(&mut self.sets, larger) {
            for slot in set.0.into_iter().filter(|s| s.high != 0) {
                let high = slot.high << (u64::BITS - N_IDS) >> (u64::BITS - N_IDS);
                let low = slot.low;
                self.put(Key { low, high }.hash(), slot);
            }
        }
    }

    /// The hash of a pretoken for the wide entries; `None` if it is too long for them.
    #[inline]
    pub fn wide_hash(bytes: &[u8]) -> Option<u64> {
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
    pub fn find_wide(&self, hash: u64, bytes: &[u8]) -> Option<&[u32]> {
        let place = (hash >> self.wide_shift) as usize;
        if self.tags[place] != hash as u16 {
            return None;
        }
        let wide = &self.wides[place];
        let same = usize::from(wide.len) == bytes.len() && wide.bytes[..bytes.len()] == *bytes;
        same.then(|| &wide.ids[..usize::from(wide.n_ids)])
    }

    /// Keeps the ids of a pretoken if they are few enough.
    #[inline]
    pub fn keep_wide(&mut self, hash: u64, bytes: &[u8], ids: &[u32]) {
        if ids.len() > WIDE_IDS || bytes.len() > WIDE_BYTES {
            return;
        }
        if self.kept_wide > self.wides.len() && self.wides.len() < 1 << WIDES {
            // Starts afresh: what matters comes back.
            self.wide_shift -= 2;
            self.kept_wide = 0;
            self.wides = vec![EMPTY; self.wides.len() * 4];
            self.tags = vec![0; self.wides.len()];
        }
        self.kept_wide += 1;
        let place = (hash >> self.wide_shift) as usize;
        self.tags[place] = hash as u16;
        let wide = &mut self.wides[place];
        wide.len = bytes.len() as u8;
        wide.n_ids = ids.len() as u8;
        wide.bytes[..bytes.len()].copy_from_slice(bytes);
        wide.ids[..ids.len()].copy_from_slice(ids);
    }
}
