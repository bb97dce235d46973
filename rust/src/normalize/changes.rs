//! The full algorithm of Unicode's normal forms (UAX #15): characters are taken apart, the marks behind each put in
//! the order of their classes, and composed again.
//!
//! The iterators of the crate that the tables come from do the same, and are the oracle in tests; but they keep all
//! marks that follow a character in lists that abort the process where there is no memory.

use crate::error::OutOfMemory;
use crate::system::memory;
use unicode_normalization_alignments::char::{
    canonical_combining_class, compose, decompose_canonical, decompose_compatible,
};

/// A normal form. The tables are those of the crate that `tokenizers` uses, so that both know the same
/// characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Composed.
    Nfc,
    /// Decomposed.
    Nfd,
    /// Compatibility characters replaced, then composed.
    Nfkc,
    /// Compatibility characters replaced, decomposed.
    Nfkd,
}

#[cfg(test)]
pub(super) const ALL: [Form; 4] = [Form::Nfc, Form::Nfd, Form::Nfkc, Form::Nfkd];

/// A character on its way, with its combining class and what it counts for (see [`super::aligned`]).
#[derive(Clone, Copy, Debug)]
struct Part {
    class: u8,
    /// Whether it is the first that a character of the text was taken apart into.
    is_first: bool,
    /// Its place among those that wait.
    place: u32,
    char: char,
}

/// Text in normal form, character by character, with what became of those of the text.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// What is done.
    pub(crate) all: Vec<(char, isize)>,
    /// Characters whose order may still change.
    pending: Vec<Part>,
    /// The place of the last character of class 0, which those behind it may be composed with.
    starter: Option<usize>,
    /// The class of the last character behind it that was not.
    last: Option<u8>,
}

impl Changes {
    /// Puts the normal form of `text` in the place of all that there is.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn set(&mut self, form: Form, text: &str) -> Result<(), OutOfMemory> {
        self.all.clear();
        self.pending.clear();
        (self.starter, self.last) = (None, None);
        for c in text.chars() {
            let (mut is_first, mut done) = (true, Ok(()));
            let each = |char| {
                if done.is_ok() {
                    done = self.take(form, char, is_first);
                }
                is_first = false;
            };
            match form {
                Form::Nfc | Form::Nfd => decompose_canonical(c, each),
                Form::Nfkc | Form::Nfkd => decompose_compatible(c, each),
            }
            done?;
        }
        self.settle(form)
    }

    fn take(&mut self, form: Form, char: char, is_first: bool) -> Result<(), OutOfMemory> {
        let class = canonical_combining_class(char);
        if class == 0 {
            self.settle(form)?;
        }
        // More than fit into 32 bits have no room in memory, at 12 bytes each.
        let place = u32::try_from(self.pending.len()).map_err(|_| OutOfMemory)?;
        let part = Part {
            class,
            is_first,
            place,
            char,
        };
        memory::push(&mut self.pending, part)
    }

    /// Puts what waits in its order, and composes it.
    fn settle(&mut self, form: Form) -> Result<(), OutOfMemory> {
        // Sorting by class alone would have to keep equals in their order, which takes memory.
        self.pending
            .sort_unstable_by_key(|part| (part.class, part.place));
        let composes = matches!(form, Form::Nfc | Form::Nfkc);
        for i in 0..self.pending.len() {
            let Part {
                class,
                is_first,
                char,
                ..
            } = self.pending[i];
            let change = isize::from(!is_first);
            let is_blocked = self.last.is_some_and(|last| last >= class);
            if composes
                && !is_blocked
                && let Some(starter) = self.starter
                && let Some(composed) = compose(self.all[starter].0, char)
            {
                self.all[starter].0 = composed;
                self.all[starter].1 += change - 1;
                continue;
            }
            memory::push(&mut self.all, (char, change))?;
            match (class, self.starter) {
                (0, _) => (self.starter, self.last) = (Some(self.all.len() - 1), None),
                (_, Some(_)) => self.last = Some(class),
                (_, None) => {}
            }
        }
        self.pending.clear();
        Ok(())
    }
}

/// Random texts of so many of some characters, the same each time.
#[cfg(test)]
pub(super) fn mixtures(some: &str, length: usize) -> impl Iterator<Item = String> {
    let some: Vec<char> = some.chars().collect();
    let mut random = 1u64;
    let mut next = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        some[(random >> 33) as usize % some.len()]
    };
    std::iter::repeat_with(move || (0..length).map(|_| next()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_normalization_alignments::UnicodeNormalization;

    /// By the crate's iterators.
    fn expected(form: Form, text: &str) -> Vec<(char, isize)> {
        match form {
            Form::Nfc => text.nfc().collect(),
            Form::Nfd => text.nfd().collect(),
            Form::Nfkc => text.nfkc().collect(),
            Form::Nfkd => text.nfkd().collect(),
        }
    }

    /// Every character among others that compose with much, and random mixtures.
    #[test]
    fn all_characters_become_what_the_crate_says() -> Result<(), OutOfMemory> {
        let mut texts: Vec<String> = Vec::new();
        // Those beyond are ideographs, private or no characters.
        for c in (0..0x20000)
            .chain(0x2f800..0x2fa20)
            .filter_map(char::from_u32)
        {
            texts.push(format!("{c}e{c}\u{327}\u{301}{c}a\u{1161}{c}\u{11a8}"));
        }
        let some = "ae \u{301}\u{327}\u{323}\u{345}\u{1100}\u{1161}\u{11a8}가각é\u{344}\u{958}ﬁ½\u{fb2a}\u{9bc}\u{9be}\u{9c7}\u{fdfa}\u{fb1}\u{f900}K";
        texts.extend(mixtures(some, 16).take(30_000));
        let mut changes = Changes::default();
        for form in ALL {
            for text in &texts {
                changes.set(form, text)?;
                assert_eq!(changes.all, expected(form, text), "{form:?} {text:?}");
            }
        }
        Ok(())
    }
}
