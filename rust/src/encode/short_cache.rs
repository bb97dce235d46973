//! Short pretoken -> ids, for the pretokens met lately: of fixed size, so that no text can make it grow.
//!
//! Pretokens of up to 15 bytes with up to three ids are in one table for all threads, so that no
//! thread has to encode again what another has encoded. Longer ones are in a table that each thread has
//! of its own (`long_cache.rs`).
//!
//! Nobody waits for anybody: each cache line has a version, which is odd while a thread writes there. A
//! reader that sees it odd or changed has not found anything; a writer that sees it odd does not
//! write. So threads that only read do not disturb each other, and a process that is forked while
//! another thread writes loses one line.

use crate::error::OutOfMemory;
use crate::system::pages::Pages;
use crate::system::prefetch::prefetch;
use crate::system::sync::{AtomicU64, OnceLock, Ordering, fence};
use crate::text::key::Key;

/// Most ids in an entry.
pub const MAX_IDS: usize = 3;

/// Lines of two entries, as powers of two: those of the small table that there is at first (256 KiB),
/// and those of the large one (16 MiB) that takes its place once there has been enough text to fill it.
const SMALL_LINES: u32 = 12;
const LARGE_LINES: u32 = 18;

/// A thread that has kept this many entries asks for the large table ([`ShortCache::grow`]).
pub const GROW_AFTER: usize = 1 << SMALL_LINES;

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
pub struct CachedIds {
    /// The ids.
    pub ids: [u32; MAX_IDS],
    /// How many there are.
    pub n: usize,
}

/// See the module.
#[derive(Debug)]
pub struct ShortCache {
    small: Pages<AtomicU64>,
    large: OnceLock<Pages<AtomicU64>>,
}

/// The table itself.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    lines: &'a [[AtomicU64; WORDS]],
    /// A hash's place is in its top bits.
    shift: u32,
}

/// Where a pretoken's line is in a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place(u32);

impl ShortCache {
    /// The small table, which takes memory only where it is used.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            small: Pages::zeroed(WORDS << SMALL_LINES)?,
            large: OnceLock::new(),
        })
    }

    /// The table.
    #[inline]
    pub fn lines(&self) -> Lines<'_> {
        let words = self.large.get().unwrap_or(&self.small);
        let lines = words.as_chunks().0;
        Lines {
            lines,
            shift: u64::BITS - lines.len().trailing_zeros(),
        }
    }

    /// Changes to a large table, and tells whether there was memory for one. What the small one holds will be
    /// met again.
    #[cold]
    pub fn grow(&self) -> bool {
        if self.large.get().is_none()
            && let Ok(large) = Pages::zeroed(WORDS << LARGE_LINES)
        {
            // If two threads come at once, the work of one of them is discarded.
            let _ = self.large.set(large);
        }
        self.large.get().is_some()
    }
}

impl<'a> Lines<'a> {
    /// Where what has this hash is.
    #[inline(always)]
    pub fn place(&self, hash: u64) -> Place {
        Place((hash >> self.shift) as u32)
    }

