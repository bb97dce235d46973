//! Encoded documents -> shards: NumPy files of ids and of where documents begin, for each split.
//!
//! A shard ends with the document that fills it, so where shards end depends on the input alone. When
//! one is full, all files are flushed to disk, then the caller stores a [`Checkpoint`], then the shard gets
//! its name. Whatever happens in between, [`ShardWriter::new`] goes on from the last checkpoint.

use crate::corpus::checkpoint::{Checkpoint, Shard};
use crate::corpus::encoded::{Consumer, DocumentPart, Encoded};
use crate::corpus::npy::{self, Mark, NpyFile};
use crate::corpus::width::Width;
use crate::error::Result;
use crc32fast::Hasher;
use std::path::{Path, PathBuf};

/// The splits' names, which begin the names of their files.
pub const SPLITS: [&str; 2] = ["train", "val"];
const TRAIN: usize = 0;
const VAL: usize = 1;

/// How shards are written.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// The folder; it must be there.
    pub dir: PathBuf,
    /// What ids are written as.
    pub width: Width,
    /// A shard ends with the document that makes it this long or longer, in ids.
    pub shard_tokens: u64,
    /// A document whose CRC-32 is below this share of 2^32 goes to the validation split.
    pub validation_fraction: f64,
    /// Whether to write how many bytes of text each document has, too: [`sizes_name`].
    pub sizes: bool,
}

/// The names of a shard's files: ids, and where documents begin (and the last ends).
pub fn file_names(split: &str, index: usize) -> (String, String) {
    (
        format!("{split}-{index:05}.npy"),
        format!("{split}-{index:05}.docs.npy"),
    )
}

/// The name of the file with the bytes of text of each of a shard's documents.
pub fn sizes_name(split: &str, index: usize) -> String {
    format!("{split}-{index:05}.sizes.npy")
}

/// The shard being filled.
#[derive(Debug)]
struct Open {
    ids: NpyFile,
    starts: NpyFile,
    sizes: Option<NpyFile>,
    documents: u64,
    bytes: u64,
}

/// A document that goes on in the next block. As its hash is not known yet, it is written to the training
/// split, and moved if it turns out to belong to the other.
#[derive(Debug)]
struct Pending {
    mark: Mark,
    /// Where it begins, in ids.
    start: u64,
    crc32: Hasher,
    bytes: u64,
}

/// Writes shards.
pub struct ShardWriter<'a> {
    options: &'a ShardOptions,
    /// Everything but what is in the open shards.
    state: Checkpoint,
    open: [Option<Open>; 2],
    pending: Option<Pending>,
    store: &'a mut (dyn FnMut(&Checkpoint) -> Result<()> + Send),
}

impl<'a> ShardWriter<'a> {
    /// A writer that goes on from a checkpoint, or begins from the default one. `store` must flush
    /// a checkpoint to disk.
    ///
    /// # Errors
    /// [`Error::BadFile`] if files that belong to the checkpoint are gone; [`Error::Io`].
    pub fn new(
        options: &'a ShardOptions,
        from: Checkpoint,
        store: &'a mut (dyn FnMut(&Checkpoint) -> Result<()> + Send),
    ) -> Result<Self> {
        let mut writer = Self {
            options,
            state: from,
            open: [None, None],
            pending: None,
            store,
        };
        writer.publish(usize::MAX)?;
        for which in [TRAIN, VAL] {
            if let Some(shard) = writer.state.splits[which].open.take() {
                let index = writer.state.splits[which].shards.len();
                let (ids, starts) = writer.paths(which, index);
                let sizes = writer.sizes_path(which, index);
                let n_bytes = shard.documents * 8;
                writer.open[which] = Some(Open {
                    ids: NpyFile::resume(&ids, shard.tokens * writer.item(), shard.crc32)?,
                    starts: NpyFile::resume(&starts, n_bytes, shard.documents_crc32)?,
                    // Its checksum is nowhere.
                    sizes: sizes
                        .map(|path| NpyFile::resume(&path, n_bytes, 0))
                        .transpose()?,
                    documents: shard.documents,
                    bytes: shard.bytes,
                });
            }
        }
        Ok(writer)
    }

    /// Finishes the last shards. The result names all there are.
    ///
    /// # Errors
    /// [`Error::Io`], and what `store` returns.
    pub fn finish(mut self) -> Result<Checkpoint> {
        for which in [TRAIN, VAL] {
            match self.open[which].take() {
                // Its one document was moved.
                Some(open) if open.documents == 0 => {
                    open.ids.remove()?;
                    open.starts.remove()?;
                    open.sizes.map(NpyFile::remove).transpose()?;
                }
                Some(open) => self.close(which, open)?,
                None => {}
            }
        }
        self.checkpoint()?;
        Ok(self.state)
    }

    fn item(&self) -> u64 {
        self.options.width.bytes() as u64
    }

    fn paths(&self, which: usize, index: usize) -> (PathBuf, PathBuf) {
        let (ids, starts) = file_names(SPLITS[which], index);
        let dir: &Path = &self.options.dir;
        (dir.join(ids), dir.join(starts))
    }

    fn sizes_path(&self, which: usize, index: usize) -> Option<PathBuf> {
        let name = || sizes_name(SPLITS[which], index);
        self.options.sizes.then(|| self.options.dir.join(name()))
    }

