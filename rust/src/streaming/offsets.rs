//! Where in the text its tokens are.

use crate::encode::Encoder;
use crate::encode::front::Front;
use crate::error::{OutOfMemory, Result};
use crate::normalize::aligned::Aligned;
use crate::streaming::stream::Stream;
use crate::system::memory;
use crate::text::added::Found;
use crate::text::special::SpecialTokens;
use crate::utf8::{self, floor_char_boundary};
use std::ops::Range;
use std::sync::Arc;

/// The ids of `text`, as [`Encoder::encode`] has them, and the bytes of `text` that each stands for.
///
/// # Errors
/// As [`Encoder::encode`].
pub fn encode_with_spans(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
) -> Result<(Vec<u32>, Vec<Range<usize>>)> {
    let (mut ids, mut spans) = (Vec::new(), Vec::new());
    if let Some(front) = encoder.front() {
        with_front(encoder, front, text, allowed, &mut ids, &mut spans)?;
        return Ok((ids, spans));
    }
    let mut from = 0;
    while let Some((_, start, end)) = allowed.find(text.as_bytes(), from) {
        ordinary(encoder, &text[from..start], from, &mut ids, &mut spans)?;
        encoder.encode(&text[start..end], allowed, &mut ids)?;
        memory::push(&mut spans, start..end)?;
        from = end;
    }
    ordinary(encoder, &text[from..], from, &mut ids, &mut spans)?;
    Ok((ids, spans))
}

/// As [`encode_with_spans`], where text is changed before it is encoded: each token stands for what its
/// first byte to its last came from.
fn with_front(
    encoder: &Encoder,
    front: &Front,
    text: &str,
    allowed: &SpecialTokens,
    ids: &mut Vec<u32>,
    spans: &mut Vec<Range<usize>>,
) -> Result<()> {
    let id_of = |index: usize| encoder.special_id(&allowed.tokens()[index]);
    allowed.split_early(text, |found| {
        let range = match found {
            Found::Token(index, range) => {
                if let Some(id) = id_of(index) {
                    memory::push(ids, id)?;
                    memory::push(spans, range)?;
                }
                return Ok(());
            }
            Found::Ordinary(range) => range,
        };
        let at = range.start;
        let mut aligned = Aligned::new(text, range)?;
        front.normalizer().align(&mut aligned)?;
        let source = |from: &[(usize, usize)], range: Range<usize>| match &from[range] {
            [] => 0..0,
            [one] => one.0..one.1,
            [first, .., last] => first.0..last.1,
        };
        allowed.split_late(&aligned.text, |found| match found {
            Found::Token(index, range) => {
                if let Some(id) = id_of(index) {
                    memory::push(ids, id)?;
                    memory::push(spans, source(&aligned.from, range))?;
                }
                Ok(())
            }
            Found::Ordinary(range) => {
                let is_first = at + range.start == 0;
                let mut stretch = Aligned {
                    text: memory::string(&[&aligned.text[range.clone()]])?,
                    from: memory::copied(&aligned.from[range])?,
                };
                stretch.prepend(front.prefix(&stretch.text, is_first))?;
                let first = spans.len();
                ordinary(encoder, &stretch.text, 0, ids, spans)?;
                for span in &mut spans[first..] {
                    *span = source(&stretch.from, span.clone());
                }
                Ok(())
            }
        })
    })
}

/// The ids of a stretch of text, which begins at `at`.
fn ordinary(
    encoder: &Encoder,
    stretch: &str,
    at: usize,
    ids: &mut Vec<u32>,
    spans: &mut Vec<Range<usize>>,
) -> Result<()> {
    let first = ids.len();
    let range = at..at + stretch.len();
    encoder.encode_stretch(stretch, ids)?;
    spans.try_reserve(ids.len() - first)?;
    let len_of = |id: &u32| encoder.token_bytes(*id).map_or(0, <[u8]>::len);
    let covered: usize = ids[first..].iter().map(len_of).sum();
    let mut lengths = ids[first..].iter().map(len_of);
    let mut fill = |mut at: usize, end: usize| {
        while at < end
            && let Some(len) = lengths.next()
        {
            spans.push(at..at + len);
            at += len;
        }
    };
    if covered == range.len() {
        fill(range.start, range.end);
    } else {
        // Some of the text belongs to no pretoken.
        encoder.pretokenizer().split(stretch, |start, end| {
            fill(range.start + start, range.start + end);
        })?;
    }
    Ok(())
}

