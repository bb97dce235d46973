//! Text on its way in: special tokens, documents, and the blocks that threads take.

pub mod documents;
pub mod feed;
pub mod special;
