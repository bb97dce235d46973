//! Encoding corpora against encoding each document by itself, with blocks of a few bytes so that text is
//! cut everywhere it may be; shards against what they should hold, interrupted anywhere.

mod common;
#[path = "common/documents.rs"]
mod documents;

use bytemill::corpus::checkpoint::Checkpoint;
use bytemill::corpus::shards::{SPLITS, ShardOptions, ShardWriter, file_names, sizes_name};
use bytemill::corpus::{Consumer, CorpusOptions, Encoded, Separator, Width, encode_corpus};
use bytemill::encode::Encoder;
use bytemill::error::Error;
use bytemill::text::feed::Feed;
use bytemill::train::count::CountOptions;
use bytemill::train::{TrainOptions, train};
use bytemill::vocabulary::ranks::Ranks;
use common::run;
use documents::{SPECIALS, documents, patterns, text};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const TRAINED_ON: &str =
    "aaaa Z9 word word\n 12345 aaaa'LL ... // wordé 中文 中文 ि ह <s> <s <s><s> \n\n \r\n  aaa";

/// An encoder of 290 tokens and the special tokens after them.
fn encoder(pattern: &str, special: &[&str]) -> Result<Encoder, Error> {
    let counts = CountOptions::new(pattern)?.count_texts([TRAINED_ON])?;
    let merges = train(&counts, &TrainOptions::new(290))?;
    let tokens = merges.tokens().iter().map(|t| t.to_vec()).zip(0..);
    let special = special.iter().map(|s| (*s).to_owned()).zip(290..);
    Encoder::new(Ranks::new(tokens)?, special.collect(), pattern)
}

/// Keeps all ids.
#[derive(Default)]
struct Memory {
    ids: Vec<u8>,
    /// Where each document's ids end, in bytes.
    ends: Vec<usize>,
}

impl Consumer for Memory {
    fn take(&mut self, encoded: &mut Encoded) -> Result<(), Error> {
        for (part, ids) in encoded.packed_parts() {
            self.ids.extend_from_slice(ids);
            if part.ends {
                self.ends.push(self.ids.len());
            }
        }
        Ok(())
    }
}

/// A document's source, text and ids.
type Document<'a> = (u64, &'a str, Vec<u32>);

/// The documents of texts.
fn obvious<'a>(
    texts: &'a [String],
    special: &[&str],
    encoder: &Encoder,
    options: &CorpusOptions,
) -> Result<Vec<Document<'a>>, Error> {
    let mut all = Vec::new();
    for (source, text) in (1..).zip(texts) {
        for document in documents(text, special) {
            let mut ids = Vec::new();
            if let Some(Separator::Before(id)) = options.separator {
                ids.push(id);
            }
            encoder.encode_ordinary(document, &mut ids)?;
            if let Some(Separator::After(id)) = options.separator {
                ids.push(id);
            }
            if !document.is_empty() {
                all.push((source, document, ids));
            }
        }
    }
    Ok(all)
}

fn options() -> impl Strategy<Value = CorpusOptions> {
    let separator = prop_oneof![
        Just(None),
        Just(Some(Separator::Before(7))),
        Just(Some(Separator::After(8)))
    ];
    let width = prop_oneof![Just(Width::U16), Just(Width::U32)];
    (width, separator, 1..4usize, 1..40usize, any::<bool>()).prop_map(
        |(width, separator, threads, block_size, replace_invalid)| CorpusOptions {
            separator,
            hash: true,
            num_threads: Some(threads),
            block_size,
            replace_invalid,
            ..CorpusOptions::new(width)
        },
    )
}

/// Feeds texts, each in pieces of `step` bytes, or whole if that is 0.
fn feed(feed: &mut Feed, texts: &[String], step: usize) -> Result<(), Error> {
    for text in texts {
        if step == 0 {
            feed.begin_source("text")?;
            feed.text(text)?;
            feed.send()?;
            continue;
        }
        let mut chunks = text.as_bytes().chunks(step);
        feed.pieces("text", |buffer| {
            buffer.extend_from_slice(chunks.next().unwrap_or_default());
            Ok::<(), Error>(())
        })?;
    }
    Ok(())
}

