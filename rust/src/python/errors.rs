//! The core's errors as Python's exceptions.

use crate::error::Error;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
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
            Error::Interrupted => PyRuntimeError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}
