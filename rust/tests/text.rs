//! Streams, batches, spans and decoding against encoding and decoding in one go.

use bytemill::corpus::batch::{count_batch, encode_batch};
use bytemill::decode::text::{Invalid, TextDecoder};
use bytemill::decode::{Decoder, UnknownId};
use bytemill::encode::Encoder;
use bytemill::error::Error;
use bytemill::pretokenize::cut::Cuts;
use bytemill::pretokenize::pattern::Named;
use bytemill::streaming::offsets::{char_spans, encode_with_spans, truncate};
use bytemill::streaming::stream::Stream;
use bytemill::system::threads::Watch;
use bytemill::text::documents::Splitter;
use bytemill::text::special::SpecialTokens;
use bytemill::vocabulary::ranks::Ranks;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::sync::Arc;

mod common;

/// Beside the named ones; the second leaves text out.
const OTHERS: [&str; 2] = [r" ?[A-Za-z]+|[0-9]{2}|\s+|[^A-Za-z\s]", r"\p{L}+|\p{N}"];

const SPECIAL: [&str; 6] = [
    "<|end|>",
    "<|end|><|end|>",
    "<|e",
    "nd|><|",
    " x",
    "\u{20ac}",
];

/// What texts are made of: the ends of pretokens, of special tokens and of characters.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "a", "b", "A", "é", "你", "好", "\u{301}", "👍", "1", "23", " ", "  ", "\n", "\r\n", "\t", "\u{a0}",
    "\u{3000}", ".", "/", "'", "'s", "'ll", "!", "<|end|>", "<|end|><|end|>", "<|e", "<|en", "d|>",
    "|><|", " x", "x", "\u{20ac}", "the", " low", "est", "\0", "\u{85}", "，", "//\n", "aaaa",
];

fn tokens() -> Vec<(Vec<u8>, u32)> {
    let bytes = (0..=255u8).map(|b| vec![b]);
    let merged = [
        "th", "the", "aa", "lo", " lo", " low", "es", "est", "'l", "  ", "\n\n", "\r\n", "<|",
        "23", "你", "\u{20ac}",
    ];
    let merged = merged.iter().map(|t| t.as_bytes().to_vec());
    let parts = [
        &"你".as_bytes()[..2],
        &"\u{20ac}".as_bytes()[..2],
        b" \xf0",
        b"\x91\x8d",
    ];
    let parts = parts.iter().map(|t| t.to_vec());
    bytes.chain(parts).chain(merged).zip(0..).collect()
}

fn special() -> Vec<(String, u32)> {
    let ids = 1000..;
    SPECIAL.iter().map(|t| (*t).to_owned()).zip(ids).collect()
}

fn encoders() -> Vec<Arc<Encoder>> {
    let encoder = |pattern: &str| {
        let ranks = Ranks::new(tokens()).unwrap();
        Arc::new(Encoder::new(ranks, special(), pattern).unwrap())
    };
    let patterns = Named::ALL.map(Named::name).into_iter().chain(OTHERS);
    patterns.map(encoder).collect()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::collection::vec(select(PIECES), 0..30).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
    ]
}

fn whole(encoder: &Encoder, allowed: &SpecialTokens, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    encoder.encode(text, allowed, &mut ids).unwrap();
    ids
}

/// A subset of the special tokens.
fn allowed() -> impl Strategy<Value = SpecialTokens> {
    prop::sample::subsequence(SPECIAL.to_vec(), 0..=SPECIAL.len())
        .prop_map(|some| SpecialTokens::new(some).unwrap())
}

