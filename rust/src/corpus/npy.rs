//! One-dimensional NumPy files (.npy, format 1.0), written piece by piece and published when they are whole.

use crate::error::{Error, Result};
use crate::system::memory;
use crc32fast::Hasher;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes before the data; any length of array fits.
pub const HEADER: u64 = 128;
const BUFFER: usize = 1 << 20;

/// A file being written, beside its place and under another name.
#[derive(Debug)]
pub struct NpyFile {
    part: PathBuf,
    file: File,
    /// What has been appended and not written.
    buffer: Vec<u8>,
    /// Bytes of data written, and their CRC-32.
    written: u64,
    crc32: Hasher,
}

impl NpyFile {
    /// A new file that is to become `path`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`].
    pub fn create(path: &Path) -> Result<Self> {
        let part = part_path(path);
        let buffer = memory::with_capacity(BUFFER)?;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&part);
        let mut file = opened.map_err(Error::io(&part))?;
        file.write_all(&[0; HEADER as usize])
            .map_err(Error::io(&part))?;
        Ok(Self {
            part,
            file,
            buffer,
            written: 0,
            crc32: Hasher::new(),
        })
    }

    /// Goes on with a file that had `len` bytes of data, with that CRC-32, when it was last synced.
    ///
    /// # Errors
    /// [`Error::BadFile`] if there are fewer; [`Error::Io`].
    pub fn resume(path: &Path, len: u64, crc32: u32) -> Result<Self> {
        let part = part_path(path);
        let file = reopen(&part, len)?;
        Ok(Self {
            part,
            file,
            buffer: memory::with_capacity(BUFFER)?,
            written: len,
            crc32: Hasher::new_with_initial_len(crc32, len),
        })
    }

    /// Bytes of data appended so far.
    pub fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends data.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`].
    pub fn append(&mut self, data: &[u8]) -> Result<()> {
        if self.buffer.len() + data.len() > BUFFER {
            self.flush()?;
        }
        if data.len() >= BUFFER {
            return self.write(data);
        }
        memory::append(&mut self.buffer, data)?;
        Ok(())
    }

    /// Writes what has been appended.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`].
    pub fn flush(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> Result<()> {
        let wrote = self.file.write_all(data);
        wrote.map_err(Error::io(&self.part))?;
        self.crc32.update(data);
        self.written += data.len() as u64;
        Ok(())
    }

    /// Flushes all that has been appended to disk, and returns the CRC-32 of the data.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`].
    pub fn sync(&mut self) -> Result<u32> {
        self.flush()?;
        let synced = self.file.sync_data();
        synced.map_err(Error::io(&self.part))?;
        Ok(self.crc32.clone().finalize())
    }

    /// A mark at this place, for [`Self::move_from`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`].
    pub fn mark(&mut self) -> Result<Mark> {
        self.flush()?;
        Ok(Mark {
            len: self.written,
            crc32: self.crc32.clone(),
        })
    }

    /// Moves all data after a mark to another file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`].
    pub fn move_from(&mut self, mark: Mark, to: &mut NpyFile) -> Result<()> {
        self.flush()?;
        let fail = Error::io(&self.part);
        self.file
            .seek(SeekFrom::Start(HEADER + mark.len))
            .map_err(&fail)?;
        let mut left = self.written - mark.len;
        let mut buffer = memory::zeroed(BUFFER)?;
        while left > 0 {
            let n = left.min(BUFFER as u64) as usize;
            self.file.read_exact(&mut buffer[..n]).map_err(&fail)?;
            to.append(&buffer[..n])?;
            left -= n as u64;
        }
        self.file.set_len(HEADER + mark.len).map_err(&fail)?;
        self.file.seek(SeekFrom::End(0)).map_err(&fail)?;
        self.written = mark.len;
        self.crc32 = mark.crc32;
        Ok(())
    }

    /// Completes the file with its header and flushes it to disk; [`publish`] then gives it its name.
    /// Returns the CRC-32 of the whole file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`].
    pub fn finish(mut self, descr: &str, item: usize) -> Result<u32> {
        self.flush()?;
        let header = header(descr, self.written / item as u64);
        let fail = Error::io(&self.part);
        self.file.seek(SeekFrom::Start(0)).map_err(&fail)?;
        self.file.write_all(&header).map_err(&fail)?;
        self.file.sync_all().map_err(&fail)?;
        let mut crc32 = Hasher::new();
        crc32.update(&header);
        crc32.combine(&self.crc32);
        Ok(crc32.finalize())
    }

    /// Gives the file up.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Memory`].
    pub fn remove(self) -> Result<()> {
        let part = self.part;
        drop(self.file);
        std::fs::remove_file(&part).map_err(Error::io(&part))
    }
}

/// A place in a file.
#[derive(Debug)]
pub struct Mark {
    len: u64,
    crc32: Hasher,
}

/// Gives a finished file of `len` bytes of data its name, unless it has it.
///
/// # Errors
/// [`Error::BadFile`] if there is no such file; [`Error::Io`].
pub fn publish(path: &Path, len: u64) -> Result<()> {
    let part = part_path(path);
    let is_whole = |path: &Path| std::fs::metadata(path).is_ok_and(|m| m.len() == HEADER + len);
    if is_whole(&part) {
        std::fs::rename(&part, path).map_err(Error::io(path))
    } else if is_whole(path) {
        Ok(())
    } else {
        Err(lost(path))
    }
}

/// Flushes the names of renamed files to disk.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_folder(folder: &Path) -> Result<()> {
    // Windows cannot open a folder as a file.
    #[cfg(unix)]
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(Error::io(folder))?;
    let _ = folder;
    Ok(())
}

/// Where a file is until it is whole.
fn part_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

/// As `numpy.save` writes it.
fn header(descr: &str, n_items: u64) -> Vec<u8> {
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n_items},), }}");
    let before = 10; // magic, version, length
    while before + text.len() + 1 < HEADER as usize {
        text.push(' ');
    }
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend_from_slice(&(text.len() as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header
}

/// Opens an unfinished file for appending after `len` bytes of data.
fn reopen(part: &Path, len: u64) -> Result<File> {
    let fail = Error::io(part);
    let opened = OpenOptions::new().read(true).write(true).open(part);
    let mut file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(lost(part)),
        Err(e) => return Err(fail(e)),
    };
    if file.metadata().map_err(&fail)?.len() < HEADER + len {
        return Err(lost(part));
    }
    file.set_len(HEADER + len).map_err(&fail)?;
    file.seek(SeekFrom::End(0)).map_err(&fail)?;
    Ok(file)
}

fn lost(path: &Path) -> Error {
    let reason = "this file of an unfinished run is missing or too short; \
                  remove the output folder and begin again";
    Error::bad_file(path, reason)
}
