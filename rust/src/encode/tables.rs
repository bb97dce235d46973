//! What pretokens are looked up in.

use crate::encode::short_cache::ShortCache;
use crate::vocabulary::Vocabulary;

/// A vocabulary, and the ids of the short pretokens that any thread has met lately.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) cache: ShortCache,
}

impl Tables {
    pub(crate) fn new(vocabulary: Vocabulary) -> Self {
        Self {
            vocabulary,
            cache: ShortCache::default(),
        }
    }
}
