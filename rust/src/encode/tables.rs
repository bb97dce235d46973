//! What pretokens are looked up in.

use crate::encode::short_cache::ShortCache;
use crate::error::OutOfMemory;
use crate::vocabulary::Vocabulary;

/// A vocabulary, and the ids of the short pretokens that any thread has met lately.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) cache: ShortCache,
}

impl Tables {
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn new(vocabulary: Vocabulary) -> Result<Self, OutOfMemory> {
        Ok(Self {
            vocabulary,
            cache: ShortCache::new()?,
        })
    }
}
