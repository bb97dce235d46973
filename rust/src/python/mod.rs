//! The Python module `bytemill._core`: unpack, release the GIL, call, convert. Its documentation is
//! python/bytemill/_core.pyi.

// A method that takes its arguments from Python has as many as Python has.
#![allow(clippy::too_many_arguments)]

mod batch;
mod convert;
mod corpus;
mod decode;
mod ints;
mod memory;
mod stream;
mod tokenizer;
mod train;

use crate::error::Error;
use crate::system::threads::Watch;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator};
use std::time::{Duration, Instant};

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        match &error {
            Error::Io { path, source } => {
                let message = source.to_string();
                let name = path.display().to_string();
                // With a number Python chooses the subclass, FileNotFoundError and its like.
                match source.raw_os_error() {
                    Some(code) => PyOSError::new_err((code, message, name)),
                    None => PyOSError::new_err(format!("{name}: {message}")),
                }
            }
            Error::Interrupted => PyRuntimeError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}

/// Lets Python act now and then during long work: Ctrl-C, and a progress callback.
struct Pulse {
    callback: Option<Py<PyAny>>,
    next: Instant,
}

impl Pulse {
    const EVERY: Duration = Duration::from_millis(100);

    fn new(callback: Option<Py<PyAny>>) -> Self {
        Self {
            callback,
            next: Instant::now() + Self::EVERY,
        }
    }

    /// Runs what is due, with `args` for the callback; what it raises ends the work.
    fn beat<'py, A>(&mut self, args: A) -> PyResult<()>
    where
        A: for<'a> pyo3::call::PyCallArgs<'a>,
    {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + Self::EVERY;
        Python::attach(|py| {
            py.check_signals()?;
            match &self.callback {
                Some(callback) => callback.call1(py, args).map(|_| ()),
                None => Ok(()),
            }
        })
    }
}

/// Calls `work` without the GIL; Python handles its signals meanwhile, and what a handler raises (for
/// Ctrl-C) ends the work.
fn watched<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut Watch) -> crate::error::Result<R> + Send,
) -> PyResult<R> {
    let mut raised = None;
    let done = py.detach(|| {
        let mut ask = || {
            Python::attach(|py| py.check_signals()).map_err(|error| {
                raised = Some(error);
                Error::Interrupted
            })
        };
        work(&mut Watch::new(&mut ask))
    });
    match raised {
        Some(error) => Err(error),
        None => Ok(done?),
    }
}

/// Lets Python handle its signals now and then while the GIL is held.
#[derive(Default)]
struct Breaks(usize);

impl Breaks {
    /// Things that are done in about a millisecond.
    const EACH: usize = 1 << 16;

    /// Counts `n` things done.
    #[inline(always)]
    fn done(&mut self, py: Python<'_>, n: usize) -> PyResult<()> {
        self.0 += n;
        if self.0 < Self::EACH {
            return Ok(());
        }
        self.0 = 0;
        py.check_signals()
    }
}

/// Appends the next chunk that is not empty; returns its length, 0 at the end.
fn append_chunk(chunks: &Bound<'_, PyIterator>, buffer: &mut Vec<u8>) -> PyResult<usize> {
    for chunk in chunks.clone() {
        let chunk = chunk?;
        let bytes = chunk.cast::<PyBytes>()?.as_bytes();
        if !bytes.is_empty() {
            buffer.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
    }
    Ok(0)
}

/// Whether `errors` asks to read invalid UTF-8 as U+FFFD.
fn replaces_invalid(errors: &str) -> PyResult<bool> {
    match errors {
        "strict" => Ok(false),
        "replace" => Ok(true),
        other => {
            let message = format!("errors={other:?}: it must be \"strict\" or \"replace\"");
            Err(PyValueError::new_err(message))
        }
    }
}

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::corpus::{encode_corpus, encode_shards};
    #[pymodule_export]
    use super::decode::Decoder;
    #[pymodule_export]
    use super::stream::{StreamDecoder, StreamEncoder};
    #[pymodule_export]
    use super::tokenizer::{Encoder, SpecialSet};
    #[pymodule_export]
    use super::train::{CountingPass, Counts, Merges, pat_str, train};
}
