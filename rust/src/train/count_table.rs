//! Pretoken -> count: the hash table that one thread counts into.
//!
//! Pretokens of up to 15 bytes are their own keys ([`Key`]), so that a look-up touches one slot and
//! nothing else. Longer ones live in an arena.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::system::prefetch::prefetch;
use crate::text::key::Key;
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// An empty key marks an empty slot, as no pretoken is empty.
    key: Key,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Long {
    start: usize,
    len: usize,
    count: u64,
}

impl Long {
    fn bytes<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        &arena[self.start..self.start + self.len]
    }
}

/// A handle to a pretoken in a [`CountTable`] that does not change meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(u32);

/// The bit of a [`Word`] that says which half of the table it is in.
const LONG: u32 = 1 << 31;

/// Slots for short pretokens, at least.
const FEWEST_SLOTS: usize = 1 << 12;

/// Counts by pretoken.
#[derive(Debug, Default)]
pub struct CountTable {
    slots: Vec<Slot>,
    n_short: usize,
    /// Long pretokens, and their places in it by hash.
    longs: Vec<Long>,
    long_index: HashTable<u32>,
    arena: Vec<u8>,
    /// Whether there was once no memory for a pretoken.
    is_incomplete: bool,
}

/// Slots for so many short pretokens, a power of two from `least` on.
fn slots_for(n: usize, least: usize) -> usize {
    let mut size = least;
    while is_crowded(n, size) {
        size *= 2;
    }
    size
}

/// Whether so many short pretokens are too many for `size` slots.
#[inline]
fn is_crowded(n: usize, size: usize) -> bool {
    n * 8 > size * 5
}

fn long_hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

