//! Text in pieces -> ids, each as soon as it can no longer change.

use crate::encode::Encoder;
use crate::error::Result;
use crate::pretokenize::cut::Cuts;
use crate::streaming::open_pretoken::{OpenPretoken, word_end};
use crate::text::special::SpecialTokens;
use crate::utf8::floor_char_boundary;
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
/// use bytemill::{encode::Encoder, streaming::stream::Stream, vocabulary::ranks::Ranks};
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
    /// `held` begins inside a word that is in its lower part (see `open_pretoken.rs`).
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
            let (slice, after) = rest.split_at(floor_char_boundary(rest, SLICE));
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
            from = self.advance_open_pretoken(from, cut.unwrap_or(after), out)?;
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
    fn advance_open_pretoken(
        &mut self,
        from: usize,
        after: usize,
        out: &mut Vec<u32>,
    ) -> Result<usize> {
        let Some(place) = OpenPretoken::new(&self.encoder)
            .and_then(|open| open.last(&self.held, after, self.searched))
        else {
            return Ok(from);
        };
        let from = from.max(self.end_word(place, out)?);
        let text = &self.held[from..place];
        self.encoder.encode_ordinary(text, out)?;
        if let Some(open) = OpenPretoken::new(&self.encoder) {
            self.in_lower_part = open.in_lower_part(text, self.in_lower_part)?;
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
