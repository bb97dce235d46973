//! ASCII text by blocks of 64 bytes, one bit per byte: the scanners find all pretokens of a block
//! at once by arithmetic on such sets.

/// Bytes per block.
pub const BLOCK_LEN: usize = 64;

/// The classes of a block's bytes up to the first that is not ASCII; bit `i` is for byte `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsciiBlock {
    /// Bytes before the first that is not ASCII.
    pub known: u64,
    /// `[A-Za-z]`.
    pub letter: u64,
    /// `[a-z]`.
    pub lower: u64,
    /// `[0-9]`.
    pub number: u64,
    /// All white space, with newlines.
    pub space: u64,
    /// `[\r\n]`.
    pub newline: u64,
    /// The space character.
    pub blank: u64,
    /// All the rest, with apostrophes and slashes.
    pub symbol: u64,
    /// `'`.
    pub apostrophe: u64,
    /// `/`.
    pub slash: u64,
}

impl AsciiBlock {
    /// Classifies `bytes`.
    #[inline(always)]
    pub fn new(bytes: &[u8; BLOCK_LEN]) -> AsciiBlock {
        let mut block = raw(bytes);
        block.finish();
        block
    }

    /// Completes what `raw` gives: there `known` has every ASCII byte, `lower` is only right for
    /// letters, nothing is right for other than ASCII bytes, and there are no symbols.
    #[inline(always)]
    pub(super) fn finish(&mut self) {
        let known = self.known & !self.known.wrapping_add(1);
        self.known = known;
        self.letter &= known;
        self.lower &= self.letter;
        self.number &= known;
        self.space &= known;
        self.newline &= known;
        self.blank &= known;
        self.apostrophe &= known;
        self.slash &= known;
        self.symbol = known & !(self.letter | self.number | self.space);
    }

    /// Where it is certain from this block alone whether a pretoken begins: at all bytes that have
    /// a known one after them, but not at the first.
    #[inline(always)]
    pub fn decided(&self) -> u64 {
        self.known >> 1 & !1
    }

    /// Those of `spaces` that have something else than white space after them.
    #[inline(always)]
    pub fn before_text(&self, spaces: u64) -> u64 {
        spaces & ((self.known & !self.space) >> 1)
    }

    /// The first byte after the last newline in each run of `spaces`, if the run goes on there.
    #[inline(always)]
    pub fn after_newlines(&self, spaces: u64) -> u64 {
        // The last byte is undecided anyway; without it, all runs end within the block.
        let blanks = spaces & !self.newline & !(1 << (BLOCK_LEN - 1));
        let text = self.known & !self.space;
        let candidates = blanks & ((spaces & self.newline) << 1);
        let ends = blanks.wrapping_add(candidates) & !blanks;
        if ends & !text == 0 {
            return candidates;
        }
        // Seldom: blanks between newlines, or before the block's end.
        let mut left = candidates;
        let mut found = 0;
        while left != 0 {
            let i = left.trailing_zeros();
            let end = i + (blanks >> i).trailing_ones();
            found |= (text >> end & 1) << i;
            left &= left - 1;
        }
        found
    }
}

/// The first of each run.
#[inline(always)]
pub fn first(set: u64) -> u64 {
    set & !(set << 1)
}

/// All of `set` from each of `starts` (part of `set`) to the end of its run.
#[inline(always)]
pub fn flood(set: u64, starts: u64) -> u64 {
    // The carry clears the run; a further start in the same run is only left standing.
    set & !set.wrapping_add(starts) | starts
}

/// The first of each run and every `SIZE`th after it.
#[inline(always)]
pub fn groups<const SIZE: usize>(set: u64) -> u64 {
    let mut starts = first(set);
    let mut far = set;
    for k in 1..=SIZE {
        far &= set << k;
    }
    // Mostly there is no run that long.
    if far != 0 {
        let mut next = starts;
        while next != 0 {
            starts |= next;
            next = next << SIZE & far;
        }
    }
    starts
}

/// `starts` with none from byte `i + skip` on before `i + len`, but one there.
#[inline(always)]
pub fn whole(starts: u64, i: u32, skip: usize, len: usize) -> u64 {
    let end = 1 << len;
    let inside = end - (1 << skip);
    starts & !(inside << i) | end << i
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[allow(unsafe_code)]
#[inline(always)]
fn raw(bytes: &[u8; BLOCK_LEN]) -> AsciiBlock {
    // SAFETY: SSE2 is enabled for the whole build.
    unsafe { sse2::raw(bytes) }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
use swar::raw;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod sse2 {
    use super::{AsciiBlock, BLOCK_LEN};
    use std::arch::x86_64::*;

    #[inline]
    #[target_feature(enable = "sse2")]
    pub fn raw(bytes: &[u8; BLOCK_LEN]) -> AsciiBlock {
        let mut block = AsciiBlock::default();
        let between = |x, low: u8, high: u8| {
            // Signed comparison: bytes that are not ASCII are below all others.
            let above = _mm_cmpgt_epi8(x, _mm_set1_epi8(low as i8 - 1));
            _mm_and_si128(above, _mm_cmplt_epi8(x, _mm_set1_epi8(high as i8 + 1)))
        };
        let equal = |x, byte: u8| _mm_cmpeq_epi8(x, _mm_set1_epi8(byte as i8));
        for (k, part) in bytes.chunks_exact(16).enumerate() {
            let half = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&part[at..at + 8]);
                i64::from_le_bytes(word)
            };
            let x = _mm_set_epi64x(half(8), half(0));
            let bits = |mask| u64::from(_mm_movemask_epi8(mask) as u16) << (16 * k);
            let folded = _mm_or_si128(x, _mm_set1_epi8(0x20));
            let blank = equal(x, b' ');
            block.known |= bits(equal(_mm_and_si128(x, _mm_set1_epi8(-128)), 0));
            block.letter |= bits(between(folded, b'a', b'z'));
            // Bit 5 of each byte, which is what makes letters lowercase.
            block.lower |= bits(_mm_slli_epi16(x, 2));
            block.number |= bits(between(x, b'0', b'9'));
            block.space |= bits(_mm_or_si128(blank, between(x, b'\t', b'\r')));
            block.newline |= bits(_mm_or_si128(equal(x, b'\n'), equal(x, b'\r')));
            block.blank |= bits(blank);
            block.apostrophe |= bits(equal(x, b'\''));
            block.slash |= bits(equal(x, b'/'));
        }
        block
    }
}