    /// The open shard of a split.
    fn shard(&mut self, which: usize) -> Result<&mut Open> {
        let index = self.state.splits[which].shards.len();
        let (ids, starts) = self.paths(which, index);
        let sizes = self.sizes_path(which, index);
        let slot = &mut self.open[which];
        Ok(match slot {
            Some(open) => open,
            None => slot.insert(Open {
                ids: NpyFile::create(&ids)?,
                starts: NpyFile::create(&starts)?,
                sizes: sizes.map(|path| NpyFile::create(&path)).transpose()?,
                documents: 0,
                bytes: 0,
            }),
        })
    }

    fn part(&mut self, part: &DocumentPart, ids: &[u8]) -> Result<()> {
        let item = self.item();
        if let Some(pending) = &mut self.pending {
            let text = Hasher::new_with_initial_len(part.crc32, part.n_bytes);
            pending.crc32.combine(&text);
            pending.bytes += part.n_bytes;
            self.shard(TRAIN)?.ids.append(ids)?;
        } else if !part.ends {
            let open = self.shard(TRAIN)?;
            let mark = open.ids.mark()?;
            let start = open.ids.len() / item;
            open.ids.append(ids)?;
            self.pending = Some(Pending {
                mark,
                start,
                crc32: Hasher::new_with_initial_len(part.crc32, part.n_bytes),
                bytes: part.n_bytes,
            });
        }
        if !part.ends {
            return Ok(());
        }
        let pending = self.pending.take();
        let crc32 = match &pending {
            Some(pending) => pending.crc32.clone().finalize(),
            None => part.crc32,
        };
        let which = self.split_of(crc32);
        let (start, bytes) = match pending {
            None => {
                let open = self.shard(which)?;
                let start = open.ids.len() / item;
                open.ids.append(ids)?;
                (start, part.n_bytes)
            }
            Some(pending) if which == TRAIN => (pending.start, pending.bytes),
            Some(pending) => {
                self.shard(VAL)?;
                let mut start = 0;
                if let [Some(train), Some(val)] = &mut self.open {
                    start = val.ids.len() / item;
                    train.ids.move_from(pending.mark, &mut val.ids)?;
                }
                (start, pending.bytes)
            }
        };
        let open = self.shard(which)?;
        open.starts.append(&start.to_le_bytes())?;
        if let Some(sizes) = &mut open.sizes {
            sizes.append(&bytes.to_le_bytes())?;
        }
        open.documents += 1;
        open.bytes += bytes;
        let is_full = open.ids.len() / item >= self.options.shard_tokens;
        if part.source != self.state.source {
            self.state.source = part.source;
            self.state.documents = 0;
        }
        self.state.documents += 1;
        if is_full && let Some(open) = self.open[which].take() {
            self.close(which, open)?;
            self.checkpoint()?;
        }
        Ok(())
    }

    fn split_of(&self, crc32: u32) -> usize {
        let is_val = f64::from(crc32) < self.options.validation_fraction * 4_294_967_296.0;
        usize::from(is_val)
    }

    /// Completes a shard, but for its name.
    fn close(&mut self, which: usize, mut open: Open) -> Result<()> {
        let item = self.options.width.bytes();
        let tokens = open.ids.len() / item as u64;
        open.starts.append(&tokens.to_le_bytes())?;
        if let Some(sizes) = open.sizes {
            sizes.finish("<u8", 8)?;
        }
        let descr = self.options.width.npy_descr();
        let shards = &mut self.state.splits[which].shards;
        shards.try_reserve(1)?;
        shards.push(Shard {
            tokens,
            documents: open.documents,
            bytes: open.bytes,
            crc32: open.ids.finish(descr, item)?,
            documents_crc32: open.starts.finish("<u8", 8)?,
        });
        Ok(())
    }

    /// Has the state stored and then gives finished shards their names.
    fn checkpoint(&mut self) -> Result<()> {
        for which in [TRAIN, VAL] {
            let item = self.item();
            self.state.splits[which].open = match &mut self.open[which] {
                Some(open) => {
                    open.sizes.as_mut().map(NpyFile::sync).transpose()?;
                    Some(Shard {
                        tokens: open.ids.len() / item,
                        documents: open.documents,
                        bytes: open.bytes,
                        crc32: open.ids.sync()?,
                        documents_crc32: open.starts.sync()?,
                    })
                }
                None => None,
            };
        }
        npy::sync_folder(&self.options.dir)?;
        (self.store)(&self.state)?;
        npy::sync_folder(&self.options.dir)?;
        self.publish(1)
    }

    /// Gives the `n` finished last of each split their names, unless they have them.
    fn publish(&self, n: usize) -> Result<()> {
        for which in [TRAIN, VAL] {
            let shards = &self.state.splits[which].shards;
            let first = shards.len().saturating_sub(n);
            for (index, shard) in shards.iter().enumerate().skip(first) {
                let (ids, starts) = self.paths(which, index);
                npy::publish(&ids, shard.tokens * self.item())?;
                npy::publish(&starts, (shard.documents + 1) * 8)?;
                if let Some(sizes) = self.sizes_path(which, index) {
                    npy::publish(&sizes, shard.documents * 8)?;
                }
            }
        }
        Ok(())
    }
}

impl Consumer for ShardWriter<'_> {
    fn take(&mut self, encoded: &mut Encoded) -> Result<()> {
        for (part, ids) in encoded.packed_parts() {
            self.part(part, ids)?;
        }
        Ok(())
    }
}
