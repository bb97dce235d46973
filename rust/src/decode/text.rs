//! Bytes in pieces -> text, each character as soon as it can no longer change.

use crate::error::OutOfMemory;
use crate::system::memory;

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

/// Why bytes were not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextError {
    /// They are not UTF-8.
    Invalid(InvalidBytes),
    /// There was no memory for the text.
    Memory(OutOfMemory),
}

impl From<OutOfMemory> for TextError {
    fn from(error: OutOfMemory) -> Self {
        Self::Memory(error)
    }
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
    /// [`TextError::Invalid`] if they are to be refused; [`TextError::Memory`]. The decoder is then as before.
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, TextError> {
        let mut joined = memory::with_capacity(self.held.len() + bytes.len())?;
        joined.extend_from_slice(&self.held);
        joined.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = &joined[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    make_room(&mut text, valid.len())?;
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    make_room(
                        &mut text,
                        valid.len() + char::REPLACEMENT_CHARACTER.len_utf8(),
                    )?;
                    text.push_str(&String::from_utf8_lossy(valid)); // borrows, as it is valid
                    rest = after;
                    let Some(n) = error.error_len() else { break };
                    if self.invalid == Invalid::Refuse {
                        return Err(TextError::Invalid(InvalidBytes { bytes: joined }));
                    }
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[n..];
                }
            }
        }
        // At most three bytes.
        self.held.clear();
        self.held.extend_from_slice(rest);
        Ok(text)
    }

    /// Ends the bytes; the text that is left. The next bytes begin a new text.
    ///
    /// # Errors
    /// [`TextError::Invalid`] if they end inside a character and that is to be refused.
    pub fn finish(&mut self) -> Result<String, TextError> {
        let bytes = std::mem::take(&mut self.held);
        match (bytes.is_empty(), self.invalid) {
            (true, _) => Ok(String::new()),
            (false, Invalid::Replace) => Ok(char::REPLACEMENT_CHARACTER.to_string()),
            (false, Invalid::Refuse) => Err(TextError::Invalid(InvalidBytes { bytes })),
        }
    }
}

fn make_room(text: &mut String, n: usize) -> Result<(), OutOfMemory> {
    Ok(text.try_reserve(n)?)
}
