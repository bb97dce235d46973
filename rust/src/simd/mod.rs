//! Code compiled for several levels of processors ([`level`]), and what needs it most: the classes of ASCII
//! text by blocks of 64 bytes (`block`).

pub(crate) mod block;
#[cfg(target_arch = "x86_64")]
mod block_avx2;
pub mod level;
