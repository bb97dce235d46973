//! Python's signals and exceptions during long work: Ctrl-C, and callbacks that raise.

use super::objects::ints_of;
use crate::error::{Error, Result};
use crate::system::threads::Watch;
use pyo3::prelude::*;
use std::time::{Duration, Instant};

/// Keeps what Python raises while the core works. The core only learns that it is to stop.
#[derive(Debug, Default)]
pub struct Raised(Option<PyErr>);

impl Raised {
    /// Keeps an exception.
    ///
    /// # Errors
    /// [`Error::Interrupted`] in its place.
    pub fn keep<T>(&mut self, result: PyResult<T>) -> Result<T> {
        result.map_err(|error| {
            self.0 = Some(error);
            Error::Interrupted
        })
    }

    /// Lets Python handle its signals; keeps what a handler raises.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if one does.
    pub fn check_signals(&mut self) -> Result<()> {
        self.keep(Python::attach(|py| py.check_signals()))
    }

    /// What was kept, once.
    ///
    /// # Errors
    /// That.
    pub fn take(&mut self) -> PyResult<()> {
        self.0.take().map_or(Ok(()), Err)
    }

    /// What came of the work, unless something was kept.
    ///
    /// # Errors
    /// What was kept, or else the work's own error.
    pub fn or<T, E: Into<PyErr>>(mut self, done: Result<T, E>) -> PyResult<T> {
        self.take()?;
        done.map_err(Into::into)
    }
}

/// Calls `work` without the GIL; Python handles its signals meanwhile, and what a handler raises (for
/// Ctrl-C) ends the work.
pub fn watched<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut Watch) -> Result<R> + Send,
) -> PyResult<R> {
    let mut raised = Raised::default();
    let done = py.detach(|| {
        let mut ask = || raised.check_signals();
        work(&mut Watch::new(&mut ask))
    });
    raised.or(done)
}

/// Lets Python act now and then during long work: Ctrl-C, and a progress callback.
pub struct Pulse {
    callback: Option<Py<PyAny>>,
    next: Instant,
}

impl Pulse {
    const EVERY: Duration = Duration::from_millis(100);

    pub fn new(callback: Option<Py<PyAny>>) -> Self {
        Self {
            callback,
            next: Instant::now() + Self::EVERY,
        }
    }

    /// Runs what is due, with `args` for the callback; what it raises ends the work.
    pub fn beat(&mut self, args: &[u64]) -> PyResult<()> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + Self::EVERY;
        Python::attach(|py| {
            py.check_signals()?;
            match &self.callback {
                Some(callback) => callback.call1(py, ints_of(py, args)?).map(|_| ()),
                None => Ok(()),
            }
        })
    }
}

/// Lets Python handle its signals now and then while the GIL is held.
#[derive(Default)]
pub struct Breaks(usize);

impl Breaks {
    /// Things that are done in about a millisecond.
    const EACH: usize = 1 << 16;

    /// Counts `n` things done.
    #[inline(always)]
    pub fn done(&mut self, py: Python<'_>, n: usize) -> PyResult<()> {
        self.0 += n;
        if self.0 < Self::EACH {
            return Ok(());
        }
        self.0 = 0;
        py.check_signals()
    }
}
