//! Python's objects from Rust's values, or MemoryError. PyO3's own conversions panic where there is no memory.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

/// An int.
///
/// # Errors
/// MemoryError.
#[allow(unsafe_code)]
#[inline]
pub fn int_of(py: Python<'_>, value: u64) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: what comes back is a reference of our own to an int, or null with an error set.
    unsafe {
        let int = ffi::PyLong_FromUnsignedLongLong(value);
        Ok(Bound::from_owned_ptr_or_err(py, int)?.cast_into_unchecked())
    }
}

/// A copy as bytes.
///
/// # Errors
/// MemoryError.
#[allow(unsafe_code)]
pub fn bytes_of<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let len = bytes.len() as ffi::Py_ssize_t;
    // SAFETY: the bytes are copied during the call; what comes back is a reference of our own to a bytes
    // object, or null with an error set.
    unsafe {
        let copy = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), len);
        Ok(Bound::from_owned_ptr_or_err(py, copy)?.cast_into_unchecked())
    }
}

/// A copy as a str.
///
/// # Errors
/// MemoryError.
#[allow(unsafe_code)]
pub fn str_of<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    let len = text.len() as ffi::Py_ssize_t;
    // SAFETY: the text, which is UTF-8, is copied during the call; what comes back is a reference of our
    // own to a str, or null with an error set.
    unsafe {
        let copy = ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), len);
        Ok(Bound::from_owned_ptr_or_err(py, copy)?.cast_into_unchecked())
    }
}

/// A tuple of ints.
///
/// # Errors
/// MemoryError.
#[allow(unsafe_code)]
pub fn ints_of<'py>(py: Python<'py>, values: &[u64]) -> PyResult<Bound<'py, PyTuple>> {
    let len = values.len() as ffi::Py_ssize_t;
    // SAFETY: what comes back is a reference of our own to a tuple, or null with an error set.
    let ints = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(len))? };
    for (i, &value) in values.iter().enumerate() {
        let int = int_of(py, value)?;
        // SAFETY: the tuple is new, and has an empty place there, which takes over the reference.
        unsafe { ffi::PyTuple_SetItem(ints.as_ptr(), i as ffi::Py_ssize_t, int.into_ptr()) };
    }
    // SAFETY: it is a tuple.
    Ok(unsafe { ints.cast_into_unchecked() })
}

/// A tuple of these items.
///
/// # Errors
/// MemoryError.
#[allow(unsafe_code)]
#[inline]
pub fn tuple_of<'py, const N: usize>(
    py: Python<'py>,
    items: [Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyTuple>> {
    // SAFETY: the tuple is new, with an empty place for each item, which takes over the reference.
    unsafe {
        let tuple = Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(N as ffi::Py_ssize_t))?;
        for (i, item) in items.into_iter().enumerate() {
            ffi::PyTuple_SetItem(tuple.as_ptr(), i as ffi::Py_ssize_t, item.into_ptr());
        }
        Ok(tuple.cast_into_unchecked())
    }
}

/// A tuple of two.
///
/// # Errors
/// MemoryError.
#[inline]
pub fn pair_of<'py, A, B>(
    py: Python<'py>,
    first: Bound<'py, A>,
    second: Bound<'py, B>,
) -> PyResult<Bound<'py, PyTuple>> {
    tuple_of(py, [first.into_any(), second.into_any()])
}

/// An empty dict.
///
/// # Errors
/// MemoryError.
#[allow(unsafe_code)]
pub fn new_dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: what comes back is a reference of our own to a dict, or null with an error set.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, ffi::PyDict_New())?.cast_into_unchecked()) }
}

/// A list of the items.
///
/// # Errors
/// MemoryError; that of an item.
#[allow(unsafe_code)]
pub fn list_of<'py, T>(
    py: Python<'py>,
    items: impl ExactSizeIterator<Item = PyResult<Bound<'py, T>>>,
) -> PyResult<Bound<'py, PyList>> {
    let len = items.len() as ffi::Py_ssize_t;
    // SAFETY: what comes back is a reference of our own to a list, or null with an error set.
    let list = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyList_New(len))? };
    for (i, item) in items.take(len as usize).enumerate() {
        // SAFETY: the list has an empty place there, which takes over the reference. Its empty places
        // harm nobody if it is dropped.
        unsafe { ffi::PyList_SetItem(list.as_ptr(), i as ffi::Py_ssize_t, item?.into_ptr()) };
    }
    // SAFETY: it is a list.
    Ok(unsafe { list.cast_into_unchecked() })
}
