//! Encoding against the definition, on small vocabularies, trained and made up; long pretokens against
//! the heap over byte strings.

#[path = "common/clock.rs"]
mod clock;
mod common;

use bytemill::encode::Encoder;
use bytemill::naive;
use bytemill::pretokenize::Pretokenizer;
use bytemill::pretokenize::pattern::{self, Named};
use bytemill::text::special::SpecialTokens;
use bytemill::train::counts::Counts;
use bytemill::train::{TrainOptions, train};
use bytemill::vocabulary::ranks::Ranks;
use clock::processor_time;
use common::run;
use proptest::prelude::*;
use std::collections::HashSet;
use std::time::Duration;

type Result<T> = std::result::Result<T, bytemill::error::Error>;

/// A pattern that takes a whole text as one pretoken.
const WHOLE: &str = r"(?s).+";

fn bytes() -> impl Iterator<Item = Vec<u8>> {
    (0..=255u8).map(|b| vec![b])
}

/// Text over few letters, with runs.
fn text(max: usize) -> impl Strategy<Value = String> {
    let letters = prop_oneof![
        Just("a"),
        Just("ab"),
        Just("abc"),
        Just("ab "),
        Just("a1' s\n"),
        Just("é中a"),
    ];
    letters.prop_flat_map(move |letters| {
        let letters: Vec<char> = letters.chars().collect();
        let run = (proptest::sample::select(letters), 1..6usize);
        proptest::collection::vec(run, 0..max)
            .prop_map(|runs| runs.iter().flat_map(|&(c, n)| vec![c; n]).collect())
    })
}

/// A vocabulary as training gives it.
fn trained(words: Vec<(Vec<u8>, u64)>, n: usize) -> Result<Ranks> {
    let counts = Counts::from_items(pattern::pat_str("gpt2"), &[], words)?;
    let options = TrainOptions {
        num_threads: Some(1),
        ..TrainOptions::new(256 + n)
    };
    let merges = train(&counts, &options)?;
    let tokens = merges.tokens().iter().map(|token| token.to_vec());
    Ranks::new(tokens.zip(0..))
}

/// A vocabulary that training never gives: any strings, in any order, with holes between the ids, and
/// the bytes anywhere among them.
fn made_up() -> impl Strategy<Value = Ranks> {
    let letters = prop_oneof![Just("ab"), Just("abc"), Just("é中a")];
    let tokens = letters.prop_flat_map(|letters| {
        let byte = proptest::sample::select(letters.as_bytes());
        let token = proptest::collection::vec(byte, 2..7);
        proptest::collection::hash_set(token, 0..40)
    });
    (tokens, any::<u64>()).prop_map(|(tokens, seed)| {
        let mut tokens: Vec<Vec<u8>> = tokens.into_iter().chain(bytes()).collect();
        tokens.sort();
        // Sorted by a scrambled number, to be the same each time.
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u32
        };
        let mut order: Vec<(u32, Vec<u8>)> = tokens.into_iter().map(|t| (next(), t)).collect();
        order.sort();
        let mut id = 0;
        let ranks = order.into_iter().map(|(n, token)| {
            id += 1 + n % 3;
            (token, id)
        });
        Ranks::new(ranks).expect("all bytes are there")
    })
}

fn encode(encoder: &Encoder, text: &str) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    encoder.encode_ordinary(text, &mut ids)?;
    assert_eq!(encoder.count_ordinary(text)?, ids.len());
    // And again, now that the cache knows it.
    let mut again = Vec::new();
    encoder.encode_ordinary(text, &mut again)?;
    assert_eq!(again, ids);
    Ok(ids)
}

fn by_the_book(ranks: &Ranks, pattern: &str, text: &str) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    Pretokenizer::new(pattern)?.split(text, |start, end| {
        ids.extend(naive::encode_pretoken(ranks, &text.as_bytes()[start..end]));
    })?;
    Ok(ids)
}