#[test]
fn a_stream_gives_the_ids_of_the_joined_text() {
    let encoders = encoders();
    let input = (
        text(),
        allowed(),
        prop::collection::vec(any::<Index>(), 0..6),
    );
    common::run(input, |(text, allowed, cuts)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(text.len() + 1)).collect();
        cuts.retain(|&c| text.is_char_boundary(c));
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        for encoder in &encoders {
            let expected = whole(encoder, &allowed, &text);
            let mut stream = Stream::new(encoder.clone(), allowed.clone());
            let mut ids = Vec::new();
            for ends in cuts.windows(2) {
                stream.push(&text[ends[0]..ends[1]], &mut ids).unwrap();
                // What has come out stands for the text up to the position.
                let done = &text[..stream.position() as usize];
                prop_assert_eq!(&ids, &whole(encoder, &allowed, done));
                prop_assert_eq!(&ids[..], &expected[..ids.len()]);
            }
            stream.finish(&mut ids).unwrap();
            prop_assert_eq!(&ids, &expected);
            let mut ids = Vec::new();
            for c in text.chars() {
                stream.push(c.encode_utf8(&mut [0; 4]), &mut ids).unwrap();
            }
            stream.finish(&mut ids).unwrap();
            prop_assert_eq!(ids, expected);
        }
        Ok(())
    });
}

#[test]
fn spans_are_where_the_bytes_are() {
    let encoders = encoders();
    common::run((text(), allowed(), 0..12usize), |(text, allowed, max)| {
        for encoder in &encoders {
            let (ids, spans) = encode_with_spans(encoder, &text, &allowed).unwrap();
            prop_assert_eq!(&ids, &whole(encoder, &allowed, &text));
            let mut last = 0;
            for (&id, span) in ids.iter().zip(&spans) {
                prop_assert!(last <= span.start);
                prop_assert_eq!(
                    encoder.token_bytes(id),
                    Some(&text.as_bytes()[span.clone()])
                );
                last = span.end;
            }
            for (span, (start, end)) in spans.iter().zip(char_spans(&text, &spans).unwrap()) {
                let whole = |i| text.char_indices().nth(i).map_or(text.len(), |c| c.0);
                prop_assert!(whole(start) <= span.start && span.start < whole(start + 1));
                prop_assert!(whole(end - 1) < span.end && span.end <= whole(end));
            }
            let kept = truncate(encoder, &text, &allowed, max).unwrap();
            prop_assert!(whole(encoder, &allowed, &text[..kept]).len() <= max);
            prop_assert!(ids.len() > max || kept == text.len());
        }
        Ok(())
    });
}

#[test]
fn batches_are_the_texts_one_by_one() {
    let encoders = encoders();
    // Long enough for several tasks of a text, and for texts that share one.
    let word = select(PIECES);
    let long = prop::collection::vec(word, 1..400).prop_map(|p| p.concat().repeat(120));
    let texts = prop::collection::vec(prop_oneof![text(), long], 0..5);
    common::run_few(
        (texts, allowed(), 2..5usize),
        |(texts, allowed, threads)| {
            for encoder in &encoders {
                let expected: Vec<_> = texts.iter().map(|t| whole(encoder, &allowed, t)).collect();
                let (ids, offsets) = encode_batch(
                    encoder,
                    &texts,
                    &allowed,
                    Some(threads),
                    &mut Watch::never(),
                )
                .unwrap();
                prop_assert_eq!(&ids, &expected.concat());
                prop_assert_eq!((offsets[0], offsets.len()), (0, texts.len() + 1));
                let counts = count_batch(
                    encoder,
                    &texts,
                    &allowed,
                    Some(threads),
                    &mut Watch::never(),
                )
                .unwrap();
                for (i, ids) in expected.iter().enumerate() {
                    prop_assert_eq!(counts[i], ids.len() as u64);
                    prop_assert_eq!(offsets[i + 1] - offsets[i], ids.len() as u64);
                }
            }
            Ok(())
        },
    );
}

#[test]
fn a_watch_ends_a_batch() {
    let encoder = &encoders()[0];
    let text = "a word ".repeat(1000);
    let texts = vec![&text; 100_000];
    for threads in [1, 3] {
        let mut asked = 0;
        let mut ask = || {
            asked += 1;
            if asked > 1 {
                Err(Error::Interrupted)
            } else {
                Ok(())
            }
        };
        let watch = &mut Watch::new(&mut ask);
        let done = count_batch(encoder, &texts, encoder.special(), Some(threads), watch);
        assert!(matches!(done, Err(Error::Interrupted)));
        assert_eq!(asked, 2);
    }
}

