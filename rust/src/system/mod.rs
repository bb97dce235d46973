//! What the machine offers: memory in large pages, prefetching, threads and a pipeline of jobs.

pub(crate) mod pages;
pub(crate) mod pipeline;
pub(crate) mod prefetch;
pub mod threads;
