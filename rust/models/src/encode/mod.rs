//! The cache, as it is.

#[allow(dead_code)]
#[path = "../../../src/encode/short_cache.rs"]
pub(crate) mod short_cache;
