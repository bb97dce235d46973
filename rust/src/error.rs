//! The one error type: each variant carries the offending value and, where there is one, its place.

use std::collections::TryReserveError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// All that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pattern that the regex engine does not accept.
    #[error("the pattern {pattern:?} is not a valid regex: {reason}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// The regex engine's explanation.
        reason: String,
    },
    /// The regex engine gave up on a text (its backtracking limit, usually).
    #[error(
        "the pattern {pattern:?} failed at byte {offset} of a document: {reason}; \
         make the pattern backtrack less (possessive quantifiers help)"
    )]
    Match {
        /// The pattern as given.
        pattern: String,
        /// Byte offset, in the piece of text being split, where matching began.
        offset: usize,
        /// The regex engine's explanation.
        reason: String,
    },
    /// Bytes that are not UTF-8.
    #[error(
        "{source_name}: invalid UTF-8 at byte {offset}; \
         repair the input or pass errors=\"replace\" to read such bytes as U+FFFD"
    )]
    InvalidUtf8 {
        /// The file, or a word for the input.
        source_name: String,
        /// Offset of the first bad byte in the (decompressed) input.
        offset: u64,
    },
    /// A vocabulary size that cannot hold the bytes and the special tokens.
    #[error(
        "vocab_size={vocab_size} is too small: 256 bytes and {n_special} special tokens \
         need at least {}", 256 + n_special
    )]
    VocabSize {
        /// The size asked for.
        vocab_size: usize,
        /// How many special tokens there are.
        n_special: usize,
    },
    /// An argument out of its range.
    #[error("{name}={value}: {reason}")]
    Argument {
        /// The argument's name as the caller knows it.
        name: &'static str,
        /// What was passed.
        value: String,
        /// What would be accepted.
        reason: String,
    },
    /// A file that could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A saved file that is not what it should be.
    #[error("{}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The work was stopped by the caller (Ctrl-C, an exception in a callback).
    #[error("interrupted")]
    Interrupted,
    /// There was no memory for what was asked.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// Memory that could not be had. What was worked on is as it was before; after memory has been freed, or
/// with less at a time, the same may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory; free some, or work on less at a time")]
pub struct OutOfMemory;

impl From<TryReserveError> for OutOfMemory {
    fn from(_: TryReserveError) -> Self {
        Self
    }
}

impl From<TryReserveError> for Error {
    fn from(_: TryReserveError) -> Self {
        Self::Memory(OutOfMemory)
    }
}

impl Error {
    /// An argument out of its range; see [`Error::Argument`].
    pub(crate) fn argument(
        name: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Argument {
            name,
            value: value.into(),
            reason: reason.into(),
        }
    }

    /// What makes errors of the operating system's about this file, for `map_err`.
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        |source| match source.kind() {
            // Reading to the end of a file says so.
            ErrorKind::OutOfMemory => Self::Memory(OutOfMemory),
            _ => Self::Io {
                path: path.to_owned(),
                source,
            },
        }
    }

    /// A saved file that is not what it should be.
    pub(crate) fn bad_file(path: &Path, reason: impl Into<String>) -> Self {
        Self::BadFile {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
