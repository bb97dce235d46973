//! What the machine offers: memory that may run out (`memory`), in large pages (`pages`), asked for ahead of its
//! use (`prefetch`); files that are whole or absent (`replace`); threads, and an eye on Ctrl-C ([`threads`]);
//! jobs done by several threads in order (`pipeline`), or two side by side (`beside`); and the standard library's names for all this (`sync`).

pub(crate) mod beside;
pub(crate) mod memory;
pub(crate) mod pages;
pub(crate) mod pipeline;
pub(crate) mod prefetch;
pub(crate) mod replace;
pub(crate) mod sync;
pub mod threads;
