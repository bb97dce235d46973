//! The core's own files with `unsafe` code, and the cache, with their tests: `make sanitize` runs them where a
//! mistake is seen. The whole core would take Miri hours.

#![allow(dead_code, unused_imports)]

mod encode;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/simd/mod.rs"]
mod simd;
mod system;
mod text;
