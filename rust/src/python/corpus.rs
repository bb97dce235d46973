//! Encoding files, to memory and to shards.

use super::convert::with_text;
use super::inputs::{append_chunk, replaces_invalid};
use super::memory::{Memory, Raises};
use super::objects::{int_of, str_of, tuple_of};
use super::signals::{Pulse, Raised};
use super::tokenizer::Encoder;
use crate::corpus::checkpoint::Checkpoint;
use crate::corpus::shards::{ShardOptions, ShardWriter};
use crate::corpus::{self, CorpusOptions, Separator, Width};
use crate::text::feed::Feed;
use crate::vocabulary::TYPICAL_TOKEN_BYTES;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString, PyTuple};
use std::path::PathBuf;

fn width(dtype: &str) -> PyResult<Width> {
    match dtype {
        "uint16" => Ok(Width::U16),
        "uint32" => Ok(Width::U32),
        other => Err(PyValueError::new_err(format!(
            "dtype={other:?}: it must be \"uint16\" or \"uint32\""
        ))),
    }
}

fn options(
    dtype: &str,
    separator: Option<u32>,
    separator_first: bool,
    num_threads: Option<usize>,
    errors: &str,
) -> PyResult<CorpusOptions> {
    let mut options = CorpusOptions::new(width(dtype)?);
    options.separator = separator.map(if separator_first {
        Separator::Before
    } else {
        Separator::After
    });
    options.num_threads = num_threads;
    options.replace_invalid = replaces_invalid(errors)?;
    Ok(options)
}

/// The ids of all documents, where each one's end (as 64-bit numbers), and the bytes of text.
#[pyfunction]
#[pyo3(signature = (encoder, sources, dtype, separator=None, separator_first=false, num_threads=None, errors="strict", progress=None, expected_bytes=0))]
pub fn encode_corpus<'py>(
    py: Python<'py>,
    encoder: &Bound<'py, Encoder>,
    sources: &Bound<'py, PyAny>,
    dtype: &str,
    separator: Option<u32>,
    separator_first: bool,
    num_threads: Option<usize>,
    errors: &str,
    progress: Option<Py<PyAny>>,
    expected_bytes: usize,
) -> PyResult<Bound<'py, PyTuple>> {
    let options = options(dtype, separator, separator_first, num_threads, errors)?;
    let encoder = &encoder.get().inner;
    let sources = sources.try_iter()?.unbind();
    let mut pulse = Pulse::new(progress);
    // Memory that is not used costs nothing, but there is a limit to how much can be had at all.
    let expected = expected_bytes / TYPICAL_TOKEN_BYTES * options.width.bytes();
    let mut memory = Memory::new(py, expected.clamp(1 << 20, 1 << 30))?;
    let done = py.detach(|| {
        corpus::encode_corpus(encoder, &options, &mut memory, |feed| {
            feed_sources(feed, &sources, &mut pulse)
        })
    });
    memory.raised()?;
    done?;
    let n_bytes = memory.n_bytes();
    let (ids, ends) = memory.into_arrays(py, &[])?;
    let n_bytes = int_of(py, n_bytes)?;
    tuple_of(py, [ids.into_any(), ends.into_any(), n_bytes.into_any()])
}