/// Eight bytes at a time, on any machine.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
mod swar {
    use super::{AsciiBlock, BLOCK_LEN};

    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;

    /// The high bit of each byte of `x` that is at least `low`; the bytes must be ASCII.
    #[inline(always)]
    fn at_least(x: u64, low: u8) -> u64 {
        x + ONES * (0x80 - u64::from(low))
    }

    #[inline(always)]
    fn between(x: u64, low: u8, high: u8) -> u64 {
        at_least(x, low) & !at_least(x, high + 1)
    }

    #[inline(always)]
    pub fn raw(bytes: &[u8; BLOCK_LEN]) -> AsciiBlock {
        let mut block = AsciiBlock::default();
        for (k, part) in bytes.chunks_exact(8).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(part);
            let word = u64::from_le_bytes(word);
            let x = word & !HIGH;
            // Gathers the high bits; `known` takes care of bytes that are not ASCII.
            let bits = |mask: u64| {
                (((mask & HIGH) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * k)
            };
            let blank = between(x, b' ', b' ');
            block.known |= bits(!word);
            block.letter |= bits(between(x | (0x20 * ONES), b'a', b'z'));
            block.lower |= bits(x << 2);
            block.number |= bits(between(x, b'0', b'9'));
            block.space |= bits(blank | between(x, b'\t', b'\r'));
            block.newline |= bits(between(x, b'\n', b'\n') | between(x, b'\r', b'\r'));
            block.blank |= bits(blank);
            block.apostrophe |= bits(between(x, b'\'', b'\''));
            block.slash |= bits(between(x, b'/', b'/'));
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(bits: &str) -> u64 {
        let one = |(i, c)| u64::from(c == '1') << i;
        bits.chars().enumerate().map(one).sum()
    }

    #[test]
    fn sets() {
        assert_eq!(first(set("0111011")), set("0100010"));
        assert_eq!(
            flood(set("01110110111"), set("00100000100")),
            set("00110000111")
        );
        // More starts than one in a run.
        assert_eq!(
            flood(set("0111110111"), set("0010100000")),
            set("0011110000")
        );
        assert_eq!(flood(!0, 1 << 3 | 1 << 63), !0 << 3);
        assert_eq!(groups::<2>(set("0111110110")), set("0101010100"));
        assert_eq!(groups::<3>(set("1111111011")), set("1001001010"));
        assert_eq!(whole(set("011100"), 1, 0, 3), set("000010"));
        assert_eq!(whole(set("011100"), 1, 1, 2), set("010100"));
        assert_eq!(whole(1, 63, 1, 3), 1);
    }

    #[test]
    fn classes_up_to_the_first_wide_character() {
        let mut bytes = [b'x'; BLOCK_LEN];
        bytes[..11].copy_from_slice("aZ 9\n\t'/!é".as_bytes());
        bytes[63] = 0x7f;
        let block = AsciiBlock::new(&bytes);
        assert_eq!(block.known, set("111111111"));
        assert_eq!(block.letter, set("11"));
        assert_eq!(block.lower, set("1"));
        assert_eq!(block.number, set("0001"));
        assert_eq!(block.space, set("001011"));
        assert_eq!(block.newline, set("00001"));
        assert_eq!(block.blank, set("001"));
        assert_eq!(block.symbol, set("000000111"));
        assert_eq!(block.apostrophe, set("0000001"));
        assert_eq!(block.slash, set("00000001"));
        assert_eq!(block.decided(), set("01111111"));
    }

    #[test]
    fn both_ways_agree_on_every_byte() {
        // Miri takes its time.
        for byte in (0..=255).step_by(if cfg!(miri) { 51 } else { 1 }) {
            for at in 0..BLOCK_LEN {
                let mut bytes = [b'a'; BLOCK_LEN];
                bytes[at] = byte;
                let (mut one, mut other) = (raw(&bytes), swar::raw(&bytes));
                assert_eq!(one.known, other.known);
                for block in [&mut one, &mut other] {
                    block.finish();
                }
                assert_eq!(one, other, "{byte} at {at}");
            }
        }
    }
}
