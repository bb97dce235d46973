//! What the machine offers: memory in large pages (`pages`), asked for ahead of its use (`prefetch`);
//! files that are whole or absent (`replace`);
//! threads, and an eye on Ctrl-C ([`threads`]); and jobs done by several threads in order (`pipeline`).

pub(crate) mod pages;
pub(crate) mod pipeline;
pub(crate) mod prefetch;
pub(crate) mod replace;
pub mod threads;
