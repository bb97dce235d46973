//! The cache, as it is.

#[path = "../../../src/encode/short_cache.rs"]
pub(crate) mod short_cache;
