//! A place in a text, and what may be taken there but for strings.

use crate::error::OutOfMemory;

/// Why reading ends early.
#[derive(Debug)]
pub(crate) enum Stop {
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
pub(crate) fn or_aside<T>(result: Result<T, Stop>) -> Result<Option<T>, OutOfMemory> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Stop::Aside) => Ok(None),
        Err(Stop::Memory(error)) => Err(error),
    }
}

pub(super) const ONES: u64 = u64::MAX / 255;
pub(super) const HIGHEST: u64 = 0x80 * ONES;

/// The highest bit of each of eight bytes, none above 127, that is another one than this.
#[inline(always)]
pub(super) fn is_not(byte: u8, low: u64) -> u64 {
    // Sums of seven bits and less than 128 stay within their bytes.
    (low ^ (u64::from(byte) * ONES)) + 0x7f * ONES
}

/// The highest bit of each of eight bytes that is not white space.
#[inline(always)]
fn no_spaces(eight: u64) -> u64 {
    let low = eight & !HIGHEST;
    let others = is_not(b' ', low) & is_not(b'\n', low) & is_not(b'\r', low) & is_not(b'\t', low);
    (eight | others) & HIGHEST
}

/// A place in a text. All that it takes may have white space before it.
///
/// # Errors
/// [`Stop::Aside`], throughout, where something else comes; then the place may be anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Place<'a> {
    /// The beginning of a text.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes are before it.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Passes over white space.
    #[inline(always)]
    fn skip_space(&mut self) {
        while let Some(&byte) = self.text.get(self.at) {
            if byte > b' ' {
                return;
            }
            // Lines are indented: eight bytes at a time, and without a jump for each.
            let n_bits = match self.eight() {
                Some(eight) => no_spaces(eight).trailing_zeros(),
                None => no_spaces(u64::from(byte)).trailing_zeros().min(8),
            };
            self.at += n_bits as usize / 8;
            if n_bits < 8 {
                return;
            }
        }
    }

    /// The next eight bytes as a number, the first the lowest.
    #[inline(always)]
    pub(super) fn eight(&self) -> Option<u64> {
        let eight = self.text.get(self.at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*eight))
    }

    /// What comes, which is not taken.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<u8, Stop> {
        self.skip_space();
        self.text.get(self.at).copied().ok_or(Stop::Aside)
    }

    /// Takes one byte.
    #[inline(always)]
    pub(crate) fn take(&mut self, byte: u8) -> Result<(), Stop> {
        if self.next()? != byte {
            return Err(Stop::Aside);
        }
        self.at += 1;
        Ok(())
    }

    /// Takes the beginning of an object or array, and its end as well if there is nothing in it: false.
    pub(crate) fn opens(&mut self, open: u8, close: u8) -> Result<bool, Stop> {
        self.take(open)?;
        let goes_on = self.next()? != close;
        self.at += usize::from(!goes_on);
        Ok(goes_on)
    }

    /// Takes a comma, or else the end: false.
    #[inline(always)]
    pub(crate) fn goes_on(&mut self, close: u8) -> Result<bool, Stop> {
        let next = self.next()?;
        if next != b',' && next != close {
            return Err(Stop::Aside);
        }
        self.at += 1;
        Ok(next == b',')
    }

    /// Takes white space and the end of the text.
    pub(crate) fn ends(&mut self) -> Result<(), Stop> {
        self.skip_space();
        match self.at == self.text.len() {
            true => Ok(()),
            false => Err(Stop::Aside),
        }
    }

    /// Takes a key and its colon; one with an escape in it may be any key, and is not taken.
    pub(crate) fn key(&mut self) -> Result<&'a [u8], Stop> {
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
    #[inline(always)]
    pub(crate) fn id(&mut self) -> Result<u32, Stop> {
        let first = self.next()?;
        let mut value = 0_u64;
        let mut n_digits = 0;
        while let Some(digit) = self.text.get(self.at).filter(|b| b.is_ascii_digit()) {
            // Further digits make it no smaller.
            if n_digits < 11 {
                value = 10 * value + u64::from(digit - b'0');
            }
            n_digits += 1;
            self.at += 1;
        }
        match u32::try_from(value) {
            Ok(id) if id < u32::MAX && (n_digits == 1 || n_digits > 1 && first != b'0') => Ok(id),
            _ => Err(Stop::Aside),
        }
    }

    /// Takes a value of any kind.
    pub(crate) fn skip(&mut self) -> Result<(), Stop> {
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

    #[inline(always)]
    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_passed_over() {
        for n in 0..40 {
            for other in ["", "\n", "\t\r\n", "x", "\u{b}", "x       ", "\u{a0}"] {
                let text = [&" ".repeat(n), other, " ", &" ".repeat(n / 2)].concat();
                let mut place = Place::new(text.as_bytes());
                place.skip_space();
                let rest = text.trim_start_matches([' ', '\t', '\n', '\r']);
                assert_eq!(&text[place.at()..], rest, "{text:?}");
            }
        }
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
