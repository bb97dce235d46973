//! Training against the naive trainer, on small texts full of ties, runs and duplicates.

mod common;

use bytemill::naive;
use bytemill::pretokenize::pattern;
use bytemill::train::counts::Counts;
use bytemill::train::tie_break::TieBreak;
use bytemill::train::{TrainOptions, train};
use proptest::prelude::*;
use std::collections::HashSet;

fn words() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
    let letters = prop_oneof![Just("ab"), Just("abc"), Just("acgt"), Just("abcdefgh")];
    letters.prop_flat_map(|letters| {
        let byte = proptest::sample::select(letters.as_bytes());
        let word = proptest::collection::vec(byte, 1..40);
        proptest::collection::vec((word, 1..12u64), 1..30)
    })
}

#[test]
fn equals_the_naive_trainer() {
    let ties = [
        TieBreak::Lexicographic,
        TieBreak::LowestId,
        TieBreak::HuggingFace,
    ];
    let strategy = (
        words(),
        0..60usize,
        0..3usize,
        1..6u64,
        prop_oneof![Just(3), Just(5), Just(9999)],
    );
    common::run(strategy, |(words, n, tie, min_frequency, max_len)| {
        let counts = Counts::from_items(pattern::pat_str("gpt2"), &[], words.clone())?;
        let options = TrainOptions {
            tie_break: ties[tie],
            min_frequency,
            max_token_length: Some(max_len),
            num_threads: Some(1 + n % 2),
            ..TrainOptions::new(256 + n)
        };
        let fast = train(&counts, &options)?;
        let (tokens, merges) = naive::train(&words, 256 + n, ties[tie], min_frequency, max_len);
        prop_assert_eq!(fast.pairs(), &merges[..]);
        // No two merges make the same bytes: see the proof in merge.rs.
        let distinct: HashSet<&Vec<u8>> = tokens.iter().collect();
        prop_assert_eq!(distinct.len(), tokens.len());
        let made: Vec<Vec<u8>> = fast.tokens().iter().map(|t| t.to_vec()).collect();
        prop_assert_eq!(made, tokens);
        Ok(())
    });
}

/// Words long enough that big merges and scans are shared between threads.
#[test]
fn threads_do_not_show() -> Result<(), bytemill::error::Error> {
    let mut state = 1u64;
    let mut letter = |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        b'a' + ((state >> 33) % n) as u8
    };
    for letters in [1, 2, 4, 26] {
        let mut words = vec![(
            (0..300_000).map(|_| letter(letters)).collect::<Vec<u8>>(),
            1,
        )];
        words.extend((0..20_000).map(|i| ((0..9).map(|_| letter(letters)).collect(), 1 + i % 50)));
        let counts = Counts::from_items(pattern::pat_str("gpt2"), &[], words)?;
        let run = |num_threads| {
            let options = TrainOptions {
                num_threads: Some(num_threads),
                ..TrainOptions::new(1500)
            };
            train(&counts, &options)
        };
        let one = run(1)?;
        for num_threads in [2, 3, 8] {
            assert_eq!(
                run(num_threads)?.pairs(),
                one.pairs(),
                "{letters} {num_threads}"
            );
        }
    }
    Ok(())
}
