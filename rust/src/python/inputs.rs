//! Text from Python's iterables.

use crate::system::memory;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator};

/// Appends the next chunk that is not empty; returns its length, 0 at the end.
pub fn append_chunk(chunks: &Bound<'_, PyIterator>, buffer: &mut Vec<u8>) -> PyResult<usize> {
    for chunk in chunks.clone() {
        let chunk = chunk?;
        let bytes = chunk.cast::<PyBytes>()?.as_bytes();
        if !bytes.is_empty() {
            memory::append(buffer, bytes)?;
            return Ok(bytes.len());
        }
    }
    Ok(0)
}

/// Whether `errors` asks to read invalid UTF-8 as U+FFFD.
pub fn replaces_invalid(errors: &str) -> PyResult<bool> {
    match errors {
        "strict" => Ok(false),
        "replace" => Ok(true),
        other => {
            let message = format!("errors={other:?}: it must be \"strict\" or \"replace\"");
            Err(PyValueError::new_err(message))
        }
    }
}
