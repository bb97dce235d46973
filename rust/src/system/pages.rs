//! Tables in large pages of memory.
//!
//! In a table of some megabytes that is read all over, nearly each access to a small page also has to look
//! its address up. With large pages, looking up pretokens takes a fifth less time.

use crate::error::OutOfMemory;
use bytemuck::Zeroable;
use std::ops::{Deref, DerefMut};

/// Bytes of a large page on most systems.
const HUGE: usize = 2 << 20;

/// Smaller tables are left in common pages.
const WORTH_IT: usize = 1 << 20;

/// Numbers that are zero at first. Those of a large table begin at a large page's beginning.
#[derive(Clone, Debug)]
pub struct Pages<T> {
    /// Zeros from the system cost nothing until they are used, but come with only the usual
    /// alignment; so there are more of them than needed.
    all: Box<[T]>,
    start: usize,
    len: usize,
}

impl<T: Zeroable> Pages<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn zeroed(len: usize) -> Result<Self, OutOfMemory> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(OutOfMemory)?;
        let more = if bytes < WORTH_IT {
            0
        } else {
            (bytes.next_multiple_of(HUGE) - bytes + HUGE) / size_of::<T>()
        };
        let all = bytemuck::try_zeroed_slice_box::<T>(len + more).map_err(|()| OutOfMemory)?;
        let start = all.as_ptr().align_offset(HUGE).min(more);
        if more > 0 {
            ask_for_large(&all[start..]);
        }
        Ok(Self { all, start, len })
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.all[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[self.start..self.start + self.len]
    }
}

impl<T: Zeroable + Copy> Pages<T> {
    /// A copy of `items`.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn copied(items: &[T]) -> Result<Self, OutOfMemory> {
        let mut new = Self::zeroed(items.len())?;
        new.copy_from_slice(items);
        Ok(new)
    }
}

/// Asks the system for large pages for what lies in `memory`, which has not been touched yet. Systems
/// that have no such call, or do not heed it, do as they always do.
#[allow(unsafe_code, unused_variables)]
fn ask_for_large<T>(memory: &[T]) {
    #[cfg(target_os = "linux")]
    {
        let start = memory.as_ptr().addr();
        let from = start.next_multiple_of(HUGE);
        let len = (start + size_of_val(memory)).saturating_sub(from) / HUGE * HUGE;
        if len > 0 {
            let pages = memory.as_ptr().wrapping_byte_add(from - start);
            // SAFETY: this says how memory is to be backed, and changes nothing in it. The pages are part
            // of `memory`.
            unsafe { libc::madvise(pages.cast_mut().cast(), len, libc::MADV_HUGEPAGE) };
        }
    }
}
