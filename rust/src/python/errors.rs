//! The core's errors as Python's exceptions.

use crate::error::{Error, OutOfMemory};
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

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
            Error::Memory(error) => (*error).into(),
            Error::Interrupted => PyRuntimeError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}

impl From<OutOfMemory> for PyErr {
    fn from(_: OutOfMemory) -> PyErr {
        // With a message it would take memory.
        PyMemoryError::new_err(())
    }
}
