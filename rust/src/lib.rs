//! Byte-level BPE in Rust: count pretokens, learn merges, encode text.
//!
//! The data's way, one room a step: [`text`] takes documents in and [`pretokenize`] cuts them into pretokens;
//! [`train`] counts these and learns merges from the counts, which make a [`vocabulary`]; [`encode`]
//! applies it and [`decode`] undoes that. [`streaming`] is for text that comes in pieces, [`corpus`] for many
//! documents and for files, and [`superwords`] trains in two stages. On the ground are [`error`], `utf8`, [`simd`] and [`system`]; [`normalize`] is for tokenizers that change text first. [`naive`] holds slow,
//! obvious versions that the tests compare with.
//!
//! No room imports one above it; `rust/tests/floors.rs` has the table. Nothing here needs Python: the bindings
//! live in `python/` behind the `python` feature.
//!
//! ```
//! use bytemill::train::{TrainOptions, count::CountOptions, train};
//!
//! let counts = CountOptions::new("gpt2")?.count_texts(["low low lower newest newest"])?;
//! let merges = train(&counts, &TrainOptions::new(257))?;
//! assert_eq!(&*merges.tokens()[256], b"we");
//! # Ok::<(), bytemill::error::Error>(())
//! ```

pub mod corpus;
pub mod decode;
pub mod encode;
pub mod error;
pub mod naive;
pub mod normalize;
pub mod pretokenize;
pub mod simd;
pub mod streaming;
pub mod superwords;
pub mod system;
pub mod text;
pub mod train;
mod utf8;
pub mod vocabulary;

#[cfg(feature = "python")]
mod python;
