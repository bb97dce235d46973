//! An encoder at work in one thread: pretokens looked up in a cache, and encoded where they are new.
//!
//! Pretokens are gathered in groups, and each step is done for a whole group: the steps of
//! different pretokens do not depend on each other, so that the processor works on several at a time
//! while one waits for memory.

use crate::cache::{FEW, Key, Lines};
use crate::encode::Encoder;
use crate::error::Result;
use crate::longest::Scratch;
use crate::special::SpecialTokens;
use crate::wide_cache::WideCache;
use std::sync::Mutex;

/// Pretokens in a group.
const GROUP: usize = 64;

/// More ids than this are not kept room for.
const KEEP_IDS: usize = 1 << 14;

/// What one thread needs while it encodes.
#[derive(Debug)]
struct State {
    /// Where the pretokens of a group begin and end.
    spans: [(usize, usize); GROUP],
    keys: [(Key, u64); GROUP],
    work: Work,
}

/// What it takes to encode a pretoken.
#[derive(Debug, Default)]
struct Work {
    wide: WideCache,
    scratch: Scratch,
    ids: Vec<u32>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            spans: [(0, 0); GROUP],
            keys: [(Key::NONE, 0); GROUP],
            work: Work::default(),
        }
    }
}

/// States of threads that are not encoding just now.
///
/// Nobody ever waits here, so that a process forked while another thread is inside can go on: who does
/// not get in makes a new state, or drops theirs.
#[allow(clippy::vec_box)] // A state takes kilobytes, which would be copied each time.
#[derive(Debug, Default)]
pub(crate) struct States([Mutex<Vec<Box<State>>>; 8]);

thread_local! {
    static HERE: u8 = const { 0 };
}

impl States {
    /// The drawers, this thread's own first.
    fn drawers(&self) -> impl Iterator<Item = &Mutex<Vec<Box<State>>>> {
        let here = HERE.with(|here| std::ptr::from_ref(here) as usize);
        // Thread-local storage lies megabytes or pages apart.
        let own = (here >> 12).wrapping_mul(0x9e37_79b9) >> 16;
        (0..self.0.len()).map(move |i| &self.0[(own + i) % self.0.len()])
    }

    fn take(&self) -> Box<State> {
        let mut parked = self.drawers().filter_map(|d| d.try_lock().ok()?.pop());
        parked.next().unwrap_or_default()
    }

    fn park(&self, state: Box<State>) {
        for drawer in self.drawers() {
            if let Ok(mut states) = drawer.try_lock() {
                states.push(state);
                return;
            }
        }
    }
}

/// An encoder at work in one thread. Many short texts go faster through one session than through the
/// encoder's own methods, each of which begins a session.
#[derive(Debug)]
pub struct Session<'a> {
    encoder: &'a Encoder,
    state: Option<Box<State>>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            self.encoder.states.park(state);
        }
    }
}

/// Where ids go.
trait Ids {
    /// Takes the first `n`.
    fn few(&mut self, ids: &[u32; FEW], n: usize);
    fn many(&mut self, ids: &[u32]);
}

impl Ids for Vec<u32> {
    #[inline(always)]
    fn few(&mut self, ids: &[u32; FEW], n: usize) {
        // All are cheaper to copy than some; those too many are dropped again.
        let len = self.len() + n;
        self.extend_from_slice(ids);
        self.truncate(len);
    }

    #[inline(always)]
    fn many(&mut self, ids: &[u32]) {
        self.extend_from_slice(ids);
    }
}

/// Ids that are only counted.
struct Count(usize);

impl Ids for Count {
    #[inline(always)]
    fn few(&mut self, _: &[u32; FEW], n: usize) {
        self.0 += n;
    }

