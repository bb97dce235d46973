//! The Python module `bytemill._core`: unpack, release the GIL, call, convert. Its documentation is
//! python/bytemill/_core.pyi.

// A method that takes its arguments from Python has as many as Python has.
#![allow(clippy::too_many_arguments)]

mod convert;
mod decode;
mod stream;
mod tokenizer;
mod train;

use crate::error::Error;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
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

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::decode::Decoder;
    #[pymodule_export]
    use super::stream::{StreamDecoder, StreamEncoder};
    #[pymodule_export]
    use super::tokenizer::{Encoder, SpecialSet};
    #[pymodule_export]
    use super::train::{CountingPass, Counts, Merges, pat_str, train};
}
