//! Vocabularies in Hugging Face's tokenizer.json: tokens and merges in GPT-2's byte alphabet.

use crate::error::{Error, OutOfMemory};
use crate::system::memory;
use crate::vocabulary::json::{Place, Stop, or_aside};
use crate::vocabulary::merge_list::{Merge, says_what_ranks_say};
use crate::vocabulary::ranks::Ranks;
use rustc_hash::FxHashMap;
use std::ops::Range;

/// What stands for no byte.
const NONE: u16 = u16::MAX;

/// What each character stands for: printable Latin-1 for itself, the 68 characters from U+0100 on for the
/// other bytes.
const ALPHABET: [u16; 256 + 68] = {
    let mut bytes = [NONE; 256 + 68];
    let (mut byte, mut other) = (0, 256);
    while byte < 256 {
        if matches!(byte, 33..=126 | 161..=172 | 174..=255) {
            bytes[byte] = byte as u16;
        } else {
            bytes[other] = byte as u16;
            other += 1;
        }
        byte += 1;
    }
    bytes
};

#[inline(always)]
fn byte_of(code: u32) -> Option<u8> {
    let byte = ALPHABET.get(code as usize).copied();
    byte.filter(|&byte| byte != NONE).map(|byte| byte as u8)
}

/// A file's vocabulary and merges, and what else is in it.
#[derive(Debug, Default)]
pub struct Model {
    /// The file with an empty object for the vocabulary and an empty array for the merges.
    rest: Vec<u8>,
    /// The vocabulary's entries, by id.
    entries: Vec<(Text, u32)>,
    /// For each merge where its second token begins, and where the two are.
    merges: Vec<(usize, Range<usize>)>,
    /// What the texts of the entries and merges say.
    bytes: Vec<u8>,
}

/// A place in [`Model::bytes`].
#[derive(Debug)]
enum Text {
    /// What a text in the byte alphabet stands for.
    Token(Range<usize>),
    /// Any other text.
    Other(Range<usize>),
}

/// A part of a file, and what is to stand there instead.
type Part = (Range<usize>, &'static [u8]);

/// The members of an object, each handed on when its key has been taken.
fn members<'a>(
    place: &mut Place<'a>,
    mut each: impl FnMut(&mut Place<'a>, &[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut goes_on = place.opens(b'{', b'}')?;
    while goes_on {
        let key = place.key()?;
        each(place, key)?;
        goes_on = place.goes_on(b'}')?;
    }
    Ok(())
}

/// Fills an empty place.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), Stop> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Stop::Aside),
    }
}

