//! Decoding.

use super::convert::{id_of, ids_of, list_of};
use crate::decode::{self, UnknownId};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use std::ffi::{CStr, CString};
use std::sync::Arc;

impl From<UnknownId> for PyErr {
    fn from(error: UnknownId) -> PyErr {
        PyKeyError::new_err(error.0)
    }
}

/// The bytes of all tokens, by id.
#[pyclass(module = "bytemill._core", frozen)]
pub struct Decoder {
    pub(super) inner: Arc<decode::Decoder>,
}

impl Decoder {
    fn text<'py>(&self, ids: &Bound<'py, PyAny>, errors: &CStr) -> PyResult<Bound<'py, PyString>> {
        let bytes = self.decode_bytes(ids)?;
        PyString::from_encoded_object(&bytes, Some(c"utf-8"), Some(errors))
    }
}

#[pymethods]
impl Decoder {
    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let found = ids_of(ids)?;
        let n_bytes = self.inner.n_bytes(&found)?;
        PyBytes::new_with(ids.py(), n_bytes, |bytes| {
            self.inner.write(&found, bytes);
            Ok(())
        })
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
        let texts = PyList::empty(batch.py());
        for ids in batch.try_iter()? {
            texts.append(self.text(&ids?, &errors)?)?;
        }
        Ok(texts)
    }

    fn decode_tokens_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let found = ids_of(ids)?;
        let tokens = found.iter().map(|&id| {
            let token = self.inner.token(id).ok_or(UnknownId(id))?;
            Ok(PyBytes::new(ids.py(), token))
        });
        PyList::new(ids.py(), tokens.collect::<PyResult<Vec<_>>>()?)
    }

    fn decode_with_offsets<'py>(
        &self,
        ids: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyString>, Bound<'py, PyList>)> {
        let found = ids_of(ids)?;
        let mut offsets = Vec::with_capacity(found.len());
        let mut n_chars: u32 = 0;
        for &id in &found {
            let token = self.inner.token(id).ok_or(UnknownId(id))?;
            let inside = token.first().is_some_and(|b| b & 0xc0 == 0x80);
            offsets.push(n_chars.saturating_sub(u32::from(inside)));
            n_chars += token.iter().filter(|&&b| b & 0xc0 != 0x80).count() as u32;
        }
        let text = self.text(ids, c"strict")?;
        Ok((text, list_of(ids.py(), &offsets)?))
    }

    fn decode_single_token_bytes<'py>(
        &self,
        id: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let found = id_of(id)?;
        let token = self.inner.token(found).ok_or(UnknownId(found))?;
        Ok(PyBytes::new(id.py(), token))
    }
}

/// The name of an error handler, as `bytes.decode` takes it.
fn handler(errors: &str) -> PyResult<CString> {
    CString::new(errors)
        .map_err(|_| PyValueError::new_err(format!("errors={errors:?}: it holds a null character")))
}