    #[inline(always)]
    fn words(&self, place: Place) -> &'a [AtomicU64; WORDS] {
        &self.lines[place.0 as usize]
    }

    #[inline(always)]
    fn line(&self, place: Place) -> Line<'a> {
        let [version, low, high, ids, low_2, high_2, ids_2, third] = self.words(place);
        let entry = |low, high, ids| Entry { low, high, ids };
        Line {
            version,
            entries: [entry(low, high, ids), entry(low_2, high_2, ids_2)],
            third,
        }
    }

    /// Begins to load what [`Self::find`] will look at.
    #[inline(always)]
    pub fn fetch(&self, place: Place) {
        prefetch(self.words(place));
    }

    /// The ids of a short pretoken, given with its place.
    #[inline(always)]
    pub fn find(&self, key: Key, place: Place) -> Option<CachedIds> {
        let line = self.line(place);
        // A line that is being written has an odd version: without its last bit, the comparison below fails.
        let version = line.version.load(Ordering::Acquire) & !1;
        let [first, second] = &line.entries;
        let found = match first.find(key) {
            Some((ids, n)) => (ids, n, line.third.load(Ordering::Relaxed)),
            None => {
                let (ids, n) = second.find(key)?;
                (ids, n, line.third.load(Ordering::Relaxed) >> 32)
            }
        };
        fence(Ordering::Acquire);
        let (ids, n, third) = found;
        (line.version.load(Ordering::Relaxed) == version).then_some(CachedIds {
            ids: [ids as u32, (ids >> 32) as u32, third as u32],
            n,
        })
    }

    /// Keeps the ids of a short pretoken, not an empty one, that was not found; tells whether they fit.
    #[inline]
    pub fn keep(&self, key: Key, place: Place, ids: &[u32]) -> bool {
        if ids.len() > MAX_IDS {
            return false;
        }
        let line = self.line(place);
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
    /// The first two ids, and how many there are in all.
    #[inline(always)]
    fn find(&self, key: Key) -> Option<(u64, usize)> {
        let high = self.high.load(Ordering::Relaxed);
        let low = self.low.load(Ordering::Relaxed);
        // An empty entry has length 0, and no ids.
        if (high ^ key.high) << (u64::BITS - N_IDS) | (low ^ key.low) != 0 {
            return None;
        }
        Some((self.ids.load(Ordering::Relaxed), (high >> N_IDS) as usize))
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
        let cache = ShortCache::new().expect("memory");
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
                        match lines.find(key, Place(state >> 30)) {
                            Some(found) => {
                                assert_eq!(found.ids[..found.n], ids);
                                n_found += 1;
                            }
                            None => assert!(lines.keep(key, Place(state >> 30), &ids)),
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
    fn a_larger_table() {
        let cache = ShortCache::new().expect("memory");
        let (key, ids) = entry(2);
        for _ in 0..2 {
            let lines = cache.lines();
            let place = lines.place(key.hash());
            assert!(lines.find(key, place).is_none());
            assert!(lines.keep(key, place, &ids));
            assert!(lines.find(key, place).is_some());
            assert!(cache.grow());
        }
        assert!(
            cache
                .lines()
                .find(key, cache.lines().place(key.hash()))
                .is_some()
        );
    }

    #[test]
    fn a_line_keeps_the_last_two() {
        let cache = ShortCache::new().expect("memory");
        let lines = cache.lines();
        let mut before = None;
        for i in (0..7).cycle().take(100) {
            let (key, ids) = entry(i);
            assert!(lines.keep(key, Place(5), &ids));
            let found = lines.find(key, Place(5)).map(|f| f.ids[..f.n].to_vec());
            assert_eq!(found, Some(ids));
            if let Some((key, ids)) = before.replace(entry(i))
                && let Some(found) = lines.find(key, Place(5))
            {
                assert_eq!(found.ids[..found.n], ids);
            }
        }
        assert!(!lines.keep(entry(0).0, Place(5), &[1, 2, 3, 4]));
        assert!(lines.find(Key::new(&[b'a'; 16], 0, 16), Place(5)).is_none());
    }

    /// As if a thread had stopped in the midst of writing, perhaps for ever, as after a fork.
    #[test]
    fn a_line_being_written() {
        let cache = ShortCache::new().expect("memory");
        let lines = cache.lines();
        let (key, ids) = entry(2);
        assert!(lines.keep(key, Place(5), &ids));
        lines.line(Place(5)).version.fetch_add(1, Ordering::Relaxed);
        assert!(lines.find(key, Place(5)).is_none());
        assert!(lines.keep(entry(3).0, Place(5), &entry(3).1));
        assert!(lines.find(entry(3).0, Place(5)).is_none());
        lines.line(Place(5)).version.fetch_add(1, Ordering::Relaxed);
        assert!(lines.find(key, Place(5)).is_some());
        assert!(lines.find(entry(3).0, Place(5)).is_none());
    }
}
