//! Pretokens that are taken apart, short ones and ones met again, against merging by the book.

mod common;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytemill::encode::Encoder;
use bytemill::naive;
use bytemill::pretokenize::pattern;
use bytemill::train::counts::Counts;
use bytemill::train::{TrainOptions, train};
use bytemill::vocabulary::ranks::Ranks;
use common::{run, run_few};
use proptest::prelude::*;
use std::path::PathBuf;

type Result<T> = std::result::Result<T, bytemill::error::Error>;

/// A pattern that takes a whole text as one pretoken.
const WHOLE: &str = r"(?s).+";

/// Characters of one to four bytes, some of which begin or end with the same bytes.
const LETTERS: [char; 13] = [
    'a', 'b', ' ', 'é', '\u{7ff}', '\u{800}', '中', '丮', '文', '\u{ffff}', '😀', '😁', '𐍈',
];

fn letters(max: usize) -> impl Strategy<Value = String> {
    let few = proptest::sample::subsequence(LETTERS.to_vec(), 1..6);
    few.prop_flat_map(move |few| {
        proptest::collection::vec(proptest::sample::select(few), 0..max)
            .prop_map(|letters| letters.into_iter().collect())
    })
}

fn bytes() -> impl Iterator<Item = Vec<u8>> {
    (0..=255u8).map(|b| vec![b])
}

/// Tokens as training gives them; texts are cut inside characters too.
fn trained() -> impl Strategy<Value = Ranks> {
    let word = (letters(8), any::<prop::sample::Index>(), 1..9u64);
    (proptest::collection::vec(word, 1..12), 0..50usize).prop_map(|(words, n)| {
        let words = words.into_iter().flat_map(|(word, at, times)| {
            let word = word.into_bytes();
            let rest = word[at.index(word.len() + 1)..].to_vec();
            [(word, times), (rest, 2)]
        });
        let words: Vec<(Vec<u8>, u64)> = words.filter(|w| !w.0.is_empty()).collect();
        let ranks = || -> Result<Ranks> {
            let counts = Counts::from_items(pattern::pat_str("gpt2"), &[], words)?;
            let options = TrainOptions {
                num_threads: Some(1),
                ..TrainOptions::new(256 + n)
            };
            let merges = train(&counts, &options)?;
            let tokens = merges.tokens().iter();
            Ranks::new(tokens.map(|token| token.to_vec()).zip(0..))
        };
        ranks().expect("a vocabulary")
    })
}

/// Tokens of two others each, so that most are what merging gives, with bytes that are in no text.
fn joined() -> impl Strategy<Value = Ranks> {
    let index = any::<prop::sample::Index>;
    proptest::collection::vec((index(), index()), 0..60).prop_map(|pairs| {
        let letters: String = LETTERS.iter().collect();
        let all = letters.bytes().chain([0xff, 0xc0, 0xe4]);
        let mut parts: Vec<Vec<u8>> = all.map(|byte| vec![byte]).collect();
        let mut tokens: Vec<Vec<u8>> = bytes().collect();
        for (left, right) in pairs {
            let token = [
                &*parts[left.index(parts.len())],
                &parts[right.index(parts.len())],
            ]
            .concat();
            if token.len() < 24 && !tokens.contains(&token) {
                tokens.push(token.clone());
                parts.push(token);
            }
        }
        Ranks::new(tokens.into_iter().zip(0..)).expect("a vocabulary")
    })
}

/// Twice, as the second time finds what the first has kept.
fn check(
    encoder: &Encoder,
    text: &str,
    expected: &[u32],
) -> std::result::Result<(), TestCaseError> {
    // No byte more than the text, so that reading beyond would be seen.
    let text = text.to_owned().into_boxed_str();
    for _ in 0..2 {
        let mut ids = vec![7];
        encoder.encode_ordinary(&text, &mut ids)?;
        prop_assert_eq!(&ids[1..], expected, "{:?}", text);
        prop_assert_eq!(encoder.count_ordinary(&text)?, expected.len());
        prop_assert_eq!(encoder.count(&text, encoder.special())?, expected.len());
    }
    Ok(())
}

