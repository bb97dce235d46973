//! What the machine offers: memory that may run out (`memory`), in large pages (`pages`), asked for ahead of its
//! use (`prefetch`);
//! threads, and an eye on Ctrl-C ([`threads`]); and jobs done by several threads in order (`pipeline`).

pub(crate) mod memory;
pub(crate) mod pages;
pub(crate) mod pipeline;
pub(crate) mod prefetch;
pub mod threads;
