//! Byte-level BPE in Rust: count pretokens, learn merges, encode text.
//!
//! The data's way, one module a step: [`special`] and [`pretokenize`] (with the names of [`pattern`])
//! cut text into pretokens, [`count`] counts them, [`train`] learns merges from the counts, [`encode`]
//! applies them. [`naive`] holds slow, obvious versions that the tests compare with.
//!
//! Nothing here needs Python; the bindings live in `python/` behind the `python` feature.
//!
//! ```
//! use bytemill::train::{TrainOptions, count::CountOptions, train};
//!
//! let counts = CountOptions::new("gpt2")?.count_texts(["low low lower newest newest"])?;
//! let merges = train(&counts, &TrainOptions::new(257))?;
//! assert_eq!(merges.tokens()[256], b"we");
//! # Ok::<(), bytemill::error::Error>(())
//! ```

pub mod corpus;
pub mod decode;
pub mod encode;
pub mod error;
pub mod naive;
pub mod pretokenize;
pub mod simd;
pub mod streaming;
pub mod system;
pub mod text;
pub mod train;
mod utf8;
pub mod vocabulary;

#[cfg(feature = "python")]
mod python;
