//! Seeded property tests.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Runs a property on `BYTEMILL_CASES` values, 3000 by default, the same ones every time.
#[allow(dead_code)] // Each test file uses some of these.
pub fn run<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    run_share(strategy, 1, test);
}

/// As [`run`], on a fiftieth of the values, for slow properties.
#[allow(dead_code)]
pub fn run_few<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    run_share(strategy, 50, test);
}

fn run_share<S: Strategy>(
    strategy: S,
    share: u32,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let cases: Option<u32> = std::env::var("BYTEMILL_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(3000).div_ceil(share),
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, test);
    outcome.unwrap_or_else(|e| panic!("{e}"));
}
