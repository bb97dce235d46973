//! Ids of many documents, in memory that Python's arrays can use.

use super::signals::Raised;
use crate::corpus::batch::IdCounts;
use crate::corpus::{Consumer, Encoded};
use crate::system::memory;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

/// Who takes ids with Python's help.
pub trait Raises: Consumer {
    /// What Python raised while ids were taken.
    ///
    /// # Errors
    /// That.
    fn raised(&mut self) -> PyResult<()>;
}

impl Raises for IdCounts {
    fn raised(&mut self) -> PyResult<()> {
        Ok(())
    }
}

impl Raises for Memory {
    fn raised(&mut self) -> PyResult<()> {
        self.raised.take()
    }
}

/// Keeps all ids in one bytearray, which grows.
pub struct Memory {
    ids: Py<PyByteArray>,
    /// Bytes of ids, and room for them.
    len: usize,
    capacity: usize,
    n_ids: u64,
    /// How many ids lie before each document's end.
    ends: Vec<u64>,
    /// Bytes of text.
    n_bytes: u64,
    /// What Python raised when there was no more memory.
    raised: Raised,
}

impl Memory {
    /// With room for so many bytes of ids at first.
    pub fn new(py: Python<'_>, capacity: usize) -> PyResult<Self> {
        let mut new = Self {
            ids: PyByteArray::new_with(py, 0, |_| Ok(()))?.unbind(),
            len: 0,
            capacity: 0,
            n_ids: 0,
            ends: Vec::new(),
            n_bytes: 0,
            raised: Raised::default(),
        };
        new.make_room(py, capacity)?;
        Ok(new)
    }

    /// Bytes of text.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The ids, and after what is in `first` where each document's end, as 64-bit numbers.
    pub fn into_arrays<'py>(
        self,
        py: Python<'py>,
        first: &[u64],
    ) -> PyResult<(Bound<'py, PyByteArray>, Bound<'py, PyByteArray>)> {
        let ids = self.ids.into_bound(py);
        ids.resize(self.len)?;
        let numbers = first.iter().chain(&self.ends);
        let ends = PyByteArray::new_with(py, 8 * (first.len() + self.ends.len()), |room| {
            for (to, end) in room.chunks_exact_mut(8).zip(numbers) {
                to.copy_from_slice(&end.to_ne_bytes());
            }
            Ok(())
        })?;
        Ok((ids, ends))
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
                memory::push(&mut self.ends, self.n_ids + part.end as u64)?;
            }
        }
        self.n_ids += encoded.n_ids as u64;
        let appended = Python::attach(|py| self.append(py, encoded.packed()));
        self.raised.keep(appended)
    }
}
