//! A long text in parts, cut where neither a special token nor a pretoken can be open.

use crate::encode::Encoder;
use crate::error::Result;
use crate::text::special::SpecialTokens;
use std::ops::Range;

/// Calls `part` with the parts of a text, of about `size` bytes each where possible; a text that is not
/// much longer is one part.
pub(crate) fn split(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
    size: usize,
    mut part: impl FnMut(Range<usize>) -> Result<()>,
) -> Result<()> {
    let mut start = 0;
    if text.len() > 2 * size {
        cut_places(encoder, text, allowed, size, |end| {
            part(start..end)?;
            start = end;
            Ok(())
        })?;
    }
    part(start..text.len())
}

/// Calls `cut` with places, about `size` bytes apart where possible, at which `text` may be cut so
/// that its parts give its ids.
pub(crate) fn cut_places(
    encoder: &Encoder,
    text: &str,
    allowed: &SpecialTokens,
    size: usize,
    mut cut: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    if encoder.needs_whole(allowed) {
        return Ok(());
    }
    let bytes = text.as_bytes();
    let places = encoder.cuts();
    let may_cut = places.exist();
    let (mut last, mut from) = (0, 0);
    loop {
        let found = allowed.find(bytes, from);
        let end = found.map_or(bytes.len(), |f| f.1);
        // No special token begins in from..end.
        let mut after = from;
        let mut to = last + size;
        while may_cut && to < end {
            if to <= after {
                to = after + size;
                continue;
            }
            match places.last(&bytes[..end], after, to) {
                Some(place) => {
                    cut(place)?;
                    last = place;
                    after = place;
                    to = place + size;
                }
                None => {
                    after = to;
                    to += size;
                }
            }
        }
        let Some((_, _, next)) = found else {
            return Ok(());
        };
        if next - last >= size && next < bytes.len() {
            cut(next)?;
            last = next;
        }
        from = next;
    }
}
