//! Python's strings and ids to Rust's, and back.

use super::objects::{self, int_of};
use crate::error::OutOfMemory;
use crate::system::memory;
use crate::system::prefetch::prefetch;
use pyo3::exceptions::{PyKeyError, PyOverflowError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFrozenSet, PyInt, PyList, PyMemoryView, PySet,
    PyString, PyTuple,
};
use std::borrow::Cow;
use std::ffi::CStr;
use std::ptr;

/// The text of a Python string as tiktoken reads it: surrogates in pairs are the character they stand
/// for, alone they are U+FFFD.
pub fn text_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    match text.to_str() {
        Ok(utf8) => Ok(Cow::Borrowed(utf8)),
        Err(_) => Ok(Cow::Owned(text_of_units(&units_of(text)?)?)),
    }
}

/// UTF-16 as text; surrogates that have no other half are U+FFFD.
///
/// # Errors
/// [`OutOfMemory`].
pub fn text_of_units(units: &[u16]) -> Result<String, OutOfMemory> {
    let decoded = char::decode_utf16(units.iter().copied());
    let chars = decoded.map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
    let mut text = String::new();
    text.try_reserve_exact(chars.clone().map(char::len_utf8).sum())?;
    text.extend(chars);
    Ok(text)
}

/// The text in another encoding, surrogates as they are.
#[allow(unsafe_code)]
pub fn encoded<'py>(text: &Bound<'py, PyString>, encoding: &CStr) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: the names, which end in a zero, are read during the call only; what comes back is a
    // reference of our own to a bytes object, or null with an error set.
    unsafe {
        let bytes = ffi::PyUnicode_AsEncodedString(
            text.as_ptr(),
            encoding.as_ptr(),
            c"surrogatepass".as_ptr(),
        );
        Ok(Bound::from_owned_ptr_or_err(text.py(), bytes)?.cast_into_unchecked())
    }
}

/// As [`text_of`], for a closure.
pub fn with_text<R>(text: &Bound<'_, PyString>, f: impl FnOnce(&str) -> R) -> PyResult<R> {
    Ok(f(&text_of(text)?))
}

/// UTF-16 code units; surrogates are themselves.
pub fn units_of(text: &Bound<'_, PyString>) -> PyResult<Vec<u16>> {
    let bytes = encoded(text, c"utf-16-le")?;
    let pairs = bytes.as_bytes().chunks_exact(2);
    let units = pairs.map(|p| u16::from_le_bytes([p[0], p[1]]));
    Ok(memory::collect(units)?)
}

/// The text, and where its characters begin in the Python string if that is not the same: entry `i`
/// is for character `i`, with one more for the end.
pub fn text_and_starts<'a>(
    text: &'a Bound<'_, PyString>,
) -> PyResult<(Cow<'a, str>, Option<Vec<usize>>)> {
    if let Ok(utf8) = text.to_str() {
        return Ok((Cow::Borrowed(utf8), None));
    }
    let units = units_of(text)?;
    let points = encoded(text, c"utf-32-le")?;
    let mut points = points
        .as_bytes()
        .chunks_exact(4)
        .map(|p| u32::from_le_bytes([p[0], p[1], p[2], p[3]]));
    let (mut starts, mut at) = (memory::with_capacity(units.len() + 1)?, 0);
    for decoded in char::decode_utf16(units.iter().copied()) {
        starts.push(at);
        at += 1;
        let point = points.next();
        if let Ok(c) = decoded
            && point.is_some_and(|p| p != u32::from(c))
        {
            // Two surrogates have become one character.
            points.next();
            at += 1;
        }
    }
    starts.push(at);
    Ok((Cow::Owned(text_of_units(&units)?), Some(starts)))
}

/// The item `i` of a batch as a string.
pub fn string_at(item: Bound<'_, PyAny>, i: usize) -> PyResult<Bound<'_, PyString>> {
    item.cast_into::<PyString>().map_err(|error| {
        let kind = error.into_inner().get_type();
        PyTypeError::new_err(format!("texts[{i}] is of {kind}; expected a str"))
    })
}

/// Ids as a Python list.
pub fn list_of<'py>(py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
    objects::list_of(py, ids.iter().map(|&id| int_of(py, id.into())))
}

/// Ids as an array of 16-bit (`width` 2) or 32-bit integers in native byte order, for NumPy.
pub fn array_of<'py>(
    py: Python<'py>,
    ids: &[u32],
    width: usize,
) -> PyResult<Bound<'py, PyByteArray>> {
    PyByteArray::new_with(py, ids.len() * width, |bytes| {
        if width == 2 {
            for (to, &id) in bytes.chunks_exact_mut(2).zip(ids) {
                to.copy_from_slice(&(id as u16).to_ne_bytes());
            }
        } else {
            for (to, &id) in bytes.chunks_exact_mut(4).zip(ids) {
                to.copy_from_slice(&id.to_ne_bytes());
            }
        }
        Ok(())
    })
}

