//! Counting and training.

use super::convert::with_text;
use super::inputs::{append_chunk, replaces_invalid};
use super::objects::{bytes_of, int_of, list_of, pair_of, tuple_of};
use super::signals::{Pulse, Raised};
use crate::pretokenize::{Pretokenizer, pattern};
use crate::system::memory;
use crate::text::feed::Feed;
use crate::text::special::SpecialTokens;
use crate::train::TrainOptions;
use crate::train::count::{CountOptions, Pass};
use crate::train::tie_break::TieBreak;
use crate::train::{counts, counts_bytes, counts_file};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyString, PyTuple};
use std::borrow::Cow;
use std::path::PathBuf;

/// Pretoken counts, with the pattern and the special tokens they were made with.
#[pyclass(module = "bytemill._core")]
pub struct Counts {
    inner: counts::Counts,
}

#[pymethods]
impl Counts {
    #[getter]
    fn pat_str(&self) -> &str {
        self.inner.pat_str()
    }

    #[getter]
    fn special_tokens(&self) -> Vec<String> {
        self.inner.special_tokens().to_vec()
    }

    #[getter]
    fn total(&self) -> u64 {
        self.inner.total()
    }

    #[getter]
    fn n_bytes(&self) -> u64 {
        self.inner.n_bytes()
    }

    #[getter]
    fn held_out(&self) -> f64 {
        self.inner.held_out()
    }

    fn __len__(&self) -> usize {
        self.inner.table().len()
    }

    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let items = py.detach(|| self.inner.items())?;
        let items = items.iter();
        list_of(
            py,
            items.map(|(word, n)| pair_of(py, bytes_of(py, word)?, int_of(py, *n)?)),
        )
    }

    #[staticmethod]
    #[pyo3(signature = (pattern, special_tokens, items, held_out=0.0))]
    fn from_items(
        pattern: &str,
        special_tokens: Vec<String>,
        items: &Bound<'_, PyAny>,
        held_out: f64,
    ) -> PyResult<Self> {
        Pretokenizer::new(pattern)?;
        let special = SpecialTokens::new(special_tokens)?;
        let mut copies = Vec::new();
        for item in items.try_iter()? {
            let (word, n): (Bound<'_, PyAny>, u64) = item?.extract()?;
            let word = memory::copied(&word.extract::<Cow<'_, [u8]>>()?)?;
            memory::push(&mut copies, (word, n))?;
        }
        let pat_str = pattern::pat_str(pattern);
        let inner = counts::Counts::from_items(pat_str, special.tokens(), copies)?;
        let inner = inner.with_held_out(held_out)?;
        Ok(Self { inner })
    }

    fn with_held_out(&self, py: Python<'_>, share: f64) -> PyResult<Self> {
        let inner = py.detach(|| self.inner.copy()?.with_held_out(share))?;
        Ok(Self { inner })
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| counts_file::save(&self.inner, &path))?)
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let inner = py.detach(|| counts_file::load(&path))?;
        Ok(Self { inner })
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| counts_bytes::to_bytes(&self.inner))?;
        bytes_of(py, &bytes)
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let inner = py.detach(|| counts_bytes::from_bytes(data))?;
        Ok(Self { inner })
    }

    /// For pickles and copies.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let bytes = slf.try_borrow()?.to_bytes(py)?.into_any();
        pair_of(py, slf.getattr("from_bytes")?, tuple_of(py, [bytes])?)
    }

    fn merge(&mut self, py: Python<'_>, other: &Bound<'_, Counts>) -> PyResult<()> {
        let other = other.try_borrow().map_err(|_| {
            PyValueError::new_err("counts cannot be merged with themselves; merge a copy")
        })?;
        let other = &other.inner;
        Ok(py.detach(|| self.inner.merge(other))?)
    }
}

/// One counting pass.
#[pyclass(module = "bytemill._core")]
pub struct CountingPass {
    pass: Option<Pass>,
    progress: Option<Py<PyAny>>,
}

impl CountingPass {
    /// Runs `f` on the pass, which is lost if it fails: its counts would be partial.
    fn with_pass(&mut self, f: impl FnOnce(&mut Pass) -> PyResult<()>) -> PyResult<()> {
        let mut pass = self.pass.take().ok_or_else(ended)?;
        f(&mut pass)?;
        self.pass = Some(pass);
        Ok(())
    }

    fn pulse(&self, py: Python<'_>) -> Pulse {
        Pulse::new(self.progress.as_ref().map(|p| p.clone_ref(py)))
    }

    fn open(&self) -> PyResult<&Pass> {
        self.pass.as_ref().ok_or_else(ended)
    }
}

fn ended() -> PyErr {
    PyRuntimeError::new_err("this counting pass has ended (it was finished, or it failed)")
}

