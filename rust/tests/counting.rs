//! Counting against the obvious way, with blocks of a few bytes so that text is cut everywhere it may be.

mod common;
#[path = "common/documents.rs"]
mod documents;

use bytemill::error::Error;
use bytemill::pretokenize::RegexSplitter;
use bytemill::pretokenize::pattern;
use bytemill::text::special::SpecialTokens;
use bytemill::train::count::{CountOptions, Pass};
use bytemill::train::counts::Counts;
use bytemill::train::counts_file;
use common::run;
use documents::{SPECIALS, documents, patterns, text};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

fn prefix(text: &str, n_chars: usize) -> &str {
    text.char_indices()
        .nth(n_chars)
        .map_or(text, |(i, _)| &text[..i])
}

fn obvious(texts: &[String], options: &CountOptions) -> Result<BTreeMap<Vec<u8>, u64>, Error> {
    let regex = RegexSplitter::new(pattern::pat_str(&options.pattern))?;
    let mut left = options.max_chars.map_or(usize::MAX, |n| n as usize);
    let mut counts = BTreeMap::new();
    let specials: Vec<&str> = options
        .special
        .tokens()
        .iter()
        .map(String::as_str)
        .collect();
    for text in texts {
        for document in documents(text, &specials) {
            let document = prefix(document, options.doc_cap.map_or(usize::MAX, |n| n as usize));
            let document = prefix(document, left);
            left -= document.chars().count().min(left);
            regex.split(document, &mut |s, e| {
                *counts
                    .entry(document.as_bytes()[s..e].to_vec())
                    .or_default() += 1;
            })?;
        }
    }
    Ok(counts)
}

fn as_map(counts: &Counts) -> BTreeMap<Vec<u8>, u64> {
    let items = counts.items().expect("memory").into_iter();
    items.map(|(word, n)| (word.into_vec(), n)).collect()
}

fn options() -> impl Strategy<Value = CountOptions> {
    let cap = || prop_oneof![3 => Just(None), 1 => (1..40u64).prop_map(Some)];
    (
        select(patterns()),
        0..SPECIALS.len(),
        cap(),
        cap(),
        1..4usize,
        1..40usize,
    )
        .prop_map(
            |(pattern, special, doc_cap, max_chars, threads, block_size)| {
                let special =
                    SpecialTokens::new(SPECIALS[special]).unwrap_or_else(|e| panic!("{e}"));
                CountOptions {
                    pattern: pattern.to_owned(),
                    special,
                    doc_cap,
                    max_chars,
                    num_threads: Some(threads),
                    block_size,
                    replace_invalid: false,
                }
            },
        )
}

#[test]
fn texts_and_pieces_count_as_the_obvious_way() {
    let strategy = (
        proptest::collection::vec(text(), 0..4),
        options(),
        1..9usize,
    );
    run(strategy, |(texts, options, step)| {
        let want = obvious(&texts, &options)?;
        let counts = options.count_texts(texts.iter().map(String::as_str))?;
        prop_assert_eq!(&as_map(&counts), &want);
        prop_assert_eq!(counts.total(), want.values().sum::<u64>());
        let mut pass = Pass::new(&options)?;
        for text in &texts {
            let mut chunks = text.as_bytes().chunks(step);
            pass.run(|feed| {
                feed.pieces("text", |buffer| {
                    buffer.extend_from_slice(chunks.next().unwrap_or_default());
                    Ok::<(), Error>(())
                })
            })?;
        }
        prop_assert_eq!(as_map(&pass.finish()?), want);
        Ok(())
    });
}

#[test]
fn invalid_utf8_is_found_where_it_is_or_replaced() {
    let bytes = proptest::collection::vec(
        prop_oneof![3 => Just(b'a'), 1 => Just(b' '), 2 => any::<u8>()],
        0..60,
    );
    run(
        (bytes, options(), 1..9usize),
        |(bytes, mut options, step)| {
            (options.doc_cap, options.max_chars) = (None, None);
            let mut count = |replace_invalid| {
                options.replace_invalid = replace_invalid;
                let mut pass = Pass::new(&options)?;
                let mut chunks = bytes.chunks(step);
                pass.run(|feed| {
                    feed.pieces("name", |buffer| {
                        buffer.extend_from_slice(chunks.next().unwrap_or_default());
                        Ok::<(), Error>(())
                    })
                })?;
                pass.finish()
            };
            match (std::str::from_utf8(&bytes), count(false)) {
                (Ok(_), Ok(_)) => {}
                (
                    Err(want),
                    Err(Error::InvalidUtf8 {
                        source_name,
                        offset,
                    }),
                ) => {
                    prop_assert_eq!(&source_name, "name");
                    prop_assert_eq!(offset, want.valid_up_to() as u64);
                }
                (want, got) => prop_assert!(false, "{want:?} {got:?}"),
            }
            let lossy = String::from_utf8_lossy(&bytes).into_owned();
            let got = count(true)?;
            prop_assert_eq!(as_map(&got), obvious(&[lossy], &options)?);
            Ok(())
        },
    );
}

#[test]
fn saved_counts_come_back_and_damage_is_seen() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("bytemill-counts-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("counts");
    let specials = ["<s>".to_owned(), "\n\"é".to_owned()];
    let items = [
        (&b"a"[..], 3_000_000_000),
        (b"\x00\xff", 1 << 40),
        (b"a pretoken of more than 15 bytes", 2),
    ];
    let counts = Counts::from_items(r"\w+", &specials, items)?;
    counts_file::save(&counts, &path)?;
    let loaded = counts_file::load(&path)?;
    assert_eq!(
        loaded.items().expect("memory"),
        counts.items().expect("memory")
    );
    assert_eq!(
        (loaded.pat_str(), loaded.special_tokens()),
        (r"\w+", &specials[..])
    );
    let bytes = std::fs::read(&path)?;
    for cut in 0..bytes.len() - 1 {
        std::fs::write(&path, &bytes[..cut])?;
        assert!(counts_file::load(&path).is_err(), "cut at {cut}");
    }
    // What follows the checksum is under none.
    for more in ["\n", "YQ== 7\n", "end 00000000\n", " "] {
        std::fs::write(&path, [&bytes[..], more.as_bytes()].concat())?;
        assert!(counts_file::load(&path).is_err(), "followed by {more:?}");
    }
    let last = bytes.len() - 1;
    std::fs::write(&path, [&bytes[..last], b" 7\n"].concat())?;
    assert!(counts_file::load(&path).is_err(), "more in the last line");
    for at in 0..bytes.len() - 1 {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, &damaged)?;
        // Damage that leaves the content as it is (the case of the checksum's digits) may pass.
        if let Ok(loaded) = counts_file::load(&path) {
            assert_eq!(
                loaded.items().expect("memory"),
                counts.items().expect("memory"),
                "byte {at}"
            );
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn counts_beyond_64_bits_are_refused() {
    let items = [(&b"ab"[..], u64::MAX / 2), (b"cd", 1)];
    assert!(Counts::from_items("x", &[], items).is_err());
    let items = [(&b"ab"[..], u64::MAX), (b"ab", 1)];
    assert!(Counts::from_items("x", &[], items).is_err());
    assert!(Counts::from_items("x", &[], [(&b""[..], 1)]).is_err());
    assert!(Counts::from_items("x", &[], [(&b"a"[..], 0)]).is_err());
}
