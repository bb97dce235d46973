//! Byte-level BPE in Rust: count pretokens, learn merges, encode text.

pub mod error;
pub mod pattern;
pub mod pretokenize;