/// Compares on one named pattern, as they take turns, and with each text as one pretoken.
fn check(ranks: &Ranks, named: usize, texts: &[String]) -> std::result::Result<(), TestCaseError> {
    for pattern in [Named::ALL[named].name(), WHOLE] {
        let encoder = Encoder::new(ranks.clone(), Vec::new(), pattern)?;
        for text in texts {
            let ids = encode(&encoder, text)?;
            let expected = by_the_book(ranks, pattern, text)?;
            prop_assert_eq!(&ids, &expected, "{} {:?}", pattern, text);
            let tokens = ids.iter().map(|&id| encoder.token_bytes(id));
            let back: Vec<u8> = tokens.flatten().flatten().copied().collect();
            prop_assert_eq!(back, text.as_bytes());
        }
    }
    Ok(())
}

#[test]
fn equals_the_definition_with_trained_vocabularies() {
    let word = text(12).prop_map(String::into_bytes);
    let words = proptest::collection::vec((word, 1..9u64), 1..12);
    let texts = proptest::collection::vec(text(30), 1..8);
    run(
        (words, 0..60usize, 0..4usize, texts),
        |(words, n, named, texts)| {
            let words = words.into_iter().filter(|w| !w.0.is_empty()).collect();
            check(&trained(words, n)?, named, &texts)
        },
    );
}

#[test]
fn equals_the_definition_with_any_ranks() {
    let texts = proptest::collection::vec(text(30), 1..8);
    run((made_up(), 0..4usize, texts), |(ranks, named, texts)| {
        check(&ranks, named, &texts)
    });
}

/// Every token of an improper vocabulary as a whole pretoken, reachable by merging or not.
#[test]
fn tokens_are_themselves() {
    run(made_up(), |ranks| {
        let encoder = Encoder::new(ranks.clone(), Vec::new(), WHOLE)?;
        for (token, rank) in ranks.sorted()? {
            if let Ok(text) = std::str::from_utf8(token) {
                prop_assert_eq!(encode(&encoder, text)?, vec![rank]);
            }
            prop_assert_eq!(encoder.token_bytes(rank), Some(token));
        }
        Ok(())
    });
}

/// Numbers that are the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }

    fn text(&mut self, alphabet: &str, n: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..n).map(|_| letters[self.below(letters.len())]).collect()
    }
}

const ALPHABETS: [&str; 6] = [
    "a",
    "ab",
    "ACGT",
    "^",
    "abcdefghijklmnopqrstuvwxyz",
    "中文字é",
];

fn larger_vocabulary() -> Result<Ranks> {
    let mut random = Random(7);
    let words = (0..4000).map(|i| {
        let n = 1 + random.below(24);
        (
            random.text(ALPHABETS[i % 6], n).into_bytes(),
            1 + i as u64 % 40,
        )
    });
    // Equal words add up.
    trained(words.collect(), 2000)
}

/// The same ranks with some out of order: bytes last, and each 16 tokens reversed.
fn disordered(ranks: &Ranks) -> Result<Ranks> {
    let tokens: Vec<Vec<u8>> = ranks
        .sorted()
        .expect("memory")
        .into_iter()
        .map(|t| t.0.to_vec())
        .collect();
    let (bytes, merged) = tokens.split_at(256);
    let mut order = Vec::new();
    merged
        .chunks(16)
        .for_each(|c| order.extend(c.iter().rev().cloned()));
    order.extend_from_slice(bytes);
    Ranks::new(order.into_iter().zip(5..))
}

#[test]
fn long_pretokens() -> Result<()> {
    let ordered = larger_vocabulary()?;
    let disordered = disordered(&ordered)?;
    let mut random = Random(1);
    for ranks in [&ordered, &disordered] {
        let encoder = Encoder::new(ranks.clone(), Vec::new(), WHOLE)?;
        for alphabet in ALPHABETS {
            for n in [1, 15, 16, 17, 62, 63, 64, 65, 66, 500, 20_011] {
                let text = random.text(alphabet, n);
                let mut expected = Vec::new();
                ranks.encode_pretoken(text.as_bytes(), &mut expected)?;
                assert_eq!(encode(&encoder, &text)?, expected, "{alphabet} {n}");
            }
        }
    }
    Ok(())
}

