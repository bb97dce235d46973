//! What the machine offers: threads and pipelines as they are, on what a model checker offers.

#[allow(dead_code)]
#[path = "../../../src/system/memory.rs"]
pub(crate) mod memory;
pub(crate) mod pages;
#[allow(dead_code)]
#[path = "../../../src/system/pipeline.rs"]
pub(crate) mod pipeline;
#[path = "../../../src/system/prefetch.rs"]
pub(crate) mod prefetch;
pub(crate) mod sync;
#[allow(dead_code)]
#[path = "../../../src/system/threads.rs"]
pub(crate) mod threads;
