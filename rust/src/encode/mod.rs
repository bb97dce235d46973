//! Text -> ids -> bytes: a vocabulary's merges applied as tiktoken applies them.
//!
//! A pretoken that is a token is its id. Otherwise it starts as single bytes; of all adjacent pairs
//! whose joined bytes are a token the one of lowest rank is joined, the leftmost of equals, until
//! none is left.
//!
//! What lies in wide text between places where no token can lie across, in Chinese and the like, is a
//! pretoken of its own here (`borders.rs`). Pretokens are taken in groups (`groups.rs`). One of up to 15
//! bytes is looked for in a cache for all threads (`cache.rs`), where it is met again in most cases, any
//! other in a thread's own cache of longer ones (`wide_cache.rs`). What is in neither (`misses.rs`) is
//! encoded: up to 16 bytes by merging, several at a time (`merge_short.rs`), longer ones from the left by
//! longest matches (`longest.rs`) or, for a vocabulary that training does not give, by merging with a
//! heap.
//!
//! Time goes to cache misses of the processor, hardly to arithmetic. What was tried, as MB/s of processor
//! time in one thread, cl100k_base, 30 MB of nine languages / of books, on a busy machine, so that only the
//! steps mean something; first for counting:
//!
//! - trie in a hash table by (node, byte), a cache of 2 MiB: 24 / 88. Most time went to the trie, one
//!   cache miss for each byte of a rare word.
//! - trie in a double array with branches kept together, a cache of 4 MiB: 43 / 160. The rest went to
//!   asking the table of pairs, in vain as a rule, whether two tokens may be neighbours.
//! - two 32-bit sets for each token of what it merges with, read beforehand: 58 / 160.
//! - without a memo of which tokens may be neighbours (256 KiB; itself a cache miss each time), and with
//!   16-bit tags before the entries for long pretokens: 75 / 160 (encoding: 62 / 130).
//! - the look-ups of a group after each other, borders, one cache for all threads, merging short ones:
//!   from 85 / 169 to 98 / 197 on a first pass (encoding: from 60 / 104 to 74 / 170), on another day.
//!
//! Then for encoding, on another machine, first and second pass of books, nine languages:
//!
//! - as above: 85, 120 and 50, 50
//! - AVX2 for finding pretokens, look-ups fetched ahead, ids of a group gathered: 160, 250 and 61, 74
//! - large pages for tables, which costs where memory is dear to touch for the first time, as in virtual
//!   machines that are given it page by page, and a cache of twice the size: 170, 290 and 70, 85
//! - merging short ones in registers, ids without a table of names: 200, 330 and 80, 100
//! - pieces of wide text looked up in place of whole pretokens: nine languages 95, 120
//! - the new short ones of a group merged together: a first pass takes a tenth to a fifth less time
//!
//! Tried after that, and left out: choosing between the two entries of a line without a branch, and
//! swapping them when the second is met (slower: the first one is hit nearly always, and a swap writes); a
//! table of short pretokens for each thread instead of one for all (each thread has to meet every word for
//! the first time, which is what a first pass consists of); filling the cache with the tokens beforehand (up
//! to a tenth on a first pass over books or code, nothing on nine languages, and less on later passes, as rare
//! tokens lie where common words would); a table of pairs of half the size, or one asked without branches, a
//! perfect hash table among them (nothing); a cache that grows by way of 2 and 8 MiB (where memory is dear to
//! touch it saves some of a first pass, and costs more: with half the lines, three words meet in one much
//! more often); large pages for the ids (half the time of a later pass, but twice that of a first one where
//! large pages are dear).

mod groups;
mod long_cache;
mod misses;
mod session;
mod short_cache;

pub use crate::encode::session::Session;
use crate::encode::session::States;
use crate::encode::short_cache::Cache;
use crate::error::{Error, Result};
use crate::pretokenize::Pretokenizer;
use crate::text::special::SpecialTokens;
use crate::vocabulary::borders::Borders;
use crate::vocabulary::merge_longest::Scratch;
use crate::vocabulary::merge_table::MergeTable;
pub use crate::vocabulary::ranks::Ranks;
use rustc_hash::FxHashMap;

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
    /// What the ids of all tokens but single bytes are above their indices, if it is the same for all.
    shift: Option<u32>,
    /// `None` where taking apart would not do.
    borders: Option<Borders>,
    pub(crate) cache: Cache,
    pub(crate) states: States,
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
            shift: self.shift,
            borders: self.borders.clone(),
            cache: Cache::default(),
            states: States::default(),
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
        let table = MergeTable::new(&ranks);
        // A token that merging does not give is the id of a pretoken, but not of a piece of one.
        let alike = table.as_ref().is_some_and(MergeTable::gives_all);
        let borders = alike.then(|| Borders::new((0..ranks.len()).map(|i| ranks.at(i))));
        let named = (0..).zip(ranks.ids()).skip(256);
        let mut shifts = named.map(|(i, id): (u32, &u32)| id.wrapping_sub(i));
        let shift = shifts.next().filter(|first| shifts.all(|s| s == *first));
        Ok(Self {
            pretokenizer,
            table,
            shift,
            ranks,
            special: SpecialTokens::new(special.iter().map(|s| &s.0))?,
            special_ids: special.into_iter().collect(),
            special_places,
            borders,
            cache: Cache::default(),
            states: States::default(),
        })
    }

    /// The table of ranks.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// One more than the highest id.
    pub fn n_vocab(&self) -> usize {
        let special = self.special_places.keys();
        let highest = self.ranks.ids().iter().chain(special).max();
        highest.map_or(0, |&id| id as usize + 1)
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
        Session::new(self)
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
    pub(crate) fn cut<T>(
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

    /// Where pretokens may be taken apart, if they may.
    pub(crate) fn borders(&self) -> Option<&Borders> {
        self.borders.as_ref()
    }

    /// Appends the ids of a pretoken, or of a piece of one.
    pub(crate) fn merge(&self, piece: &[u8], scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let Some(table) = &self.table else {
            return self.ranks.encode_pretoken(piece, ids);
        };
        if let Some(id) = table.unmerged(piece) {
            return ids.push(id);
        }
        let from = ids.len();
        table.merge(piece, scratch, ids);
        self.name(&mut ids[from..]);
    }

    /// What the pairs of tokens merge to, if there is a table of it.
    pub(crate) fn table(&self) -> Option<&MergeTable> {
        self.table.as_ref()
    }

    /// Makes ids of the table's tokens.
    #[inline(always)]
    pub(crate) fn name(&self, tokens: &mut [u32]) {
        let names = self.ranks.ids();
        for id in tokens {
            *id = match self.shift {
                // Not a look-up in a large table.
                Some(shift) if *id >= 256 => id.wrapping_add(shift),
                _ => names[*id as usize],
            };
        }
    }
}
