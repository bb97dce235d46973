//! The keys, as they are.

#[allow(dead_code)]
#[path = "../../../src/text/key.rs"]
pub(crate) mod key;
