//! Encoding.

use super::batch::{Lists, Strings};
use super::convert::{array_of, encoded, text_and_starts, text_of};
use super::decode::Decoder;
use super::ints::Ints;
use super::memory::Memory;
use super::objects::{bytes_of, int_of, list_of, pair_of};
use super::signals::watched;
use super::stream::{StreamDecoder, StreamEncoder};
use crate::corpus::Width;
use crate::corpus::batch;
use crate::corpus::batch::IdCounts;
use crate::corpus::texts::{Goal, Options};
use crate::decode;
use crate::decode::text::{Invalid, TextDecoder};
use crate::encode;
use crate::encode::shape::Shape;
use crate::error::Result;
use crate::streaming::offsets;
use crate::system::memory;
use crate::text::special::SpecialTokens;
use crate::vocabulary::Vocabulary;
use crate::vocabulary::ranks::Ranks;
use crate::vocabulary::{FEWEST_TOKEN_BYTES, TYPICAL_TOKEN_BYTES};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};
use std::sync::Arc;

/// Text shorter than this, in bytes, is encoded faster than the GIL is released and taken again.
const SHORT: usize = 4096;

/// Text from this length on, in bytes, takes so long that Ctrl-C must not wait for it.
const LONG: usize = 1 << 20;

/// A set of special tokens to look for.
#[pyclass(module = "bytemill._core", frozen)]
pub struct SpecialSet {
    inner: SpecialTokens,
}

#[pymethods]
impl SpecialSet {
    #[new]
    fn new(tokens: Vec<String>) -> PyResult<Self> {
        Ok(Self {
            inner: SpecialTokens::new(tokens)?,
        })
    }

    /// As tiktoken, this looks at the string as it is, before surrogates are paired.
    fn find<'a>(&'a self, text: &Bound<'_, PyString>) -> PyResult<Option<&'a str>> {
        let found = match text.to_str() {
            Ok(utf8) => self.inner.find(utf8.as_bytes(), 0),
            Err(_) => {
                let bytes = encoded(text, c"utf-8")?;
                self.inner.find(bytes.as_bytes(), 0)
            }
        };
        Ok(found.map(|(which, ..)| &*self.inner.tokens()[which]))
    }
}

/// A vocabulary that encodes.
#[pyclass(module = "bytemill._core", frozen)]
pub struct Encoder {
    pub(super) inner: Arc<encode::Encoder>,
    decoder: Arc<decode::Decoder>,
    ints: Ints,
    always: SpecialTokens,
}

impl Encoder {
    fn allowed<'a>(&'a self, allowed: Option<&'a Bound<'_, SpecialSet>>) -> &'a SpecialTokens {
        match allowed {
            Some(set) => &set.get().inner,
            None => self.inner.special(),
        }
    }

    fn options<'a>(
        &'a self,
        allowed: Option<&'a Bound<'_, SpecialSet>>,
        goal: Goal,
        num_threads: Option<usize>,
    ) -> Options<'a> {
        Options::new(&self.inner, self.allowed(allowed), goal, num_threads)
    }

    fn ids(
        &self,
        text: &Bound<'_, PyString>,
        allowed: &SpecialTokens,
        work: impl FnOnce(&str, &mut Vec<u32>) -> Result<()> + Send,
    ) -> PyResult<Vec<u32>> {
        let utf8 = text_of(text)?;
        let mut ids = memory::with_capacity(utf8.len() / FEWEST_TOKEN_BYTES + 1)?;
        if utf8.len() < SHORT {
            work(&utf8, &mut ids)?;
        } else if utf8.len() < LONG {
            text.py().detach(|| work(&utf8, &mut ids))?;
        } else {
            self.long_text(text.py(), &utf8, allowed, &mut ids)?;
        }
        Ok(ids)
    }

    // Apart, so that nothing of it is in the way of short texts.
    #[cold]
    #[inline(never)]
    fn long_text(
        &self,
        py: Python<'_>,
        text: &str,
        allowed: &SpecialTokens,
        ids: &mut Vec<u32>,
    ) -> PyResult<()> {
        watched(py, |watch| {
            batch::encode(&self.inner, text, allowed, watch, ids)
        })
    }

    fn all_ids(
        &self,
        text: &Bound<'_, PyString>,
        allowed: Option<&Bound<'_, SpecialSet>>,
    ) -> PyResult<Vec<u32>> {
        let allowed = self.allowed(allowed);
        self.ids(text, allowed, |text, ids| {
            self.inner.encode(text, allowed, ids)
        })
    }
}

