//! Text in pieces -> ids, and ids in pieces -> text, each as soon as it can no longer change.

use crate::encode::Encoder;
use crate::error::Result;
use crate::pretokenize::cut::Cuts;
use crate::streaming::open_pretoken::{Inside, word_end};
use crate::text::special::SpecialTokens;
use std::sync::Arc;

/// How much of a long piece is worked on at a time, in bytes.
const SLICE: usize = 16 << 10;

/// Encodes text that comes in pieces; the ids are those of the joined text.
///
/// What is held back is the text after the last place where neither a special token nor a pretoken
/// can be open, or where no token lies inside the one that is. With a named pattern that is a word or
/// so of ordinary text, and a few characters of Chinese or Japanese (if the vocabulary comes from
/// training), but all of a run of ASCII letters or punctuation that never ends. With another
/// pattern that may be cut (see [`crate::pretokenize::Pretokenizer`]) it is a word or so and all of any run
/// that never ends; with the rest it is the text since the last special token, as nothing is known
/// of what the regex would make of more.
///
/// ```
/// use bytemill::{encode::{Encoder, Ranks}, streaming::stream::Stream};
/// use std::sync::Arc;
///
/// let ranks = Ranks::new((0..=255u8).map(|b| (vec![b], u32::from(b))))?;
/// let encoder = Arc::new(Encoder::new(ranks, vec![("<|end|>".to_owned(), 256)], "gpt2")?);
/// let (mut stream, mut ids) = (Stream::new(encoder.clone(), encoder.special().clone()), vec![]);
/// stream.push("a<|e", &mut ids)?;
/// stream.push("nd|>b", &mut ids)?;
/// assert_eq!(ids, [97, 256]);
/// stream.finish(&mut ids)?;
/// assert_eq!(ids, [97, 256, 98]);
/// # Ok::<(), bytemill::error::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    encoder: Arc<Encoder>,
    allowed: SpecialTokens,
    cuts: Cuts,
    /// Text without ids yet.
    held: String,
    /// No special token begins before this position of `held`.
    searched: usize,
    /// There is no cut in `held` up to this position.
    uncut: usize,
    /// Bytes of text whose ids have been given out.
    done: u64,
    /// `held` begins inside a word that is in its lower part (see `inside.rs`).
    in_lower_part: bool,
}

impl Stream {
    /// A stream that recognises the special tokens in `allowed`, which must be the encoder's.
    pub fn new(encoder: Arc<Encoder>, allowed: SpecialTokens) -> Self {
        Self {
            cuts: encoder.pretokenizer().cuts(),
            encoder,
            allowed,
            held: String::new(),
            searched: 0,
            uncut: 0,
            done: 0,
            in_lower_part: false,
        }
    }

    /// Bytes of the text so far whose ids have been given out.
    pub fn position(&self) -> u64 {
        self.done
    }

