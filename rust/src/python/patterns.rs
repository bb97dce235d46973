//! Split patterns.

use crate::pretokenize::Pretokenizer;
use crate::pretokenize::pattern::{self, Named};
use crate::pretokenize::spans;
use pyo3::prelude::*;

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
    Named::find(name_or_regex).map(spans::regex_of)
}