#[pymethods]
impl CountingPass {
    #[new]
    #[pyo3(signature = (pattern, special_tokens, doc_cap=None, max_chars=None, num_threads=None, errors="strict", progress=None))]
    fn new(
        pattern: String,
        special_tokens: Vec<String>,
        doc_cap: Option<u64>,
        max_chars: Option<u64>,
        num_threads: Option<usize>,
        errors: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let replace_invalid = replaces_invalid(errors)?;
        let pass = Pass::new(&CountOptions {
            pattern,
            special: SpecialTokens::new(special_tokens)?,
            doc_cap,
            max_chars,
            num_threads,
            block_size: crate::text::documents::DEFAULT_BLOCK_SIZE,
            replace_invalid,
        })?;
        Ok(Self {
            pass: Some(pass),
            progress,
        })
    }

    #[getter]
    fn full(&self) -> PyResult<bool> {
        self.open().map(Pass::full)
    }

    #[getter]
    fn n_chars(&self) -> PyResult<u64> {
        self.open().map(Pass::n_chars)
    }

    #[getter]
    fn n_bytes(&self) -> PyResult<u64> {
        self.open().map(Pass::n_bytes)
    }

    fn feed(&mut self, py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut pulse = self.pulse(py);
        let texts = texts.try_iter()?;
        self.with_pass(|pass| pass.run(|feed| feed_texts(py, feed, &texts, &mut pulse)))
    }

    fn feed_files(&mut self, py: Python<'_>, paths: Vec<PathBuf>) -> PyResult<()> {
        let mut pulse = self.pulse(py);
        self.with_pass(|pass| {
            py.detach(|| {
                pass.run(|feed| {
                    for path in &paths {
                        if !feed.full() {
                            feed.file(path, &mut |n_bytes| pulse.beat(&[n_bytes]))?;
                        }
                    }
                    Ok(())
                })
            })
        })
    }

    fn feed_chunks(
        &mut self,
        py: Python<'_>,
        name: &str,
        chunks: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let mut pulse = self.pulse(py);
        let chunks = chunks.try_iter()?.unbind();
        self.with_pass(|pass| {
            // Taken back only to ask for the next chunk, as the rest may have to wait for workers.
            py.detach(|| {
                pass.run(|feed| {
                    let mut done = feed.n_bytes();
                    feed.pieces(name, |buffer| -> PyResult<()> {
                        let n = Python::attach(|py| append_chunk(chunks.bind(py), buffer))?;
                        done += n as u64;
                        pulse.beat(&[done])
                    })
                })
            })
        })
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<Counts> {
        let pass = self.pass.take().ok_or_else(ended)?;
        let inner = py.detach(|| pass.finish())?;
        Ok(Counts { inner })
    }
}

fn feed_texts(
    py: Python<'_>,
    feed: &mut Feed,
    texts: &Bound<'_, PyIterator>,
    pulse: &mut Pulse,
) -> PyResult<()> {
    for (i, text) in texts.clone().enumerate() {
        let text = text?;
        let text = text.cast::<PyString>().map_err(|_| {
            let kind = text.get_type();
            PyTypeError::new_err(format!("document {i} is of {kind}, not str"))
        })?;
        with_text(text, |text| feed.text(text))??;
        if feed.ready() {
            py.detach(|| feed.send())?;
            pulse.beat(&[feed.n_bytes()])?;
        }
        if feed.full() {
            break;
        }
    }
    Ok(())
}

/// What training made.
#[pyclass(module = "bytemill._core")]
pub struct Merges {
    inner: crate::train::Merges,
}

#[pymethods]
impl Merges {
    fn __len__(&self) -> usize {
        self.inner.tokens().len()
    }

    fn tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let tokens = self.inner.tokens().iter();
        list_of(py, tokens.map(|token| bytes_of(py, token)))
    }

    fn merges<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let tokens = self.tokens(py)?;
        let token = |id: u32| tokens.get_item(id as usize);
        let pairs = self.inner.pairs().iter();
        list_of(py, pairs.map(|&(a, b)| pair_of(py, token(a)?, token(b)?)))
    }
}

/// Learns merges from counts, or in two stages from counts of spans: `superwords` is then the pattern within them
/// and the size from which on merges go across.
#[pyfunction]
#[pyo3(signature = (counts, vocab_size, tie_break="lexicographic", min_frequency=1, max_token_length=None, num_threads=None, progress=None, superwords=None))]
pub fn train(
    py: Python<'_>,
    counts: &Counts,
    vocab_size: usize,
    tie_break: &str,
    min_frequency: u64,
    max_token_length: Option<usize>,
    num_threads: Option<usize>,
    progress: Option<Py<PyAny>>,
    superwords: Option<(String, usize)>,
) -> PyResult<Merges> {
    let tie_break = TieBreak::from_name(tie_break)?;
    let options = TrainOptions {
        vocab_size,
        tie_break,
        min_frequency,
        max_token_length,
        num_threads,
    };
    let mut pulse = Pulse::new(progress);
    let mut raised = Raised::default();
    let counts = &counts.inner;
    let trained = py.detach(|| {
        let tick = &mut |done, all| raised.keep(pulse.beat(&[done as u64, all as u64]));
        match &superwords {
            None => crate::train::train_with(counts, &options, tick),
            Some((pattern, from)) => {
                crate::superwords::train(counts, pattern, *from, &options, tick)
            }
        }
    });
    let inner = raised.or(trained)?;
    Ok(Merges { inner })
}
