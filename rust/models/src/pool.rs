//! The threads that do jobs in order, and those that share a piece of work, under shuttle.

use crate::Model;
use crate::error::{Error, Result};
use crate::system::pipeline::{Worker, run};
use crate::system::sync::{AtomicBool, faults};
use crate::system::threads::{Team, Watch};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

pub(crate) const MODELS: &[Model] = &[
    ("pipeline, results in order", in_order),
    ("pipeline, an error among the jobs", error_among_jobs),
    ("pipeline, left early", left_early),
    ("pipeline, the watch ends a wait", watch_ends_a_wait),
    (
        "pipeline, threads that do not start",
        threads_that_do_not_start,
    ),
    ("team, each item once", team),
];

const EXECUTIONS: usize = 3000;

fn config() -> Config {
    let mut config = Config::new();
    // That all its atomics are sequentially consistent.
    config.silence_warnings = true;
    config
}

/// Runs a model in random orders: some that change threads anywhere, some with few changes.
fn check(model: impl Fn() + Send + Sync + Clone + 'static) -> u64 {
    let few_changes = PctScheduler::new_from_seed(2, 3, EXECUTIONS);
    let n = Runner::new(few_changes, config()).run(model.clone());
    n as u64 + check_anywhere(model)
}

/// Runs a model, which may do without threads, in orders that change threads anywhere.
fn check_anywhere(model: impl Fn() + Send + Sync + 'static) -> u64 {
    let random = RandomScheduler::new_from_seed(1, EXECUTIONS);
    Runner::new(random, config()).run(model) as u64
}

/// A job of which nothing comes.
const REFUSED: u64 = 1000;

/// Doubles numbers; counts those done, and the workers that there are.
struct Doubler<'a> {
    done: &'a [AtomicU64],
    alive: &'a AtomicUsize,
}

impl<'a> Doubler<'a> {
    fn new(done: &'a [AtomicU64], alive: &'a AtomicUsize) -> Self {
        alive.fetch_add(1, Relaxed);
        Self { done, alive }
    }
}

impl Drop for Doubler<'_> {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

impl Worker for Doubler<'_> {
    type Job = u64;
    type Done = u64;

    fn work(&mut self, job: u64, _: &AtomicBool) -> Result<u64> {
        shuttle::thread::yield_now();
        if job == REFUSED {
            return Err(Error::argument("job", job.to_string(), "refused"));
        }
        self.done[job as usize].fetch_add(1, Relaxed);
        Ok(2 * job)
    }

    fn is_long(job: &u64) -> bool {
        job.is_multiple_of(2)
    }
}

/// What became of jobs that were sent to so many threads, at most `most` of them under way.
struct Outcome {
    taken: Result<Vec<u64>>,
    /// How often each job was done.
    done: Vec<u64>,
}

fn send_all(jobs: &[u64], n_threads: usize, most: usize, watch: &mut Watch) -> Outcome {
    let done: Vec<AtomicU64> = jobs.iter().map(|_| AtomicU64::new(0)).collect();
    let alive = AtomicUsize::new(0);
    let taken = run(
        n_threads,
        || Doubler::new(&done, &alive),
        |mut pipeline| {
            let mut found = Vec::new();
            for (i, &job) in jobs.iter().enumerate() {
                pipeline.send(job)?;
                let most = if i + 1 == jobs.len() { 0 } else { most };
                while pipeline.under_way() > most {
                    pipeline.work(watch)?;
                    while let Some(result) = pipeline.take() {
                        found.push(result?);
                    }
                }
            }
            Ok(found)
        },
    );
    assert_eq!(alive.load(Relaxed), 0, "all workers are gone");
    let done = done.iter().map(|n| n.load(Relaxed)).collect();
    Outcome { taken, done }
}

fn in_order() -> u64 {
    let n = |n_threads, most| {
        check(move || {
            faults::allow(2, 0);
            let outcome = send_all(&[0, 1, 2, 3], n_threads, most, &mut Watch::never());
            assert_eq!(outcome.taken.expect("no job is refused"), [0, 2, 4, 6]);
            assert_eq!(outcome.done, [1; 4], "each job is done once");
        })
    };
    n(2, 0) + n(2, 2) + n(3, 4)
}

