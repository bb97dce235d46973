//! Encoding and decoding.

use super::with_text;
use crate::encode::{self, Ranks};
use crate::error::Result;
use crate::special::SpecialTokens;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

/// A vocabulary that encodes and decodes.
#[pyclass(module = "bytemill._core", frozen)]
pub struct Encoder {
    pub(super) inner: encode::Encoder,
}

#[pymethods]
impl Encoder {
    #[new]
    fn new(
        py: Python<'_>,
        mergeable_ranks: &Bound<'_, PyDict>,
        special_tokens: &Bound<'_, PyDict>,
        pattern: &str,
    ) -> PyResult<Self> {
        let ranks: Vec<(Vec<u8>, u32)> = mergeable_ranks
            .iter()
            .map(|(token, rank)| Ok((token.extract()?, rank.extract()?)))
            .collect::<PyResult<_>>()?;
        let special: Vec<(String, u32)> = special_tokens
            .iter()
            .map(|(token, id)| Ok((token.extract()?, id.extract()?)))
            .collect::<PyResult<_>>()?;
        let inner = py.detach(|| encode::Encoder::new(Ranks::new(ranks)?, special, pattern))?;
        Ok(Self { inner })
    }

    fn encode(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyString>,
        allowed_special: Vec<String>,
    ) -> PyResult<Vec<u32>> {
        let known = self.inner.special().tokens();
        let allowed = allowed_special.iter().filter(|t| known.contains(t));
        let allowed = SpecialTokens::new(allowed)?;
        let ids = with_text(text, |text| {
            py.detach(|| -> Result<_> {
                let mut ids = Vec::new();
                self.inner.encode(text, &allowed, &mut ids)?;
                Ok(ids)
            })
        })?;
        Ok(ids?)
    }

    fn encode_ordinary(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Vec<u32>> {
        let ids = with_text(text, |text| {
            py.detach(|| -> Result<_> {
                let mut ids = Vec::new();
                self.inner.encode_ordinary(text, &mut ids)?;
                Ok(ids)
            })
        })?;
        Ok(ids?)
    }

    fn decode_bytes<'py>(&self, py: Python<'py>, ids: Vec<i64>) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        for id in ids {
            let token = u32::try_from(id)
                .ok()
                .and_then(|id| self.inner.token_bytes(id));
            match token {
                Some(token) => bytes.extend_from_slice(token),
                None => return Err(PyKeyError::new_err(id)),
            }
        }
        Ok(PyBytes::new(py, &bytes))
    }

    fn merges<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let pairs = py.detach(|| self.inner.ranks().merges())?;
        let bytes = |id| PyBytes::new(py, self.inner.token_bytes(id).unwrap_or_default());
        Ok(pairs.iter().map(|&(a, b)| (bytes(a), bytes(b))).collect())
    }
}
