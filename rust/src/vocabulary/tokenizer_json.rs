//! Vocabularies in Hugging Face's tokenizer.json: tokens and merges in GPT-2's byte alphabet.

use crate::error::{Error, OutOfMemory};
use crate::system::memory;
use crate::vocabulary::json::{Place, Stop, or_aside};
use crate::vocabulary::merge_list::{Merge, what_ranks_say};
use crate::vocabulary::ranks::Ranks;
use rustc_hash::FxHashMap;
use std::mem::take;
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
    entries: Vec<Entry>,
    /// The vocabulary's merges, in their order.
    merges: Vec<TwoTokens>,
    /// What the texts of the entries and merges say, those of the entries one after the other, and those of the
    /// merges.
    bytes: Bytes,
}

/// What an entry says.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u32,
    /// Where its text begins in [`Model::bytes`], and ends.
    at: (u32, u32),
    /// Whether that is what a text in the byte alphabet stands for, not any other text.
    is_token: bool,
}

/// Where two tokens begin in [`Model::bytes`], and where the second ends.
type TwoTokens = (u32, u32, u32);

/// Bytes that are written one after the other, with room for as many as a file has: what a text says is never longer
/// than the text.
#[derive(Debug, Default)]
struct Bytes {
    all: Vec<u8>,
    len: usize,
}

impl Bytes {
    fn with_room(n: usize) -> Result<Self, OutOfMemory> {
        let all = memory::zeroed(n + 8)?;
        Ok(Self { all, len: 0 })
    }

    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.all[self.len] = byte;
        self.len += 1;
    }

    /// Appends the bytes that a text in the byte alphabet stands for.
    #[inline(always)]
    fn append_token(&mut self, place: &mut Place<'_>) -> Result<(), Stop> {
        place.take(b'"')?;
        while let Some(code) = self.append_usual(place)? {
            self.push(byte_of(code).ok_or(Stop::Aside)?);
        }
        Ok(())
    }

    /// As [`Self::append_token`], of two with a space between them; returns where the second begins.
    #[inline(always)]
    fn append_two_tokens(&mut self, place: &mut Place<'_>) -> Result<usize, Stop> {
        let mut middle = None;
        place.take(b'"')?;
        while let Some(code) = self.append_usual(place)? {
            match byte_of(code) {
                Some(byte) => self.push(byte),
                None if code == u32::from(b' ') => set(&mut middle, self.len)?,
                None => return Err(Stop::Aside),
            }
        }
        middle.ok_or(Stop::Aside)
    }

    /// Appends as much as is usual of a text in the byte alphabet, and takes what comes then: a character, or the text's
    /// end.
    #[inline(always)]
    fn append_usual(&mut self, place: &mut Place<'_>) -> Result<Option<u32>, Stop> {
        loop {
            let from = place.at();
            while let Some(code) = place.of_two_bytes() {
                self.push(byte_of(code).ok_or(Stop::Aside)?);
            }
            // These stand for themselves.
            let run = place.printed();
            if let Some(eight) = self.all[self.len..].first_chunk_mut() {
                *eight = run.bytes;
                self.len += run.n;
            }
            if run.ends {
                return Ok(None);
            }
            if place.at() == from {
                return place.character();
            }
        }
    }

    /// Puts a text as it is after the first `from` bytes.
    #[cold]
    fn with_text(mut self, mut place: Place<'_>, from: usize) -> Result<(Place<'_>, Self), Stop> {
        self.len = from;
        place.take(b'"')?;
        while let Some(code) = place.character()? {
            let char = char::from_u32(code).ok_or(Stop::Aside)?;
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                self.push(byte);
            }
        }
        Ok((place, self))
    }
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
        // So that a place fits into 32 bits.
        if u32::try_from(file.len()).is_err() {
            return Err(Stop::Aside);
        }
        let mut model = Self {
            bytes: Bytes::with_room(file.len())?,
            ..Self::default()
        };
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

    fn parse_vocab(&mut self, begin: &mut Place<'_>) -> Result<(), Stop> {
        // Of their own, so that what changes is in registers.
        let (mut place, mut bytes) = (*begin, take(&mut self.bytes));
        let mut goes_on = place.opens(b'{', b'}')?;
        let mut last = None;
        while goes_on {
            let (from, before) = (bytes.len, place);
            let is_token = or_aside(bytes.append_token(&mut place))?.is_some();
            if !is_token {
                (place, bytes) = bytes.with_text(before, from)?;
            }
            place.take(b':')?;
            let id = place.id()?;
            let to = bytes.len;
            if from == to || last.is_some_and(|last| last >= id) {
                return Err(Stop::Aside);
            }
            let entry = Entry {
                id,
                at: (from as u32, to as u32),
                is_token,
            };
            memory::push(&mut self.entries, entry)?;
            last = Some(id);
            goes_on = place.goes_on(b'}')?;
        }
        (*begin, self.bytes) = (place, bytes);
        Ok(())
    }

    fn parse_merges(&mut self, begin: &mut Place<'_>) -> Result<(), Stop> {
        let (mut place, mut bytes) = (*begin, take(&mut self.bytes));
        let mut goes_on = place.opens(b'[', b']')?;
        while goes_on {
            let from = bytes.len;
            let middle = match place.next()? {
                b'"' => bytes.append_two_tokens(&mut place)?,
                _ => {
                    place.take(b'[')?;
                    bytes.append_token(&mut place)?;
                    let middle = bytes.len;
                    place.take(b',')?;
                    bytes.append_token(&mut place)?;
                    place.take(b']')?;
                    middle
                }
            };
            let two = (from as u32, middle as u32, bytes.len as u32);
            memory::push(&mut self.merges, two)?;
            goes_on = place.goes_on(b']')?;
        }
        (*begin, self.bytes) = (place, bytes);
        Ok(())
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
        for &Entry { id, at, is_token } in &self.entries {
            let text = &self.bytes.all[at.0 as usize..at.1 as usize];
            let of_this_id = by_id.get(&id).copied();
            if is_token {
                match of_this_id {
                    Some(i) if as_tokens[i].as_deref() == Some(text) => is_entry[i] = true,
                    _ => tokens.push((text, id)),
                }
            } else {
                let is_it = |&i: &usize| added[i].0.as_bytes() == text;
                is_entry[of_this_id.filter(is_it).ok_or(Stop::Aside)?] = true;
            }
        }
        let ranks = Ranks::by_rank(tokens).map_err(|error| match error {
            Error::Memory(error) => Stop::Memory(error),
            _ => Stop::Aside,
        })?;
        let mut as_tokens = as_tokens.iter().flatten();
        let merges = self.merges.iter().map(|&(from, middle, end)| Merge {
            bytes: &self.bytes.all[from as usize..],
            middle: (middle - from) as usize,
            end: (end - from) as usize,
        });
        if as_tokens.any(|token| ranks.get(token).is_some()) {
            return Err(Stop::Aside);
        }
        let merges = what_ranks_say(&ranks, merges, whole_tokens)?.ok_or(Stop::Aside)?;
        Ok((ranks.with_merges(merges), is_entry))
    }
}
