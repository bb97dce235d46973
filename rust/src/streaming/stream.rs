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
/// of what the regex would make of more. Some tokenizers need all of the text
/// ([`Encoder::needs_whole`]).
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
#[derive(Debug)]
pub struct Stream {
    encoder: Arc<Encoder>,
    allowed: SpecialTokens,
    cuts: Cuts,
    /// Whether nothing is certain before the end.
    needs_whole: bool,
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
    /// What has been taken, during the current [`Self::push`], of the text that was held before it.
    taken: String,
}

/// How a stream, and the list it appends to, were before a push.
struct Before {
    held: usize,
    out: usize,
    searched: usize,
    uncut: usize,
    done: u64,
    in_lower_part: bool,
}

impl Stream {
    /// A stream that recognises the special tokens in `allowed`, which must be the encoder's.
    pub fn new(encoder: Arc<Encoder>, allowed: SpecialTokens) -> Self {
        Self {
            cuts: encoder.cuts(),
            needs_whole: encoder.needs_whole(&allowed),
            encoder,
            allowed,
            held: String::new(),
            searched: 0,
            uncut: 0,
            done: 0,
            in_lower_part: false,
            taken: String::new(),
        }
    }

    /// Bytes of the text so far whose ids have been given out.
    pub fn position(&self) -> u64 {
        self.done
    }

    /// Takes the next piece of text; appends the ids that are certain now.
    ///
    /// # Errors
    /// As [`Encoder::encode`]; the stream and `out` are then as before.
    pub fn push(&mut self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let before = Before {
            held: self.held.len(),
            out: out.len(),
            searched: self.searched,
            uncut: self.uncut,
            done: self.done,
            in_lower_part: self.in_lower_part,
        };
        self.taken.clear();
        let pushed = self.push_slices(text, &before, out);
        if pushed.is_err() {
            self.go_back(&before);
            out.truncate(before.out);
        }
        pushed
    }

    fn push_slices(&mut self, text: &str, before: &Before, out: &mut Vec<u32>) -> Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (slice, after) = rest.split_at(floor_char_boundary(rest, SLICE));
            self.held.try_reserve(slice.len())?;
            self.held.push_str(slice);
            let from = self.advance(out)?;
            if from > 0 {
                let left = before.held - self.taken.len();
                // Later there must be room for all.
                self.taken.try_reserve(left)?;
                self.taken.push_str(&self.held[..from.min(left)]);
                self.held.drain(..from);
                self.searched -= from;
                self.uncut -= from;
                self.done += from as u64;
            }
            rest = after;
        }
        Ok(())
    }

    fn go_back(&mut self, before: &Before) {
        // There is room for it, or nothing has been taken.
        let left = before.held - self.taken.len();
        if self.taken.is_empty() {
            self.held.truncate(left);
        } else {
            self.taken.push_str(&self.held[..left]);
            std::mem::swap(&mut self.held, &mut self.taken);
        }
        self.searched = before.searched;
        self.uncut = before.uncut;
        self.done = before.done;
        self.in_lower_part = before.in_lower_part;
    }

    /// Ends the text and appends the ids that are left. The next piece begins a new text.
    ///
    /// # Errors
    /// As [`Encoder::encode`]; the stream and `out` are then as before.
    pub fn finish(&mut self, out: &mut Vec<u32>) -> Result<()> {
        let (before, in_lower_part) = (out.len(), self.in_lower_part);
        let finished = self.encode_rest(out);
        if finished.is_err() {
            self.in_lower_part = in_lower_part;
            out.truncate(before);
            return finished;
        }
        self.held = String::new();
        self.searched = 0;
        self.uncut = 0;
        self.done = 0;
        self.in_lower_part = false;
        Ok(())
    }

    fn encode_rest(&mut self, out: &mut Vec<u32>) -> Result<()> {
        if self.needs_whole {
            return self.encoder.encode(&self.held, &self.allowed, out);
        }
        let special = self.allowed.find(self.held.as_bytes(), self.searched);
        let to = special.map_or(self.held.len(), |(_, start, _)| start);
        let from = self.end_word(to, out)?;
        let rest = &self.held[from..];
        self.encoder.encode(rest, &self.allowed, out)
    }

    /// Encodes what is certain of `held`; returns up to where.
    fn advance(&mut self, out: &mut Vec<u32>) -> Result<usize> {
        if self.needs_whole {
            return Ok(0);
        }
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
        Ok(from)
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