/// Ids from a list or tuple, from anything with the buffer protocol (NumPy's arrays) or with a method
/// `tolist` (torch's tensors), or from another iterable.
///
/// # Errors
/// As [`each_of`].
pub fn ids_of(ids: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    // What has a length need not be grown into.
    let mut found = memory::with_capacity(ids.len().unwrap_or(0).min(LIKELY))?;
    each_of(ids, |some| Ok(memory::append(&mut found, some)?))?;
    Ok(found)
}

/// A length that is not believed beyond this before the ids are there.
const LIKELY: usize = 1 << 20;

/// Calls `f` with ids, some at a time, those of an iterator as they come; what they may be, [`ids_of`] says.
/// They are read once.
///
/// # Errors
/// KeyError for an int that is not an id; TypeError for anything but ints, for arrays and tensors of
/// bools, which are masks, and for sets and dicts, which have no order of ids; those of `f`.
pub fn each_of(ids: &Bound<'_, PyAny>, mut f: impl FnMut(&[u32]) -> PyResult<()>) -> PyResult<()> {
    if let Ok(list) = ids.cast::<PyList>() {
        return each_in_list(list, f);
    }
    if let Ok(tuple) = ids.cast::<PyTuple>() {
        return in_groups(tuple.iter().map(|item| id_of(&item)), f);
    }
    if let Ok(view) = PyMemoryView::from(ids)
        && let Some(found) = ids_in_view(&view)?
    {
        return f(&found);
    }
    if !ids.is_instance_of::<PyString>() && !has_no_order(ids) {
        if let Ok(list) = ids.call_method0("tolist")
            && let Ok(list) = list.cast::<PyList>()
        {
            let first = list.iter().next();
            if first.is_some_and(|item| item.is_instance_of::<PyBool>()) {
                let reason = "the ids are an array of bools, which is a mask; expected ints";
                return Err(PyTypeError::new_err(reason));
            }
            return each_in_list(list, f);
        }
        if let Ok(items) = ids.try_iter() {
            return in_groups(items.map(|item| id_of(&item?)), f);
        }
    }
    let kind = ids.get_type();
    Err(PyTypeError::new_err(format!(
        "the ids are of {kind}; expected a list, an array or a tensor of ints, of one dimension"
    )))
}

/// Calls `f` with ids, some at a time, up to the first error.
fn in_groups(
    ids: impl Iterator<Item = PyResult<u32>>,
    mut f: impl FnMut(&[u32]) -> PyResult<()>,
) -> PyResult<()> {
    let (mut group, mut n) = ([0; 256], 0);
    for id in ids {
        group[n] = id?;
        n += 1;
        if n == group.len() {
            f(&group)?;
            n = 0;
        }
    }
    f(&group[..n])
}

/// All ids, or the first error.
fn collect(ids: impl Iterator<Item = PyResult<u32>>) -> PyResult<Vec<u32>> {
    let mut found = memory::with_capacity(ids.size_hint().0)?;
    for id in ids {
        memory::push(&mut found, id?)?;
    }
    Ok(found)
}

fn has_no_order(ids: &Bound<'_, PyAny>) -> bool {
    ids.is_instance_of::<PySet>()
        || ids.is_instance_of::<PyFrozenSet>()
        || ids.is_instance_of::<PyDict>()
}

/// Calls `f` with the ids in a list, some at a time: few enough for their ints to stay in the fastest
/// cache, and no more room than needed with a short list, where making room matters.
pub fn each_in_list(
    list: &Bound<'_, PyList>,
    f: impl FnMut(&[u32]) -> PyResult<()>,
) -> PyResult<()> {
    match list.len() {
        0..=32 => each_group::<32>(list, f),
        _ => each_group::<256>(list, f),
    }
}

fn each_group<const N: usize>(
    list: &Bound<'_, PyList>,
    mut f: impl FnMut(&[u32]) -> PyResult<()>,
) -> PyResult<()> {
    let mut ids = [0; N];
    let mut at = 0;
    while at < list.len() {
        let mut n = plain_ids(list, at, &mut ids);
        // Where one is not a plain int, others will not be either.
        while n < N && at + n < list.len() {
            ids[n] = id_of(&list.get_item(at + n)?)?;
            n += 1;
        }
        f(&ids[..n])?;
        at += n;
    }
    Ok(())
}

