//! Where no token lies across two characters, so that a long pretoken can be taken apart there.
//!
//! Merging makes nothing but tokens. If no token of the vocabulary, wherever it might begin and end, could
//! lie across a place between two characters of a text, then nothing is merged across it, and what
//! lies on either side is merged as if the other side were not there. In Chinese or Japanese text,
//! where a sentence without a space is one pretoken, most places are like that: cl100k_base has tokens
//! across 761 pairs of such characters. The pieces are short, and are met again and again, while
//! hardly any pretoken is.
//!
//! A token that lies across a place shows of either character all its bytes, or only the last ones of
//! the character before (if it begins inside) or the first ones of that after. Pairs of whole characters
//! are kept in a set; a character with a part of any other one makes all places on that side of it
//! uncertain; parts of two go by the two bytes that meet. The set is a bit for each hash, so a place
//! may seem uncertain that is not. That only costs time.

use crate::error::OutOfMemory;
use crate::system::memory;
use crate::utf8::{char_len, is_continuation};

/// See the module.
#[derive(Debug)]
pub struct Borders {
    /// A bit for each hash of two characters, or of one and [`ANY`].
    pairs: Vec<u64>,
    shift: u32,
    /// For the last six bits of a byte before, those of the byte after.
    parts: [u64; 64],
}

/// Stands for every character that may be beside another.
const ANY: u32 = 0;

/// A long character, one of three bytes or four, as a number; `None` if it is shorter, as the letters
/// are that spaced words are made of.
#[inline(always)]
fn long_char(text: &[u8], at: usize, len: usize) -> Option<u32> {
    match *text.get(at..at + len)? {
        [a, b, c] => Some(u32::from_le_bytes([a, b, c, 0])),
        [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}

/// What a token shows of a character.
enum Seen {
    Whole(u32),
    Part,
    /// A character of one or two bytes, beside which nothing is taken apart.
    Short,
}

impl Borders {
    /// The places that `tokens` leave.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new<'t>(tokens: impl Iterator<Item = &'t [u8]>) -> Result<Self, OutOfMemory> {
        // In one number, as these are sorted fastest.
        let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
        let mut found = Vec::new();
        let mut parts = [0u64; 64];
        for token in tokens.filter(|t| t.len() > 1 && !t.is_ascii()) {
            for at in (1..token.len()).filter(|&at| !is_continuation(token[at])) {
                match (before(token, at), after(token, at)) {
                    (Seen::Short, _) | (_, Seen::Short) => {}
                    (Seen::Whole(a), Seen::Whole(b)) => memory::push(&mut found, pair(a, b))?,
                    (Seen::Whole(a), Seen::Part) => memory::push(&mut found, pair(a, ANY))?,
                    (Seen::Part, Seen::Whole(b)) => memory::push(&mut found, pair(ANY, b))?,
                    (Seen::Part, Seen::Part) => {
                        parts[usize::from(token[at - 1] & 63)] |= 1 << (token[at] & 63);
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        // About one hash in 64 is taken.
        let n_bits = (found.len() * 64)
            .next_power_of_two()
            .clamp(1 << 12, 1 << 24);
        let mut borders = Self {
            pairs: memory::zeroed(n_bits / 64)?,
            shift: u64::BITS - n_bits.trailing_zeros(),
            parts,
        };
        for pair in found {
            let (a, b) = ((pair >> 32) as u32, pair as u32);
            let place = borders.place(hash_before(a), hash_after(b));
            borders.pairs[place / 64] |= 1 << (place % 64);
        }
        Ok(borders)
    }

    #[inline(always)]
    fn place(&self, before: u64, after: u64) -> usize {
        (before.wrapping_add(after) >> self.shift) as usize
    }

    /// Calls `piece(start, end)` for the pieces of a text, in order, which together are all of it.
    #[inline(always)]
    pub fn split(&self, text: &[u8], mut piece: impl FnMut(usize, usize)) {
        let mut start = 0;
        let mut at = 0;
        // The character before, and its hash.
        let mut last: Option<u64> = None;
        while at < text.len() {
            let len = char_len(text[at]);
            let here = long_char(text, at, len);
            if let (Some(before), Some(here)) = (last, here)
                && self.is_free(before, here, text[at - 1], text[at])
            {
                piece(start, at);
                start = at;
            }
            last = here.map(hash_before);
            at += len;
        }
        piece(start, text.len());
    }

    /// Whether a text may be taken apart between these two characters.
    pub fn may_split(&self, before: char, after: char) -> bool {
        let (mut a, mut b) = ([0; 4], [0; 4]);
        let a = before.encode_utf8(&mut a).as_bytes();
        let b = after.encode_utf8(&mut b).as_bytes();
        match (long_char(a, 0, a.len()), long_char(b, 0, b.len())) {
            (Some(x), Some(y)) => self.is_free(hash_before(x), y, a[a.len() - 1], b[0]),
            _ => false,
        }
    }

    #[inline(always)]
    fn is_free(&self, before: u64, here: u32, byte: u8, next: u8) -> bool {
        let after = hash_after(here);
        let taken = |place: usize| self.pairs[place / 64] >> (place % 64) & 1;
        let pairs = taken(self.place(before, after))
            | taken(self.place(before, hash_after(ANY)))
            | taken(self.place(hash_before(ANY), after));
        let parts = self.parts[usize::from(byte & 63)] >> (next & 63) & 1;
        pairs | parts == 0
    }
}

#[inline(always)]
fn hash_before(character: u32) -> u64 {
    u64::from(character).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline(always)]
fn hash_after(character: u32) -> u64 {
    u64::from(character).wrapping_mul(0xd1b5_4a32_d192_ed03)
}

/// What `token` shows of the character that ends at `at`.
fn before(token: &[u8], at: usize) -> Seen {
    let Some(lead) = (0..at).rev().find(|&i| !is_continuation(token[i])) else {
        return Seen::Part;
    };
    match long_char(token, lead, at - lead) {
        Some(character) if char_len(token[lead]) == at - lead => Seen::Whole(character),
        // Bytes that are not a character are in no text.
        _ => Seen::Short,
    }
}

/// What `token` shows of the character that begins at `at`.
fn after(token: &[u8], at: usize) -> Seen {
    let len = char_len(token[at]);
    if len < 3 {
        return Seen::Short;
    }
    match long_char(token, at, len) {
        Some(character) => Seen::Whole(character),
        None => Seen::Part,
    }
}
