//! Ids as Python ints, made once.

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList};
use std::sync::OnceLock;

/// Ids from here on have no int of their own kept.
const LIMIT: usize = 1 << 18;

/// The ints of a tokenizer's ids, each made when it is first needed. A reference to one that is there
/// costs less than a new one, and 32 bytes less memory: batches of short texts take a fifth less time.
#[derive(Debug, Default)]
pub struct Ints {
    ints: OnceLock<Box<[OnceLock<Py<PyInt>>]>>,
    n_vocab: usize,
}

impl Ints {
    /// For ids below `n_vocab`, or at least the lowest of them.
    pub fn new(n_vocab: usize) -> Self {
        Self {
            ints: OnceLock::new(),
            n_vocab: n_vocab.min(LIMIT),
        }
    }

    /// Ids as a Python list.
    pub fn list_of<'py>(&self, py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
        let ints = self
            .ints
            .get_or_init(|| (0..self.n_vocab).map(|_| OnceLock::new()).collect());
        let int = |&id: &u32| match ints.get(id as usize) {
            Some(int) => int.get_or_init(|| new(py, id).unbind()).bind(py).clone(),
            None => new(py, id),
        };
        PyList::new(py, ids.iter().map(int))
    }
}

#[cold]
fn new(py: Python<'_>, id: u32) -> Bound<'_, PyInt> {
    let Ok(int) = id.into_pyobject(py);
    int
}