impl Model {
    /// Reads a file that is written as it usually is: its keys without escapes, the ids rising, all merges of
    /// two tokens. `None` for any other: whoever reads it slowly says what is wrong, if anything is.
    ///
    /// The file is valid JSON if and only if [`Self::rest`] is, of which only as much is looked at as it takes
    /// to find the model; and it says what the rest says, with the vocabulary and the merges.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn read(file: &[u8]) -> Result<Option<Self>, OutOfMemory> {
        or_aside(Self::parse(file))
    }

    /// The file with an empty object for the vocabulary and an empty array for the merges.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// How many entries the vocabulary has.
    pub fn n_entries(&self) -> usize {
        self.entries.len()
    }

    /// The entries that are not added tokens, if the merges are what their ids say (with `whole_tokens` no
    /// merge need make a token), and of each of the added tokens, which are given with their ids, whether it
    /// is an entry. `None` where anything is otherwise: the file has to be read slowly then.
    ///
    /// No merge makes or needs an added token then, and none is an entry with another id.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn ranks(
        &self,
        added: &[(String, u32)],
        whole_tokens: bool,
    ) -> Result<Option<(Ranks, Vec<bool>)>, OutOfMemory> {
        or_aside(self.find_ranks(added, whole_tokens))
    }

    fn parse(file: &[u8]) -> Result<Self, Stop> {
        let mut model = Self::default();
        let (mut place, mut parts) = (Place::new(file), None);
        members(&mut place, |place, key| match key {
            b"model" => set(&mut parts, model.parse_parts(place)?),
            _ => place.skip(),
        })?;
        place.ends()?;
        let mut from = 0;
        for (part, instead) in parts.ok_or(Stop::Aside)? {
            memory::append(&mut model.rest, &file[from..part.start])?;
            memory::append(&mut model.rest, instead)?;
            from = part.end;
        }
        memory::append(&mut model.rest, &file[from..])?;
        Ok(model)
    }

    /// Returns vocabulary and merges, in their order.
    fn parse_parts(&mut self, place: &mut Place<'_>) -> Result<[Part; 2], Stop> {
        let (mut vocab, mut merges) = (None, None);
        members(place, |place, key| {
            place.next()?;
            let from = place.at();
            match key {
                b"vocab" => {
                    self.parse_vocab(place)?;
                    set(&mut vocab, (from..place.at(), &b"{}"[..]))
                }
                b"merges" => {
                    self.parse_merges(place)?;
                    set(&mut merges, (from..place.at(), &b"[]"[..]))
                }
                _ => place.skip(),
            }
        })?;
        let (vocab, merges) = vocab.zip(merges).ok_or(Stop::Aside)?;
        Ok(match vocab.0.start < merges.0.start {
            true => [vocab, merges],
            false => [merges, vocab],
        })
    }

    fn parse_vocab(&mut self, place: &mut Place<'_>) -> Result<(), Stop> {
        let mut goes_on = place.opens(b'{', b'}')?;
        while goes_on {
            let (from, before) = (self.bytes.len(), place.clone());
            let is_token = or_aside(self.parse_token(place))?.is_some();
            if !is_token {
                *place = before;
                self.bytes.truncate(from);
                place.string(|code| {
                    let char = char::from_u32(code).ok_or(Stop::Aside)?;
                    let mut utf8 = [0; 4];
                    let utf8 = char.encode_utf8(&mut utf8).as_bytes();
                    Ok(memory::append(&mut self.bytes, utf8)?)
                })?;
            }
            place.take(b':')?;
            let id = place.id()?;
            let rises = self.entries.last().is_none_or(|last| last.1 < id);
            let at = from..self.bytes.len();
            if at.is_empty() || !rises {
                return Err(Stop::Aside);
            }
            let text = match is_token {
                true => Text::Token(at),
                false => Text::Other(at),
            };
            memory::push(&mut self.entries, (text, id))?;
            goes_on = place.goes_on(b'}')?;
        }
        Ok(())
    }

    fn parse_merges(&mut self, place: &mut Place<'_>) -> Result<(), Stop> {
        let mut goes_on = place.opens(b'[', b']')?;
        while goes_on {
            let from = self.bytes.len();
            let middle = match place.next()? {
                b'"' => self.parse_two_tokens(place)?,
                _ => {
                    place.take(b'[')?;
                    self.parse_token(place)?;
                    let middle = self.bytes.len();
                    place.take(b',')?;
                    self.parse_token(place)?;
                    place.take(b']')?;
                    middle
                }
            };
            memory::push(&mut self.merges, (middle, from..self.bytes.len()))?;
            goes_on = place.goes_on(b']')?;
        }
        Ok(())
    }

    /// Appends the bytes that a text stands for.
    #[inline]
    fn parse_token(&mut self, place: &mut Place<'_>) -> Result<(), Stop> {
        place.string(|code| {
            let byte = byte_of(code).ok_or(Stop::Aside)?;
            Ok(memory::push(&mut self.bytes, byte)?)
        })
    }

    /// As [`Self::parse_token`], of two with a space between them; returns where the second begins.
    #[inline]
    fn parse_two_tokens(&mut self, place: &mut Place<'_>) -> Result<usize, Stop> {
        let mut middle = None;
        place.string(|code| match byte_of(code) {
            Some(byte) => Ok(memory::push(&mut self.bytes, byte)?),
            None if code == u32::from(b' ') => set(&mut middle, self.bytes.len()),
            None => Err(Stop::Aside),
        })?;
        middle.ok_or(Stop::Aside)
    }

    fn find_ranks(
        &self,
        added: &[(String, u32)],
        whole_tokens: bool,
    ) -> Result<(Ranks, Vec<bool>), Stop> {
        let mut by_id = FxHashMap::default();
        by_id.try_reserve(added.len()).map_err(|_| OutOfMemory)?;
        let mut as_tokens: Vec<Option<Vec<u8>>> = memory::with_capacity(added.len())?;
        for (i, (text, id)) in added.iter().enumerate() {
            by_id.insert(*id, i);
            as_tokens.push(text.chars().map(|char| byte_of(char.into())).collect());
        }
        let mut is_entry = memory::filled(false, added.len())?;
        let mut tokens = memory::with_capacity(self.entries.len())?;
        for (text, id) in &self.entries {
            let of_this_id = by_id.get(id).copied();
            match text {
                Text::Token(at) => {
                    let token = &self.bytes[at.clone()];
                    match of_this_id {
                        Some(i) if as_tokens[i].as_deref() == Some(token) => is_entry[i] = true,
                        _ => tokens.push((token, *id)),
                    }
                }
                Text::Other(at) => {
                    let is_it = |&i: &usize| added[i].0.as_bytes() == &self.bytes[at.clone()];
                    is_entry[of_this_id.filter(is_it).ok_or(Stop::Aside)?] = true;
                }
            }
        }
        let ranks = Ranks::by_rank(tokens).map_err(|error| match error {
            Error::Memory(error) => Stop::Memory(error),
            _ => Stop::Aside,
        })?;
        let mut as_tokens = as_tokens.iter().flatten();
        let merges = self.merges.iter().map(|(middle, at)| Merge {
            joined: &self.bytes[at.clone()],
            middle: middle - at.start,
        });
        if as_tokens.any(|token| ranks.get(token).is_some())
            || !says_what_ranks_say(&ranks, merges, whole_tokens)?
        {
            return Err(Stop::Aside);
        }
        Ok((ranks, is_entry))
    }
}