/// Spans of bytes, as [`encode_with_spans`] has them, as spans of characters: a token that holds part
/// of a character has the whole of it in its span.
///
/// # Errors
/// [`OutOfMemory`].
pub fn char_spans(text: &str, spans: &[Range<usize>]) -> Result<Vec<(usize, usize)>, OutOfMemory> {
    let bytes = text.as_bytes();
    let rises = |pair: &[Range<usize>]| pair[0].end <= pair[1].start;
    if !spans.windows(2).all(rises) {
        return char_spans_in_any_order(text, spans);
    }
    // Characters that begin before `at`.
    let (mut at, mut begun) = (0, 0);
    let mut begun_before = |place: usize| {
        begun += utf8::count_chars(&bytes[at..place]);
        at = place;
        begun
    };
    let mut chars = memory::with_capacity(spans.len())?;
    for span in spans {
        let before = begun_before(span.start);
        let inside = !text.is_char_boundary(span.start);
        chars.push((before - usize::from(inside), begun_before(span.end)));
    }
    Ok(chars)
}

/// As [`char_spans`]: a normalizer may have put one thing before another.
fn char_spans_in_any_order(
    text: &str,
    spans: &[Range<usize>],
) -> Result<Vec<(usize, usize)>, OutOfMemory> {
    let mut starts = memory::with_capacity(text.len())?;
    starts.extend(text.char_indices().map(|(at, _)| at));
    let begun_before = |place: usize| starts.partition_point(|&start| start < place);
    let one = |span: &Range<usize>| {
        let inside = !text.is_char_boundary(span.start);
        let before = begun_before(span.start) - usize::from(inside);
        (before, begun_before(span.end).max(before))
    };
    memory::collect(spans.iter().map(one))
}

/// The length in bytes of the prefix of `text` that its first `max_tokens` tokens stand for, cut so
/// that it ends with a whole character and encodes to at most `max_tokens` tokens itself.
///
/// Text that is cut may encode otherwise at its end (`'l` of `'ll` is an apostrophe and a letter),
/// so that it may be necessary to go back further: to the ends of earlier tokens, one by one and
/// then, for patterns with such a look-ahead, in larger steps.
///
/// # Errors
/// As [`Encoder::encode`].
pub fn truncate(
    encoder: &Arc<Encoder>,
    text: &str,
    allowed: &SpecialTokens,
    max_tokens: usize,
) -> Result<usize> {
    // No more of the text is encoded than it takes.
    let mut stream = Stream::new(encoder.clone(), allowed.clone());
    let mut ids = Vec::new();
    let mut rest = text;
    while ids.len() <= max_tokens && !rest.is_empty() {
        let (piece, after) = rest.split_at(floor_char_boundary(rest, 4096));
        stream.push(piece, &mut ids)?;
        rest = after;
    }
    let head = match ids.len() <= max_tokens {
        true => text,
        false => &text[..stream.position() as usize],
    };
    let (ids, spans) = encode_with_spans(encoder, head, allowed)?;
    if ids.len() <= max_tokens {
        return Ok(text.len());
    }
    let mut keep = max_tokens;
    let mut tries = 0;
    while keep > 0 {
        let end = floor_char_boundary(text, spans[keep - 1].end);
        let mut again = Vec::new();
        encoder.encode(&text[..end], allowed, &mut again)?;
        if again.len() <= max_tokens {
            return Ok(end);
        }
        tries += 1;
        keep = keep.saturating_sub(1 << (tries / 4));
    }
    Ok(0)
}
