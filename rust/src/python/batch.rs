//! Batches: Python's strings to tasks, and ids to Python's lists.

use super::convert;
use super::ints::Ints;
use super::memory::Raises;
use super::objects;
use super::signals::{Breaks, Raised};
use crate::corpus::texts::{self, Options, TextFeed};
use crate::corpus::{Consumer, Encoded};
use crate::system::memory;
use crate::system::threads::Watch;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use std::borrow::Cow;

/// The strings of a batch.
pub struct Strings<'py> {
    py: Python<'py>,
    items: Vec<Bound<'py, PyString>>,
    n_chars: usize,
}

impl<'py> Strings<'py> {
    /// The items of a list.
    ///
    /// # Errors
    /// TypeError for one that is not a str.
    pub fn new(texts: &Bound<'py, PyList>) -> PyResult<Self> {
        let py = texts.py();
        let mut breaks = Breaks::default();
        let mut items = memory::with_capacity(texts.len())?;
        let mut n_chars = 0;
        for (i, item) in texts.iter().enumerate() {
            let item = convert::string_at(item, i)?;
            n_chars += item.len()?;
            memory::push(&mut items, item)?;
            breaks.done(py, 1)?;
        }
        Ok(Self { py, items, n_chars })
    }

    /// How many characters they have together.
    pub fn n_chars(&self) -> usize {
        self.n_chars
    }

    /// Gives `consumer` their ids. Most of the time the GIL is not held.
    ///
    /// # Errors
    /// What is raised for a signal (for Ctrl-C, as a rule) and by `consumer`; as the encoder.
    pub fn encode(&self, options: &Options, consumer: &mut impl Raises) -> PyResult<()> {
        let py = self.py;
        let mut raised = Raised::default();
        let mut ask = || raised.check_signals();
        let watch = &mut Watch::new(&mut ask);
        let done = texts::run(options, self.items.len(), self.n_chars, consumer, |tasks| {
            let mut breaks = Breaks::default();
            for item in &self.items {
                let len = put(tasks, item, watch)?;
                if tasks.is_full() {
                    py.detach(|| tasks.make_room(watch))?;
                }
                breaks.done(py, 4 + len / 16)?;
            }
            Ok(py.detach(|| tasks.finish(watch))?)
        });
        raised.take()?;
        consumer.raised().and(done)
    }
}

/// Adds a string to the tasks. The text of one that is not ASCII has to be encoded as UTF-8; Python keeps
/// that with the string. Returns how long it is in bytes.
fn put<'a>(
    tasks: &mut TextFeed<'_, 'a>,
    string: &'a Bound<'_, PyString>,
    watch: &mut Watch,
) -> PyResult<usize> {
    let py = string.py();
    let text = convert::text_of(string)?;
    let len = text.len();
    match text {
        Cow::Borrowed(text) if tasks.is_long(len) => py.detach(|| tasks.text(text, watch))?,
        Cow::Borrowed(text) => tasks.text(text, watch)?,
        Cow::Owned(text) => py.detach(|| tasks.owned(text, watch))?,
    }
    Ok(len)
}

/// Makes a list of each text's ids.
pub struct Lists<'a> {
    ints: &'a Ints,
    /// Ids of which there are no lists yet, and where texts end in them.
    ids: Vec<u32>,
    ends: Vec<usize>,
    /// How many are turned into lists at a time, at least.
    min_batch: usize,
    lists: Vec<Py<PyList>>,
    /// That of a text of which more is to come.
    open: Option<Py<PyList>>,
    raised: Raised,
}

impl<'a> Lists<'a> {
    /// For texts of so many characters.
    pub fn new(ints: &'a Ints, n_chars: usize) -> Self {
        Self {
            ints,
            ids: Vec::new(),
            ends: Vec::new(),
            // The GIL is taken a few times only, as other threads may make that slow; nor is it held long.
            min_batch: (n_chars / 32).clamp(1 << 16, 1 << 20),
            lists: Vec::new(),
            open: None,
            raised: Raised::default(),
        }
    }

    /// All lists, in one.
    ///
    /// # Errors
    /// Those of Python.
    pub fn into_list(mut self, py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
        self.make(py)?;
        let lists = self.lists.into_iter();
        objects::list_of(py, lists.map(|list| Ok(list.into_bound(py))))
    }

    fn make(&mut self, py: Python<'_>) -> PyResult<()> {
        py.check_signals()?;
        let pause = GcPause::new(py);
        let mut start = 0;
        let rest = self.ids.len();
        for (end, ends) in self
            .ends
            .drain(..)
            .map(|end| (end, true))
            .chain([(rest, false)])
        {
            let ids = &self.ids[start..end];
            start = end;
            if ids.is_empty() && !ends {
                continue;
            }
            let list = match self.open.take() {
                Some(list) => {
                    let part = self.ints.list_of(py, ids)?;
                    let list = list.into_bound(py);
                    list.set_slice(list.len(), list.len(), part.as_any())?;
                    list
                }
                None => self.ints.list_of(py, ids)?,
            };
            if ends {
                memory::push(&mut self.lists, list.unbind())?;
            } else {
                self.open = Some(list.unbind());
            }
        }
        self.ids.clear();
        drop(pause);
        Ok(())
    }
}

impl Consumer for Lists<'_> {
    fn take(&mut self, encoded: &mut Encoded) -> crate::error::Result<()> {
        let from = self.ids.len();
        memory::append(&mut self.ids, &encoded.ids)?;
        self.ends.try_reserve(encoded.parts.len())?;
        let ends = encoded.parts.iter().filter(|part| part.ends);
        self.ends.extend(ends.map(|part| from + part.end));
        if self.ids.len() < self.min_batch {
            return Ok(());
        }
        let made = Python::attach(|py| self.make(py));
        self.raised.keep(made)
    }
}

impl Raises for Lists<'_> {
    fn raised(&mut self) -> PyResult<()> {
        self.raised.take()
    }
}

/// Keeps Python from collecting garbage while this thread holds the GIL and runs no code but ours. The
/// collector would look through thousands of new lists several times and find nothing, in a quarter of
/// the time that a batch of short texts takes.
struct GcPause<'py> {
    _py: Python<'py>,
    was_on: bool,
}

impl<'py> GcPause<'py> {
    #[allow(unsafe_code)]
    fn new(py: Python<'py>) -> Self {
        // SAFETY: the GIL is held, as `py` shows.
        let was_on = unsafe { ffi::PyGC_Disable() } == 1;
        Self { _py: py, was_on }
    }
}

impl Drop for GcPause<'_> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if self.was_on {
            // SAFETY: as above.
            unsafe { ffi::PyGC_Enable() };
        }
    }
}
