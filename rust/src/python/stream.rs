//! Encoding and decoding in pieces.

use super::convert::{id_of, ids_of, list_of, text_of_units, units_of};
use super::objects::{bytes_of, str_of};
use crate::decode::text::{InvalidBytes, TextDecoder, TextError};
use crate::decode::{Decoder, UnknownId};
use crate::encode::Encoder;
use crate::streaming::stream::Stream;
use crate::system::memory;
use crate::text::special::SpecialTokens;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString};
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
                let more = units_of(text)?;
                let mut units = memory::with_capacity(more.len() + 1)?;
                units.extend(self.half);
                units.extend(more);
                let is_half = |unit: &mut u16| (0xd800..0xdc00).contains(unit);
                let half = units.pop_if(is_half);
                let text = text_of_units(&units)?;
                self.stream.push(&text, &mut self.ids)?;
                self.half = half;
            }
        }
        self.take(py)
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if self.half.is_some() {
            self.stream.push("\u{fffd}", &mut self.ids)?;
            self.half = None;
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
    has_begun: bool,
}

impl StreamDecoder {
    pub(super) fn with(decoder: Arc<Decoder>, text: TextDecoder) -> Self {
        Self {
            decoder,
            text,
            has_begun: false,
        }
    }
}

/// The exception that Python itself has for these bytes.
fn refused(py: Python<'_>, error: &InvalidBytes) -> PyErr {
    let text = bytes_of(py, &error.bytes)
        .and_then(|bytes| PyString::from_encoded_object(&bytes, Some(c"utf-8"), Some(c"strict")));
    match text {
        Ok(_) => PyTypeError::new_err("the bytes are UTF-8 after all"),
        Err(error) => error,
    }
}

impl StreamDecoder {
    /// The text of the next bytes.
    fn take<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
        let part = match self.has_begun {
            true => bytes,
            false => self.decoder.clone().begun(bytes),
        };
        let given = self.step(py, |text| text.push(part))?;
        self.has_begun |= !bytes.is_empty();
        Ok(given)
    }

    /// What `step` of the decoder gives, as a str. Without memory for that the decoder is as before.
    fn step<'py>(
        &mut self,
        py: Python<'py>,
        step: impl FnOnce(&mut TextDecoder) -> Result<String, TextError>,
    ) -> PyResult<Bound<'py, PyString>> {
        let before = self.text.clone();
        match step(&mut self.text) {
            Ok(text) => str_of(py, &text).inspect_err(|_| self.text = before),
            Err(TextError::Invalid(error)) => Err(refused(py, &error)),
            Err(TextError::Memory(error)) => Err(error.into()),
        }
    }
}

#[pymethods]
impl StreamDecoder {
    fn push<'py>(&mut self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
        if ids.is_instance_of::<PyInt>() {
            let (decoder, id) = (Arc::clone(&self.decoder), id_of(ids)?);
            let token = decoder.token(id).ok_or(UnknownId(id))?;
            return self.take(ids.py(), token);
        }
        let bytes = self.decoder.decode(&ids_of(ids)?)?;
        self.take(ids.py(), &bytes)
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.step(py, TextDecoder::finish)
    }
}
