//! The keys, as they are.

#[path = "../../../src/text/key.rs"]
pub(crate) mod key;