    /// Takes the next piece of text; appends the ids that are certain now.
    ///
    /// # Errors
    /// As [`Encoder::encode`]; the stream is then of no further use.
    pub fn push(&mut self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (slice, after) = rest.split_at(char_boundary(rest, SLICE));
            self.held.push_str(slice);
            self.advance(out)?;
            rest = after;
        }
        Ok(())
    }

    /// Ends the text and appends the ids that are left. The next piece begins a new text.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn finish(&mut self, out: &mut Vec<u32>) -> Result<()> {
        let special = self.allowed.find(self.held.as_bytes(), self.searched);
        let to = special.map_or(self.held.len(), |(_, start, _)| start);
        let from = self.end_word(to, out)?;
        let held = std::mem::take(&mut self.held);
        self.searched = 0;
        self.uncut = 0;
        self.done = 0;
        self.in_lower_part = false;
        self.encoder.encode(&held[from..], &self.allowed, out)
    }

    fn advance(&mut self, out: &mut Vec<u32>) -> Result<()> {
        let len = self.held.len();
        let longest = self.allowed.longest();
        // Before this all special tokens would have shown themselves.
        let sure = (len + 1).saturating_sub(longest).min(len);
        let mut from = 0;
        while let Some((_, start, end)) = self.allowed.find(self.held.as_bytes(), self.searched)
            && start < sure
        {
            from = from.max(self.end_word(start, out)?);
            self.encoder
                .encode(&self.held[from..end], &self.allowed, out)?;
            from = end;
            self.searched = end;
            self.uncut = end;
            self.in_lower_part = false;
        }
        self.searched = self.searched.max(sure);
        if self.cuts.exist() {
            let after = self.uncut.max(from);
            self.uncut = self.searched.min(len.saturating_sub(1)).max(after);
            let cut = self.cuts.last(self.held.as_bytes(), after, self.searched);
            if let Some(cut) = cut {
                from = from.max(self.end_word(cut, out)?);
                self.encoder.encode_ordinary(&self.held[from..cut], out)?;
                from = cut;
                self.in_lower_part = false;
            }
            from = self.advance_inside(from, cut.unwrap_or(after), out)?;
        }
        if from > 0 {
            self.held.drain(..from);
            self.searched -= from;
            self.uncut -= from;
            self.done += from as u64;
        }
        Ok(())
    }

    /// Goes on inside the pretoken that is open, looking for a place after `after`; `held` has been
    /// encoded up to `from`. Returns up to where it has been then.
    fn advance_inside(&mut self, from: usize, after: usize, out: &mut Vec<u32>) -> Result<usize> {
        let Some(place) = Inside::new(&self.encoder)
            .and_then(|inside| inside.last(&self.held, after, self.searched))
        else {
            return Ok(from);
        };
        let from = from.max(self.end_word(place, out)?);
        let text = &self.held[from..place];
        self.encoder.encode_ordinary(text, out)?;
        if let Some(inside) = Inside::new(&self.encoder) {
            self.in_lower_part = inside.in_lower_part(text, self.in_lower_part)?;
        }
        Ok(place)
    }

    /// If `held` begins in a word's lower part and the word is seen to end before `to`, where by itself
    /// it would not, encodes it. Returns up to where `held` has been encoded then.
    fn end_word(&mut self, to: usize, out: &mut Vec<u32>) -> Result<usize> {
        if !self.in_lower_part {
            return Ok(0);
        }
        let Some(end) = word_end(&self.held[..to]) else {
            return Ok(0);
        };
        self.encoder.encode_ordinary(&self.held[..end], out)?;
        self.in_lower_part = false;
        Ok(end)
    }
}

/// The last place at or before `at` where `text` may be sliced; its end if it is shorter.
pub(crate) fn char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What becomes of bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Invalid {
    /// They become U+FFFD, one for each maximal part of a character (Unicode 3.9, as in Python).
    #[default]
    Replace,
    /// They are refused.
    Refuse,
}

/// Bytes that are not UTF-8, and that were to be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBytes {
    /// The bytes being decoded: those held back and those pushed.
    pub bytes: Vec<u8>,
}

/// Decodes UTF-8 that comes in pieces, cut anywhere; holds back at most the three bytes of a
/// character that may still become whole.
#[derive(Clone, Debug, Default)]
pub struct TextDecoder {
    invalid: Invalid,
    held: Vec<u8>,
}

impl TextDecoder {
    /// A decoder that treats bytes that are not UTF-8 as `invalid` says.
    pub fn new(invalid: Invalid) -> Self {
        Self {
            invalid,
            held: Vec::new(),
        }
    }

    /// Takes the next bytes; the text that is certain now.
    ///
    /// # Errors
    /// [`InvalidBytes`] if they are to be refused; the decoder is then as before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, InvalidBytes> {
        let joined = [&self.held, bytes].concat();
        let mut text = String::new();
        let mut rest = &joined[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid)); // borrows, as it is valid
                    rest = after;
                    let Some(n) = error.error_len() else { break };
                    if self.invalid == Invalid::Refuse {
                        return Err(InvalidBytes { bytes: joined });
                    }
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[n..];
                }
            }
        }
        self.held = rest.to_vec();
        Ok(text)
    }

    /// Ends the bytes; the text that is left. The next bytes begin a new text.
    ///
    /// # Errors
    /// [`InvalidBytes`] if they end inside a character and that is to be refused.
    pub fn finish(&mut self) -> Result<String, InvalidBytes> {
        let bytes = std::mem::take(&mut self.held);
        match (bytes.is_empty(), self.invalid) {
            (true, _) => Ok(String::new()),
            (false, Invalid::Replace) => Ok(char::REPLACEMENT_CHARACTER.to_string()),
            (false, Invalid::Refuse) => Err(InvalidBytes { bytes }),
        }
    }
}
