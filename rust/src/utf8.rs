//! UTF-8 arithmetic: which bytes begin characters, how long those are, how many there are.

use std::collections::TryReserveError;

/// What stands for bytes that are not UTF-8.
pub const REPLACEMENT: &str = "\u{fffd}";

/// Whether a byte goes on with a character instead of beginning one.
#[inline(always)]
pub fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// The length of the character that begins with `first`; 1 for a byte that begins none.
#[inline(always)]
pub fn char_len(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

/// Whether a byte begins a character of three bytes or more, as Chinese and the like have.
#[inline(always)]
pub fn begins_long_char(byte: u8) -> bool {
    byte >= 0xe0
}

/// The character at `text[i]`, which is valid and not ASCII: what `look_up` gives for its code point
/// without the last six bits and the byte that has those, and its length.
#[inline(always)]
pub fn look_up_char<R>(text: &[u8], i: usize, look_up: impl Fn(usize, u8) -> R) -> (R, usize) {
    let low = |k: usize| usize::from(text[i + k] & 0x3f);
    let first = usize::from(text[i]);
    // One look-up in each branch: joining the branches first takes more instructions.
    if first < 0xe0 {
        (look_up(first & 0x1f, text[i + 1]), 2)
    } else if first < 0xf0 {
        (look_up((first & 0x0f) << 6 | low(1), text[i + 2]), 3)
    } else {
        let high = (first & 0x07) << 12 | low(1) << 6 | low(2);
        (look_up(high, text[i + 3]), 4)
    }
}

/// How many characters begin in `text`.
pub fn count_chars(text: &[u8]) -> usize {
    text.iter().filter(|&&b| !is_continuation(b)).count()
}

/// Where character `n` of `text` begins; the end if there are not so many.
pub fn char_offset(text: &[u8], n: usize) -> usize {
    let bytes = text.iter().enumerate();
    let starts = bytes.filter(|&(_, &b)| !is_continuation(b));
    starts.map(|(i, _)| i).nth(n).unwrap_or(text.len())
}

/// The last place at or before `at` where `text` may be sliced; its end if it is shorter.
pub fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Moves `raw` to `out` with each maximal invalid sequence as U+FFFD (Unicode 3.9, as in Python). A
/// character that may still be completed stays in `raw`, unless this is the end.
///
/// # Errors
/// If there is no memory for `out` to grow; some is there then.
pub fn replace_invalid(
    raw: &mut Vec<u8>,
    is_end: bool,
    out: &mut Vec<u8>,
) -> Result<(), TryReserveError> {
    let mut keep = 0;
    let mut chunks = raw.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        let (valid, invalid) = (chunk.valid(), chunk.invalid());
        out.try_reserve(valid.len() + REPLACEMENT.len())?;
        out.extend_from_slice(valid.as_bytes());
        let may_go_on = !is_end
            && chunks.peek().is_none()
            && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
        if may_go_on {
            keep = invalid.len();
        } else if !invalid.is_empty() {
            out.extend_from_slice(REPLACEMENT.as_bytes());
        }
    }
    raw.drain(..raw.len() - keep);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character() {
        let mut buffer = [0; 4];
        for c in '\0'..=char::MAX {
            let text = c.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(char_len(text[0]), text.len());
            assert_eq!(begins_long_char(text[0]), text.len() > 2);
            assert!(!is_continuation(text[0]) && text[1..].iter().all(|&b| is_continuation(b)));
            if text.len() > 1 {
                let join = |high, last: u8| high << 6 | usize::from(last & 0x3f);
                assert_eq!(look_up_char(text, 0, join), (c as usize, text.len()));
            }
        }
    }

    #[test]
    fn counts_and_offsets() {
        let text = "aé中😀b";
        assert_eq!(count_chars(text.as_bytes()), 5);
        for (n, (at, _)) in text.char_indices().enumerate() {
            assert_eq!(char_offset(text.as_bytes(), n), at);
        }
        assert_eq!(char_offset(text.as_bytes(), 5), text.len());
        assert_eq!(floor_char_boundary(text, 5), 3);
        assert_eq!(floor_char_boundary(text, 99), text.len());
    }

    #[test]
    fn invalid_bytes_in_pieces() -> Result<(), TryReserveError> {
        let bytes = b"a\xe4\xb8\xad\xff\xe4\xb8z\xf0\x9f\x98";
        for cut in 0..=bytes.len() {
            let (mut raw, mut out) = (bytes[..cut].to_vec(), Vec::new());
            replace_invalid(&mut raw, false, &mut out)?;
            raw.extend_from_slice(&bytes[cut..]);
            replace_invalid(&mut raw, true, &mut out)?;
            assert_eq!(String::from_utf8_lossy(bytes).as_bytes(), out);
        }
        Ok(())
    }
}
