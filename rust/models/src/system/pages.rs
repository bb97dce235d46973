//! Tables that are as small as they can be: loom follows each of their cells.

use crate::error::OutOfMemory;
use crate::system::sync::AtomicU64;
use std::ops::Deref;

/// Cells of two lines of the cache, whatever was asked for.
const CELLS: usize = 16;

/// Numbers that are zero at first.
#[derive(Debug)]
pub(crate) struct Pages<T>(Box<[T]>);

impl Pages<AtomicU64> {
    pub(crate) fn zeroed(_: usize) -> Result<Self, OutOfMemory> {
        Ok(Self((0..CELLS).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}
