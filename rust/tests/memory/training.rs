//! Counting, what is done with counts, and training.

use crate::check;
use crate::sample::Sample;
use bytemill::error::{Error, Result};
use bytemill::naive;
use bytemill::pretokenize::pattern::Named;
use bytemill::pretokenize::spans;
use bytemill::superwords;
use bytemill::train::count::{CountOptions, Pass};
use bytemill::train::counts::Counts;
use bytemill::train::tie_break::TieBreak;
use bytemill::train::{TrainOptions, counts_bytes, counts_file, train};
use std::collections::BTreeMap;
use std::path::Path;

fn as_map(counts: &Counts) -> BTreeMap<Vec<u8>, u64> {
    let items = counts.items().expect("memory").into_iter();
    items.map(|(word, n)| (word.into_vec(), n)).collect()
}

fn options(num_threads: usize) -> CountOptions {
    CountOptions {
        num_threads: Some(num_threads),
        ..CountOptions::new("gpt2").expect("a pattern")
    }
}

pub fn counting(sample: &Sample, dir: &Path) {
    let expected = sample.word_counts();
    let is_right = |found: &Counts| as_map(found) == expected;
    for n_threads in [1, 3] {
        let call = |options: &mut CountOptions| options.count_texts([&*sample.text]);
        let name = format!("count_texts: {n_threads} threads");
        check(&name, || options(n_threads), call, is_right);
    }
    let path = dir.join("text");
    std::fs::write(&path, &sample.text).expect("a file");
    let call = |options: &mut CountOptions| options.count_files([&path]);
    check("count_files", || options(2), call, is_right);
    let call = |options: &mut CountOptions| {
        options.replace_invalid = true;
        let mut pass = Pass::new(options)?;
        let mut chunks = sample.text.as_bytes().chunks(100_000);
        pass.run(|feed| {
            feed.pieces("text", |buffer| {
                let chunk = chunks.next().unwrap_or_default();
                buffer.try_reserve(chunk.len())?;
                buffer.extend_from_slice(chunk);
                Ok::<(), Error>(())
            })
        })?;
        pass.finish()
    };
    check("Feed::pieces: replacing", || options(2), call, is_right);
}

fn some(items: impl Iterator<Item = (Vec<u8>, u64)>) -> Result<Counts> {
    Counts::from_items("gpt2", &[], items)
}

pub fn counts(sample: &Sample, dir: &Path) {
    let mut all = sample.word_counts();
    // Pretokens of more than 15 bytes are kept otherwise.
    all.extend((0..20_000u64).map(|i| (format!("a long pretoken {i}").into_bytes(), i + 2)));
    let items = || all.iter().map(|(word, &n)| (word.clone(), n));
    let is_right = |found: &Counts| as_map(found) == all;
    check("Counts::from_items", || (), |_| some(items()), is_right);
    let counts = || some(items()).expect("counts");
    check(
        "Counts::items",
        counts,
        |counts| counts.items(),
        |found| {
            let mut expected: Vec<_> = items().collect();
            expected.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            found
                .iter()
                .map(|(word, n)| (word.to_vec(), *n))
                .eq(expected)
        },
    );
    // A few words come in one part, with half of their counts, and all words in the other.
    let parts = || {
        let few = items().step_by(100).map(|(word, n)| (word, n.div_ceil(2)));
        let numbered = items().enumerate();
        let rest = numbered.map(|(i, (word, n))| match i % 100 {
            0 => (word, n / 2),
            _ => (word, n),
        });
        let parts = (some(few), some(rest.filter(|n| n.1 > 0)));
        (parts.0.expect("counts"), parts.1.expect("counts"))
    };
    type Parts = (Counts, Counts);
    check(
        "Counts::merge",
        parts,
        |(one, other)| one.merge(other).map(|()| std::mem::replace(one, none())),
        is_right,
    );
    let into_nothing = |(one, other): &mut Parts| {
        one.merge(other)?;
        Ok(std::mem::replace(one, none()))
    };
    let fresh = || (none(), counts());
    check("Counts::merge: into nothing", fresh, into_nothing, is_right);
    let pack = |counts: &mut Counts| counts_bytes::to_bytes(counts);
    check("counts_bytes::to_bytes", counts, pack, |bytes| {
        is_right(&counts_bytes::from_bytes(bytes).expect("counts"))
    });
    let bytes = counts_bytes::to_bytes(&counts()).expect("bytes");
    check(
        "counts_bytes::from_bytes",
        || (),
        |_| counts_bytes::from_bytes(&bytes),
        is_right,
    );
    let path = dir.join("counts");
    let save = |counts: &mut Counts| counts_file::save(counts, &path);
    check("counts_file::save", counts, save, |()| {
        is_right(&counts_file::load(&path).expect("counts"))
    });
    check(
        "counts_file::load",
        || (),
        |_| counts_file::load(&path),
        is_right,
    );
}

fn none() -> Counts {
    some(std::iter::empty()).expect("no counts")
}

pub fn merges(sample: &Sample) {
    let words: Vec<(Vec<u8>, u64)> = sample.word_counts().into_iter().collect();
    let tie = TieBreak::Lexicographic;
    let (tokens, pairs) = naive::train(&words, 256 + 80, tie, 1, usize::MAX);
    for n_threads in [1, 2] {
        let options = TrainOptions {
            num_threads: Some(n_threads),
            ..TrainOptions::new(256 + 80)
        };
        check(
            &format!("train: {n_threads} threads"),
            || some(words.iter().cloned()).expect("counts"),
            |counts| train(counts, &options),
            |merges| {
                let found = merges.tokens().iter().map(|token| token.to_vec());
                found.eq(tokens.iter().cloned()) && merges.pairs() == pairs
            },
        );
    }
    // Beyond 16 bits the symbols take twice as much.
    let options = TrainOptions::new(1 << 17);
    let counts = || some(words.iter().cloned()).expect("counts");
    let expected = train(&counts(), &options).expect("merges");
    assert_eq!(expected.pairs()[..80], pairs);
    check(
        "train: many tokens",
        counts,
        |c| train(c, &options),
        |found| found.pairs() == expected.pairs(),
    );
}

/// Two stages, from spans that are lines of several words.
pub fn superwords(sample: &Sample) {
    let options = CountOptions::new(spans::regex_of(Named::Gpt2).expect("it has spans"));
    let text = sample.text.replace("the ", "the\n");
    let counts = options.expect("a pattern").count_texts([&*text]);
    let counts = counts.expect("counts");
    let learn = |counts: &Counts, n_threads| {
        let options = TrainOptions {
            num_threads: Some(n_threads),
            ..TrainOptions::new(256 + 400)
        };
        superwords::train(counts, "gpt2", 256 + 300, &options, &mut |_, _| Ok(()))
    };
    let expected = learn(&counts, 1).expect("merges");
    let is_superword = |token: &[u8]| token.windows(2).any(|w| w[0] != b' ' && w[1] == b' ');
    assert!(expected.tokens()[556..].iter().any(|t| is_superword(t)));
    for n_threads in [1, 2] {
        check(
            &format!("superwords::train: {n_threads} threads"),
            || counts.copy().expect("counts"),
            |counts| learn(counts, n_threads),
            |merges| merges.pairs() == expected.pairs(),
        );
    }
}
