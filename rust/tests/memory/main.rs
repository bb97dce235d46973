//! Out of memory: on every surface each large allocation is refused in turn, which must end in
//! [`Error::Memory`], or in the right result where the memory was only wanted for speed. Nothing is lost:
//! the same object then does what it did not.
//!
//!     cargo test --test memory -- --nocapture
//!
//! prints a table. What is right is said by the naive versions.

#![allow(unsafe_code)] // An allocator is.

mod allocator;
mod encoding;
mod normalizing;
mod sample;
mod shapes;
mod training;
mod vocabularies;

use allocator::refusing;
use bytemill::error::{Error, OutOfMemory, Result};
use sample::Sample;

/// Calls `call` on a new object for each large allocation that it makes, and refuses that one; then again,
/// and refuses all from there on.
fn check<O, T>(
    name: &str,
    make: impl Fn() -> O,
    call: impl Fn(&mut O) -> Result<T>,
    is_right: impl Fn(&T) -> bool,
) {
    let (mut n_errors, mut n_without) = (0, 0);
    for for_good in [false, true] {
        for granted in 0.. {
            let mut object = make();
            let (done, n_refused) = refusing(granted, for_good, || call(&mut object));
            let place = format!("{name}, after {granted} (for good: {for_good})");
            match done {
                Ok(done) => {
                    assert!(is_right(&done), "{place}: another result");
                    if n_refused == 0 {
                        break;
                    }
                    n_without += 1;
                }
                Err(Error::Memory(OutOfMemory)) => {
                    assert!(n_refused > 0, "{place}: there was memory");
                    n_errors += 1;
                    let again = call(&mut object).unwrap_or_else(|e| panic!("{place}: {e}"));
                    assert!(is_right(&again), "{place}: another result afterwards");
                }
                Err(other) => panic!("{place}: {other}"),
            }
        }
    }
    let n_refused = n_errors + n_without;
    println!("{name:34} {n_refused:8} {n_errors:8} {n_without:8}");
    assert!(n_errors > 0, "{name}: nothing was refused");
}

#[test]
fn large_allocations_are_refused_one_by_one() {
    println!("\n{:34}  refused    error  without", "");
    let sample = Sample::new();
    let dir = std::env::temp_dir().join(format!("bytemill-memory-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    encoding::vocabularies(&sample);
    encoding::texts(&sample);
    encoding::batches(&sample);
    encoding::files(&sample, &dir);
    encoding::streams(&sample);
    encoding::offsets(&sample);
    encoding::decoding(&sample);
    training::counting(&sample, &dir);
    training::counts(&sample, &dir);
    training::merges(&sample);
    training::superwords(&sample);
    normalizing::steps(&sample);
    shapes::fronts(&sample);
    shapes::added(&sample);
    shapes::splits(&sample);
    shapes::characters();
    vocabularies::listings();
    vocabularies::splits();
    vocabularies::tokenizer_json();
    vocabularies::ordered(&sample);
    vocabularies::across_words(&sample);
    std::fs::remove_dir_all(&dir).expect("the folder is ours");
}
