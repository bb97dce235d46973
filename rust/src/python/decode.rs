//! Decoding.

use super::convert::{each_of, id_of, list_of};
use super::objects::{bytes_of, list_of as list_of_items, pair_of};
use crate::decode::{self, DecodeError, Joined, UnknownId};
use crate::system::memory;
use crate::utf8;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex};

impl From<UnknownId> for PyErr {
    fn from(error: UnknownId) -> PyErr {
        PyKeyError::new_err(error.0)
    }
}

impl From<DecodeError> for PyErr {
    fn from(error: DecodeError) -> PyErr {
        match error {
            DecodeError::Unknown(id) => id.into(),
            DecodeError::Memory(error) => error.into(),
        }
    }
}

/// The bytes of all tokens, by id.
#[pyclass(module = "bytemill._core", frozen)]
pub struct Decoder {
    inner: Arc<decode::Decoder>,
    /// A buffer to be used again: first-touch page faults are expensive.
    spare: Mutex<Vec<u8>>,
}

/// Buffers larger than this are not kept.
const SPARE: usize = 1 << 20;

impl Decoder {
    pub(super) fn new(inner: Arc<decode::Decoder>) -> Self {
        Self {
            inner,
            spare: Mutex::default(),
        }
    }

    /// Calls `f` with the bytes of `ids`, which are read once.
    fn bytes<R>(&self, ids: &Bound<'_, PyAny>, f: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
        self.bytes_and(ids, |_| Ok(()), f)
    }

    /// As [`Self::bytes`]; `each` is called with the ids, some at a time, all of which are tokens.
    fn bytes_and<R>(
        &self,
        ids: &Bound<'_, PyAny>,
        mut each: impl FnMut(&[u32]) -> PyResult<()>,
        f: impl FnOnce(&[u8]) -> R,
    ) -> PyResult<R> {
        let spare = self
            .spare
            .try_lock()
            .map(|mut spare| std::mem::take(&mut *spare));
        let mut joined = Joined::new(&self.inner, spare.unwrap_or_default());
        each_of(ids, |some| {
            joined.extend(some)?;
            // An iterator that has no end has to end where an id is not a token.
            joined.bytes()?;
            each(some)
        })?;
        let result = f(self.inner.begun(joined.bytes()?));
        let buffer = joined.into_buffer();
        if buffer.capacity() <= SPARE
            && let Ok(mut spare) = self.spare.try_lock()
        {
            *spare = buffer;
        }
        Ok(result)
    }

    fn text<'py>(&self, ids: &Bound<'py, PyAny>, errors: &CStr) -> PyResult<Bound<'py, PyString>> {
        self.bytes(ids, |bytes| text_from(ids.py(), bytes, errors))?
    }
}

/// The text of bytes. PyO3 takes them from a Python object only, which one would have to copy them to.
#[allow(unsafe_code)]
fn text_from<'py>(py: Python<'py>, utf8: &[u8], errors: &CStr) -> PyResult<Bound<'py, PyString>> {
    let len = utf8.len() as ffi::Py_ssize_t;
    // SAFETY: the bytes and the name, which ends in a zero, are read during the call only; what
    // comes back is a reference of our own to a str, or null with an error set.
    unsafe {
        let text = ffi::PyUnicode_DecodeUTF8(utf8.as_ptr().cast(), len, errors.as_ptr());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

#[pymethods]
impl Decoder {
    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        self.bytes(ids, |bytes| bytes_of(ids.py(), bytes))?
    }

    #[pyo3(signature = (ids, errors="replace"))]
    fn decode<'py>(&self, ids: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyString>> {
        self.text(ids, &handler(errors)?)
    }

    #[pyo3(signature = (batch, errors="replace"))]
    fn decode_batch<'py>(
        &self,
        batch: &Bound<'py, PyAny>,
        errors: &str,
    ) -> PyResult<Bound<'py, PyList>> {
        let errors = handler(errors)?;
        let texts = list_of_items::<PyAny>(batch.py(), std::iter::empty())?;
        for ids in batch.try_iter()? {
            texts.append(self.text(&ids?, &errors)?)?;
        }
        Ok(texts)
    }

    fn decode_tokens_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let tokens = list_of_items::<PyAny>(ids.py(), std::iter::empty())?;
        each_of(ids, |some| {
            some.iter().try_for_each(|&id| {
                let token = self.inner.token(id).ok_or(UnknownId(id))?;
                tokens.append(bytes_of(ids.py(), token)?)
            })
        })?;
        Ok(tokens)
    }

    fn decode_with_offsets<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
        let (mut offsets, mut n_chars) = (Vec::new(), 0u32);
        let each = |some: &[u32]| {
            for &id in some {
                let token = self.inner.token(id).ok_or(UnknownId(id))?;
                let token = if offsets.is_empty() {
                    self.inner.begun(token)
                } else {
                    token
                };
                let inside = token.first().is_some_and(|&b| utf8::is_continuation(b));
                memory::push(&mut offsets, n_chars.saturating_sub(u32::from(inside)))?;
                n_chars += utf8::count_chars(token) as u32;
            }
            Ok(())
        };
        let py = ids.py();
        let text = self.bytes_and(ids, each, |bytes| text_from(py, bytes, c"strict"))??;
        pair_of(py, text, list_of(py, &offsets)?)
    }

    fn decode_single_token_bytes<'py>(
        &self,
        id: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let found = id_of(id)?;
        let token = self.inner.token(found).ok_or(UnknownId(found))?;
        bytes_of(id.py(), token)
    }
}

/// The name of an error handler, as `bytes.decode` takes it.
fn handler(errors: &str) -> PyResult<CString> {
    CString::new(errors)
        .map_err(|_| PyValueError::new_err(format!("errors={errors:?}: it holds a null character")))
}
