//! The pretokens of a group that are not among the short ones in the cache.
//!
//! Short ones are merged together (`merge_short.rs`), so that all wait for memory at the same time.

use crate::encode::Encoder;
use crate::encode::groups::{GROUP, Ids, Row};
use crate::encode::long_cache::WideCache;
use crate::encode::short_cache::{Key, Lines, Place, WORTH_MANY};
use crate::simd::level::{Job, Level};
use crate::vocabulary::merge_longest::Scratch;
use crate::vocabulary::merge_short::{Merge, Short, WAYS};

/// More ids than this are not kept room for.
const KEEP_IDS: usize = 1 << 14;

/// A pretoken, or a piece of one, that was not found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Miss {
    /// Its index in the group.
    pub(crate) at: usize,
    /// How many ids were found before it.
    pub(crate) before: usize,
}

/// What it takes to encode pretokens.
#[derive(Debug)]
pub(crate) struct Work {
    wide: WideCache,
    scratch: Scratch,
    ids: Vec<u32>,
    /// Short pretokens kept in the cache for all threads.
    kept: usize,
    /// Misses that are merged together, by their index, and what comes of them.
    together: [usize; GROUP],
    merged: [Short; GROUP],
}

impl Default for Work {
    fn default() -> Self {
        Self {
            wide: WideCache::default(),
            scratch: Scratch::default(),
            ids: Vec::new(),
            kept: 0,
            together: [0; GROUP],
            merged: [Short::EMPTY; GROUP],
        }
    }
}

/// The encoding of what was not found. The ids of all that was found come with it, as those between have
/// to go between.
pub(crate) struct Misses<'a, F, I> {
    pub(crate) encoder: &'a Encoder,
    pub(crate) cache: Lines<'a>,
    /// The bytes of a pretoken, by its index in the group.
    pub(crate) piece: F,
    pub(crate) keys: &'a [(Key, Place)],
    pub(crate) misses: &'a [Miss],
    pub(crate) row: &'a Row,
    /// Ids found in all.
    pub(crate) n: usize,
    pub(crate) work: &'a mut Work,
    pub(crate) out: &'a mut I,
}

impl<'p, F: Fn(usize) -> &'p [u8], I: Ids> Job for Misses<'_, F, I> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self, level: L) {
        let Self {
            encoder,
            cache,
            piece,
            keys,
            misses,
            row,
            n,
            work,
            out,
        } = self;
        let mut n_together = 0;
        if let Some(table) = encoder.table() {
            for (i, miss) in misses.iter().enumerate() {
                let (key, piece) = (keys[miss.at].0, piece(miss.at));
                if key != Key::NONE
                    && !piece.is_empty()
                    && table.unmerged(piece).is_none()
                    && work.wide.find(key.hash(), piece).is_none()
                {
                    work.together[n_together] = i;
                    n_together += 1;
                }
            }
            let together = &work.together[..n_together];
            let merge = Merge::<_, WAYS> {
                table,
                piece: |i: usize| piece(misses[together[i]].at),
                merged: &mut work.merged[..n_together],
            };
            merge.run(level);
        }
        let (mut from, mut next) = (0, 0);
        for (i, miss) in misses.iter().enumerate() {
            out.row(row, from..miss.before);
            from = miss.before;
            let (piece, key) = (piece(miss.at), keys[miss.at]);
            if next < n_together && work.together[next] == i {
                let mut short = work.merged[next];
                let ids = short.tokens_mut();
                encoder.name(ids);
                out.many(ids);
                // It may have come twice in this group.
                if cache.find(key.0, key.1).is_none() {
                    work.keep(encoder, cache, piece, key, ids);
                }
                next += 1;
            } else {
                work.piece(encoder, cache, piece, key, out);
            }
        }
        out.row(row, from..n);
    }
}

impl Work {
    /// Keeps the ids of a short pretoken.
    #[inline(always)]
    fn keep(
        &mut self,
        encoder: &Encoder,
        cache: Lines<'_>,
        piece: &[u8],
        (key, place): (Key, Place),
        ids: &[u32],
    ) {
        if cache.keep(key, place, ids) {
            self.kept += 1;
            if self.kept == WORTH_MANY {
                encoder.cache.grow();
            }
        } else {
            self.wide.keep(key.hash(), piece, ids);
        }
    }

    /// Appends the ids of a pretoken, or of a piece of one.
    #[inline(never)]
    fn piece(
        &mut self,
        encoder: &Encoder,
        cache: Lines<'_>,
        piece: &[u8],
        key: (Key, Place),
        out: &mut impl Ids,
    ) {
        if piece.is_empty() {
            // An empty entry would let its line be filled out of order.
            return;
        }
        let is_short = key.0 != Key::NONE;
        let wide_hash = match is_short {
            true => Some(key.0.hash()),
            false => WideCache::hash(piece),
        };
        if let Some(hash) = wide_hash
            && let Some(found) = self.wide.find(hash, piece)
        {
            return out.many(found);
        }
        if wide_hash.is_none()
            && let Some(list) = out.list()
        {
            // It may be all of a long text.
            return encoder.merge(piece, &mut self.scratch, list);
        }
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        encoder.merge(piece, &mut self.scratch, &mut ids);
        out.many(&ids);
        if is_short {
            self.keep(encoder, cache, piece, key, &ids);
        } else if let Some(hash) = wide_hash {
            self.wide.keep(hash, piece, &ids);
        }
        if ids.capacity() <= KEEP_IDS {
            self.ids = ids;
        }
    }
}