fn error_among_jobs() -> u64 {
    check(|| {
        faults::allow(1, 0);
        let outcome = send_all(&[0, 1, REFUSED, 3], 3, 2, &mut Watch::never());
        assert!(matches!(
            outcome.taken,
            Err(Error::Argument { name: "job", .. })
        ));
        assert_eq!(
            outcome.done[..2],
            [1; 2],
            "what came before the error is done"
        );
        assert!(outcome.done[3] <= 1);
    })
}

fn left_early() -> u64 {
    let undone = Arc::new(AtomicU64::new(0));
    let counts = undone.clone();
    let n = check(move || {
        faults::allow(0, 0);
        let done: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
        let alive = AtomicUsize::new(0);
        let left: Result<()> = run(
            3,
            || Doubler::new(&done, &alive),
            |mut pipeline| {
                (0..4).try_for_each(|job| pipeline.send(job))?;
                Err(Error::Interrupted)
            },
        );
        assert!(matches!(left, Err(Error::Interrupted)));
        assert_eq!(alive.load(Relaxed), 0, "all workers are gone");
        assert!(done.iter().all(|n| n.load(Relaxed) <= 1));
        let n_undone = done.iter().filter(|n| n.load(Relaxed) == 0).count();
        counts.fetch_add(n_undone as u64, Relaxed);
    });
    // All would be done by threads that nobody tells to stop.
    assert!(
        undone.load(Relaxed) > n,
        "{} left undone",
        undone.load(Relaxed)
    );
    n
}

/// Only the calling thread is asked, and its answer is what comes out.
fn watch_ends_a_wait() -> u64 {
    let [ended, finished] = [0, 1].map(|_| Arc::new(AtomicU64::new(0)));
    let counts = [ended.clone(), finished.clone()];
    let n = check(move || {
        faults::allow(3, 0);
        let caller = shuttle::thread::current().id();
        let mut n_asked = 0;
        let mut ask = || {
            assert_eq!(shuttle::thread::current().id(), caller);
            n_asked += 1;
            if n_asked == 2 {
                return Err(Error::Interrupted);
            }
            Ok(())
        };
        let outcome = send_all(&[0, 1, 2, 3], 2, 1, &mut Watch::new(&mut ask));
        match outcome.taken {
            Err(Error::Interrupted) => {
                assert_eq!(n_asked, 2, "nobody is asked after saying no");
                counts[0].fetch_add(1, Relaxed);
            }
            taken => {
                assert!(n_asked < 2, "a no is heeded");
                assert_eq!(taken.expect("no job is refused"), [0, 2, 4, 6]);
                counts[1].fetch_add(1, Relaxed);
            }
        }
    });
    let (ended, finished) = (ended.load(Relaxed), finished.load(Relaxed));
    assert!(
        ended > 0 && finished > 0,
        "{ended} ended, {finished} finished"
    );
    n
}

/// The jobs are done by those that there are, or the call says that there are too few.
fn threads_that_do_not_start() -> u64 {
    let failed = Arc::new(AtomicU64::new(0));
    let counts = failed.clone();
    let n = check_anywhere(move || {
        faults::allow(0, 1);
        match send_all(&[0, 1, 2], 3, 1, &mut Watch::never()).taken {
            Ok(found) => assert_eq!(found, [0, 2, 4]),
            Err(error) => {
                let says_so = matches!(
                    error,
                    Error::Argument {
                        name: "num_threads",
                        ..
                    }
                );
                assert!(says_so && faults::starts_failed() > 0, "{error}");
            }
        }
        counts.fetch_add(u64::from(faults::starts_failed() > 0), Relaxed);
    });
    let failed = failed.load(Relaxed);
    assert!(
        failed > 0 && failed < n,
        "{failed} of {n} had too few threads"
    );
    n
}

fn team() -> u64 {
    check(|| {
        let team = Team::new(Some(3)).expect("a team");
        let caller = shuttle::thread::current().id();
        let mut items = [0, 1, 2].map(|i| (i, None));
        let n_done = AtomicU64::new(0);
        team.run(&mut items, |(_, place)| {
            shuttle::thread::yield_now();
            assert!(place.replace(shuttle::thread::current().id()).is_none());
            n_done.fetch_add(1, Relaxed);
        });
        assert_eq!(n_done.load(Relaxed), 3, "all is done when the call returns");
        assert_eq!(items[0].1, Some(caller), "the caller works too");
        assert!(
            items[1..]
                .iter()
                .all(|(_, place)| place.is_some_and(|place| place != caller))
        );
    })
}
