//! Encoding files, to memory and to shards.

use super::convert::with_text;
use super::tokenizer::Encoder;
use super::{Pulse, append_chunk, replaces_invalid};
use crate::corpus::{self, Consumer, CorpusOptions, Encoded, Separator, Width};
use crate::error::Error;
use crate::feed::Feed;
use crate::shards::{Checkpoint, ShardOptions, ShardWriter};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyIterator, PyString};
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
) -> PyResult<(Bound<'py, PyByteArray>, Bound<'py, PyByteArray>, u64)> {
    let options = options(dtype, separator, separator_first, num_threads, errors)?;
    let encoder = &encoder.get().inner;
    let sources = sources.try_iter()?.unbind();
    let mut pulse = Pulse::new(progress);
    // A token has four bytes or so of text.
    let mut memory = Memory::new(py, expected_bytes / 4 * options.width.bytes())?;
    let done = py.detach(|| {
        corpus::encode_corpus(encoder, &options, &mut memory, |feed| {
            feed_sources(feed, &sources, &mut pulse)
        })
    });
    if let Some(error) = memory.raised {
        return Err(error);
    }
    done?;
    let Memory {
        ids,
        len,
        ends,
        n_bytes,
        ..
    } = memory;
    let ids = ids.into_bound(py);
    ids.resize(len)?;
    let item = options.width.bytes() as u64;
    let ends = PyByteArray::new_with(py, 8 * ends.len(), |room| {
        for (to, end) in room.chunks_exact_mut(8).zip(ends) {
            to.copy_from_slice(&(end / item).to_ne_bytes());
        }
        Ok(())
    })?;
    Ok((ids, ends, n_bytes))
}

/// Keeps all ids in one bytearray, which grows.
struct Memory {
    ids: Py<PyByteArray>,
    /// Bytes of ids, and room for them.
    len: usize,
    capacity: usize,
    /// Where each document's ids end, in bytes.
    ends: Vec<u64>,
    /// Bytes of text.
    n_bytes: u64,
    /// What Python raised when there was no more memory.
    raised: Option<PyErr>,
}

impl Memory {
    fn new(py: Python<'_>, expected: usize) -> PyResult<Self> {
        let mut new = Self {
            ids: PyByteArray::new(py, &[]).unbind(),
            len: 0,
            capacity: 0,
            ends: Vec::new(),
            n_bytes: 0,
            raised: None,
        };
        // Memory that is not used costs nothing, but only so much may be had at all.
        new.make_room(py, expected.clamp(1 << 20, 1 << 30))?;
        Ok(new)
    }

    fn make_room(&mut self, py: Python<'_>, capacity: usize) -> PyResult<()> {
        let ids = self.ids.bind(py);
        ids.resize(capacity)?;
        self.capacity = capacity;
        Ok(())
    }

    #[allow(unsafe_code)]
    fn append(&mut self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let len = self.len + bytes.len();
        if len > self.capacity {
            self.make_room(py, len.max(2 * self.capacity))?;
        }
        // SAFETY: nobody else has this bytearray yet, and the slice is gone before it is resized again.
        // Copying here, while the workers encode, and not once more at the end into memory that is touched
        // for the first time, makes a first pass over 30 MB a fifth faster.
        let room = unsafe { self.ids.bind(py).as_bytes_mut() };
        room[self.len..len].copy_from_slice(bytes);
        self.len = len;
        Ok(())
    }
}

impl Consumer for Memory {
    fn take(&mut self, encoded: &mut Encoded) -> crate::error::Result<()> {
        for part in &encoded.parts {
            self.n_bytes += part.n_bytes;
            if part.ends {
                self.ends.push((self.len + part.end) as u64);
            }
        }
        Python::attach(|py| self.append(py, encoded.ids())).map_err(|error| {
            self.raised = Some(error);
            Error::Interrupted
        })
    }
}

/// Writes shards; returns the last checkpoint.
#[pyfunction]
#[pyo3(signature = (encoder, sources, dir, dtype, shard_tokens, store, validation_fraction=0.0, checkpoint=None, separator=None, separator_first=false, num_threads=None, errors="strict", progress=None))]
pub fn encode_shards(
    py: Python<'_>,
    encoder: &Bound<'_, Encoder>,
    sources: &Bound<'_, PyAny>,
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
) -> PyResult<String> {
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
    };
    let encoder = &encoder.get().inner;
    let sources = sources.try_iter()?.unbind();
    let mut pulse = Pulse::new(progress);
    // The callback's own exception comes out, not the core's word that it was stopped.
    let mut raised = None;
    let done = py.detach(|| -> PyResult<_> {
        let mut store = |checkpoint: &Checkpoint| {
            let json = checkpoint.to_json();
            Python::attach(|py| store.call1(py, (json,)).map(|_| ())).map_err(|e| {
                raised = Some(e);
                Error::Interrupted
            })
        };
        let mut writer = ShardWriter::new(&shards, checkpoint, &mut store)?;
        corpus::encode_corpus(encoder, &options, &mut writer, |feed| {
            feed_sources(feed, &sources, &mut pulse)
        })?;
        Ok(writer.finish()?)
    });
    match raised {
        Some(error) => Err(error),
        None => Ok(done?.to_json()),
    }
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
                feed.file(&path, &mut |n_bytes| pulse.beat((n_bytes - before,)))?;
            }
            "chunks" => {
                let chunks = Python::attach(|py| what.bind(py).try_iter().map(Bound::unbind))?;
                let mut n_bytes = 0;
                feed.pieces(&name, |buffer| -> PyResult<()> {
                    let n = Python::attach(|py| append_chunk(chunks.bind(py), buffer))?;
                    n_bytes += n as u64;
                    pulse.beat((n_bytes,))
                })?;
            }
            "texts" => {
                let texts = Python::attach(|py| what.bind(py).try_iter().map(Bound::unbind))?;
                feed.begin_source(&name);
                while Python::attach(|py| take_texts(texts.bind(py), feed))? {
                    feed.send()?;
                    pulse.beat((feed.n_bytes() - before,))?;
                }
            }
            other => {
                let message = format!("sources: {other:?} is no kind of source");
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
            .map_err(|_| PyTypeError::new_err(format!("{} is no str", text.get_type())))?;
        with_text(text, |text| feed.text(text))?;
        if feed.ready() {
            return Ok(true);
        }
    }
    Ok(false)
}
