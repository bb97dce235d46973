//! A vocabulary with its pattern and special tokens, and what encodes with it in one thread.

use super::front::{Front, FrontOptions};
use super::groups::{self, State};
use super::sink::{IdCount, IdSink};
use super::states::StatePool;
use super::superwords::Superwords;
use super::tables::Tables;
use crate::error::{Error, Result};
use crate::pretokenize::Pretokenizer;
use crate::pretokenize::cut::Cuts;
use crate::system::memory;
use crate::text::special::{Segment, SpecialTokens};
use crate::vocabulary::Vocabulary;
use crate::vocabulary::ranks::Ranks;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A whole encoder: pattern, ranks and special tokens.
#[derive(Debug)]
pub struct Encoder {
    pretokenizer: Pretokenizer,
    tables: Tables,
    special: SpecialTokens,
    special_ids: FxHashMap<String, u32>,
    /// Id -> index in `special`.
    special_indices: FxHashMap<u32, usize>,
    states: StatePool,
    superwords: Option<Box<Superwords>>,
    front: Option<Box<Front>>,
    /// An empty set.
    nothing: SpecialTokens,
}

impl Encoder {
    /// Puts an encoder together.
    ///
    /// # Errors
    /// [`Error::Argument`] for special tokens that are empty, come twice or have another token's id;
    /// [`Error::Pattern`] for a broken pattern; [`Error::Memory`].
    pub fn new(
        ranks: impl Into<Arc<Ranks>>,
        special: Vec<(String, u32)>,
        pattern: &str,
    ) -> Result<Self> {
        Self::with(Vocabulary::new(ranks)?, special, pattern, None)
    }

    /// As [`Self::new`], with what is done to text before it is cut into pretokens. `special` holds the
    /// added tokens.
    ///
    /// # Errors
    /// As there, and as [`Front::set`].
    pub fn with(
        vocabulary: Vocabulary,
        special: Vec<(String, u32)>,
        pattern: &str,
        front: Option<FrontOptions>,
    ) -> Result<Self> {
        let ranks = vocabulary.ranks();
        let pretokenizer = Pretokenizer::new(pattern)?;
        // Where merging begins with characters, a space stands for U+2581.
        let is_it = |token: &[u8], text: &str| {
            token == text.as_bytes()
                || (!ranks.symbols().are_bytes()
                    && token == text.replace('\u{2581}', " ").as_bytes())
        };
        if let Some((token, id)) = special
            .iter()
            .find(|s| ranks.token(s.1).is_some_and(|token| !is_it(token, &s.0)))
        {
            return Err(Error::argument(
                "special_tokens",
                format!("{token:?}"),
                format!("its id {id} is taken by another token"),
            ));
        }
        let mut special_indices = FxHashMap::default();
        let mut special_ids = FxHashMap::default();
        special_indices.try_reserve(special.len())?;
        special_ids.try_reserve(special.len())?;
        for (index, (_, id)) in special.iter().enumerate() {
            special_indices.entry(*id).or_insert(index);
        }
        let front = front.map(Front::new).transpose()?.map(Box::new);
        let texts: Vec<String> = special.iter().map(|s| s.0.clone()).collect();
        let superwords = Superwords::new(&vocabulary)?;
        Ok(Self {
            pretokenizer,
            superwords: superwords.map(memory::boxed).transpose()?,
            tables: Tables::new(vocabulary)?,
            special: match &front {
                Some(front) => front.set(&texts)?,
                None => SpecialTokens::new(texts)?,
            },
            front,
            nothing: SpecialTokens::new::<&str>([])?,
            special_ids: {
                special_ids.extend(special);
                special_ids
            },
            special_indices,
            states: StatePool::default(),
        })
    }

    /// The table of ranks.
    pub fn ranks(&self) -> &Ranks {
        self.vocabulary().ranks()
    }

