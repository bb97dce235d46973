//! Encoding and decoding in pieces.

use super::convert::{id_of, ids_of, list_of, units_of};
use crate::decode::text::{InvalidBytes, TextDecoder};
use crate::decode::{Decoder, UnknownId};
use crate::encode::Encoder;
use crate::streaming::stream::Stream;
use crate::text::special::SpecialTokens;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString};
use std::sync::Arc;

/// Text in pieces -> ids.
#[pyclass(module = "bytemill._core")]
pub struct StreamEncoder {
    stream: Stream,
    /// The first half of a surrogate pair that the last piece may have been cut in.
    half: Option<u16>,
    ids: Vec<u32>,
}

impl StreamEncoder {
    pub(super) fn with(encoder: Arc<Encoder>, allowed: SpecialTokens) -> Self {
        Self {
            stream: Stream::new(encoder, allowed),
            half: None,
            ids: Vec::new(),
        }
    }

    fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = list_of(py, &self.ids)?;
        self.ids.clear();
        Ok(list)
    }
}

#[pymethods]
impl StreamEncoder {
    fn push<'py>(
        &mut self,
        py: Python<'py>,
        text: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let text = text.cast::<PyString>().map_err(|_| {
            let kind = text.get_type();
            PyTypeError::new_err(format!("a piece of the text is of {kind}; expected a str"))
        })?;
        match text.to_str() {
            Ok(utf8) if self.half.is_none() => self.stream.push(utf8, &mut self.ids)?,
            _ => {
                let mut units = Vec::from_iter(self.half.take());
                units.extend(units_of(text)?);
                if units.last().is_some_and(|u| (0xd800..0xdc00).contains(u)) {
                    self.half = units.pop();
                }
                let text = String::from_utf16_lossy(&units);
                self.stream.push(&text, &mut self.ids)?;
            }
        }
        self.take(py)
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if self.half.take().is_some() {
            self.stream.push("\u{fffd}", &mut self.ids)?;
        }
        self.stream.finish(&mut self.ids)?;
        self.take(py)
    }
}

/// Ids in pieces -> text.
#[pyclass(module = "bytemill._core")]
pub struct StreamDecoder {
    decoder: Arc<Decoder>,
    text: TextDecoder,
}

impl StreamDecoder {
    pub(super) fn with(decoder: Arc<Decoder>, text: TextDecoder) -> Self {
        Self { decoder, text }
    }
}

/// The exception that Python itself has for these bytes.
fn refused(py: Python<'_>, error: &InvalidBytes) -> PyErr {
    let bytes = PyBytes::new(py, &error.bytes);
    match PyString::from_encoded_object(&bytes, Some(c"utf-8"), Some(c"strict")) {
        Ok(_) => PyTypeError::new_err("the bytes are UTF-8 after all"),
        Err(error) => error,
    }
}

#[pymethods]
impl StreamDecoder {
    fn push(&mut self, ids: &Bound<'_, PyAny>) -> PyResult<String> {
        let bytes = if ids.is_instance_of::<PyInt>() {
            let id = id_of(ids)?;
            let token = self.decoder.token(id).ok_or(UnknownId(id))?;
            return self.text.push(token).map_err(|e| refused(ids.py(), &e));
        } else {
            self.decoder.decode(&ids_of(ids)?)?
        };
        self.text.push(&bytes).map_err(|e| refused(ids.py(), &e))
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<String> {
        self.text.finish().map_err(|e| refused(py, &e))
    }
}
