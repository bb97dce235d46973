//! Memory, as it is.

#[path = "../../../src/system/pages.rs"]
pub(crate) mod pages;
#[path = "../../../src/system/prefetch.rs"]
pub(crate) mod prefetch;
#[path = "../../../src/system/sync.rs"]
pub(crate) mod sync;
