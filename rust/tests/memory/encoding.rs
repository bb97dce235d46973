//! Vocabularies, and what is encoded and decoded with them.

use crate::check;
use crate::sample::{REGEX, Sample};
use bytemill::corpus::batch::{self, count_batch, encode_batch};
use bytemill::corpus::checkpoint::Checkpoint;
use bytemill::corpus::shards::{ShardOptions, ShardWriter};
use bytemill::corpus::{Consumer, CorpusOptions, Encoded, Width, encode_corpus};
use bytemill::decode::text::{Invalid, TextDecoder, TextError};
use bytemill::decode::{DecodeError, Decoder};
use bytemill::encode::Encoder;
use bytemill::error::{Error, Result};
use bytemill::streaming::offsets::{char_spans, encode_with_spans, truncate};
use bytemill::streaming::stream::Stream;
use bytemill::system::threads::Watch;
use bytemill::vocabulary::ranks::Ranks;
use std::path::Path;
use std::sync::Arc;

pub type Shared = Arc<Encoder>;

pub fn vocabularies(sample: &Sample) {
    let short = &sample.text[..3000];
    let expected = sample.naive_ids("gpt2", short);
    let load = |_: &mut ()| {
        let ranks = Ranks::new(sample.tokens.iter().map(|(t, id)| (t.clone(), *id)))?;
        let decoder = Decoder::new(&ranks, &[])?;
        let encoder = Encoder::new(ranks, Vec::new(), "gpt2")?;
        let mut ids = Vec::new();
        encoder.encode_ordinary(short, &mut ids)?;
        let decoded = decoder.decode(&ids).map_err(of_ids)?;
        Ok((ids, decoded))
    };
    check(
        "Ranks, Encoder, Decoder: new",
        || (),
        load,
        |(ids, decoded)| *ids == expected && decoded == short.as_bytes(),
    );
    // Ids that are far apart are looked up otherwise.
    let far = || sample.tokens.iter().map(|(t, id)| (t.clone(), id * 1000));
    check(
        "Ranks: ids far apart",
        || (),
        |_| Ranks::new(far()),
        |ranks| far().all(|(token, id)| ranks.token(id) == Some(&token)),
    );
    let ranks = || Ranks::new(sample.tokens.iter().cloned()).expect("ranks");
    let token = |id: u32| &sample.tokens[id as usize].0[..];
    check(
        "Ranks::merges",
        ranks,
        |ranks| ranks.merges(),
        |merges| {
            let joined = merges.iter().map(|&(a, b)| [token(a), token(b)].concat());
            joined.eq(sample.tokens[256..].iter().map(|t| t.0.clone()))
        },
    );
}

/// Encodes a text with all special tokens.
pub fn encode(text: &str) -> impl Fn(&mut Shared) -> Result<Vec<u32>> {
    move |encoder| {
        let mut ids = Vec::new();
        encoder.encode(text, encoder.special(), &mut ids)?;
        Ok(ids)
    }
}

pub fn texts(sample: &Sample) {
    let text = &*sample.text;
    for (name, pattern) in [
        ("encode", "gpt2"),
        (
            "encode: a compiled pattern",
            r" ?[A-Za-z]+|\s+|[^A-Za-z\s]+",
        ),
        ("encode: a regex", REGEX),
    ] {
        let expected = sample.naive_ids(pattern, text);
        let fresh = || sample.encoder(pattern);
        check(name, fresh, encode(text), |ids| *ids == expected);
    }
    let fresh = || sample.encoder("gpt2");
    let long = |encoder: &mut Shared| {
        let (watch, mut ids) = (&mut Watch::never(), Vec::new());
        batch::encode(encoder, text, encoder.special(), watch, &mut ids)?;
        let n = batch::count(encoder, text, encoder.special(), watch)?;
        Ok((ids, n))
    };
    check("batch::encode, count", fresh, long, |(ids, n)| {
        *ids == sample.ids && *n == ids.len()
    });
    // One pretoken: from the left, and with a heap.
    let (long, run) = ("ab".repeat(300_000), "ab".repeat(20_000));
    for (name, make, run) in [
        (
            "encode: a long pretoken",
            &fresh as &dyn Fn() -> Shared,
            &long,
        ),
        ("encode: another, with a heap", &Sample::unordered, &run),
    ] {
        let mut expected = Vec::new();
        let by_definition = make()
            .ranks()
            .encode_pretoken(run.as_bytes(), &mut expected);
        by_definition.expect("memory");
        check(name, make, encode(run), |ids| *ids == expected);
    }
    let by_definition = |encoder: &mut Shared| {
        let mut ids = Vec::new();
        encoder.ranks().encode_pretoken(run.as_bytes(), &mut ids)?;
        Ok(ids)
    };
    let expected = encode(&run)(&mut Sample::unordered()).expect("ids");
    let name = "Ranks::encode_pretoken";
    check(name, Sample::unordered, by_definition, |ids| {
        *ids == expected
    });
}