/// Writes shards; returns the last checkpoint.
#[pyfunction]
#[pyo3(signature = (encoder, sources, dir, dtype, shard_tokens, store, validation_fraction=0.0, checkpoint=None, separator=None, separator_first=false, num_threads=None, errors="strict", progress=None, sizes=false))]
pub fn encode_shards<'py>(
    py: Python<'py>,
    encoder: &Bound<'py, Encoder>,
    sources: &Bound<'py, PyAny>,
    dir: PathBuf,
    dtype: &str,
    shard_tokens: u64,
    store: Py<PyAny>,
    validation_fraction: f64,
    checkpoint: Option<&str>,
    separator: Option<u32>,
    separator_first: bool,
    num_threads: Option<usize>,
    errors: &str,
    progress: Option<Py<PyAny>>,
    sizes: bool,
) -> PyResult<Bound<'py, PyString>> {
    let mut options = options(dtype, separator, separator_first, num_threads, errors)?;
    let checkpoint = match checkpoint {
        Some(json) => Checkpoint::from_json(json)
            .ok_or_else(|| PyValueError::new_err("checkpoint: it is damaged"))?,
        None => Checkpoint::default(),
    };
    options.hash = validation_fraction > 0.0;
    options.skip_sources = checkpoint.source.saturating_sub(1);
    options.skip_documents = checkpoint.documents;
    let shards = ShardOptions {
        dir,
        width: options.width,
        shard_tokens,
        validation_fraction,
        sizes,
    };
    let encoder = &encoder.get().inner;
    let sources = sources.try_iter()?.unbind();
    let mut pulse = Pulse::new(progress);
    let mut raised = Raised::default();
    let done = py.detach(|| -> PyResult<_> {
        let mut store = |checkpoint: &Checkpoint| {
            let json = checkpoint.to_json();
            raised.keep(Python::attach(|py| {
                store.call1(py, (str_of(py, &json)?,)).map(|_| ())
            }))
        };
        let mut writer = ShardWriter::new(&shards, checkpoint, &mut store)?;
        corpus::encode_corpus(encoder, &options, &mut writer, |feed| {
            feed_sources(feed, &sources, &mut pulse)
        })?;
        Ok(writer.finish()?)
    });
    str_of(py, &raised.or(done)?.to_json())
}

/// Feeds what `sources` yields: (kind, name, what to read).
fn feed_sources(feed: &mut Feed, sources: &Py<PyIterator>, pulse: &mut Pulse) -> PyResult<()> {
    type Source = (String, String, Py<PyAny>);
    loop {
        let next = Python::attach(|py| -> PyResult<Option<Source>> {
            let next = sources.bind(py).clone().next();
            next.map(|source| source?.extract()).transpose()
        })?;
        let Some((kind, name, what)) = next else {
            return Ok(());
        };
        let before = feed.n_bytes();
        match kind.as_str() {
            "file" => {
                let path: PathBuf = Python::attach(|py| what.extract(py))?;
                feed.file(&path, &mut |n_bytes| pulse.beat(&[n_bytes - before]))?;
            }
            "range" => {
                let (path, start, end): (PathBuf, u64, u64) =
                    Python::attach(|py| what.extract(py))?;
                feed.file_range(&name, &path, start..end, &mut |n_bytes| {
                    pulse.beat(&[n_bytes - before])
                })?;
            }
            "chunks" => {
                let chunks = Python::attach(|py| what.bind(py).try_iter().map(Bound::unbind))?;
                let mut n_bytes = 0;
                feed.pieces(&name, |buffer| -> PyResult<()> {
                    let n = Python::attach(|py| append_chunk(chunks.bind(py), buffer))?;
                    n_bytes += n as u64;
                    pulse.beat(&[n_bytes])
                })?;
            }
            "texts" => {
                let texts = Python::attach(|py| what.bind(py).try_iter().map(Bound::unbind))?;
                feed.begin_source(&name)?;
                while Python::attach(|py| take_texts(texts.bind(py), feed))? {
                    feed.send()?;
                    pulse.beat(&[feed.n_bytes() - before])?;
                }
            }
            other => {
                let message = format!("sources: {other:?} is not a kind of source");
                return Err(PyValueError::new_err(message));
            }
        }
    }
}

/// Takes texts until there is enough for a block; false if there are no more.
fn take_texts(texts: &Bound<'_, PyIterator>, feed: &mut Feed) -> PyResult<bool> {
    for text in texts.clone() {
        let text = text?;
        let text = text
            .cast::<PyString>()
            .map_err(|_| PyTypeError::new_err(format!("{} is not a str", text.get_type())))?;
        with_text(text, |text| feed.text(text))??;
        if feed.ready() {
            return Ok(true);
        }
    }
    Ok(false)
}
