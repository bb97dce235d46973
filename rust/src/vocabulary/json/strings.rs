//! Strings, as many bytes at a time as may be.

use super::place::{HIGHEST, ONES, Place, Stop, is_not};

/// The highest bit of each of eight bytes that is not a character which ASCII prints, is a space, or is another
/// character in a JSON string.
#[inline(always)]
fn others(eight: u64) -> u64 {
    let low = eight & !HIGHEST;
    let above_space = low + (0x80 - 0x21) * ONES;
    let below_delete = !(low + ONES);
    let fine = above_space & below_delete & is_not(b'"', low) & is_not(b'\\', low);
    (eight | !fine) & HIGHEST
}

/// A part of a string.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Printed {
    /// What begins with it.
    pub bytes: [u8; 8],
    /// How many characters of a byte it has.
    pub n: usize,
    /// Whether the string ends with it.
    pub ends: bool,
}

impl Place<'_> {
    /// Takes up to eight of the characters that ASCII prints, within a string, but no space, and none that is
    /// another in JSON; and the string's end, if it comes next. 0 characters if there are not eight bytes.
    #[inline(always)]
    pub(crate) fn printed(&mut self) -> Printed {
        let Some(eight) = self.eight() else {
            return Printed::default();
        };
        let n_bits = others(eight).trailing_zeros() & !7;
        let ends = eight.checked_shr(n_bits).unwrap_or(0) as u8 == b'"';
        let n = n_bits as usize / 8;
        self.at += n + usize::from(ends);
        Printed {
            bytes: eight.to_le_bytes(),
            n,
            ends,
        }
    }

    /// Takes a character of two bytes of a string, if there is one, and returns its code.
    #[inline(always)]
    pub(crate) fn of_two_bytes(&mut self) -> Option<u32> {
        match *self.text.get(self.at..)?.first_chunk()? {
            [lead @ 0xc2..=0xdf, byte @ 0x80..=0xbf] => {
                self.at += 2;
                Some(u32::from(lead & 31) << 6 | u32::from(byte & 63))
            }
            _ => None,
        }
    }

    /// Takes a character of a string and returns its code, which is no surrogate; or takes the string's end: `None`.
    #[inline(always)]
    pub(crate) fn character(&mut self) -> Result<Option<u32>, Stop> {
        Ok(Some(match self.byte()? {
            b'"' => return Ok(None),
            b'\\' => self.then(Self::escaped)?,
            ..=0x1f => return Err(Stop::Aside),
            byte @ 0x20..=0x7f => u32::from(byte),
            _ => {
                self.at -= 1;
                match self.of_two_bytes() {
                    Some(code) => code,
                    None => self.then(Self::of_several_bytes)?,
                }
            }
        }))
    }

    /// What is seldom done to a copy, so that in loops this place may be kept in registers.
    #[inline(always)]
    fn then(&mut self, take: impl Fn(Self) -> Result<(u32, Self), Stop>) -> Result<u32, Stop> {
        let (code, after) = take(*self)?;
        *self = after;
        Ok(code)
    }

    /// What comes after a backslash.
    #[cold]
    fn escaped(mut self) -> Result<(u32, Self), Stop> {
        let code = match self.byte()? {
            byte @ (b'"' | b'\\' | b'/') => u32::from(byte),
            b'b' => 8,
            b't' => 9,
            b'n' => 10,
            b'f' => 12,
            b'r' => 13,
            b'u' => match self.four_digits()? {
                high @ 0xd800..=0xdbff => {
                    if (self.byte()?, self.byte()?) != (b'\\', b'u') {
                        return Err(Stop::Aside);
                    }
                    let low = self.four_digits()?;
                    if !(0xdc00..=0xdfff).contains(&low) {
                        return Err(Stop::Aside);
                    }
                    0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00))
                }
                0xdc00..=0xdfff => return Err(Stop::Aside),
                code => code,
            },
            _ => return Err(Stop::Aside),
        };
        Ok((code, self))
    }

    fn four_digits(&mut self) -> Result<u32, Stop> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16);
            code = code << 4 | digit.ok_or(Stop::Aside)?;
        }
        Ok(code)
    }

    /// A character of three or four bytes.
    #[cold]
    fn of_several_bytes(mut self) -> Result<(u32, Self), Stop> {
        let from = self.at;
        let n = if self.text[from] < 0xf0 { 3 } else { 4 };
        let bytes = self.text.get(from..from + n).ok_or(Stop::Aside)?;
        self.at = from + n;
        let char = std::str::from_utf8(bytes).ok().and_then(|s| {
            let mut chars = s.chars();
            chars.next().filter(|_| chars.next().is_none())
        });
        Ok((char.map(u32::from).ok_or(Stop::Aside)?, self))
    }
}

