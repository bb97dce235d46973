//! Training against the naive trainer, on small texts full of ties, runs and duplicates.

use bytemill::counts::Counts;
use bytemill::train::{TieBreak, TrainOptions, train};
use bytemill::{naive, pattern};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn runner() -> TestRunner {
    let cases = std::env::var("BYTEMILL_CASES").ok().and_then(|n| n.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(3000),
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
}

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
    let ties = [TieBreak::Lexicographic, TieBreak::LowestId, TieBreak::HuggingFace];
    let strategy = (words(), 0..60usize, 0..3usize, 1..6u64, prop_oneof![Just(3), Just(5), Just(9999)]);
    let outcome = runner().run(&strategy, |(words, n, tie, min_frequency, max_len)| {
        let counts = Counts::from_items(pattern::pat_str("gpt2"), &[], words.clone())?;
        let options = TrainOptions {
            tie_break: ties[tie],
            min_frequency,
            max_token_length: Some(max_len),
            ..TrainOptions::new(256 + n)
        };
        let fast = train(&counts, &options)?;
        let (tokens, merges) = naive::train(&words, 256 + n, ties[tie], min_frequency, max_len);
        prop_assert_eq!(fast.pairs(), &merges[..]);
        prop_assert_eq!(fast.tokens(), tokens);
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}