#[test]
fn taken_apart_where_nothing_merges() {
    let ranks = prop_oneof![trained(), joined()];
    let texts = proptest::collection::vec(letters(40), 1..8);
    run((ranks, texts), |(ranks, texts)| {
        let encoder = Encoder::new(ranks.clone(), Vec::new(), WHOLE)?;
        for text in &texts {
            check(
                &encoder,
                text,
                &naive::encode_pretoken(&ranks, text.as_bytes()),
            )?;
        }
        Ok(())
    });
}

/// A file of the cache of tiktoken, if it is there.
fn published(name: &str) -> Option<Ranks> {
    let cache = std::env::var_os("BYTEMILL_TIKTOKEN_CACHE")
        .map_or_else(|| PathBuf::from("../shared/tiktoken_cache"), PathBuf::from);
    let text = std::fs::read_to_string(cache.join(name)).ok()?;
    let tokens = text.lines().map(|line| {
        let (token, rank) = line.split_once(' ')?;
        Some((BASE64_STANDARD.decode(token).ok()?, rank.parse().ok()?))
    });
    Ranks::new(tokens.collect::<Option<Vec<_>>>()?).ok()
}

/// Tokens beside each other, so that others lie across the places where they meet.
#[test]
fn published_vocabularies() {
    let names = [
        ("cl100k_base", "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"),
        ("o200k_base", "fb374d419588a4632f3f557e76b4b70aebbca790"),
    ];
    for (name, file) in names {
        let Some(ranks) = published(file) else {
            eprintln!("{name} is not there: set BYTEMILL_TIKTOKEN_CACHE to tiktoken's cache");
            continue;
        };
        let encoder = Encoder::new(ranks.clone(), Vec::new(), WHOLE).expect("a vocabulary");
        let tokens = ranks.sorted().expect("memory");
        let wide: Vec<Vec<u8>> = tokens
            .iter()
            .map(|t| t.0.to_vec())
            .filter(|t| t[0] >= 0x80)
            .collect();
        let parts = proptest::collection::vec(proptest::sample::select(wide), 1..9);
        run(parts, |parts| {
            let text = String::from_utf8_lossy(&parts.concat()).into_owned();
            check(
                &encoder,
                &text,
                &naive::encode_pretoken(&ranks, text.as_bytes()),
            )
        });
    }
}

/// All lengths of what is merged in registers and a little more, over few letters.
#[test]
fn short_pieces() {
    let tokens = proptest::collection::vec("[ab]{2,6}|[abc]{2,3}", 0..40);
    let texts = proptest::collection::vec("[ab]{17}|[abc]{17}", 1..4);
    run_few((tokens, texts), |(tokens, texts)| {
        let mut all: Vec<Vec<u8>> = bytes().collect();
        for token in tokens {
            if !all.contains(&token.clone().into_bytes()) {
                all.push(token.into_bytes());
            }
        }
        let ranks = Ranks::new(all.into_iter().zip(0..))?;
        let encoder = Encoder::new(ranks.clone(), Vec::new(), WHOLE)?;
        for text in &texts {
            for n in 1..=text.len() {
                let expected = naive::encode_pretoken(&ranks, &text.as_bytes()[..n]);
                check(&encoder, &text[..n], &expected)?;
            }
        }
        Ok(())
    });
}

/// A pattern that may match nothing gives no pretokens there.
#[test]
fn empty_matches() {
    let tokens = [&b"aa"[..], b"aaa", b"ba", b"ab"].map(<[u8]>::to_vec);
    let ranks = Ranks::new(bytes().chain(tokens).zip(0..)).expect("a vocabulary");
    let encoders = [r"a*", r"(?=b)|a+", r"a*|\b", r"(?:a|)+", r"a{0,99}"]
        .map(|pattern| Encoder::new(ranks.clone(), Vec::new(), pattern).expect("a pattern"));
    run("[ab]{0,40}", |text| {
        let runs = text.split('b').filter(|run| !run.is_empty());
        let expected: Vec<u32> = runs
            .flat_map(|run| naive::encode_pretoken(&ranks, run.as_bytes()))
            .collect();
        encoders
            .iter()
            .try_for_each(|encoder| check(encoder, &text, &expected))
    });
}