pub fn batches(sample: &Sample) {
    let texts: Vec<&str> = sample.pieces().collect();
    let mut expected = (Vec::new(), vec![0]);
    for text in &texts {
        expected.0.extend(sample.naive_ids("gpt2", text));
        expected.1.push(expected.0.len() as u64);
    }
    let fresh = || sample.encoder("gpt2");
    for n_threads in [1, 3] {
        let call = |encoder: &mut Shared| {
            let watch = &mut Watch::never();
            encode_batch(encoder, &texts, encoder.special(), Some(n_threads), watch)
        };
        let name = format!("encode_batch: {n_threads} threads");
        check(&name, fresh, call, |found| *found == expected);
    }
    // Of short texts the places take more than the ids.
    let words: Vec<&str> = sample.text.split_inclusive(' ').collect();
    let count = |text: &&str| sample.naive_ids("gpt2", text).len() as u64;
    let expected: Vec<u64> = words.iter().map(count).collect();
    let call = |encoder: &mut Shared| {
        let watch = &mut Watch::never();
        count_batch(encoder, &words, encoder.special(), Some(2), watch)
    };
    check("count_batch", fresh, call, |found| *found == expected);
}

/// Keeps all ids, in room that is there.
struct Keep(Vec<u8>);

impl Consumer for Keep {
    fn take(&mut self, encoded: &mut Encoded) -> Result<()> {
        self.0.extend_from_slice(encoded.packed());
        Ok(())
    }
}

pub fn files(sample: &Sample, dir: &Path) {
    let path = dir.join("text");
    std::fs::write(&path, &sample.text).expect("a file");
    let expected: Vec<u8> = sample.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let mut options = CorpusOptions::new(Width::U32);
    options.num_threads = Some(2);
    let fresh = || {
        (
            sample.encoder("gpt2"),
            Keep(Vec::with_capacity(2 * expected.len())),
        )
    };
    let is_right = |found: &Vec<u8>| *found == expected;
    let file = |(encoder, keep): &mut (Shared, Keep)| {
        keep.0.clear();
        encode_corpus(encoder, &options, keep, |feed| {
            feed.file(&path, &mut |_| Ok::<(), Error>(()))
        })?;
        Ok(std::mem::take(&mut keep.0))
    };
    check("encode_corpus: a file", fresh, file, is_right);
    // One pretoken of more than two blocks, which waits for its end: the buffer has been just full.
    let (long, run) = (dir.join("long"), "ab".repeat(600_000));
    std::fs::write(&long, &run).expect("a file");
    let mut ids = Vec::new();
    let by_definition = sample.encoder("gpt2");
    let by_definition = by_definition
        .ranks()
        .encode_pretoken(run.as_bytes(), &mut ids);
    by_definition.expect("memory");
    let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let waiting = || {
        let room = Keep(Vec::with_capacity(2 * ids.len()));
        (sample.encoder("gpt2"), room)
    };
    let whole = |(encoder, keep): &mut (Shared, Keep)| {
        keep.0.clear();
        encode_corpus(encoder, &options, keep, |feed| {
            feed.file(&long, &mut |_| Ok::<(), Error>(()))
        })?;
        Ok(std::mem::take(&mut keep.0))
    };
    let name = "encode_corpus: a long pretoken";
    check(name, waiting, whole, |found| *found == ids);
    let text = |(encoder, keep): &mut (Shared, Keep)| {
        keep.0.clear();
        encode_corpus(encoder, &options, keep, |feed| {
            feed.begin_source("text")?;
            feed.text(&sample.text)?;
            feed.send()
        })?;
        Ok(std::mem::take(&mut keep.0))
    };
    check("encode_corpus: a text", fresh, text, is_right);
    let shards = ShardOptions {
        dir: dir.to_owned(),
        width: Width::U32,
        shard_tokens: u64::MAX,
        validation_fraction: 0.0,
        sizes: true,
    };
    let write = |encoder: &mut Shared| {
        let mut store = |_: &Checkpoint| Ok(());
        let mut writer = ShardWriter::new(&shards, Checkpoint::default(), &mut store)?;
        encode_corpus(encoder, &options, &mut writer, |feed| {
            feed.file(&path, &mut |_| Ok::<(), Error>(()))
        })?;
        writer.finish()
    };
    let fresh = || sample.encoder("gpt2");
    check("ShardWriter", fresh, write, |checkpoint| {
        let written = std::fs::read(dir.join("train-00000.npy")).expect("a shard");
        checkpoint.splits[0].shards.len() == 1 && written[128..] == expected
    });
}

