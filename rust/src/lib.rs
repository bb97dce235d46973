//! Byte-level BPE in Rust: count pretokens, learn merges, encode text.
//!
//! The data's way, one module a step: [`special`] and [`pretokenize`] (with the names of [`pattern`])
//! cut text into pretokens, [`count`] counts them, [`train`] learns merges from the counts, [`encode`]
//! applies them. [`naive`] holds slow, obvious versions that the tests compare with.
//!
//! Nothing here needs Python; the bindings live in `python/` behind the `python` feature.
//!
//! ```
//! use bytemill::{count::CountOptions, train::{TrainOptions, train}};
//!
//! let counts = CountOptions::new("gpt2")?.count_texts(["low low lower newest newest"])?;
//! let merges = train(&counts, &TrainOptions::new(257))?;
//! assert_eq!(merges.tokens()[256], b"we");
//! # Ok::<(), bytemill::error::Error>(())
//! ```

pub mod batch;
mod borders;
mod cache;
pub mod corpus;
pub mod count;
pub mod counts;
pub mod counts_file;
pub mod cpu;
pub mod decode;
pub mod documents;
pub mod encode;
mod encoded;
pub mod error;
pub mod feed;
mod groups;
mod inside;
mod longest;
mod merge;
mod merge_short;
mod merge_table;
mod misses;
pub mod naive;
mod npy;
pub mod offsets;
mod pages;
mod pair_map;
mod pairs;
mod parts;
pub mod pattern;
mod pipeline;
mod prefetch;
pub mod pretokenize;
pub mod ranks;
mod session;
pub mod shards;
pub mod special;
pub mod stream;
pub mod table;
mod texts;
pub mod threads;
mod tokens;
pub mod train;
mod trie;
mod wide_cache;
mod width;
mod word;

#[cfg(feature = "python")]
mod python;
