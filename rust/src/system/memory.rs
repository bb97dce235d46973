//! Collections that grow, or say that there is no memory to.
//!
//! Rust's own ways to grow a collection abort the process where memory runs out. What grows with the input
//! or the vocabulary is made and grown here instead, and fails with [`OutOfMemory`]; a caller's limit is
//! then an error like any other. In loops that matter, room is made for many items at a time.
//!
//! Left to abort is what is small and does not grow so: some kilobytes for a call, a thread or a set of special
//! tokens. That is the boxes of errors and jobs; the names of files, and JSON of a checkpoint; what `std` takes to
//! start a thread and for the nodes of a `BTreeMap`; rayon's queues; and the searchers that aho-corasick,
//! regex-syntax and fancy-regex build. The last of these takes some hundred kilobytes for a pattern with Unicode's
//! classes that has neither a scanner nor tables, wherever it is compiled (a `Counts` or an encoder is made, a pass
//! over texts begins) and in each thread that first uses it; and, for a text, its way back through a match: up to
//! some tens of megabytes, by its limit of steps.

use crate::error::{OutOfMemory, Result};
use bytemuck::Zeroable;
use std::alloc::{Layout, alloc};
use std::collections::BinaryHeap;

/// An empty list with room for `n` items.
pub(crate) fn with_capacity<T>(n: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut list = Vec::new();
    list.try_reserve_exact(n)?;
    Ok(list)
}

/// `n` times `value`.
pub(crate) fn filled<T: Clone>(value: T, n: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut list = with_capacity(n)?;
    list.resize(n, value);
    Ok(list)
}

/// `n` zeros, which cost nothing until they are used.
pub(crate) fn zeroed<T: Zeroable>(n: usize) -> Result<Vec<T>, OutOfMemory> {
    bytemuck::allocation::try_zeroed_vec(n).map_err(|()| OutOfMemory)
}

/// All of `items`.
pub(crate) fn collect<T>(items: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let mut list = with_capacity(items.len())?;
    list.extend(items);
    Ok(list)
}

/// A copy of `items`.
pub(crate) fn copied<T: Copy>(items: &[T]) -> Result<Vec<T>, OutOfMemory> {
    let mut list = with_capacity(items.len())?;
    list.extend_from_slice(items);
    Ok(list)
}

/// A copy of `items`, without room for more.
pub(crate) fn boxed_slice<T: Copy>(items: &[T]) -> Result<Box<[T]>, OutOfMemory> {
    Ok(copied(items)?.into_boxed_slice())
}

/// Appends an item.
#[inline(always)]
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), OutOfMemory> {
    if list.len() == list.capacity() {
        list.try_reserve(1)?;
    }
    list.push(item);
    Ok(())
}

/// Appends items.
#[inline(always)]
pub(crate) fn append<T: Copy>(list: &mut Vec<T>, items: &[T]) -> Result<(), OutOfMemory> {
    list.try_reserve(items.len())?;
    list.extend_from_slice(items);
    Ok(())
}

/// Appends `n` zeros.
pub(crate) fn append_zeros<T: Zeroable + Copy>(
    list: &mut Vec<T>,
    n: usize,
) -> Result<(), OutOfMemory> {
    list.try_reserve(n)?;
    list.resize(list.len() + n, T::zeroed());
    Ok(())
}

/// The texts, joined.
pub(crate) fn string(parts: &[&str]) -> Result<String, OutOfMemory> {
    let mut text = String::new();
    text.try_reserve_exact(parts.iter().map(|part| part.len()).sum())?;
    for part in parts {
        text.push_str(part);
    }
    Ok(text)
}

/// Appends a character.
#[inline]
pub(crate) fn push_char(text: &mut String, c: char) -> Result<(), OutOfMemory> {
    text.try_reserve(c.len_utf8())?;
    text.push(c);
    Ok(())
}

/// Makes a list `n` items long, with `value` for those that are new.
#[inline(always)]
pub(crate) fn resize<T: Clone>(list: &mut Vec<T>, n: usize, value: T) -> Result<(), OutOfMemory> {
    list.try_reserve(n.saturating_sub(list.len()))?;
    list.resize(n, value);
    Ok(())
}

/// Puts an item into a heap.
#[inline]
pub(crate) fn push_heap<T: Ord>(heap: &mut BinaryHeap<T>, item: T) -> Result<(), OutOfMemory> {
    heap.try_reserve(1)?;
    heap.push(item);
    Ok(())
}

/// `value` in a box.
#[allow(unsafe_code)]
pub(crate) fn boxed<T>(value: T) -> Result<Box<T>, OutOfMemory> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout has a size. What is allocated with it, and initialized before, may be a box's.
    unsafe {
        let place = alloc(Layout::new::<T>()).cast::<T>();
        if place.is_null() {
            return Err(OutOfMemory);
        }
        place.write(value);
        Ok(Box::from_raw(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_what_was_asked_for() -> Result<(), OutOfMemory> {
        assert_eq!(zeroed::<u32>(3)?, [0, 0, 0]);
        let mut list = filled(7, 3)?;
        push(&mut list, 8)?;
        append(&mut list, &[9, 10])?;
        resize(&mut list, 7, 1)?;
        assert_eq!(list, [7, 7, 7, 8, 9, 10, 1]);
        resize(&mut list, 2, 1)?;
        assert_eq!(*boxed_slice(&list)?, [7, 7]);
        assert_eq!(collect(list.iter().map(|n| n + 1))?, copied(&[8, 8])?);
        assert_eq!(*boxed(list)?, [7, 7]);
        let mut text = string(&["é", "", "a"])?;
        push_char(&mut text, '中')?;
        assert_eq!(text, "éa中");
        Ok(())
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let mut list = vec![1u64, 2];
        let too_many = usize::MAX / 8;
        assert_eq!(with_capacity::<u64>(too_many), Err(OutOfMemory));
        assert_eq!(filled(0u64, too_many), Err(OutOfMemory));
        assert_eq!(zeroed::<u64>(too_many), Err(OutOfMemory));
        assert_eq!(resize(&mut list, too_many, 0), Err(OutOfMemory));
        assert_eq!(list, [1, 2]);
    }
}
