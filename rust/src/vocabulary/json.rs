//! As much of JSON as a tokenizer.json's tokens take.
//!
//! What is read is read strictly. What is passed over is not looked at closely, but in valid JSON it ends where it
//! is taken to end.

use crate::error::OutOfMemory;

/// Why reading ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file has to be read slowly.
    Aside,
    /// There is no memory.
    Memory(OutOfMemory),
}

impl From<OutOfMemory> for Stop {
    fn from(error: OutOfMemory) -> Self {
        Self::Memory(error)
    }
}

/// `None` for what has to be read slowly.
///
/// # Errors
/// [`OutOfMemory`].
pub(super) fn or_aside<T>(result: Result<T, Stop>) -> Result<Option<T>, OutOfMemory> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Stop::Aside) => Ok(None),
        Err(Stop::Memory(error)) => Err(error),
    }
}

/// A place in a text. All that it takes may have white space before it.
///
/// # Errors
/// [`Stop::Aside`], throughout, where something else comes; then the place may be anywhere.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Place<'a> {
    /// The beginning of a text.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes are before it.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Passes over white space.
    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    /// What comes, which is not taken.
    #[inline]
    pub(super) fn next(&mut self) -> Result<u8, Stop> {
        self.skip_space();
        self.text.get(self.at).copied().ok_or(Stop::Aside)
    }

    /// Takes one byte.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> Result<(), Stop> {
        if self.next()? != byte {
            return Err(Stop::Aside);
        }
        self.at += 1;
        Ok(())
    }

    /// Takes the beginning of an object or array, and its end as well if there is nothing in it: false.
    pub(super) fn opens(&mut self, open: u8, close: u8) -> Result<bool, Stop> {
        self.take(open)?;
        let goes_on = self.next()? != close;
        self.at += usize::from(!goes_on);
        Ok(goes_on)
    }

    /// Takes a comma, or else the end: false.
    #[inline]
    pub(super) fn goes_on(&mut self, close: u8) -> Result<bool, Stop> {
        let next = self.next()?;
        if next != b',' && next != close {
            return Err(Stop::Aside);
        }
        self.at += 1;
        Ok(next == b',')
    }

    /// Takes white space and the end of the text.
    pub(super) fn ends(&mut self) -> Result<(), Stop> {
        self.skip_space();
        match self.at == self.text.len() {
            true => Ok(()),
            false => Err(Stop::Aside),
        }
    }

    /// Takes a key and its colon; one with an escape in it may be any key, and is not taken.
    pub(super) fn key(&mut self) -> Result<&'a [u8], Stop> {
        self.take(b'"')?;
        let from = self.at;
        while !matches!(self.byte()?, b'"' | b'\\') {}
        let (key, last) = (&self.text[from..self.at - 1], self.text[self.at - 1]);
        if last == b'\\' {
            return Err(Stop::Aside);
        }
        self.take(b':')?;
        Ok(key)
    }

    /// Takes a whole number that can be an id: the highest one stands for no id.
    #[inline]
    pub(super) fn id(&mut self) -> Result<u32, Stop> {
        let first = self.next()?;
        let from = self.at;
        let mut value = 0_u64;
        while let Some(digit) = self.text.get(self.at).filter(|b| b.is_ascii_digit()) {
            value = value
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let n_digits = self.at - from;
        match u32::try_from(value) {
            Ok(id) if id < u32::MAX && (n_digits == 1 || n_digits > 1 && first != b'0') => Ok(id),
            _ => Err(Stop::Aside),
        }
    }

    /// Takes a string, and hands on its characters' codes, which are no surrogates.
    #[inline]
    pub(super) fn string(
        &mut self,
        mut each: impl FnMut(u32) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.take(b'"')?;
        loop {
            match self.byte()? {
                b'"' => return Ok(()),
                b'\\' => each(self.escaped()?)?,
                ..=0x1f => return Err(Stop::Aside),
                byte @ 0x20..=0x7f => each(u32::from(byte))?,
                lead @ 0xc2..=0xdf => match self.byte()? {
                    byte @ 0x80..=0xbf => each(u32::from(lead & 31) << 6 | u32::from(byte & 63))?,
                    _ => return Err(Stop::Aside),
                },
                lead => each(self.of_several_bytes(lead)?)?,
            }
        }
    }

    /// Takes a value of any kind.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    self.at += 1;
                    depth += 1;
                }
                b'}' | b']' => {
                    self.at += 1;
                    depth = depth.checked_sub(1).ok_or(Stop::Aside)?;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                _ => self.skip_word()?,
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = self.text.get(self.at).copied().ok_or(Stop::Aside)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_string(&mut self) -> Result<(), Stop> {
        self.take(b'"')?;
        loop {
            match self.byte()? {
                b'"' => return Ok(()),
                b'\\' => _ = self.byte()?,
                _ => {}
            }
        }
    }

    /// Passes over a number or the like.
    fn skip_word(&mut self) -> Result<(), Stop> {
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let n = self.text[self.at..].iter().take_while(|b| is_word(b));
        match n.count() {
            0 => Err(Stop::Aside),
            n => {
                self.at += n;
                Ok(())
            }
        }
    }

    /// What comes after a backslash.
    #[cold]
    fn escaped(&mut self) -> Result<u32, Stop> {
        Ok(match self.byte()? {
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
        })
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
    fn of_several_bytes(&mut self, lead: u8) -> Result<u32, Stop> {
        let n = if lead < 0xf0 { 3 } else { 4 };
        let from = self.at - 1;
        let bytes = self.text.get(from..from + n).ok_or(Stop::Aside)?;
        self.at = from + n;
        let char = std::str::from_utf8(bytes).ok().and_then(|s| {
            let mut chars = s.chars();
            chars.next().filter(|_| chars.next().is_none())
        });
        char.map(u32::from).ok_or(Stop::Aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(json: &[u8]) -> Option<String> {
        let (mut place, mut text) = (Place::new(json), String::new());
        let read = place.string(|code| {
            text.push(char::from_u32(code).expect("no surrogate"));
            Ok(())
        });
        or_aside(read.and_then(|()| place.ends())).unwrap()?;
        Some(text)
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
                assert_eq!(text_of(&json), expected, "{json:?}");
                n_read += usize::from(expected.is_some());
            }
        }
        assert!(n_read > 300, "{n_read}");
    }

    #[test]
    fn ids_are_whole_numbers_of_32_bits() {
        let id = |json: &str| {
            let mut place = Place::new(json.as_bytes());
            let id = place.id().and_then(|id| place.ends().map(|()| id));
            or_aside(id).unwrap()
        };
        for good in ["0", "7", "10", " 4294967294\n"] {
            assert_eq!(id(good), good.trim().parse().ok());
        }
        for bad in [
            "",
            "00",
            "01",
            "-0",
            "-1",
            "+1",
            "1.0",
            "1e3",
            "4294967295",
            "4294967296",
            "true",
            "18446744073709551617",
            "1 2",
            "null",
            "\"1\"",
            &"9".repeat(5000),
        ] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }

    /// What is passed over ends where the value ends.
    #[test]
    fn values_are_passed_over() {
        for value in [
            "null",
            "-1.5e+3",
            "\"\"",
            r#""\\\"]}""#,
            "[]",
            "{}",
            "[1, [2, \"]\"], {\"}\": {}}]",
            "{\"a\": [true, {\"b\\\"\": null}], \"c\": \"\\\\\"}",
            "NaN",
            "-Infinity",
        ] {
            for after in [", 1", "}", "]", " ", ""] {
                let json = format!("  {value}{after}");
                let mut place = Place::new(json.as_bytes());
                place.skip().expect("a value");
                assert_eq!(&json[place.at()..], after, "{json}");
            }
        }
        for other in ["", "]", "[", "\"", "\"\\", "{\"a\": ", ",", ":", "[\"]"] {
            assert!(Place::new(other.as_bytes()).skip().is_err(), "{other}");
        }
    }
}
