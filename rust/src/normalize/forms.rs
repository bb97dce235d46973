//! Unicode's normal forms, only where text is not in them.
//!
//! A character is inert in a form if it stays itself, is never composed with what comes before it, and has
//! combining class 0. Text may be taken apart before an inert character: the parts in normal form are the
//! whole in normal form. So only stretches of other characters, each with the inert one before it (which a
//! mark may be composed with), are given to the full algorithm (`changes`).

use super::changes::Changes;
pub use super::changes::Form;
use crate::error::OutOfMemory;
use crate::system::memory;
use std::sync::LazyLock;
use unicode_normalization_alignments::{
    IsNormalized, char::canonical_combining_class, is_nfc_quick, is_nfd_quick, is_nfkc_quick,
    is_nfkd_quick,
};

/// Code points from here on are inert, but for those of [`COMPATIBILITY`].
const HIGH: usize = 0x20000;
/// Ideographs that decompose in all forms.
const COMPATIBILITY: std::ops::RangeInclusive<usize> = 0x2F800..=0x2FA1D;

/// For each code point below [`HIGH`] a bit: whether it is inert.
type Inert = [u64; HIGH / 64];

static NFC: LazyLock<Inert> = LazyLock::new(|| inert(Form::Nfc));
static NFD: LazyLock<Inert> = LazyLock::new(|| inert(Form::Nfd));
static NFKC: LazyLock<Inert> = LazyLock::new(|| inert(Form::Nfkc));
static NFKD: LazyLock<Inert> = LazyLock::new(|| inert(Form::Nfkd));

fn inert(form: Form) -> Inert {
    let mut table = [0; HIGH / 64];
    for code in 0..HIGH {
        if let Some(c) = char::from_u32(code as u32)
            && form.is_inert(c)
        {
            table[code / 64] |= 1 << (code % 64);
        }
    }
    table
}

impl Form {
    /// By the definition, slowly.
    fn is_inert(self, c: char) -> bool {
        let one = std::iter::once(c);
        let quick = match self {
            Self::Nfc => is_nfc_quick(one),
            Self::Nfd => is_nfd_quick(one),
            Self::Nfkc => is_nfkc_quick(one),
            Self::Nfkd => is_nfkd_quick(one),
        };
        matches!(quick, IsNormalized::Yes) && canonical_combining_class(c) == 0
    }

    fn table(self) -> &'static Inert {
        match self {
            Self::Nfc => &NFC,
            Self::Nfd => &NFD,
            Self::Nfkc => &NFKC,
            Self::Nfkd => &NFKD,
        }
    }

    /// The normal form of `text`; `None` if nothing needed a close look.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn changed(self, text: &str) -> Result<Option<String>, OutOfMemory> {
        let table = self.table();
        let mut changes = Changes::default();
        let mut out = String::new();
        let mut copied = 0;
        let mut at = 0;
        while let Some((before, start)) = next_other(table, text, at) {
            let end = next_inert(table, text, start);
            let from = before.unwrap_or(start).max(copied);
            if out.capacity() == 0 {
                out.try_reserve(text.len() + text.len() / 8)?;
            }
            out.try_reserve(end - copied)?;
            out.push_str(&text[copied..from]);
            changes.set(self, &text[from..end])?;
            for &(c, _) in &changes.all {
                memory::push_char(&mut out, c)?;
            }
            (copied, at) = (end, end);
        }
        if copied == 0 {
            return Ok(None);
        }
        memory_for(&mut out, &text[copied..])?;
        Ok(Some(out))
    }
}

fn memory_for(out: &mut String, rest: &str) -> Result<(), OutOfMemory> {
    out.try_reserve(rest.len())?;
    out.push_str(rest);
    Ok(())
}

#[inline(always)]
fn is_inert(table: &Inert, c: char) -> bool {
    let code = c as usize;
    match table.get(code / 64) {
        Some(bits) => bits >> (code % 64) & 1 != 0,
        None => !COMPATIBILITY.contains(&code),
    }
}

/// The first character at or after `from` that is not inert, and before it where the one before it
/// begins, if that is at or after `from`.
fn next_other(table: &Inert, text: &str, from: usize) -> Option<(Option<usize>, usize)> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        // All of ASCII is inert.
        while let Some(eight) = bytes[at..].first_chunk::<8>()
            && u64::from_le_bytes(*eight) & 0x8080_8080_8080_8080 == 0
        {
            at += 8;
        }
        while bytes.get(at).is_some_and(u8::is_ascii) {
            at += 1;
        }
        let mut chars = text[at..].char_indices();
        let (place, c) = chars.find(|&(_, c)| c.is_ascii() || !is_inert(table, c))?;
        at += place;
        if !c.is_ascii() {
            let before = text[from..at].char_indices().next_back();
            return Some((before.map(|(i, _)| from + i), at));
        }
    }
}

/// The first inert character after the one at `from`, or the end.
fn next_inert(table: &Inert, text: &str, from: usize) -> usize {
    let mut chars = text[from..].char_indices();
    let found = chars.find(|&(_, c)| is_inert(table, c));
    found.map_or(text.len(), |(i, _)| from + i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::changes::{ALL, mixtures};

    #[test]
    fn the_tables_are_right_above_their_end_too() {
        for form in ALL {
            for c in (0..=0x10ffff).filter_map(char::from_u32) {
                assert_eq!(
                    is_inert(form.table(), c),
                    form.is_inert(c),
                    "{form:?} {c:?}"
                );
            }
        }
    }

    /// Every character after and before others that compose with much, and random mixtures.
    #[test]
    fn stretches_give_what_the_whole_gives() -> Result<(), OutOfMemory> {
        let mut texts: Vec<String> = Vec::new();
        for c in (0..0x30000)
            .filter_map(char::from_u32)
            .filter(|&c| !c.is_ascii())
        {
            texts.push(format!("xe{c}\u{301}{c}\u{327}a\u{1161}{c}\u{11a8} {c}"));
        }
        let some = "ae \u{301}\u{327}\u{323}\u{1100}\u{1161}\u{11a8}가각é\u{344}\u{958}ﬁ½\u{fb2a}\u{9bc}\u{9be}\u{9c7}中\u{f900}K\u{0}\u{200d}";
        texts.extend(mixtures(some, 12).take(20_000));
        let mut changes = Changes::default();
        for form in ALL {
            for text in &texts {
                changes.set(form, text)?;
                let whole: String = changes.all.iter().map(|&(c, _)| c).collect();
                let parts = form.changed(text)?.unwrap_or_else(|| text.clone());
                assert_eq!(parts, whole, "{form:?} {text:?}");
            }
        }
        Ok(())
    }
}