#[pymethods]
impl Encoder {
    #[new]
    #[pyo3(signature = (mergeable_ranks, special_tokens, pattern, shape=None))]
    fn new(
        py: Python<'_>,
        mergeable_ranks: &Bound<'_, PyAny>,
        special_tokens: &Bound<'_, PyDict>,
        pattern: &str,
        shape: Option<&str>,
    ) -> PyResult<Self> {
        let shape = shape.map(Shape::new).transpose()?;
        let known = mergeable_ranks.cast::<super::vocabulary::Ranks>();
        let known = known.ok().map(|ranks| ranks.get().inner.clone());
        let mut ranks = Vec::new();
        if known.is_none() {
            let given = mergeable_ranks.cast::<PyDict>()?;
            ranks = memory::with_capacity(given.len())?;
            for (token, rank) in given {
                let token = memory::copied(token.cast::<PyBytes>()?.as_bytes())?;
                memory::push(&mut ranks, (token, rank.extract()?))?;
            }
        }
        let special: Vec<(String, u32)> = special_tokens
            .iter()
            .map(|(token, id)| Ok((token.extract()?, id.extract()?)))
            .collect::<PyResult<_>>()?;
        let (inner, decoder) = py.detach(|| -> Result<_> {
            let n_merged = shape.as_ref().and_then(|shape| shape.n_merged);
            let of_characters = shape.as_ref().is_some_and(|shape| shape.of_characters);
            let ranks = match (known, n_merged) {
                (Some(ranks), _) => ranks,
                (None, Some(n_merged)) => Arc::new(match of_characters {
                    true => Ranks::of_characters(ranks, n_merged)?,
                    false => Ranks::ordered(ranks, n_merged)?,
                }),
                (None, None) => Arc::new(Ranks::new(ranks)?),
            };
            let mut spelled = special.clone();
            let mut drops_space = false;
            if let Some(shape) = &shape {
                spelled.splice(0..0, shape.spellings.iter().cloned());
                drops_space = shape.drops_space;
            }
            let decoder = decode::Decoder::new(&ranks, &spelled)?.dropping_space(drops_space);
            let encoder = match shape {
                Some(shape) => {
                    let vocabulary = Vocabulary::with(ranks, shape.whole_tokens)?;
                    encode::Encoder::with(vocabulary, special, pattern, Some(shape.front))?
                }
                None => encode::Encoder::new(ranks, special, pattern)?,
            };
            Ok((encoder, decoder))
        })?;
        Ok(Self {
            ints: Ints::new(inner.n_vocab()),
            always: inner.always().clone(),
            inner: Arc::new(inner),
            decoder: Arc::new(decoder),
        })
    }

    /// A set of special tokens to allow, with all that this vocabulary looks for always.
    fn special_set(&self, tokens: Vec<String>) -> PyResult<SpecialSet> {
        Ok(SpecialSet {
            inner: self.inner.allow(tokens)?,
        })
    }

    #[getter]
    fn decoder(&self) -> Decoder {
        Decoder::new(self.decoder.clone())
    }

