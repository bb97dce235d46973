//! What a vocabulary consists of: split patterns, and tokens with their ids.

use super::objects::{bytes_of, int_of, list_of, new_dict};
use crate::error::Result;
use crate::pretokenize::Pretokenizer;
use crate::pretokenize::pattern::{self, Named};
use crate::pretokenize::spans;
use crate::vocabulary::listing;
use crate::vocabulary::ranks;
use crate::vocabulary::tokenizer_json::Model;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
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

    /// Whether it is an id: what is not an int is none.
    fn __contains__(&self, id: &Bound<'_, PyAny>) -> bool {
        id.extract().is_ok_and(|id| self.inner.token(id).is_some())
    }

    fn get(&self, token: &[u8]) -> Option<u32> {
        self.inner.get(token)
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

/// A tokenizer.json whose tokens and merges have been read.
#[pyclass(module = "bytemill._core", frozen)]
pub struct TokenizerJson {
    inner: Model,
}

#[pymethods]
impl TokenizerJson {
    /// `None` if the file has to be read slowly.
    #[staticmethod]
    fn read(file: &Bound<'_, PyBytes>) -> PyResult<Option<Self>> {
        let bytes = file.as_bytes();
        let read = || -> Result<_> { Ok(Model::read(bytes)?) };
        let model = file.py().detach(read)?;
        Ok(model.map(|inner| Self { inner }))
    }

    #[getter]
    fn rest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes_of(py, self.inner.rest())
    }

    fn __len__(&self) -> usize {
        self.inner.n_entries()
    }

    fn ranks<'py>(
        &self,
        added: &Bound<'py, PyDict>,
        whole_tokens: bool,
    ) -> PyResult<Option<(Ranks, Bound<'py, PyList>)>> {
        let texts = added.iter();
        let texts: Vec<(String, u32)> = texts
            .map(|(text, id)| Ok((text.extract()?, id.extract()?)))
            .collect::<PyResult<_>>()?;
        let py = added.py();
        let found = py.detach(|| -> Result<_> { Ok(self.inner.ranks(&texts, whole_tokens)?) })?;
        let Some((ranks, is_entry)) = found else {
            return Ok(None);
        };
        let known = added.iter().zip(is_entry);
        let entries: Vec<_> = known
            .filter_map(|((text, _), is)| is.then_some(text))
            .collect();
        let entries = list_of(py, entries.into_iter().map(Ok))?;
        let inner = Arc::new(ranks);
        Ok(Some((Ranks { inner }, entries)))
    }
}
