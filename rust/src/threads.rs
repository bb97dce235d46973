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

/// Threads that share a piece of work: the caller's own and a pool's.
///
/// The caller works too, as only its thread may run Python's signal handlers in between.
#[derive(Debug)]
pub struct Team {
    others: Option<rayon::ThreadPool>,
    size: usize,
}

impl Team {
    /// A team of as many as [`resolve`] says.
    ///
    /// # Errors
    /// As [`resolve`] and [`pool`].
    pub fn new(num_threads: Option<usize>) -> Result<Self> {
        let size = resolve(num_threads)?;
        let others = if size > 1 {
            Some(pool(size - 1)?)
        } else {
            None
        };
        Ok(Self { others, size })
    }

    /// How many work together.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Calls `work` on each item, one a thread; returns when all are done.
    pub fn run<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        let Some((own, rest)) = items.split_first_mut() else {
            return;
        };
        match &self.others {
            Some(pool) if !rest.is_empty() => pool.in_place_scope(|scope| {
                for item in rest {
                    let work = &work;
                    scope.spawn(move |_| work(item));
                }
                work(own);
            }),
            _ => items.iter_mut().for_each(work),
        }
    }
}
