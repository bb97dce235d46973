//! Thread pools: one for each piece of work, gone after it, so that a fork finds no threads to lose.

use crate::error::{Error, Result};

/// The number of threads to use for what the caller asked.
///
/// # Errors
/// [`Error::Argument`] for 0.
pub fn resolve(num_threads: Option<usize>) -> Result<usize> {
    match num_threads {
        Some(0) => Err(Error::Argument {
            name: "num_threads",
            value: "0".to_owned(),
            reason: "it must be at least 1 (or None for one a core)".to_owned(),
        }),
        Some(n) => Ok(n.min(1024)),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// A pool of `n` threads.
///
/// # Errors
/// [`Error::Argument`] if the system cannot start them.
pub fn pool(n: usize) -> Result<rayon::ThreadPool> {
    let built = rayon::ThreadPoolBuilder::new().num_threads(n).build();
    built.map_err(|e| Error::Argument {
        name: "num_threads",
        value: n.to_string(),
        reason: format!("the threads could not be started: {e}"),
    })
}
