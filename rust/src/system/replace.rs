//! Files that are whole or absent: written beside their place, then renamed over it.
//!
//! `bytemill.files.replacing` does the same in Python, under the same names.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a file may be there without being locked by whoever is writing it.
const BEGUN: Duration = Duration::from_secs(2);
const END: &str = ".tmp";
const DIGITS: usize = 12;

/// Lets `write` fill a file that then takes the place of `path`, flushed to disk; if anything fails,
/// `path` is as it was. What a killed process left beside it is removed: it is not locked any more.
///
/// # Errors
/// Those of the file system, and of `write`.
pub fn replace(path: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let begin = format!(".{name}.");
    remove_abandoned(path, &begin);
    let digits = RandomState::new().hash_one(std::process::id());
    let digits = format!("{digits:016x}");
    let beside = path.with_file_name(format!("{begin}{}{END}", &digits[..DIGITS]));
    let written = fill(&beside, write).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn fill(beside: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(beside)?;
    // Where nothing can be locked, nothing is found abandoned either.
    let _ = file.try_lock();
    write(&file)?;
    file.sync_all()
}

/// Removes the files that [`replace`] began for `path` in processes that are gone.
fn remove_abandoned(path: &Path, begin: &str) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // If the folder cannot be read, whoever writes there says why.
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let digits = name
            .to_str()
            .and_then(|name| name.strip_prefix(begin)?.strip_suffix(END));
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.is_some_and(|text| text.len() == DIGITS && text.bytes().all(is_digit)) {
            remove_if_abandoned(&folder.join(name));
        }
    }
}

fn remove_if_abandoned(path: &PathBuf) {
    // Windows locks only what is open for writing.
    let Ok(file) = OpenOptions::new().append(true).open(path) else {
        return;
    };
    // One that was made just now may not be locked yet.
    let age = file.metadata().and_then(|found| found.modified());
    let is_old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > BEGUN));
    if is_old && file.try_lock().is_ok() {
        let _ = std::fs::remove_file(path);
    }
}