    #[inline(always)]
    fn many(&mut self, ids: &[u32]) {
        self.0 += ids.len();
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(encoder: &'a Encoder) -> Self {
        Self {
            encoder,
            state: Some(encoder.states.take()),
        }
    }

    /// As [`Encoder::encode_ordinary`].
    ///
    /// # Errors
    /// As there.
    pub fn encode_ordinary(&mut self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        // A vector of this function's own is kept in registers.
        let mut ids = std::mem::take(out);
        let done = self.ordinary(text, &mut ids);
        *out = ids;
        done
    }

    /// As [`Encoder::count_ordinary`].
    ///
    /// # Errors
    /// As there.
    pub fn count_ordinary(&mut self, text: &str) -> Result<usize> {
        let mut count = Count(0);
        self.ordinary(text, &mut count)?;
        Ok(count.0)
    }

    /// As [`Encoder::encode`].
    ///
    /// # Errors
    /// As there.
    pub fn encode(
        &mut self,
        text: &str,
        allowed: &SpecialTokens,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let encoder = self.encoder;
        let ordinary = |out: &mut Vec<u32>, text: &str| self.encode_ordinary(text, out);
        encoder.cut(text, allowed, out, ordinary, Vec::push)
    }

    /// As [`Encoder::count`].
    ///
    /// # Errors
    /// As there.
    pub fn count(&mut self, text: &str, allowed: &SpecialTokens) -> Result<usize> {
        let encoder = self.encoder;
        let mut n = 0;
        let ordinary = |n: &mut usize, text: &str| {
            *n += self.count_ordinary(text)?;
            Ok(())
        };
        encoder.cut(text, allowed, &mut n, ordinary, |n, _| *n += 1)?;
        Ok(n)
    }

    #[inline(always)]
    fn ordinary(&mut self, text: &str, out: &mut impl Ids) -> Result<()> {
        let encoder = self.encoder;
        let state = &mut **self.state.get_or_insert_default();
        let bytes = text.as_bytes();
        let mut n = 0;
        encoder.pretokenizer().split(text, |start, end| {
            state.spans[n] = (start, end);
            n += 1;
            if n == GROUP {
                state.look_up(encoder, bytes, n, out);
                n = 0;
            }
        })?;
        state.look_up(encoder, bytes, n, out);
        Ok(())
    }
}

impl State {
    /// Appends the ids of the first `n` pretokens of the group.
    #[inline(never)]
    fn look_up(&mut self, encoder: &Encoder, text: &[u8], n: usize, out: &mut impl Ids) {
        let cache = encoder.cache.lines();
        let spans = &self.spans[..n];
        let keys = &mut self.keys[..n];
        for (key, &(start, end)) in keys.iter_mut().zip(spans) {
            let found = Key::new(text, start, end);
            *key = (found, found.hash());
        }
        for (&mut (key, hash), &(start, end)) in keys.iter_mut().zip(spans) {
            match cache.find(key, hash) {
                Some(found) => out.few(&found.ids, found.n),
                None => {
                    let work = &mut self.work;
                    work.pretoken(encoder, cache, text, (start, end), (key, hash), out);
                }
            }
        }
    }
}

impl Work {
    /// Appends the ids of a pretoken that is not among the short ones in the cache.
    #[inline(never)]
    fn pretoken(
        &mut self,
        encoder: &Encoder,
        cache: Lines<'_>,
        text: &[u8],
        (start, end): (usize, usize),
        (key, hash): (Key, u64),
        out: &mut impl Ids,
    ) {
        let pretoken = &text[start..end];
        let wide = pretoken.len() > 3;
        if let Some(borders) = encoder.borders()
            && wide
            && pretoken.iter().any(|&b| b >= 0xe0)
        {
            let mut from = start;
            return borders.split(pretoken, |_, to| {
                let to = start + to;
                let key = Key::new(text, from, to);
                let hash = key.hash();
                match cache.find(key, hash) {
                    Some(found) => out.few(&found.ids, found.n),
                    None => self.piece(encoder, cache, &text[from..to], (key, hash), out),
                }
                from = to;
            });
        }
        self.piece(encoder, cache, pretoken, (key, hash), out);
    }

    #[inline(never)]
    fn piece(
        &mut self,
        encoder: &Encoder,
        cache: Lines<'_>,
        piece: &[u8],
        (key, hash): (Key, u64),
        out: &mut impl Ids,
    ) {
        if piece.is_empty() {
            // An empty entry would let its line be filled out of order.
            return;
        }
        let Self { wide, scratch, ids } = self;
        let wide_hash = WideCache::hash(piece);
        if let Some(hash) = wide_hash
            && let Some(found) = wide.find(hash, piece)
        {
            return out.many(found);
        }
        if ids.capacity() > KEEP_IDS {
            *ids = Vec::new();
        }
        ids.clear();
        encoder.merge(piece, scratch, ids);
        out.many(ids);
        let kept = key != Key::NONE && cache.keep(key, hash, ids);
        if let (false, Some(hash)) = (kept, wide_hash) {
            wide.keep(hash, piece, ids);
        }
    }
}