#[cfg(test)]
mod tests {
    use super::super::or_aside;
    use super::*;

    /// What a string says, with or without taking several characters at a time.
    fn text_of(json: &[u8], in_runs: bool) -> Option<String> {
        let (mut place, mut text) = (Place::new(json), String::new());
        let mut read = || {
            place.take(b'"')?;
            loop {
                if in_runs {
                    while let Some(code) = place.of_two_bytes() {
                        text.push(char::from_u32(code).expect("no surrogate"));
                    }
                    let run = place.printed();
                    text += std::str::from_utf8(&run.bytes[..run.n]).expect("ASCII");
                    if run.ends {
                        return place.ends();
                    }
                }
                match place.character()? {
                    Some(code) => text.push(char::from_u32(code).expect("no surrogate")),
                    None => return place.ends(),
                }
            }
        };
        or_aside(read()).unwrap()?;
        Some(text)
    }

    #[test]
    fn runs_end_where_a_character_is_not_printed() {
        for byte in 0..=255 {
            for at in 0..8 {
                let mut eight = *b"!~az#[]}";
                eight[at] = byte;
                let is_printed = byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
                let (n, ends) = (if is_printed { 8 } else { at }, byte == b'"');
                let expected = Printed {
                    bytes: eight,
                    n,
                    ends,
                };
                let mut place = Place::new(&eight);
                assert_eq!(place.printed(), expected, "{byte} {at}");
                assert_eq!(place.at(), n + usize::from(ends));
                let mut place = Place::new(&eight[..7]);
                assert_eq!((place.printed(), place.at()), (Printed::default(), 0));
            }
        }
    }

    /// Strings of all kinds, valid and not, against `serde_json`. It reads what is here refused only where
    /// it joins no surrogates either.
    #[test]
    fn strings_are_those_of_another_reader() {
        let parts: [&[u8]; 36] = [
            b"a",
            b"\"",
            b"\\",
            b"/",
            b"\\\"",
            b"\\\\",
            b"\\/",
            b"\\b",
            b"\\f",
            b"\\n",
            b"\\r",
            b"\\t",
            b"\\u0041",
            b"\\u00e9",
            b"\\u20AC",
            b"\\ud83d\\udc4d",
            b"\\ud83d",
            b"\\udc4d",
            b"\\u",
            b"\\u12",
            b"\\u12g4",
            b"\\x",
            b"\n",
            b"\x1f",
            b"\x7f",
            b" ",
            b"\xc3\xa9",
            b"\xe2\x82\xac",
            b"\xf0\x9f\x91\x8d",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xe2\x82",
            b"\xff",
            b"\x80",
            b"\\u+041",
        ]; // every two of them
        let mut n_read = 0;
        for first in parts {
            for second in parts {
                let json = [b"\"", first, second, b"\""].concat();
                let expected = serde_json::from_slice::<String>(&json).ok();
                assert_eq!(text_of(&json, false), expected, "{json:?}");
                assert_eq!(text_of(&json, true), expected, "{json:?}");
                // A run of several parts.
                let json = [b"\"", first, b"abcdefghi}~", second, b"k", b"\""].concat();
                let expected = serde_json::from_slice::<String>(&json).ok();
                assert_eq!(text_of(&json, true), expected, "{json:?}");
                n_read += usize::from(expected.is_some());
            }
        }
        assert!(n_read > 300, "{n_read}");
    }
}
