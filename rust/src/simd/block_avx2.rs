//! Classes of bytes with AVX2, 32 bytes at a time: by two look-ups of half a byte each.

#![allow(unsafe_code)]

use crate::simd::block::{AsciiBlock, BLOCK_LEN};
use std::arch::x86_64::*;

/// One bit per class; a byte is in those that both of its halves' entries have.
const LETTER_LOW: u8 = 1 << 0; // a to o
const LETTER_HIGH: u8 = 1 << 1; // p to z
const NUMBER: u8 = 1 << 2;
const TAB: u8 = 1 << 3; // \t \x0b \x0c
const NEWLINE: u8 = 1 << 4;
const BLANK: u8 = 1 << 5;
const APOSTROPHE: u8 = 1 << 6;
const SLASH: u8 = 1 << 7;

/// The classes a byte may be in by its high half.
const HIGH: [u8; 16] = {
    let mut table = [0; 16];
    table[0] = TAB | NEWLINE;
    table[2] = BLANK | APOSTROPHE | SLASH;
    table[3] = NUMBER;
    table[4] = LETTER_LOW;
    table[5] = LETTER_HIGH;
    table[6] = LETTER_LOW;
    table[7] = LETTER_HIGH;
    table
};

/// The classes a byte may be in by its low half.
const LOW: [u8; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        if i >= 1 {
            table[i] |= LETTER_LOW;
        }
        if i <= 10 {
            table[i] |= LETTER_HIGH;
        }
        if i <= 9 {
            table[i] |= NUMBER;
        }
        i += 1;
    }
    table[0] |= BLANK;
    table[7] |= APOSTROPHE;
    table[9] |= TAB;
    table[10] |= NEWLINE;
    table[11] |= TAB;
    table[12] |= TAB;
    table[13] |= NEWLINE;
    table[15] |= SLASH;
    table
};

/// As [`AsciiBlock::new`].
#[inline]
#[target_feature(enable = "avx2")]
pub fn classes(bytes: &[u8; BLOCK_LEN]) -> AsciiBlock {
    // SAFETY: unaligned loads of 32 and 16 bytes inside the arrays.
    let (halves, high, low) = unsafe {
        let at = |i: usize| _mm256_loadu_si256(bytes.as_ptr().add(i).cast());
        let table = |t: &[u8; 16]| _mm256_broadcastsi128_si256(_mm_loadu_si128(t.as_ptr().cast()));
        ([at(0), at(32)], table(&HIGH), table(&LOW))
    };
    let nibble = _mm256_set1_epi8(0x0f);
    // Bytes that are not ASCII have no classes: a look-up by a byte with the top bit set gives 0.
    let classes = halves.map(|x| {
        let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(x), nibble);
        let by_low = _mm256_shuffle_epi8(low, x);
        _mm256_and_si256(_mm256_shuffle_epi8(high, upper), by_low)
    });
    let bits = |of: [__m256i; 2]| {
        let [a, b] = of.map(|x| _mm256_movemask_epi8(x) as u32);
        u64::from(b) << 32 | u64::from(a)
    };
    let any = |class: u8| {
        let class = _mm256_set1_epi8(class as i8);
        let none =
            classes.map(|x| _mm256_cmpeq_epi8(_mm256_and_si256(x, class), _mm256_setzero_si256()));
        !bits(none)
    };
    let slash = bits(classes);
    let apostrophe = bits(classes.map(|x| _mm256_slli_epi16::<1>(x)));
    let blank = bits(classes.map(|x| _mm256_slli_epi16::<2>(x)));
    let newline = bits(classes.map(|x| _mm256_slli_epi16::<3>(x)));
    let tab = bits(classes.map(|x| _mm256_slli_epi16::<4>(x)));
    let number = bits(classes.map(|x| _mm256_slli_epi16::<5>(x)));
    let mut block = AsciiBlock {
        known: !bits(halves),
        letter: any(LETTER_LOW | LETTER_HIGH),
        lower: bits(halves.map(|x| _mm256_slli_epi16::<2>(x))),
        number,
        space: blank | newline | tab,
        newline,
        blank,
        symbol: 0,
        apostrophe,
        slash,
    };
    block.finish();
    block
}
