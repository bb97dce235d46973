//! Text -> ids -> bytes: a vocabulary's merges applied as tiktoken applies them.
//!
//! A pretoken that is a token is its id. Otherwise it starts as single bytes; of all adjacent pairs
//! whose joined bytes are a token the one of lowest rank is joined, the leftmost of equals, until
//! none is left.
//!
//! A pretoken is looked for in a cache (`cache.rs`), where it is met again in most cases, and is else read
//! from the left by longest matches (`longest.rs`) or, for a vocabulary that training does not give,
//! merged pair by pair (`merge_table.rs`). Time goes to cache misses of the processor, hardly to
//! arithmetic. What was tried, as MB/s of processor time for counting in one thread, cl100k_base,
//! 30 MB of nine languages / of books, on a busy machine, so that only the steps mean something:
//!
//! - trie in a hash table by (node, byte), a cache of 2 MiB: 24 / 88. Most time went to the trie, one
//!   cache miss for each byte of a rare word.
//! - trie in a double array with branches kept together, a cache of 4 MiB: 43 / 160. The rest went to
//!   asking the table of pairs, in vain as a rule, whether two tokens may be neighbours.
//! - two 32-bit sets for each token of what it merges with, read beforehand: 58 / 160.
//! - without a memo of which tokens may be neighbours (256 KiB; itself a cache miss each time), and with
//!   16-bit tags before the entries for long pretokens: 75 / 160 (encoding: 62 / 130).

use crate::cache::{Cache, Key};
use crate::error::{Error, Result};
use crate::longest::Scratch;
use crate::merge_table::MergeTable;
use crate::pretokenize::Pretokenizer;
pub use crate::ranks::Ranks;
use crate::special::SpecialTokens;
use rustc_hash::FxHashMap;
use std::sync::Mutex;

/// A whole encoder: pattern, ranks and special tokens.
#[derive(Debug)]
pub struct Encoder {
    pretokenizer: Pretokenizer,
    ranks: Ranks,
    /// `None` for a vocabulary too large for it.
    table: Option<MergeTable>,
    special: SpecialTokens,
    special_ids: FxHashMap<String, u32>,
    /// Id -> place in `special`.
    special_places: FxHashMap<u32, usize>,
    states: States,
}

impl Clone for Encoder {
    fn clone(&self) -> Self {
        Self {
            pretokenizer: self.pretokenizer.clone(),
            ranks: self.ranks.clone(),
            table: self.table.clone(),
            special: self.special.clone(),
            special_ids: self.special_ids.clone(),
            special_places: self.special_places.clone(),
            states: States::default(),
        }
    }
}

/// What one thread needs while it encodes.
#[derive(Debug, Default)]
struct State {
    cache: Cache,
    scratch: Scratch,
    ids: Vec<u32>,
}

/// More ids than this are not kept room for.
const KEEP_IDS: usize = 1 << 14;

/// States of threads that are not encoding just now.
///
/// Nobody ever waits here, so that a process forked while another thread is inside can go on: who does
/// not get in makes a new state, or drops theirs.
#[derive(Debug, Default)]
struct States([Mutex<Vec<State>>; 8]);

thread_local! {
    static HERE: u8 = const { 0 };
}

impl States {
    /// The drawers, this thread's own first.
    fn drawers(&self) -> impl Iterator<Item = &Mutex<Vec<State>>> {
        let here = HERE.with(|here| std::ptr::from_ref(here) as usize);
        // Thread-local storage lies megabytes or pages apart.
        let own = (here >> 12).wrapping_mul(0x9e37_79b9) >> 16;
        (0..self.0.len()).map(move |i| &self.0[(own + i) % self.0.len()])
    }

    fn take(&self) -> State {
        let mut parked = self.drawers().filter_map(|d| d.try_lock().ok()?.pop());
        parked.next().unwrap_or_default()
    }

    fn park(&self, state: State) {
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
    state: Option<State>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            self.encoder.states.park(state);
        }
    }
}

impl Encoder {
    /// Puts an encoder together.
    ///
    /// # Errors
    /// [`Error::Argument`] for ids that collide; [`Error::Pattern`] for a broken pattern.
    pub fn new(ranks: Ranks, special: Vec<(String, u32)>, pattern: &str) -> Result<Self> {
        let pretokenizer = Pretokenizer::new(pattern)?;
        for (token, id) in &special {
            if ranks.token(*id).is_some() {
                return Err(Error::Argument {
                    name: "special_tokens",
                    value: format!("{token:?}"),
                    reason: format!("its id {id} is taken by another token"),
                });
            }
        }
        let mut special_places = FxHashMap::default();
        for (place, (_, id)) in special.iter().enumerate() {
            special_places.entry(*id).or_insert(place);
        }
        Ok(Self {
            pretokenizer,
            table: MergeTable::new(&ranks),
            ranks,
            special: SpecialTokens::new(special.iter().map(|s| &s.0))?,
            special_ids: special.into_iter().collect(),
            special_places,
            states: States::default(),
        })
    }

    /// The table of ranks.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// What cuts text into pretokens.
    pub fn pretokenizer(&self) -> &Pretokenizer {
        &self.pretokenizer
    }