    /// The ranks and what is looked up in.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.tables.vocabulary
    }

    /// One more than the highest id.
    pub fn n_vocab(&self) -> usize {
        let special = self.special_indices.keys();
        let highest = self.ranks().ids().iter().chain(special).max();
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

    /// The id of a special token.
    pub fn special_id(&self, token: &str) -> Option<u32> {
        self.special_ids.get(token).copied()
    }

    /// The bytes of one id, special or not. Of special tokens that share an id, as in o200k_harmony,
    /// the first.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.ranks().token(id).or_else(|| {
            let index = *self.special_indices.get(&id)?;
            Some(self.special.tokens()[index].as_bytes())
        })
    }

    /// Where a text between special tokens may be cut so that its parts have its ids.
    pub fn cuts(&self) -> Cuts {
        let cuts = self.pretokenizer.cuts();
        match &self.front {
            Some(front) => front.cuts(cuts),
            None => cuts,
        }
    }

    /// As [`Self::cuts`], for documents that only special tokens separate.
    pub fn document_cuts(&self) -> Cuts {
        match self.always().tokens() {
            [] => self.cuts(),
            _ => Cuts::Nowhere,
        }
    }

    /// Whether a text must be whole to be encoded with these special tokens.
    pub fn needs_whole(&self, allowed: &SpecialTokens) -> bool {
        !allowed.is_plain() || self.front().is_some_and(|front| !front.is_local())
    }

    /// What stands before the pretokenizer, if anything does.
    pub fn front(&self) -> Option<&Front> {
        self.front.as_deref()
    }

    /// The added tokens that are always looked for.
    pub fn always(&self) -> &SpecialTokens {
        self.front().map_or(&self.nothing, Front::always)
    }

    /// What separates documents.
    pub fn separators(&self) -> &SpecialTokens {
        self.front().map_or(&self.special, Front::separators)
    }

    /// A set of special tokens to allow.
    ///
    /// # Errors
    /// As [`Front::set`].
    pub fn allow(&self, tokens: Vec<String>) -> Result<SpecialTokens> {
        match &self.front {
            Some(front) => front.set(&tokens),
            None => SpecialTokens::new(tokens),
        }
    }

    /// A session for this thread.
    pub fn session(&self) -> Session<'_> {
        Session {
            encoder: self,
            state: self.states.take(),
        }
    }

    /// The ids of `text`; special tokens in it are text like any other.
    ///
    /// # Errors
    /// [`Error::Match`] if the regex engine gives up, and [`Error::Memory`]; some of the ids may be in `out`
    /// then.
    pub fn encode_ordinary(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        self.session().encode_ordinary(text, out)
    }

    /// The ids of `text`, with the special tokens in `allowed` (a set drawn from this encoder's, of which
    /// the longest at a place wins) becoming their ids.
    ///
    /// # Errors
    /// As [`Self::encode_ordinary`].
    pub fn encode(&self, text: &str, allowed: &SpecialTokens, out: &mut Vec<u32>) -> Result<()> {
        self.session().encode(text, allowed, out)
    }

    /// The ids of a stretch of text that is ready to be cut into pretokens.
    pub(crate) fn encode_stretch(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        self.session().ordinary(text, out)
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
}

/// An encoder at work in one thread, with working memory that is used again. Many short texts go faster
/// through one session than through the encoder's own methods, each of which begins a session.
#[derive(Debug)]
pub struct Session<'a> {
    encoder: &'a Encoder,
    state: Option<Box<State>>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            self.encoder.states.put(state);
        }
    }
}

impl Session<'_> {
    /// As [`Encoder::encode_ordinary`].
    ///
    /// # Errors
    /// As there.
    pub fn encode_ordinary(&mut self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        match self.encoder.front {
            None => self.ordinary(text, out),
            Some(_) => self.stretches(text, self.encoder.always(), out),
        }
    }

    /// As [`Encoder::count_ordinary`].
    ///
    /// # Errors
    /// As there.
    pub fn count_ordinary(&mut self, text: &str) -> Result<usize> {
        let mut count = IdCount(0);
        match self.encoder.front {
            None => self.ordinary(text, &mut count)?,
            Some(_) => self.stretches(text, self.encoder.always(), &mut count)?,
        }
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
        if self.encoder.front.is_some() {
            return self.stretches(text, allowed, out);
        }
        allowed.split(text, |segment| match segment {
            Segment::Ordinary(range) => self.encode_ordinary(&text[range], out),
            Segment::Special(token, _) => {
                if let Some(id) = self.encoder.special_id(token) {
                    memory::push(out, id)?;
                }
                Ok(())
            }
        })
    }

    /// As [`Encoder::count`].
    ///
    /// # Errors
    /// As there.
    pub fn count(&mut self, text: &str, allowed: &SpecialTokens) -> Result<usize> {
        if self.encoder.front.is_some() {
            let mut count = IdCount(0);
            self.stretches(text, allowed, &mut count)?;
            return Ok(count.0);
        }
        let mut n = 0;
        allowed.split(text, |segment| {
            n += match segment {
                Segment::Ordinary(range) => self.count_ordinary(&text[range])?,
                Segment::Special(token, _) => usize::from(self.encoder.special_id(token).is_some()),
            };
            Ok::<(), Error>(())
        })?;
        Ok(n)
    }

    fn stretches(
        &mut self,
        text: &str,
        allowed: &SpecialTokens,
        out: &mut impl IdSink,
    ) -> Result<()> {
        let Some(front) = self.encoder.front() else {
            return Ok(());
        };
        let encoder = self.encoder;
        front.each_stretch(
            text,
            allowed,
            &mut (self, out),
            |(_, out), token| match encoder.special_id(token) {
                Some(id) => Ok(out.append(&[id])?),
                None => Ok(()),
            },
            |(session, out), text| session.ordinary(text, *out),
        )
    }

    fn ordinary(&mut self, text: &str, out: &mut impl IdSink) -> Result<()> {
        let state = match &mut self.state {
            Some(state) => state,
            none => none.insert(memory::boxed(State::new()?)?),
        };
        let Encoder {
            pretokenizer,
            tables,
            superwords,
            ..
        } = self.encoder;
        match superwords {
            Some(s) => s.encode(pretokenizer, &tables.vocabulary, state, text, out),
            None => groups::encode(pretokenizer, tables, state, text, out),
        }
    }
}
