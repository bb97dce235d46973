//! Models of what the core's threads share; `make models` runs them.
//!
//! The core's own source files are compiled here with a model checker's atomics, locks, channels and
//! threads in the place of the standard library's (`system/sync.rs`):
//!
//! - `encode/short_cache.rs` with loom, which tries each order of steps and, for each load, each value that
//!   the memory model lets it see, within a bound on preemptions ([`cache`]);
//! - `system/pipeline.rs` and `system/threads.rs` with shuttle, which tries seeded random orders of steps;
//!   which waits time out, and which threads cannot be started, is random as well ([`pool`]).
//!
//! A model that fails panics. What the checkers cannot do: shuttle's atomics are sequentially consistent,
//! and a panic of a worker ends the execution, so that is left to the tests with real threads; rayon is
//! represented by threads that are started for the purpose.

// `threads.rs` names `rayon::ThreadPool`.
extern crate self as rayon;

mod cache;
mod encode;
#[allow(dead_code)]
#[path = "../../src/error.rs"]
mod error;
mod pool;
mod rayon_pool;
mod system;
mod text;

pub use rayon_pool::{ThreadPool, ThreadPoolBuilder};

use std::time::Instant;

/// Its name, and what runs it and returns the number of executions.
type Model = (&'static str, fn() -> u64);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let models = cache::MODELS.iter().chain(pool::MODELS);
    let chosen = models.filter(|(name, _)| {
        wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
    });
    for (name, model) in chosen {
        let start = Instant::now();
        let n = model();
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: {n} executions, {seconds:.1} s");
    }
}
