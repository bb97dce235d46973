//! The cache that threads share, under loom: whoever finds a key finds its own ids, in whatever order
//! the steps of readers and writers come, and whichever values the memory model lets them see.

use crate::Model;
use crate::encode::short_cache::ShortCache;
use crate::text::key::Key;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(crate) const MODELS: &[Model] = &[
    ("cache, a reader beside a writer", reader_beside_writer),
    (
        "cache, a reader while the front moves",
        reader_while_front_moves,
    ),
    ("cache, two writers", two_writers),
    ("cache, two writers and a reader", two_writers_and_a_reader),
    ("cache, a larger table", larger_table),
];

/// The i-th of some short pretokens that are all in the same line.
fn key(i: usize) -> Key {
    let texts = ["a", "b", "c", "ab", "bc", "d", "e", "f", "g", "abc", "h"];
    let keys = texts.map(|text| Key::new(text.as_bytes(), 0, text.len()));
    let line = |key: &Key| key.hash() >> 63;
    let found = keys.iter().filter(|key| line(key) == line(&keys[0])).nth(i);
    *found.expect("enough pretokens in a line")
}

/// Three ids that no other key has.
fn ids(i: usize) -> [u32; 3] {
    let i = i as u32 + 1;
    [i, 100 + i, 200 + i]
}

fn keep(cache: &ShortCache, i: usize) {
    let lines = cache.lines();
    assert!(lines.keep(key(i), lines.place(key(i).hash()), &ids(i)));
}

/// Whether the i-th is there; if so, with its ids.
fn finds(cache: &ShortCache, i: usize) -> bool {
    let lines = cache.lines();
    let found = lines.find(key(i), lines.place(key(i).hash()));
    if let Some(found) = found {
        assert_eq!(found.ids[..found.n], ids(i), "the ids of another pretoken");
    }
    found.is_some()
}

/// How often something was so in all executions of a model.
#[derive(Clone, Default)]
struct Tally(Shared<[AtomicU64; 2]>);

impl Tally {
    fn count(&self, found: bool) {
        self.0[usize::from(found)].fetch_add(1, Relaxed);
    }

    /// What is never found, or always, says nothing.
    fn both(&self) {
        let [no, yes] = [0, 1].map(|i| self.0[i].load(Relaxed));
        assert!(no > 0 && yes > 0, "found {yes} times, not found {no} times");
    }
}

/// What one thread does.
type Part = Shared<dyn Fn(&ShortCache) + Send + Sync>;

fn writer(i: usize) -> Part {
    Shared::new(move |cache: &ShortCache| keep(cache, i))
}

fn reader(i: usize, tally: &Tally) -> Part {
    let tally = tally.clone();
    Shared::new(move |cache: &ShortCache| tally.count(finds(cache, i)))
}

/// Runs a thread for each part, writers before readers, and then `after`; returns the number of executions.
///
/// loom derives further orders from the first one, in which the threads come one after another: from each
/// two steps that touch the same cell. It overlooks a load before another thread's store if that thread has
/// loaded the cell in between, as writers do. So it must begin with the writers.
fn check(
    preemptions: usize,
    before: impl Fn(&ShortCache) + Send + Sync + 'static,
    parts: Vec<Part>,
    after: impl Fn(&ShortCache) + Send + Sync + 'static,
) -> u64 {
    let n = Shared::new(AtomicU64::new(0));
    let counter = n.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        counter.fetch_add(1, Relaxed);
        let cache = Arc::new(ShortCache::new().expect("memory"));
        before(&cache);
        let threads = parts.iter().map(|part| {
            let (part, cache) = (part.clone(), cache.clone());
            thread::spawn(move || part(&cache))
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().expect("a thread");
        }
        after(&cache);
    });
    n.load(Relaxed)
}

/// While 2 takes the place of one of the entries 0 and 1, somebody looks for any of the three.
fn reader_beside(n_kept_before: usize) -> u64 {
    let mut n = 0;
    for wanted in 0..3 {
        let tally = Tally::default();
        n += check(
            3,
            move |cache| (0..n_kept_before).for_each(|i| keep(cache, i.min(1))),
            vec![writer(2), reader(wanted, &tally)],
            |cache| assert!(finds(cache, 2), "what was kept last is there"),
        );
        tally.both();
    }
    n
}

fn reader_beside_writer() -> u64 {
    reader_beside(2)
}

/// It is the front's turn to go: the eighth time that a line changes.
fn reader_while_front_moves() -> u64 {
    reader_beside(7)
}

fn two_writers() -> u64 {
    let tally = Tally::default();
    let counts = tally.clone();
    let n = check(
        4,
        |cache| keep(cache, 0),
        vec![writer(1), writer(2)],
        move |cache| {
            let found = [1, 2].map(|i| finds(cache, i));
            assert_ne!(found, [false; 2], "one of two writers gets in");
            counts.count(found[0]);
            assert!(finds(cache, 0), "who does not leaves the line alone");
            keep(cache, 3);
            assert!(finds(cache, 3), "the line can be written again");
        },
    );
    tally.both();
    n
}

fn two_writers_and_a_reader() -> u64 {
    let tally = Tally::default();
    let parts = vec![writer(1), writer(2), reader(1, &tally)];
    let n = check(2, |cache| keep(cache, 0), parts, |_| {});
    tally.both();
    n
}

/// Two threads change to the large table at once, while entries are looked for and kept.
fn larger_table() -> u64 {
    let tally = Tally::default();
    let counts = tally.clone();
    let grows: Part = Shared::new(|cache: &ShortCache| {
        cache.grow();
        keep(cache, 1);
    });
    let looks: Part = Shared::new(move |cache: &ShortCache| {
        counts.count(finds(cache, 0));
        cache.grow();
        assert!(!finds(cache, 0), "a large table is empty at first");
    });
    let parts = vec![grows, looks];
    let n = check(
        3,
        |cache| keep(cache, 0),
        parts,
        |cache| assert!(finds(cache, 1), "both have the same table"),
    );
    tally.both();
    n
}
