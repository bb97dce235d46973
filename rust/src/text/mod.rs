//! Text on its way in: what is fed ([`feed`]) is cut at special tokens ([`special`], [`added`]) into documents
//! ([`documents`]), which threads take in blocks (`block_pipeline`). [`key`] is how short pretokens are looked
//! up in whatever table.

pub mod added;
pub(crate) mod block_pipeline;
pub mod documents;
pub mod feed;
pub mod key;
pub mod special;
