//! Ids as Python ints, made once.

use super::convert::list_of;
use crate::prefetch::prefetch;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList};
use std::sync::Mutex;

/// Ids from here on have no int of their own kept.
const LIMIT: usize = 1 << 18;

/// Ints looked up at a time: few enough for them to stay in the fastest cache.
const GROUP: usize = 128;

/// The ints of a tokenizer's ids, each made when it is first needed. A reference to one that is there
/// costs less than a new one, and 32 bytes less memory: batches of short texts take a fifth less time.
#[derive(Debug, Default)]
pub struct Ints {
    ints: Mutex<Vec<Option<Py<PyInt>>>>,
    n_vocab: usize,
}

impl Ints {
    /// For ids below `n_vocab`, or at least the lowest of them.
    pub fn new(n_vocab: usize) -> Self {
        Self {
            ints: Mutex::default(),
            n_vocab: n_vocab.min(LIMIT),
        }
    }

    /// Ids as a Python list.
    #[allow(unsafe_code)]
    pub fn list_of<'py>(&self, py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
        let len = ids.len() as ffi::Py_ssize_t;
        // This may collect garbage, and so run any code; what follows runs none, so that the lock is
        // never waited for.
        // SAFETY: what comes back is a reference of our own to a list, or null with an error set.
        let list = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyList_New(len))?.cast_into_unchecked()
        };
        let Ok(mut ints) = self.ints.try_lock() else {
            return list_of(py, ids);
        };
        if ints.is_empty() {
            ints.resize_with(self.n_vocab, || None);
        }
        let mut at = 0;
        for group in ids.chunks(GROUP) {
            for &id in group {
                if let Some(int) = ints.get(id as usize) {
                    prefetch(int);
                }
            }
            for &id in group {
                if let Some(int) = ints.get_mut(id as usize) {
                    prefetch(int.get_or_insert_with(|| new(py, id)).as_ptr());
                }
            }
            for &id in group {
                let int = match ints.get(id as usize) {
                    Some(Some(int)) => int.clone_ref(py),
                    _ => new(py, id),
                };
                // SAFETY: the list is ours alone and has `len` places, of which this one is empty;
                // it takes over the reference.
                unsafe { ffi::PyList_SetItem(list.as_ptr(), at, int.into_ptr()) };
                at += 1;
            }
        }
        Ok(list)
    }
}

#[cold]
fn new(py: Python<'_>, id: u32) -> Py<PyInt> {
    let Ok(int) = id.into_pyobject(py);
    int.unbind()
}
