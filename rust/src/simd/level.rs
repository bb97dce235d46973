//! Instructions that not every processor of its kind has, used where they are there.

use crate::simd::block::{BLOCK, Block};

/// Work to be compiled for several levels of processors. `run` and all it calls in a loop must be
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

    /// The classes of a block's bytes; see [`Block::new`].
    fn classes(self, bytes: &[u8; BLOCK]) -> Block;

    /// What holds 16 numbers.
    type Lanes: Lanes;

    /// 16 numbers.
    fn lanes(self, numbers: [u32; 16]) -> Self::Lanes;
}

/// 16 numbers, in registers if there are such.
pub trait Lanes: Copy {
    /// The least of them.
    fn least(&self) -> u32;
    /// Sets the one at `at`, if there is one.
    fn set(&mut self, at: usize, number: u32);
}

impl Lanes for [u32; 16] {
    #[inline(always)]
    fn least(&self) -> u32 {
        self.iter().fold(u32::MAX, |a, &b| a.min(b))
    }

    #[inline(always)]
    fn set(&mut self, at: usize, number: u32) {
        if let Some(place) = self.get_mut(at) {
            *place = number;
        }
    }
}

/// Does `job` as well as this processor can.
#[inline(always)]
pub fn run<J: Job>(job: J) -> J::Output {
    match Wide::detect() {
        Some(wide) => wide.run(job),
        None => Least.run(job),
    }
}

/// What every processor has that this was built for.
#[derive(Clone, Copy, Debug)]
pub struct Least;

impl Level for Least {
    #[inline(never)]
    fn run<J: Job>(self, job: J) -> J::Output {
        job.run(self)
    }

    #[inline(always)]
    fn classes(self, bytes: &[u8; BLOCK]) -> Block {
        Block::new(bytes)
    }

    type Lanes = [u32; 16];

    #[inline(always)]
    fn lanes(self, numbers: [u32; 16]) -> [u32; 16] {
        numbers
    }
}

pub use wide::Wide;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod wide {
    use super::{BLOCK, Block, Job, Lanes, Level};
    use crate::simd::block_avx2 as avx2;
    use std::arch::x86_64::*;

    /// Proof that the processor has AVX2 and the instructions for bits that came with it (x86-64-v3).
    /// With them, encoding takes about a tenth less time.
    #[derive(Clone, Copy, Debug)]
    pub struct Wide(());

    impl Wide {
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

    impl Level for Wide {
        #[inline(always)]
        fn run<J: Job>(self, job: J) -> J::Output {
            // SAFETY: there is no `Wide` but on a processor that has all of these.
            unsafe { run(self, job) }
        }

        #[inline(always)]
        fn classes(self, bytes: &[u8; BLOCK]) -> Block {
            // SAFETY: as above.
            unsafe { avx2::classes(bytes) }
        }

        type Lanes = Registers;

        #[inline(always)]
        fn lanes(self, numbers: [u32; 16]) -> Registers {
            // SAFETY: as above.
            unsafe { Registers::new(&numbers) }
        }
    }

    /// Made only where there is a [`Wide`].
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
        fn least_of(&self) -> u32 {
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

    /// In memory, reading all after setting one would wait for that to be written.
    impl Lanes for Registers {
        #[inline(always)]
        fn least(&self) -> u32 {
            // SAFETY: as above.
            unsafe { self.least_of() }
        }

        #[inline(always)]
        fn set(&mut self, at: usize, number: u32) {
            // SAFETY: as above.
            unsafe { self.put(at, number) }
        }
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn run<J: Job>(level: Wide, job: J) -> J::Output {
        job.run(level)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod wide {
    use super::{BLOCK, Block, Job, Lanes, Level};

    /// No other kind of processor has a level above the least yet.
    #[derive(Clone, Copy, Debug)]
    pub enum Wide {}

    impl Wide {
        /// None.
        pub fn detect() -> Option<Self> {
            None
        }
    }

    impl Level for Wide {
        fn run<J: Job>(self, _: J) -> J::Output {
            match self {}
        }

        fn classes(self, _: &[u8; BLOCK]) -> Block {
            match self {}
        }

        type Lanes = [u32; 16];

        fn lanes(self, numbers: [u32; 16]) -> [u32; 16] {
            numbers
        }
    }
}
