//! Text on its way in: special tokens, documents, and the blocks that threads take.

pub(crate) mod block_pipeline;
pub mod documents;
pub mod feed;
pub mod key;
pub mod special;