    /// The special tokens, in the order given.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The bytes of one id, special or not. Of special tokens that share an id, as in o200k_harmony,
    /// the first.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.ranks.token(id).or_else(|| {
            let place = *self.special_places.get(&id)?;
            Some(self.special.tokens()[place].as_bytes())
        })
    }

    /// A session for this thread.
    pub fn session(&self) -> Session<'_> {
        Session {
            encoder: self,
            state: Some(self.states.take()),
        }
    }

    /// The ids of `text`; special tokens in it are text like any other.
    ///
    /// # Errors
    /// [`Error::Match`] if the regex engine gives up.
    pub fn encode_ordinary(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        self.session().encode_ordinary(text, out)
    }

    /// The ids of `text`, with the special tokens in `allowed` (a set drawn from this encoder's, of which
    /// the longest at a place wins) becoming their ids.
    ///
    /// # Errors
    /// [`Error::Match`] if the regex engine gives up.
    pub fn encode(&self, text: &str, allowed: &SpecialTokens, out: &mut Vec<u32>) -> Result<()> {
        self.session().encode(text, allowed, out)
    }

    /// How many ids [`Self::encode_ordinary`] gives.
    ///
    /// # Errors
    /// As there.
    pub fn count_ordinary(&self, text: &str) -> Result<usize> {
        self.session().count_ordinary(text)
    }

    /// How many ids [`Self::encode`] gives.
    ///
    /// # Errors
    /// As there.
    pub fn count(&self, text: &str, allowed: &SpecialTokens) -> Result<usize> {
        self.session().count(text, allowed)
    }

    /// Cuts `text` at the special tokens in `allowed`: calls `ordinary` for what lies before each and
    /// after the last, `special` for each one's id.
    fn cut<T>(
        &self,
        text: &str,
        allowed: &SpecialTokens,
        target: &mut T,
        mut ordinary: impl FnMut(&mut T, &str) -> Result<()>,
        mut special: impl FnMut(&mut T, u32),
    ) -> Result<()> {
        let mut from = 0;
        while let Some((which, start, end)) = allowed.find(text.as_bytes(), from) {
            ordinary(target, &text[from..start])?;
            let token = &allowed.tokens()[which];
            if let Some(&id) = self.special_ids.get(token) {
                special(target, id);
            }
            from = end;
        }
        ordinary(target, &text[from..])
    }
}

impl Session<'_> {
    /// As [`Encoder::encode_ordinary`].
    ///
    /// # Errors
    /// As there.
    pub fn encode_ordinary(&mut self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let encoder = self.encoder;
        let state = self.state.get_or_insert_default();
        let bytes = text.as_bytes();
        encoder.pretokenizer.split(text, |start, end| {
            if let Some(key) = Key::new(bytes, start, end)
                && let Some(found) = state.cache.find(key)
            {
                // All four are cheaper to copy than some; those too many are dropped again.
                let len = out.len() + found.n;
                out.extend_from_slice(&found.ids);
                out.truncate(len);
            } else {
                out.extend_from_slice(encoder.pretoken(state, bytes, start, end));
            }
        })
    }

    /// As [`Encoder::count_ordinary`].
    ///
    /// # Errors
    /// As there.
    pub fn count_ordinary(&mut self, text: &str) -> Result<usize> {
        let encoder = self.encoder;
        let state = self.state.get_or_insert_default();
        let bytes = text.as_bytes();
        let mut n = 0;
        encoder.pretokenizer.split(text, |start, end| {
            if let Some(key) = Key::new(bytes, start, end)
                && let Some(found) = state.cache.find(key)
            {
                n += found.n;
            } else {
                n += encoder.pretoken(state, bytes, start, end).len();
            }
        })?;
        Ok(n)
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
}

impl Encoder {
    /// The ids of a pretoken that is not among the short ones in the cache.
    #[inline(never)]
    fn pretoken<'s>(
        &self,
        state: &'s mut State,
        text: &[u8],
        start: usize,
        end: usize,
    ) -> &'s [u32] {
        let pretoken = &text[start..end];
        let State {
            cache,
            scratch,
            ids,
        } = state;
        let hash = Cache::wide_hash(pretoken);
        if let Some(hash) = hash
            && let Some(found) = cache.find_wide(hash, pretoken)
        {
            // Copied, as a borrow that is returned from one branch only cannot end in the other.
            let n = found.len();
            ids.clear();
            ids.extend_from_slice(found);
            return &ids[..n];
        }
        if ids.capacity() > KEEP_IDS {
            *ids = Vec::new();
        }
        ids.clear();
        match &self.table {
            Some(table) => match table.unmerged(pretoken) {
                Some(id) => ids.push(id),
                None => {
                    table.merge(pretoken, scratch, ids);
                    let names = self.ranks.ids();
                    ids.iter_mut().for_each(|id| *id = names[*id as usize]);
                }
            },
            None => self.ranks.encode_pretoken(pretoken, ids),
        }
        let kept = Key::new(text, start, end).is_some_and(|key| cache.keep(key, ids));
        if let (false, Some(hash)) = (kept, hash) {
            cache.keep_wide(hash, pretoken, ids);
        }
        ids
    }
}
