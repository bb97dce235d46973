//! Instructions that not every processor of its kind has, used where they are available.

use crate::simd::block::{AsciiBlock, BLOCK_LEN};

/// Work that is compiled for several levels of processors. `run` and all it calls in a loop must be
/// inlined (`#[inline(always)]`), as only what is inlined is compiled anew.
pub trait Job {
    /// What comes of it.
    type Output;
    /// Does the work, with what `level` has.
    fn run<L: Level>(self, level: L) -> Self::Output;
}

/// What a processor can do.
pub trait Level: Copy {
    /// Does `job`, compiled for this level.
    fn run<J: Job>(self, job: J) -> J::Output;

    /// The classes of a block's bytes; see [`AsciiBlock::new`].
    fn classes(self, bytes: &[u8; BLOCK_LEN]) -> AsciiBlock;

    /// What holds 16 numbers.
    type Lanes: Lanes;

    /// 16 numbers.
    fn lanes(self, numbers: [u32; 16]) -> Self::Lanes;
}

/// 16 numbers, in registers if there are such.
pub trait Lanes: Copy {
    /// The lowest of them.
    fn min(&self) -> u32;
    /// Sets the one at `at`, if there is one.
    fn set(&mut self, at: usize, number: u32);
}

impl Lanes for [u32; 16] {
    #[inline(always)]
    fn min(&self) -> u32 {
        self.iter().fold(u32::MAX, |a, &b| a.min(b))
    }

    #[inline(always)]
    fn set(&mut self, at: usize, number: u32) {
        if let Some(place) = self.get_mut(at) {
            *place = number;
        }
    }
}

/// Does `job` at the highest level that this processor has.
#[inline(always)]
pub fn run<J: Job>(job: J) -> J::Output {
    match Avx2::detect() {
        Some(avx2) => avx2.run(job),
        None => Baseline.run(job),
    }
}

/// What every processor of the kind that this was built for has.
#[derive(Clone, Copy, Debug)]
pub struct Baseline;

impl Level for Baseline {
    #[inline(never)]
    fn run<J: Job>(self, job: J) -> J::Output {
        job.run(self)
    }

    #[inline(always)]
    fn classes(self, bytes: &[u8; BLOCK_LEN]) -> AsciiBlock {
        AsciiBlock::new(bytes)
    }

    type Lanes = [u32; 16];

    #[inline(always)]
    fn lanes(self, numbers: [u32; 16]) -> [u32; 16] {
        numbers
    }
}