fn ids_of(bytes: &[u8], width: Width) -> Vec<u32> {
    let items = bytes.chunks_exact(width.bytes());
    items
        .map(|item| (0..).zip(item).map(|(i, &b)| u32::from(b) << (8 * i)).sum())
        .collect()
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(text(), 0..4)
}

#[test]
fn ids_are_those_of_each_document_apart() {
    let strategy = (
        texts(),
        select(patterns()),
        0..SPECIALS.len(),
        options(),
        0..9usize,
        0.0..1.5,
    );
    run(
        strategy,
        |(texts, pattern, special, mut options, step, skip)| {
            let encoder = encoder(pattern, SPECIALS[special])?;
            let want = obvious(&texts, SPECIALS[special], &encoder, &options)?;
            // Begin with the source and after the documents of it that a checkpoint would name.
            let skip = ((want.len() as f64 * skip) as usize).min(want.len());
            let mut from = 0;
            if let Some((source, ..)) = skip.checked_sub(1).map(|last| &want[last]) {
                let of_source = want[..skip].iter().filter(|d| d.0 == *source);
                options.skip_documents = of_source.count() as u64;
                options.skip_sources = source - 1;
                from = *source as usize - 1;
            }
            let mut memory = Memory::default();
            encode_corpus(&encoder, &options, &mut memory, |f| {
                feed(f, &texts[from..], step)
            })?;
            let bytes = memory.ids;
            let mut start = 0;
            let mut got = Vec::new();
            for &end in &memory.ends {
                got.push(ids_of(&bytes[start..end], options.width));
                start = end;
            }
            prop_assert_eq!(start, bytes.len());
            let want: Vec<Vec<u32>> = want.into_iter().skip(skip).map(|d| d.2).collect();
            prop_assert_eq!(got, want);
            Ok(())
        },
    );
}