impl CountTable {
    /// One with room for `n` pretokens of up to 15 bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn with_room(n: usize) -> Result<Self, OutOfMemory> {
        let mut table = Self::default();
        if n > 0 {
            table.resize_slots(slots_for(n, FEWEST_SLOTS))?;
        }
        Ok(table)
    }

    /// How many distinct pretokens there are.
    pub fn len(&self) -> usize {
        self.n_short + self.longs.len()
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all distinct pretokens.
    pub fn n_bytes(&self) -> usize {
        let short = self.slots.iter().map(|s| s.key.len());
        self.arena.len() + short.sum::<usize>()
    }

    /// Adds `n` to the count of the pretoken `data[start..end]`; one is made if it is new. What there is no
    /// memory for is left out, as [`Self::complete`] tells: this is called too often to ask each time.
    ///
    /// It is fastest when [`PADDING`](crate::text::key::PADDING) bytes follow in `data`.
    #[inline]
    pub fn add(&mut self, data: &[u8], start: usize, end: usize, n: u64) {
        let key = Key::new(data, start, end);
        if key == Key::TOO_LONG {
            return self.add_long(&data[start..end], n);
        }
        self.add_short(key, n);
    }

    /// Whether all that was added is there.
    ///
    /// # Errors
    /// [`OutOfMemory`] if it is not.
    pub fn complete(&self) -> Result<(), OutOfMemory> {
        match self.is_incomplete {
            true => Err(OutOfMemory),
            false => Ok(()),
        }
    }

    #[inline]
    fn add_short(&mut self, key: Key, n: u64) {
        if self.slots.is_empty() {
            self.grow();
            if self.slots.is_empty() {
                return;
            }
        }
        let mask = self.slots.len() - 1;
        let mut at = key.hash() as usize & mask;
        loop {
            let slot = &mut self.slots[at & mask];
            if slot.key == key {
                slot.count += n;
                return;
            }
            if slot.key.is_empty() {
                if self.is_incomplete {
                    // The table might fill up.
                    return;
                }
                *slot = Slot { key, count: n };
                self.n_short += 1;
                if is_crowded(self.n_short, self.slots.len()) {
                    self.grow();
                }
                return;
            }
            at += 1;
        }
    }

    /// Makes room for as many again; without memory for it, no more pretokens are taken.
    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(FEWEST_SLOTS);
        self.is_incomplete |= self.resize_slots(size).is_err();
    }

    fn resize_slots(&mut self, size: usize) -> Result<(), OutOfMemory> {
        let new = memory::filled(Slot::default(), size)?;
        let old = std::mem::replace(&mut self.slots, new);
        for slot in old.iter().filter(|s| !s.key.is_empty()) {
            let mut at = slot.key.hash() as usize & (size - 1);
            while !self.slots[at].key.is_empty() {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = *slot;
        }
        Ok(())
    }

    fn add_long(&mut self, bytes: &[u8], n: u64) {
        self.is_incomplete |= self.try_add_long(bytes, n).is_err();
    }

    fn try_add_long(&mut self, bytes: &[u8], n: u64) -> Result<(), OutOfMemory> {
        let (longs, arena) = (&mut self.longs, &mut self.arena);
        let hash = long_hash(bytes);
        let found = self
            .long_index
            .find(hash, |&i| longs[i as usize].bytes(arena) == bytes);
        if let Some(&i) = found {
            longs[i as usize].count += n;
            return Ok(());
        }
        longs.try_reserve(1)?;
        arena.try_reserve(bytes.len())?;
        let rehash = |&i: &u32| long_hash(longs[i as usize].bytes(arena));
        let made = self.long_index.try_reserve(1, rehash);
        made.map_err(|_| OutOfMemory)?;
        longs.push(Long {
            start: arena.len(),
            len: bytes.len(),
            count: n,
        });
        arena.extend_from_slice(bytes);
        let rehash = |&i: &u32| long_hash(longs[i as usize].bytes(arena));
        self.long_index
            .insert_unique(hash, longs.len() as u32 - 1, rehash);
        Ok(())
    }

    /// Adds all counts of another table.
    ///
    /// # Errors
    /// [`OutOfMemory`]; the counts are then as before.
    pub fn merge(&mut self, other: &CountTable) -> Result<(), OutOfMemory> {
        self.make_room(other)?;
        for slot in other.slots.iter().filter(|s| !s.key.is_empty()) {
            self.add_short(slot.key, slot.count);
        }
        for long in &other.longs {
            self.add_long(long.bytes(&other.arena), long.count);
        }
        self.complete()
    }

    /// The counts of all tables.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn sum(mut tables: Vec<CountTable>) -> Result<CountTable, OutOfMemory> {
        // Into the largest, so that the fewest entries move.
        tables.sort_unstable_by_key(CountTable::len);
        let mut all = tables.pop().unwrap_or_default();
        while let Some(table) = tables.pop() {
            all.merge(&table)?;
        }
        Ok(all)
    }

    /// Room for what only `other` has.
    fn make_room(&mut self, other: &CountTable) -> Result<(), OutOfMemory> {
        let mut n_short = self.n_short;
        for slot in other.slots.iter().filter(|s| !s.key.is_empty()) {
            n_short += usize::from(!self.has_short(slot.key));
        }
        let size = slots_for(n_short, self.slots.len().max(FEWEST_SLOTS));
        let (mut n_longs, mut n_bytes) = (0, 0);
        for long in &other.longs {
            let bytes = long.bytes(&other.arena);
            if self.find_long(bytes).is_none() {
                n_longs += 1;
                n_bytes += bytes.len();
            }
        }
        let Self {
            longs,
            long_index,
            arena,
            ..
        } = self;
        longs.try_reserve(n_longs)?;
        arena.try_reserve(n_bytes)?;
        let rehash = |&i: &u32| long_hash(longs[i as usize].bytes(arena));
        let made = long_index.try_reserve(n_longs, rehash);
        made.map_err(|_| OutOfMemory)?;
        if size > self.slots.len() {
            self.resize_slots(size)?;
        }
        Ok(())
    }

    fn has_short(&self, key: Key) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let mask = self.slots.len() - 1;
        let mut at = key.hash() as usize & mask;
        while !self.slots[at].key.is_empty() {
            if self.slots[at].key == key {
                return true;
            }
            at = (at + 1) & mask;
        }
        false
    }

    fn find_long(&self, bytes: &[u8]) -> Option<u32> {
        let is_it = |&i: &u32| self.longs[i as usize].bytes(&self.arena) == bytes;
        self.long_index.find(long_hash(bytes), is_it).copied()
    }

    /// A copy.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn copy(&self) -> Result<Self, OutOfMemory> {
        let mut copy = Self::default();
        copy.merge(self)?;
        Ok(copy)
    }

    /// Calls `visit` for every pretoken with its count, in no particular order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], u64)) {
        for slot in self.slots.iter().filter(|s| !s.key.is_empty()) {
            slot.key.with_bytes(|bytes| visit(bytes, slot.count));
        }
        for long in &self.longs {
            visit(long.bytes(&self.arena), long.count);
        }
    }

    /// Handles to all pretokens of two bytes and more, with their counts, in no particular order; and how many bytes
    /// they have together.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn words(&self) -> Result<(Vec<(u64, Word)>, usize), OutOfMemory> {
        let mut words = memory::with_capacity(self.len())?;
        let mut n_bytes = self.arena.len();
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.key.len() > 1 {
                words.push((slot.count, Word(at as u32)));
                n_bytes += slot.key.len();
            }
        }
        for (i, long) in self.longs.iter().enumerate() {
            words.push((long.count, Word(LONG | i as u32)));
        }
        Ok((words, n_bytes))
    }

    /// Has a pretoken fetched from memory ahead of its use.
    #[inline]
    pub fn prefetch(&self, word: Word) {
        if word.0 & LONG == 0 {
            prefetch(&raw const self.slots[word.0 as usize]);
        }
    }

    /// Calls `visit` with a pretoken's bytes.
    #[inline]
    pub fn with_word<R>(&self, word: Word, visit: impl FnOnce(&[u8]) -> R) -> R {
        if word.0 & LONG != 0 {
            return visit(self.longs[(word.0 & !LONG) as usize].bytes(&self.arena));
        }
        self.slots[word.0 as usize].key.with_bytes(visit)
    }
}
