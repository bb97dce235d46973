//! The pretokens of a group that are not in the cache of short ones.
//!
//! Those that are short themselves are merged together, so that all wait for memory at the same time.

use crate::encode::long_cache::LongCache;
use crate::encode::short_cache::{GROW_AFTER, Lines, Place};
use crate::encode::sink::{GROUP, GroupIds, IdSink};
use crate::encode::tables::Tables;
use crate::error::OutOfMemory;
use crate::simd::level::{Job, Level};
use crate::text::key::Key;
use crate::vocabulary::{CONCURRENT, MergeShort, MergedPiece, Scratch};

/// A buffer with room for more ids than this is not kept.
const KEEP_IDS: usize = 1 << 14;

/// A pretoken, or a piece of one, that was not found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Miss {
    /// Its index in the group.
    pub(crate) at: usize,
    /// How many ids were found before it.
    pub(crate) before: usize,
}

/// Working memory for encoding what was not found.
#[derive(Debug)]
pub(crate) struct MissScratch {
    long_cache: LongCache,
    longest: Scratch,
    ids: Vec<u32>,
    /// Short pretokens kept in the cache for all threads.
    kept: usize,
    /// Misses that are merged together, by their index, and what comes of them.
    batch: [usize; GROUP],
    merged: [MergedPiece; GROUP],
}

impl MissScratch {
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            long_cache: LongCache::new()?,
            longest: Scratch::default(),
            ids: Vec::new(),
            kept: 0,
            batch: [0; GROUP],
            merged: [MergedPiece::EMPTY; GROUP],
        })
    }
}

/// The encoding of what was not found. The ids of all that was found come with it, as those between have
/// to go between.
pub(crate) struct Misses<'a, F, I> {
    pub(crate) tables: &'a Tables,
    pub(crate) lines: Lines<'a>,
    /// The bytes of a pretoken, by its index in the group.
    pub(crate) piece: F,
    pub(crate) keys: &'a [(Key, Place)],
    pub(crate) misses: &'a [Miss],
    pub(crate) ids: &'a GroupIds,
    /// How many ids were found in all.
    pub(crate) n: usize,
    pub(crate) scratch: &'a mut MissScratch,
    pub(crate) out: &'a mut I,
}

impl<'p, F: Fn(usize) -> &'p [u8], I: IdSink> Job for Misses<'_, F, I> {
    type Output = Result<(), OutOfMemory>;

    #[inline(always)]
    fn run<L: Level>(self, level: L) -> Result<(), OutOfMemory> {
        let Self {
            tables,
            lines,
            piece,
            keys,
            misses,
            ids: found,
            n,
            scratch,
            out,
        } = self;
        let mut n_batch = 0;
        if let Some(table) = tables.vocabulary.table().filter(|t| t.symbols.are_bytes()) {
            for (i, miss) in misses.iter().enumerate() {
                let (key, piece) = (keys[miss.at].0, piece(miss.at));
                if key != Key::TOO_LONG
                    && !piece.is_empty()
                    && table.unmerged(piece).is_none()
                    && scratch.long_cache.find(key.hash(), piece).is_none()
                {
                    scratch.batch[n_batch] = i;
                    n_batch += 1;
                }
            }
            let batch = &scratch.batch[..n_batch];
            let merge = MergeShort::<_, CONCURRENT> {
                pairs: &table.pairs,
                piece: |i: usize| piece(misses[batch[i]].at),
                merged: &mut scratch.merged[..n_batch],
            };
            merge.run(level);
        }
        let (mut from, mut next) = (0, 0);
        for (i, miss) in misses.iter().enumerate() {
            out.append_gathered(found, from..miss.before)?;
            from = miss.before;
            let (piece, key) = (piece(miss.at), keys[miss.at]);
            if next < n_batch && scratch.batch[next] == i {
                let mut merged = scratch.merged[next];
                let ids = merged.tokens_mut();
                tables.vocabulary.make_ids(ids);
                out.append(ids)?;
                // It may have come twice in this group.
                if lines.find(key.0, key.1).is_none() {
                    scratch.keep(tables, lines, piece, key, ids);
                }
                next += 1;
            } else {
                scratch.encode(tables, lines, piece, key, out)?;
            }
        }
        out.append_gathered(found, from..n)
    }
}

impl MissScratch {
    /// Keeps the ids of a short pretoken.
    #[inline(always)]
    fn keep(
        &mut self,
        tables: &Tables,
        lines: Lines<'_>,
        piece: &[u8],
        (key, place): (Key, Place),
        ids: &[u32],
    ) {
        if lines.keep(key, place, ids) {
            self.kept += 1;
            if self.kept == GROW_AFTER && !tables.cache.grow() {
                // Later there may be memory.
                self.kept = 0;
            }
        } else {
            self.long_cache.keep(key.hash(), piece, ids);
        }
    }

    /// Appends the ids of a pretoken, or of a piece of one.
    #[inline(never)]
    fn encode(
        &mut self,
        tables: &Tables,
        lines: Lines<'_>,
        piece: &[u8],
        key: (Key, Place),
        out: &mut impl IdSink,
    ) -> Result<(), OutOfMemory> {
        if piece.is_empty() {
            // An empty entry would let its line be filled out of order.
            return Ok(());
        }
        let is_short = key.0 != Key::TOO_LONG;
        let long_hash = match is_short {
            true => Some(key.0.hash()),
            false => LongCache::hash(piece),
        };
        if let Some(hash) = long_hash
            && let Some(found) = self.long_cache.find(hash, piece)
        {
            return out.append(found);
        }
        if long_hash.is_none()
            && let Some(list) = out.as_list()
        {
            // It may be all of a long text.
            return tables
                .vocabulary
                .encode_piece(piece, &mut self.longest, list);
        }
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        tables
            .vocabulary
            .encode_piece(piece, &mut self.longest, &mut ids)?;
        out.append(&ids)?;
        if is_short {
            self.keep(tables, lines, piece, key, &ids);
        } else if let Some(hash) = long_hash {
            self.long_cache.keep(hash, piece, &ids);
        }
        if ids.capacity() <= KEEP_IDS {
            self.ids = ids;
        }
        Ok(())
    }
}