/// More pretokens than the caches hold, through few encoders and many threads.
#[test]
fn caches_and_threads_do_not_show() -> Result<()> {
    let ranks = larger_vocabulary()?;
    let encoder = Encoder::new(ranks.clone(), Vec::new(), "gpt2")?;
    let mut random = Random(3);
    let texts: Vec<String> = (0..400)
        .map(|i| {
            let words: Vec<String> = (0..500)
                .map(|_| {
                    let n = 1 + random.below(20);
                    random.text(ALPHABETS[i % 6], n)
                })
                .collect();
            words.join(" ")
        })
        .collect();
    let expected: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| {
            let mut ids = Vec::new();
            let encode = |start, end| {
                let pretoken = &text.as_bytes()[start..end];
                ranks.encode_pretoken(pretoken, &mut ids).expect("memory");
            };
            Pretokenizer::new("gpt2")?.split(text, encode)?;
            Ok(ids)
        })
        .collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        for first in 0..4 {
            let (encoder, texts, expected) = (&encoder, &texts, &expected);
            scope.spawn(move || {
                for i in 0..texts.len() {
                    let i = (i + 100 * first) % texts.len();
                    assert_eq!(encode(encoder, &texts[i]).expect("no regex"), expected[i]);
                }
            });
        }
    });
    Ok(())
}

#[test]
fn special_tokens() -> Result<()> {
    let ranks = Ranks::new(bytes().zip(0..))?;
    let special = [("<|a|>", 300), ("<|a|><|a|>", 301), ("b", 302)];
    let special: Vec<(String, u32)> = special.map(|(t, id)| (t.to_owned(), id)).to_vec();
    let encoder = Encoder::new(ranks, special, "gpt2")?;
    let all = encoder.special().clone();
    let one = SpecialTokens::new(["<|a|>"])?;
    let text = "x<|a|><|a|><|a|>b<|a";
    let mut ids = Vec::new();
    encoder.encode(text, &all, &mut ids)?;
    assert_eq!(ids, [120, 301, 300, 302, 60, 124, 97]);
    assert_eq!(encoder.count(text, &all)?, ids.len());
    assert_eq!(encoder.count(text, &one)?, 8);
    assert_eq!(encoder.count_ordinary(text)?, text.len());
    assert_eq!(encoder.token_bytes(301), Some("<|a|><|a|>".as_bytes()));
    assert_eq!(encoder.token_bytes(299), None);
    Ok(())
}

#[test]
fn far_ids() -> Result<()> {
    let far = u32::MAX - 1;
    let ranks = Ranks::new(bytes().zip(0..).chain([(b"ab".to_vec(), far)]))?;
    let encoder = Encoder::new(ranks, Vec::new(), "gpt2")?;
    assert_eq!(encode(&encoder, "abc")?, [far, 99]);
    assert_eq!(encoder.token_bytes(far), Some(&b"ab"[..]));
    assert_eq!(encoder.token_bytes(far - 1), None);
    Ok(())
}

/// One pretoken takes about as long as 32 that are a 32nd of it, not 32 times as long.
#[test]
fn linear_in_a_pretoken() -> Result<()> {
    let ordered = larger_vocabulary()?;
    let disordered = disordered(&ordered)?;
    for ranks in [ordered, disordered] {
        let encoder = Encoder::new(ranks, Vec::new(), WHOLE)?;
        for alphabet in ALPHABETS {
            // The same work in all, so that a busy machine slows both alike.
            let time = |times: usize| -> Result<Duration> {
                let text = Random(2).text(alphabet, 320_000 / times);
                let mut best = Duration::MAX;
                for _ in 0..3 {
                    let start = processor_time();
                    for _ in 0..times {
                        encoder.count_ordinary(&text)?;
                    }
                    best = best.min(processor_time() - start);
                }
                Ok(best)
            };
            let (short, long) = (time(32)?, time(1)?);
            assert!(long < short * 12, "{alphabet}: {short:?} {long:?}");
        }
    }
    Ok(())
}

#[test]
fn bad_tables() {
    let without_a = bytes().filter(|b| b != b"a").zip(0..);
    assert!(Ranks::new(without_a).is_err());
    for extra in [
        (b"ab".to_vec(), 255),
        (b"a".to_vec(), 256),
        (Vec::new(), 256),
    ] {
        assert!(Ranks::new(bytes().zip(0..).chain([extra])).is_err());
    }
    let ids: HashSet<u32> = (0..256).collect();
    let ranks = Ranks::new(bytes().zip(0..)).expect("all bytes");
    assert!(ids.iter().all(|&id| ranks.token(id).is_some()));
    assert!(Encoder::new(ranks, vec![("<|x|>".to_owned(), 7)], "gpt2").is_err());
}
