//! Pretoken -> ids, for the pretokens met lately: of fixed size, so that no text can make it grow.
//!
//! Pretokens of up to 15 bytes with up to three ids are in one table for all threads ([`Cache`]), so
//! that what one thread has encoded none has to encode again. Longer ones are in a table that each
//! thread has of its own (`wide_cache.rs`).
//!
//! Nobody waits for anybody: each cache line has a version, which is odd while a thread writes there. A
//! reader that sees it odd or changed has not found anything; a writer that sees it odd does not
//! write. So threads that only read do not disturb each other, and a process that is forked while
//! another thread writes loses one line.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Most ids in a short entry.
pub const FEW: usize = 3;

/// Lines of two short entries, as a power of two: 8 MiB, of which the system gives those pages that are
/// used.
const LINES: u32 = 17;

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
    /// The key of a pretoken that is too long, which is never found.
    pub const NONE: Key = Key { low: 1, high: 0 };

    /// The key of `data[start..end]`, [`Key::NONE`] if that is too long. What is empty has the key of an
    /// empty entry, which is as right: no ids.
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
pub(crate) fn fold(a: u64, b: u64) -> u64 {
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

    /// Keeps the ids of a short pretoken, not an empty one, that was not found; tells whether they fit.
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
        // An empty entry has length 0, and no ids.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The i-th of a few pretokens, and its ids.
    fn entry(i: u32) -> (Key, Vec<u32>) {
        let text = i.to_string().repeat(2 * i as usize + 1);
        let key = Key::new(text.as_bytes(), 0, text.len());
        let ids = (0..=i % 3).map(|n| i * 1000 + n).collect();
        (key, ids)
    }

    /// Threads that read and write the same line see ids that belong to their keys, or none.
    #[test]
    fn threads_in_one_line() {
        let cache = Cache::default();
        let start = std::sync::Barrier::new(4);
        let n = std::env::var("BYTEMILL_CASES").ok();
        let n: u32 = n.and_then(|n| n.parse().ok()).unwrap_or(3000) * 100;
        let found: u32 = std::thread::scope(|scope| {
            let threads = (1..=4).map(|seed: u32| {
                let (lines, start) = (cache.lines(), &start);
                scope.spawn(move || {
                    start.wait();
                    let (mut state, mut n_found) = (seed, 0);
                    for _ in 0..n {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let (key, ids) = entry((state >> 16) % 7);
                        match lines.find(key, u64::from(state >> 30) << 47) {
                            Some(found) => {
                                assert_eq!(found.ids[..found.n], ids);
                                n_found += 1;
                            }
                            None => assert!(lines.keep(key, u64::from(state >> 30) << 47, &ids)),
                        }
                    }
                    n_found
                })
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().filter_map(|t| t.join().ok()).sum()
        });
        assert!(found > n / 8, "{found}");
    }

    #[test]
    fn a_line_keeps_the_last_two() {
        let cache = Cache::default();
        let lines = cache.lines();
        let mut before = None;
        for i in (0..7).cycle().take(100) {
            let (key, ids) = entry(i);
            assert!(lines.keep(key, 5, &ids));
            let found = lines.find(key, 5).map(|f| f.ids[..f.n].to_vec());
            assert_eq!(found, Some(ids));
            if let Some((key, ids)) = before.replace(entry(i))
                && let Some(found) = lines.find(key, 5)
            {
                assert_eq!(found.ids[..found.n], ids);
            }
        }
        assert!(!lines.keep(entry(0).0, 5, &[1, 2, 3, 4]));
        assert!(lines.find(Key::new(&[b'a'; 16], 0, 16), 5).is_none());
    }

    /// As if a thread had stopped in the midst of writing, perhaps for ever, as after a fork.
    #[test]
    fn a_line_being_written() {
        let cache = Cache::default();
        let lines = cache.lines();
        let (key, ids) = entry(2);
        assert!(lines.keep(key, 5, &ids));
        lines.line(5).version.fetch_add(1, Ordering::Relaxed);
        assert!(lines.find(key, 5).is_none());
        assert!(lines.keep(entry(3).0, 5, &entry(3).1));
        assert!(lines.find(entry(3).0, 5).is_none());
        lines.line(5).version.fetch_add(1, Ordering::Relaxed);
        assert!(lines.find(key, 5).is_some());
        assert!(lines.find(entry(3).0, 5).is_none());
    }
}
