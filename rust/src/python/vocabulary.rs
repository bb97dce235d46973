//! What a vocabulary consists of: split patterns, and tokens with their ids.

use super::objects::{bytes_of, int_of, new_dict};
use crate::error::Result;
use crate::pretokenize::Pretokenizer;
use crate::pretokenize::pattern::{self, Named};
use crate::pretokenize::spans;
use crate::vocabulary::listing;
use crate::vocabulary::ranks;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::sync::Arc;

/// All named patterns: their names, regexes, and other regexes that split alike.
#[pyfunction]
pub fn named_patterns() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    Named::OFFERED
        .map(|named| (named.name(), named.regex(), named.aliases().to_vec()))
        .into()
}

/// The regex of a named pattern; any other valid regex unchanged.
#[pyfunction]
pub fn pat_str(name_or_regex: &str) -> PyResult<String> {
    Pretokenizer::new(name_or_regex)?;
    Ok(pattern::pat_str(name_or_regex).to_owned())
}

/// The regex of a named pattern's spans, for its name or regex; None for any other pattern.
#[pyfunction]
pub fn span_pattern(name_or_regex: &str) -> Option<&'static str> {
    Named::find(name_or_regex).and_then(spans::regex_of)
}

/// Whether a pattern, given by its regex, has a scanner of its own.
#[pyfunction]
pub fn has_scanner(pattern: &str) -> bool {
    Named::find(pattern).is_some()
}

/// Tokens with their ids, read from a file.
#[pyclass(module = "bytemill._core", frozen)]
pub struct Ranks {
    pub(super) inner: Arc<ranks::Ranks>,
}

#[pymethods]
impl Ranks {
    /// `None` if the file has to be read slowly.
    #[staticmethod]
    fn read(file: &Bound<'_, PyBytes>) -> PyResult<Option<Self>> {
        let bytes = file.as_bytes();
        let read = || -> Result<_> { Ok(listing::read(bytes)?) };
        let ranks = file.py().detach(read)?;
        Ok(ranks.map(|ranks| Self {
            inner: Arc::new(ranks),
        }))
    }

    fn __len__(&self) -> usize {
        self.inner.ids().len()
    }

    fn __contains__(&self, id: u32) -> bool {
        self.inner.token(id).is_some()
    }

    #[getter]
    fn highest(&self) -> u32 {
        self.inner.highest()
    }

    fn tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tokens = new_dict(py)?;
        let sorted = || -> Result<_> { Ok(self.inner.sorted()?) };
        for (token, id) in py.detach(sorted)? {
            tokens.set_item(bytes_of(py, token)?, int_of(py, id.into())?)?;
        }
        Ok(tokens)
    }

    fn listing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let listed = || -> Result<_> { Ok(self.inner.listing()?) };
        bytes_of(py, &py.detach(listed)?)
    }
}