pub use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2 {
    use super::{AsciiBlock, BLOCK_LEN, Job, Lanes, Level};
    use crate::simd::block_avx2;
    use std::arch::x86_64::*;

    /// Proof that the processor has AVX2 and the instructions for bits that came with it (x86-64-v3).
    /// With them, encoding takes about a tenth less time.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx2(());

    impl Avx2 {
        /// The proof, if there is one.
        #[inline(always)]
        pub fn detect() -> Option<Self> {
            let has = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            has.then_some(Self(()))
        }
    }

    impl Level for Avx2 {
        #[inline(always)]
        fn run<J: Job>(self, job: J) -> J::Output {
            // SAFETY: there is no `Avx2` but on a processor that has all of these.
            unsafe { run(self, job) }
        }

        #[inline(always)]
        fn classes(self, bytes: &[u8; BLOCK_LEN]) -> AsciiBlock {
            // SAFETY: as above.
            unsafe { block_avx2::classes(bytes) }
        }

        type Lanes = Registers;

        #[inline(always)]
        fn lanes(self, numbers: [u32; 16]) -> Registers {
            // SAFETY: as above.
            unsafe { Registers::new(&numbers) }
        }
    }

    /// Made only where there is a [`Avx2`].
    #[derive(Clone, Copy, Debug)]
    pub struct Registers([__m256i; 2]);

    impl Registers {
        #[inline]
        #[target_feature(enable = "avx2")]
        fn new(numbers: &[u32; 16]) -> Self {
            // SAFETY: unaligned loads of 32 bytes inside the array.
            let at = |i: usize| unsafe { _mm256_loadu_si256(numbers.as_ptr().add(i).cast()) };
            Self([at(0), at(8)])
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn min_of(&self) -> u32 {
            let eight = _mm256_min_epu32(self.0[0], self.0[1]);
            let four = _mm_min_epu32(
                _mm256_castsi256_si128(eight),
                _mm256_extracti128_si256::<1>(eight),
            );
            let two = _mm_min_epu32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
            let one = _mm_min_epu32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
            _mm_cvtsi128_si32(one) as u32
        }

        #[inline]
        #[target_feature(enable = "avx2")]
        fn put(&mut self, at: usize, number: u32) {
            let (at, number) = (
                _mm256_set1_epi32(at as i32),
                _mm256_set1_epi32(number as i32),
            );
            for (half, first) in self.0.iter_mut().zip([0, 8]) {
                let places = _mm256_setr_epi32(
                    first,
                    first + 1,
                    first + 2,
                    first + 3,
                    first + 4,
                    first + 5,
                    first + 6,
                    first + 7,
                );
                *half = _mm256_blendv_epi8(*half, number, _mm256_cmpeq_epi32(places, at));
            }
        }
    }

    /// An array in memory would be slower: reading all of it after setting one number has to wait for
    /// the write.
    impl Lanes for Registers {
        #[inline(always)]
        fn min(&self) -> u32 {
            // SAFETY: registers are only made with an `Avx2`.
            unsafe { self.min_of() }
        }

        #[inline(always)]
        fn set(&mut self, at: usize, number: u32) {
            // SAFETY: registers are only made with an `Avx2`.
            unsafe { self.put(at, number) }
        }
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn run<J: Job>(level: Avx2, job: J) -> J::Output {
        job.run(level)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod avx2 {
    use super::{AsciiBlock, BLOCK_LEN, Job, Lanes, Level};

    /// No other kind of processor has a level above the baseline yet.
    #[derive(Clone, Copy, Debug)]
    pub enum Avx2 {}

    impl Avx2 {
        /// None.
        pub fn detect() -> Option<Self> {
            None
        }
    }

    impl Level for Avx2 {
        fn run<J: Job>(self, _: J) -> J::Output {
            match self {}
        }

        fn classes(self, _: &[u8; BLOCK_LEN]) -> AsciiBlock {
            match self {}
        }

        type Lanes = [u32; 16];

        fn lanes(self, numbers: [u32; 16]) -> [u32; 16] {
            numbers
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_agree_on_the_classes_of_every_byte() {
        let Some(avx2) = Avx2::detect() else { return };
        // Miri takes its time.
        for byte in (0..=255).step_by(if cfg!(miri) { 51 } else { 1 }) {
            for at in 0..BLOCK_LEN {
                let mut bytes = [b'a'; BLOCK_LEN];
                bytes[at] = byte;
                let expected = Baseline.classes(&bytes);
                assert_eq!(avx2.classes(&bytes), expected, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn levels_agree_on_sixteen_numbers() {
        let Some(avx2) = Avx2::detect() else { return };
        let mut numbers: [u32; 16] = std::array::from_fn(|i| 900 + i as u32);
        let mut lanes = avx2.lanes(numbers);
        // Numbers above the highest that is signed, and places that there are none of.
        for (i, number) in [7, u32::MAX, 1 << 31, 3, 0, 1000]
            .into_iter()
            .cycle()
            .enumerate()
            .take(120)
        {
            let at = i * 5 % 19;
            lanes.set(at, number);
            Lanes::set(&mut numbers, at, number);
            assert_eq!(lanes.min(), Lanes::min(&numbers), "{number} at {at}");
        }
        for at in 0..16 {
            let mut one = avx2.lanes([u32::MAX; 16]);
            one.set(at, at as u32);
            assert_eq!(one.min(), at as u32);
        }
    }
}
