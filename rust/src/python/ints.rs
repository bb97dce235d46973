//! Ids as Python ints, made once.

use super::objects::int_of;
use crate::system::prefetch::prefetch;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList};
use std::sync::Mutex;

/// Ids from here on have no int of their own kept.
const LIMIT: usize = 1 << 18;

/// Ints looked up at a time: few enough for them to stay in the fastest cache.
const GROUP: usize = 128;

/// Ids between two looks for signals: some ten milliseconds.
const PART: usize = 1 << 21;

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

    /// Ids as a Python list; Python handles its signals now and then.
    #[allow(unsafe_code)]
    #[inline]
    pub fn list_of<'py>(&self, py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
        let len = ids.len() as ffi::Py_ssize_t;
        // This may collect garbage, and so run any code.
        // SAFETY: what comes back is a reference of our own to a list, or null with an error set.
        let list = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyList_New(len))?.cast_into_unchecked()
        };
        if ids.len() > PART {
            self.fill_in_parts(&list, ids)?;
        } else {
            // SAFETY: nothing has run since the list was made, and it has `len` places.
            unsafe { self.fill(&list, 0, ids)? };
        }
        Ok(list)
    }

    #[cold]
    #[inline(never)]
    #[allow(unsafe_code)]
    fn fill_in_parts(&self, list: &Bound<'_, PyList>, ids: &[u32]) -> PyResult<()> {
        // A list put together from shorter ones would take a copy, and half as much memory again.
        // SAFETY: this is a list, with no other reference to it; once untracked, the garbage collector
        // shows it to nobody while some of its places are empty. If a signal ends the work, it is
        // freed as any list, which does not mind empty places or being untracked.
        unsafe { ffi::PyObject_GC_UnTrack(list.as_ptr().cast()) };
        for (i, part) in ids.chunks(PART).enumerate() {
            list.py().check_signals()?;
            // SAFETY: the list is ours alone, and has a place for each id; those from here on are empty.
            unsafe { self.fill(list, i * PART, part)? };
        }
        // SAFETY: it is untracked, and full.
        unsafe { ffi::PyObject_GC_Track(list.as_ptr().cast()) };
        Ok(())
    }

    /// Puts ids into a list, from index `at` on. Runs no other code, so that the lock is never waited
    /// for.
    ///
    /// # Safety
    /// Nobody else sees the list, and it has empty places there.
    #[allow(unsafe_code)]
    #[inline]
    unsafe fn fill(&self, list: &Bound<'_, PyList>, at: usize, ids: &[u32]) -> PyResult<()> {
        let py = list.py();
        let mut at = at as ffi::Py_ssize_t;
        let mut guard = self.ints.try_lock().ok();
        let ints = guard.as_deref_mut().map_or(&mut [][..], |ints| {
            // Without memory for them, each is made afresh.
            if ints.is_empty() && ints.try_reserve_exact(self.n_vocab).is_ok() {
                ints.resize_with(self.n_vocab, || None);
            }
            ints
        });
        for group in ids.chunks(GROUP) {
            for &id in group {
                if let Some(int) = ints.get(id as usize) {
                    prefetch(int);
                }
            }
            for &id in group {
                if let Some(int) = ints.get_mut(id as usize) {
                    let int = match int {
                        Some(int) => int,
                        none => none.insert(new(py, id)?),
                    };
                    prefetch(int.as_ptr());
                }
            }
            for &id in group {
                let int = match ints.get(id as usize) {
                    Some(Some(int)) => int.clone_ref(py),
                    _ => new(py, id)?,
                };
                // SAFETY: the place is there and empty, as the caller says; it takes over the
                // reference.
                unsafe { ffi::PyList_SetItem(list.as_ptr(), at, int.into_ptr()) };
                at += 1;
            }
        }
        Ok(())
    }
}

#[cold]
fn new(py: Python<'_>, id: u32) -> PyResult<Py<PyInt>> {
    Ok(int_of(py, id.into())?.unbind())
}