/// A folder that is gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        // In memory where that is possible: thousands of runs that make files last take minutes on a disk.
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(format!("bytemill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// The visible files.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries
            .map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
            .filter(|(name, _)| !name.starts_with('.'))
            .map(|(name, path)| (name, std::fs::read(path).unwrap_or_default()))
            .collect()
    }

    fn clear(&self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs from `checkpoint` until the `n`th checkpoint is to be stored; that one is lost, or, if `late`,
/// stored before the end. Returns the last that was stored, and whether the run has come to its end.
fn run_until(
    n: usize,
    late: bool,
    mut checkpoint: Checkpoint,
    encoder: &Encoder,
    options: &CorpusOptions,
    shards: &ShardOptions,
    texts: &[String],
) -> Result<(Checkpoint, bool), Error> {
    let mut options = options.clone();
    options.skip_documents = checkpoint.documents;
    options.skip_sources = checkpoint.source.saturating_sub(1);
    let from = checkpoint.source.saturating_sub(1) as usize;
    let begin = checkpoint.clone();
    let mut stored = 0;
    let mut store = |new: &Checkpoint| {
        stored += 1;
        if stored < n || late {
            checkpoint = Checkpoint::from_json(&new.to_json()).unwrap_or_default();
        }
        if stored < n {
            Ok(())
        } else {
            Err(Error::Interrupted)
        }
    };
    let outcome = ShardWriter::new(shards, begin, &mut store).and_then(|mut writer| {
        encode_corpus(encoder, &options, &mut writer, |f| {
            feed(f, &texts[from..], 0)
        })?;
        writer.finish()
    });
    match outcome {
        Ok(_) => Ok((checkpoint, true)),
        Err(Error::Interrupted) => Ok((checkpoint, false)),
        Err(error) => Err(error),
    }
}

fn header(dir: &Path, name: &str) -> String {
    let bytes = std::fs::read(dir.join(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes[10..128]).into_owned()
}

#[test]
fn shards_hold_the_documents_and_survive_interruptions() {
    let folder = Folder::new("shards").unwrap_or_else(|e| panic!("{e}"));
    let strategy = (
        texts(),
        0..SPECIALS.len(),
        options(),
        1..60u64,
        prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
        1..5usize,
        any::<bool>(),
        any::<bool>(),
    );
    run(
        strategy,
        |(texts, special, options, shard_tokens, validation_fraction, n, late, sizes)| {
            folder.clear();
            let encoder = encoder("gpt2", SPECIALS[special])?;
            let shards = ShardOptions {
                dir: folder.0.clone(),
                width: options.width,
                shard_tokens,
                validation_fraction,
                sizes,
            };
            let go = |n, late, from| run_until(n, late, from, &encoder, &options, &shards, &texts);
            let (done, ended) = go(usize::MAX, false, Checkpoint::default())?;
            prop_assert!(ended);
            let whole = folder.files();

            let mut left = obvious(&texts, SPECIALS[special], &encoder, &options)?;
            for (which, split) in SPLITS.into_iter().enumerate() {
                let (here, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|d| {
                    let crc32 = f64::from(crc32fast::hash(d.1.as_bytes()));
                    (crc32 < validation_fraction * 4_294_967_296.0) == (which == 1)
                });
                left = others;
                let mut here = here.into_iter().peekable();
                for (i, shard) in done.splits[which].shards.iter().enumerate() {
                    let (mut ids, mut starts, mut lens) = (Vec::new(), vec![0], Vec::new());
                    while (ids.len() as u64) < shard_tokens && here.peek().is_some() {
                        let (_, text, document) = here.next().unwrap_or_default();
                        lens.push(text.len() as u64);
                        ids.extend(document);
                        starts.push(ids.len() as u64);
                    }
                    let (name, starts_name) = file_names(split, i);
                    let file = &whole[&name];
                    prop_assert_eq!(ids_of(&file[128..], options.width), &ids[..]);
                    prop_assert_eq!(crc32fast::hash(file), shard.crc32);
                    let shape = format!("'shape': ({},), }}", ids.len());
                    prop_assert!(header(&folder.0, &name).contains(&shape));
                    let file = &whole[&starts_name];
                    let want: Vec<u8> = starts.iter().flat_map(|s| s.to_le_bytes()).collect();
                    prop_assert_eq!(&file[128..], &want[..]);
                    prop_assert_eq!(crc32fast::hash(file), shard.documents_crc32);
                    prop_assert_eq!(shard.tokens, ids.len() as u64);
                    prop_assert_eq!(shard.documents, starts.len() as u64 - 1);
                    prop_assert_eq!(shard.bytes, lens.iter().sum::<u64>());
                    if sizes {
                        let file = &whole[&sizes_name(split, i)];
                        let want: Vec<u8> = lens.iter().flat_map(|s| s.to_le_bytes()).collect();
                        prop_assert_eq!(&file[128..], &want[..]);
                        let shape = format!("'shape': ({},), }}", lens.len());
                        prop_assert!(header(&folder.0, &sizes_name(split, i)).contains(&shape));
                    }
                }
                prop_assert!(here.next().is_none());
            }
            let n_shards: usize = done.splits.iter().map(|s| s.shards.len()).sum();
            prop_assert_eq!(whole.len(), (2 + usize::from(sizes)) * n_shards);

            folder.clear();
            let mut checkpoint = Checkpoint::default();
            // One that loses each first checkpoint would never end.
            for n in (n..).step_by(1) {
                let ended;
                (checkpoint, ended) = go(n, late, checkpoint)?;
                if ended {
                    break;
                }
            }
            prop_assert_eq!(&checkpoint, &done);
            prop_assert_eq!(folder.files(), whole);
            Ok(())
        },
    );
}