    #[pyo3(signature = (text, allowed=None))]
    fn encode<'py>(
        &self,
        text: &Bound<'py, PyString>,
        allowed: Option<&Bound<'py, SpecialSet>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.ints.list_of(text.py(), &self.all_ids(text, allowed)?)
    }

    fn encode_ordinary<'py>(&self, text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyList>> {
        let ids = self.ids(text, &self.always, |text, ids| {
            self.inner.encode_ordinary(text, ids)
        })?;
        self.ints.list_of(text.py(), &ids)
    }

    #[pyo3(signature = (text, allowed=None))]
    fn count<'py>(
        &self,
        text: &Bound<'py, PyString>,
        allowed: Option<&Bound<'py, SpecialSet>>,
    ) -> PyResult<Bound<'py, PyInt>> {
        let allowed = self.allowed(allowed);
        let utf8 = text_of(text)?;
        let count = match utf8.len() {
            0..SHORT => self.inner.count(&utf8, allowed)?,
            SHORT..LONG => text.py().detach(|| self.inner.count(&utf8, allowed))?,
            _ => watched(text.py(), |watch| {
                batch::count(&self.inner, &utf8, allowed, watch)
            })?,
        };
        int_of(text.py(), count as u64)
    }

    #[pyo3(signature = (text, width, allowed=None))]
    fn encode_to_array<'py>(
        &self,
        text: &Bound<'py, PyString>,
        width: usize,
        allowed: Option<&Bound<'py, SpecialSet>>,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        array_of(text.py(), &self.all_ids(text, allowed)?, width)
    }

    #[pyo3(signature = (texts, num_threads=None, allowed=None))]
    fn encode_batch<'py>(
        &self,
        texts: &Bound<'py, PyList>,
        num_threads: Option<usize>,
        allowed: Option<&Bound<'py, SpecialSet>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let strings = Strings::new(texts)?;
        let options = self.options(allowed, Goal::Ids, num_threads);
        let mut lists = Lists::new(&self.ints, strings.n_chars());
        strings.encode(&options, &mut lists)?;
        lists.into_list(texts.py())
    }

    #[pyo3(signature = (texts, width, num_threads=None, allowed=None))]
    fn encode_batch_to_arrays<'py>(
        &self,
        texts: &Bound<'py, PyList>,
        width: usize,
        num_threads: Option<usize>,
        allowed: Option<&Bound<'py, SpecialSet>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (py, strings) = (texts.py(), Strings::new(texts)?);
        let width = match width {
            2 => Width::U16,
            _ => Width::U32,
        };
        let options = self.options(allowed, Goal::Packed(width), num_threads);
        let expected = (strings.n_chars() / TYPICAL_TOKEN_BYTES).min(1 << 28) * width.bytes();
        let mut memory = Memory::new(py, expected)?;
        strings.encode(&options, &mut memory)?;
        let (ids, offsets) = memory.into_arrays(py, &[0])?;
        pair_of(py, ids, offsets)
    }

    #[pyo3(signature = (texts, num_threads=None, allowed=None))]
    fn count_batch<'py>(
        &self,
        texts: &Bound<'py, PyList>,
        num_threads: Option<usize>,
        allowed: Option<&Bound<'py, SpecialSet>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut counts = IdCounts::default();
        let options = self.options(allowed, Goal::Count, num_threads);
        Strings::new(texts)?.encode(&options, &mut counts)?;
        let counts = counts.counts.iter();
        list_of(texts.py(), counts.map(|&n| int_of(texts.py(), n)))
    }

    #[pyo3(signature = (text, allowed=None))]
    fn encode_with_offsets<'py>(
        &self,
        text: &Bound<'py, PyString>,
        allowed: Option<&Bound<'py, SpecialSet>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let allowed = self.allowed(allowed);
        let (utf8, starts) = text_and_starts(text)?;
        let (ids, mut spans) = text.py().detach(|| -> Result<_> {
            let (ids, spans) = offsets::encode_with_spans(&self.inner, &utf8, allowed)?;
            let spans = offsets::char_spans(&utf8, &spans)?;
            Ok((ids, spans))
        })?;
        if let Some(starts) = starts {
            for (start, end) in &mut spans {
                (*start, *end) = (starts[*start], starts[*end]);
            }
        }
        let py = text.py();
        let spans = spans
            .iter()
            .map(|&(start, end)| pair_of(py, int_of(py, start as u64)?, int_of(py, end as u64)?));
        pair_of(py, self.ints.list_of(py, &ids)?, list_of(py, spans)?)
    }

    #[pyo3(signature = (text, max_tokens, allowed=None))]
    fn truncate<'py>(
        &self,
        text: &Bound<'py, PyString>,
        max_tokens: usize,
        allowed: Option<&Bound<'py, SpecialSet>>,
    ) -> PyResult<Bound<'py, PyInt>> {
        let allowed = self.allowed(allowed);
        let (utf8, starts) = text_and_starts(text)?;
        let n_chars = text.py().detach(|| -> Result<_> {
            let end = offsets::truncate(&self.inner, &utf8, allowed, max_tokens)?;
            Ok(utf8[..end].chars().count())
        })?;
        let n_chars = starts.map_or(n_chars, |starts| starts[n_chars]);
        int_of(text.py(), n_chars as u64)
    }

    #[pyo3(signature = (allowed=None))]
    fn stream(&self, allowed: Option<&Bound<'_, SpecialSet>>) -> StreamEncoder {
        StreamEncoder::with(self.inner.clone(), self.allowed(allowed).clone())
    }

    fn stream_decoder(&self, errors: &str) -> PyResult<StreamDecoder> {
        let invalid = match errors {
            "replace" => Invalid::Replace,
            "strict" => Invalid::Refuse,
            other => {
                let message = format!("errors={other:?}: it must be \"replace\" or \"strict\"");
                return Err(PyValueError::new_err(message));
            }
        };
        let text = TextDecoder::new(invalid);
        Ok(StreamDecoder::with(self.decoder.clone(), text))
    }

    fn splits<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(splits) = py.detach(|| self.inner.vocabulary().splits())? else {
            return Ok(None);
        };
        let bytes = |id| bytes_of(py, self.inner.token_bytes(id).unwrap_or_default());
        let one = |split: &Option<(u32, u32)>| match split {
            Some((a, b)) => Ok(pair_of(py, bytes(*a)?, bytes(*b)?)?.into_any()),
            None => Ok(py.None().into_bound(py)),
        };
        Ok(Some(list_of(py, splits.iter().map(one))?))
    }

    fn merges<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let pairs = py.detach(|| self.inner.ranks().merges())?;
        let bytes = |id| bytes_of(py, self.inner.token_bytes(id).unwrap_or_default());
        let pairs = pairs.iter();
        list_of(py, pairs.map(|&(a, b)| pair_of(py, bytes(a)?, bytes(b)?)))
    }
}