pub fn streams(sample: &Sample) {
    type State<'a> = (Stream, Vec<u32>, Vec<&'a str>);
    // With a regex all text is held back.
    for (name, pattern) in [("Stream", "gpt2"), ("Stream: a regex", REGEX)] {
        let fresh = || -> State<'_> {
            let encoder = sample.encoder(pattern);
            let mut pieces: Vec<&str> = sample.pieces().collect();
            pieces.reverse();
            let special = encoder.special().clone();
            (Stream::new(encoder, special), Vec::new(), pieces)
        };
        // A piece that was refused is pushed again; those before are not.
        let call = |(stream, ids, pieces): &mut State<'_>| {
            while let Some(piece) = pieces.last() {
                stream.push(piece, ids)?;
                pieces.pop();
            }
            stream.finish(ids)?;
            Ok(std::mem::take(ids))
        };
        let expected = sample.naive_ids(pattern, &sample.text);
        check(name, fresh, call, |ids| *ids == expected);
    }
}

pub fn offsets(sample: &Sample) {
    let text = &*sample.text;
    let mut at = 0;
    let spans: Vec<(usize, usize)> = (sample.ids.iter())
        .map(|&id| {
            let start = at;
            at += sample.tokens[id as usize].0.len();
            (start, at)
        })
        .collect();
    let fresh = || sample.encoder("gpt2");
    let call = |encoder: &mut Shared| {
        let (ids, spans) = encode_with_spans(encoder, text, encoder.special())?;
        Ok((ids, char_spans(text, &spans)?))
    };
    check("encode_with_spans, char_spans", fresh, call, |found| {
        found.0 == sample.ids && found.1 == spans
    });
    let n = sample.ids.len() / 2;
    let call = |encoder: &mut Shared| truncate(encoder, text, encoder.special(), n);
    check("truncate", fresh, call, |&end| end == spans[n - 1].1);
}

pub fn decoding(sample: &Sample) {
    let encoder = sample.encoder("gpt2");
    let decoder = || Decoder::new(encoder.ranks(), &[]).expect("memory");
    let call = |decoder: &mut Decoder| decoder.decode(&sample.ids).map_err(of_ids);
    check("Decoder::decode", decoder, call, |found| {
        found == sample.text.as_bytes()
    });
    type State = (TextDecoder, usize, String);
    let text = "é中😀".repeat(40_000);
    let bytes = text.as_bytes();
    let fresh = || -> State {
        let room = String::with_capacity(text.len());
        (TextDecoder::new(Invalid::Replace), 0, room)
    };
    // Cut inside of characters.
    let call = |(decoder, at, found): &mut State| {
        while *at < bytes.len() {
            let end = bytes.len().min(*at + 100_001);
            *found += &decoder.push(&bytes[*at..end]).map_err(of_text)?;
            *at = end;
        }
        *found += &decoder.finish().map_err(of_text)?;
        Ok(std::mem::take(found))
    };
    check("TextDecoder", fresh, call, |found| *found == text);
}

fn of_ids(error: DecodeError) -> Error {
    match error {
        DecodeError::Memory(error) => error.into(),
        DecodeError::Unknown(id) => panic!("{id}"),
    }
}

fn of_text(error: TextError) -> Error {
    match error {
        TextError::Memory(error) => error.into(),
        TextError::Invalid(error) => panic!("{error:?}"),
    }
}