/// Items asked for ahead of those read: memory takes its time meanwhile, but never has a whole group to
/// fetch at once, which would be waited for.
const AHEAD: usize = 32;

/// Reads the ids from index `at` on, up to a group or the first that is not a plain int; returns how
/// many. For plain ints, which is what lists hold, this takes a fifth of the time of asking for them
/// one by one through references of their own (4 instead of 20 ns an id).
#[allow(unsafe_code)]
#[inline]
fn plain_ids<const N: usize>(list: &Bound<'_, PyList>, at: usize, ids: &mut [u32; N]) -> usize {
    let n = list.len().saturating_sub(at).min(N);
    let mut items = [ptr::null_mut(); N];
    let item_at = |i: usize| {
        // SAFETY: `list` is a list, and the index, less than `at + n`, is less than its length.
        let item = unsafe { ffi::PyList_GetItem(list.as_ptr(), (at + i) as ffi::Py_ssize_t) };
        prefetch(item);
        item
    };
    for (i, item) in items[..n.min(AHEAD)].iter_mut().enumerate() {
        *item = item_at(i);
    }
    for (i, id) in ids[..n].iter_mut().enumerate() {
        if i + AHEAD < n {
            items[i + AHEAD] = item_at(i + AHEAD);
        }
        // SAFETY: the list keeps the item alive, as no code that could change it has run since the
        // item was read: PyLong_AsSize_t runs none, unless it fails, which ends this loop. The
        // error that it sets, also for what is not an int, is taken below.
        let value = unsafe { ffi::PyLong_AsSize_t(items[i]) };
        // The highest may be an error; it is left to `id_of` too.
        if value >= u32::MAX as usize {
            PyErr::take(list.py());
            return i;
        }
        *id = value as u32;
    }
    n
}

/// One id.
///
/// # Errors
/// KeyError for an int that is not an id; TypeError for anything but an int.
#[inline]
pub fn id_of(item: &Bound<'_, PyAny>) -> PyResult<u32> {
    item.extract().map_err(|error| not_an_id(item, &error))
}

#[cold]
fn not_an_id(item: &Bound<'_, PyAny>, error: &PyErr) -> PyErr {
    if item.is_instance_of::<PyInt>() || error.is_instance_of::<PyOverflowError>(item.py()) {
        return PyKeyError::new_err(item.clone().unbind());
    }
    let kind = item.get_type();
    PyTypeError::new_err(format!("{item:?} of {kind} is not an id; expected an int"))
}

/// Ids in memory; `None` if it does not hold integers of native byte order in one dimension.
fn ids_in_view(view: &Bound<'_, PyMemoryView>) -> PyResult<Option<Vec<u32>>> {
    let format: String = view.getattr("format")?.extract()?;
    let width: usize = view.getattr("itemsize")?.extract()?;
    let dimensions: usize = view.getattr("ndim")?.extract()?;
    let kind = format.trim_start_matches(['@', '=']);
    let signed = match kind {
        "b" | "h" | "i" | "l" | "q" => true,
        "B" | "H" | "I" | "L" | "Q" => false,
        _ => return Ok(None),
    };
    if dimensions != 1 {
        return Ok(None);
    }
    let bytes = view.call_method0("tobytes")?;
    let bytes = bytes.extract::<Cow<'_, [u8]>>()?;
    let chunks = bytes.chunks_exact(width);
    let ids = match (width, signed) {
        (1, false) => memory::collect(bytes.iter().map(|&b| u32::from(b)))?,
        (2, false) => memory::collect(chunks.map(|c| u32::from(u16::from_ne_bytes(low(c)))))?,
        (4, false) => memory::collect(chunks.map(|c| u32::from_ne_bytes(low(c))))?,
        (8, false) => collect(chunks.map(|c| narrow(u64::from_ne_bytes(low(c)))))?,
        (1, true) => collect(chunks.map(|c| narrow(i8::from_ne_bytes(low(c)))))?,
        (2, true) => collect(chunks.map(|c| narrow(i16::from_ne_bytes(low(c)))))?,
        (4, true) => collect(chunks.map(|c| narrow(i32::from_ne_bytes(low(c)))))?,
        (8, true) => collect(chunks.map(|c| narrow(i64::from_ne_bytes(low(c)))))?,
        _ => return Ok(None),
    };
    Ok(Some(ids))
}

/// The bytes of one item.
fn low<const N: usize>(chunk: &[u8]) -> [u8; N] {
    chunk.first_chunk().copied().unwrap_or([0; N])
}

fn narrow<T: Copy + TryInto<u32> + Into<i128>>(value: T) -> PyResult<u32> {
    let refuse = |_| PyKeyError::new_err(value.into());
    value.try_into().map_err(refuse)
}