#[test]
fn a_batch_reports_its_first_error() {
    let ranks = Ranks::new(tokens()).unwrap();
    let encoder = Encoder::new(ranks, vec![], r"(a*)*\1b|(?s:.)").unwrap();
    let fails = |n: usize| format!("{}{}", " ".repeat(n), "a".repeat(60));
    let mut texts = vec!["x".repeat(50_000); 9];
    texts[3] = fails(70);
    texts[7] = fails(20_000);
    for threads in [1, 2, 4] {
        let error = encode_batch(
            &encoder,
            &texts,
            encoder.special(),
            Some(threads),
            &mut Watch::never(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("byte 70 "), "{error}");
    }
    assert!(
        encode_batch(
            &encoder,
            &texts,
            encoder.special(),
            Some(0),
            &mut Watch::never()
        )
        .is_err()
    );
}

#[test]
fn decoding_is_the_bytes_of_each_id() {
    let encoder = &encoders()[0];
    let mut special = special();
    special.push(("<far>".to_owned(), u32::MAX - 1));
    special.push(("a long special token of many bytes".to_owned(), 300));
    special.push(("not the first of its id".to_owned(), 1000));
    let decoder = Decoder::new(encoder.ranks(), &special).unwrap();
    let id = prop_oneof![0..320u32, 995..1010u32, Just(u32::MAX - 1), any::<u32>()];
    common::run(prop::collection::vec(id, 0..40), |ids| {
        let token = |id: u32| match special.iter().find(|s| s.1 == id) {
            Some((text, _)) => Some(text.as_bytes()),
            None => encoder.token_bytes(id),
        };
        for &id in &ids {
            prop_assert_eq!(decoder.token(id), token(id));
        }
        let bad = ids.iter().find(|&&id| token(id).is_none());
        let expected = match bad {
            Some(&id) => Err(UnknownId(id).into()),
            None => Ok(ids
                .iter()
                .filter_map(|&id| token(id))
                .collect::<Vec<_>>()
                .concat()),
        };
        prop_assert_eq!(decoder.decode(&ids), expected);
        let known: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|&id| token(id).is_some())
            .collect();
        let bytes: Vec<_> = known.iter().filter_map(|&id| token(id)).collect();
        prop_assert_eq!(decoder.decode(&known), Ok(bytes.concat()));
        Ok(())
    });
}

#[test]
fn decoded_text_in_pieces_is_the_whole() {
    #[rustfmt::skip]
    let byte = select(&[
        b'a', 0x80, 0xbf, 0xc1, 0xc3, 0xa9, 0xe0, 0xa0, 0xed, 0x9f, 0xef, 0xf0, 0x90, 0xf4, 0x8f, 0xf5,
    ][..]);
    let pieces = prop::collection::vec(prop::collection::vec(byte, 0..4), 0..8);
    common::run(pieces, |pieces| {
        let bytes = pieces.concat();
        let mut replacing = TextDecoder::new(Invalid::Replace);
        let mut text = String::new();
        for piece in &pieces {
            text += &replacing.push(piece).unwrap();
        }
        text += &replacing.finish().unwrap();
        prop_assert_eq!(&text, &String::from_utf8_lossy(&bytes));
        let mut strict = TextDecoder::new(Invalid::Refuse);
        let mut text = pieces
            .iter()
            .map(|p| strict.push(p))
            .collect::<Result<Vec<_>, _>>();
        if let Ok(text) = &mut text {
            match strict.finish() {
                Ok(rest) => text.push(rest),
                Err(_) => {
                    prop_assert!(String::from_utf8(bytes).is_err());
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(text.ok().map(|t| t.concat()), String::from_utf8(bytes).ok());
        Ok(())
    });
}

#[test]
fn documents_are_not_cut_by_a_special_token_inside_an_unfinished_one() {
    let special = SpecialTokens::new(["abcdef", "cd"]).unwrap();
    for cut in 0..=9 {
        let mut splitter = Splitter::new(special.clone(), Cuts::Named, None, None, 1 << 20);
        let (before, after) = b"xabcdef y".split_at(cut);
        splitter.buffer().extend_from_slice(before);
        splitter.absorb().unwrap();
        splitter.buffer().extend_from_slice(after);
        splitter.end_document().unwrap();
        let block = splitter.take_block(Vec::new()).unwrap().unwrap();
        assert_eq!(block.spans, [0..1, 7..9], "cut at {cut}");
    }
}
