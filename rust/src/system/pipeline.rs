//! Jobs -> results, in the order of the jobs, in several threads of which the caller's is one.
//!
//! Threads live for one call. The caller's thread sends jobs and takes results, and does jobs itself
//! while it has nothing else to do: one that only waited would take its time from the others.

use crate::error::{Error, Result};
use crate::system::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, PoisonError, thread};
use crate::system::threads::{self, Watch, room_for};
use std::collections::VecDeque;

/// Does jobs in one thread.
pub(crate) trait Worker: Send {
    /// What there is to do.
    type Job: Send;
    /// What comes of it.
    type Done: Send;

    /// Does a job; may give anything once `stop` is set.
    ///
    /// # Errors
    /// What is wrong with the job.
    fn work(&mut self, job: Self::Job, stop: &AtomicBool) -> Result<Self::Done>;

    /// Whether a job takes so long that the caller's thread leaves it to others, which would have
    /// nothing to do before it is back.
    fn is_long(_: &Self::Job) -> bool {
        false
    }
}

/// Calls `body` with a pipeline of `n_threads`, this one included, each with a worker from `make`.
/// What has not been done when `body` returns is left undone. If the system cannot start so many threads,
/// those do that it could.
///
/// # Errors
/// What `body` returns.
pub(crate) fn run<W: Worker, R, E: From<Error>>(
    n_threads: usize,
    make: impl Fn() -> W + Sync,
    body: impl FnOnce(Pipeline<'_, W>) -> Result<R, E>,
) -> Result<R, E> {
    let (board, stop) = (Board::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        // The others end when this is dropped.
        let mut pipeline = Pipeline {
            own: make(),
            alone: true,
            board: &board,
            n_sent: 0,
            n_taken: 0,
            n_seen: 0,
            stop: &stop,
        };
        for _ in 1..n_threads {
            if room_for(1).is_err() {
                break;
            }
            let (board, stop, make) = (&board, &stop, &make);
            board.lock().start();
            let started = thread::Builder::new().spawn_scoped(scope, move || {
                board.begin();
                let _leaving = Leaving(board);
                attend(&mut make(), board, stop);
            });
            if started.is_err() {
                board.lock().start_failed();
                break;
            }
            pipeline.alone = false;
            if threads::is_memory_short() {
                board.wait_for_threads();
            }
        }
        body(pipeline)
    })
}

/// Jobs that wait for a thread, and places for the results of those that were sent, which wait for the
/// caller. Room for both is made when a job is sent: threads take jobs and put results without asking for
/// memory, which may be short by then. Channels would, for each thirty or so.
struct Board<W: Worker> {
    state: Mutex<State<W>>,
    job_or_end: Condvar,
    result_or_end: Condvar,
}

struct State<W: Worker> {
    /// With their numbers.
    jobs: VecDeque<(u64, W::Job)>,
    /// By number, from that of the first that has not been taken.
    results: VecDeque<Option<Result<W::Done>>>,
    first: u64,
    /// How many results have come in all.
    n_done: u64,
    /// How many threads there are, without the caller's, and how many of them have not begun.
    n_threads: usize,
    n_starting: usize,
    /// Whether no more jobs will come.
    is_closed: bool,
}

impl<W: Worker> Board<W> {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                results: VecDeque::new(),
                first: 0,
                n_done: 0,
                n_threads: 0,
                n_starting: 0,
                is_closed: false,
            }),
            job_or_end: Condvar::new(),
            result_or_end: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread has begun, and has what memory that takes.
    fn begin(&self) {
        self.lock().n_starting -= 1;
        self.result_or_end.notify_one();
    }

    /// Waits until all threads have begun.
    fn wait_for_threads(&self) {
        let mut state = self.lock();
        while state.n_starting > 0 {
            let waited = self.result_or_end.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts the result of a job.
    fn put(&self, i: u64, result: Result<W::Done>) {
        self.lock().put(i, result);
        self.result_or_end.notify_one();
    }
}

impl<W: Worker> State<W> {
    fn start(&mut self) {
        self.n_threads += 1;
        self.n_starting += 1;
    }

    fn start_failed(&mut self) {
        self.n_threads -= 1;
        self.n_starting -= 1;
    }

    fn put(&mut self, i: u64, result: Result<W::Done>) {
        self.results[(i - self.first) as usize] = Some(result);
        self.n_done += 1;
    }
}

/// The caller's end.
pub(crate) struct Pipeline<'a, W: Worker> {
    own: W,
    alone: bool,
    board: &'a Board<W>,
    n_sent: u64,
    n_taken: u64,
    /// How many results the caller has looked at.
    n_seen: u64,
    stop: &'a AtomicBool,
}

impl<W: Worker> Pipeline<'_, W> {
    /// Adds a job to those that wait for a thread.
    ///
    /// # Errors
    /// [`Error::Memory`]: the job is gone, those before it are not.
    pub fn send(&mut self, job: W::Job) -> Result<()> {
        let mut state = self.board.lock();
        state.jobs.try_reserve(1)?;
        state.results.try_reserve(1)?;
        state.jobs.push_back((self.n_sent, job));
        state.results.push_back(None);
        self.n_sent += 1;
        drop(state);
        self.board.job_or_end.notify_one();
        Ok(())
    }

    /// How many jobs were sent whose results have not been taken.
    pub fn under_way(&self) -> usize {
        (self.n_sent - self.n_taken) as usize
    }

    /// The next result in the order of the jobs, if it has come.
    pub fn take(&mut self) -> Option<Result<W::Done>> {
        let mut state = self.board.lock();
        self.n_seen = state.n_done;
        let result = state.results.front_mut()?.take()?;
        state.results.pop_front();
        state.first += 1;
        self.n_taken += 1;
        Some(result)
    }

    /// Does a job, or waits for one that another thread does. There must be some under way, of which
    /// the first has not come.
    ///
    /// # Errors
    /// What `watch` is answered.
    pub fn work(&mut self, watch: &mut Watch) -> Result<()> {
        let mut state = self.board.lock();
        match state.jobs.pop_front() {
            Some((i, job)) if self.alone || !W::is_long(&job) => {
                drop(state);
                let result = self.own.work(job, self.stop);
                self.board.lock().put(i, result);
                return watch.look();
            }
            // Where it was there is room.
            Some(long) => state.jobs.push_back(long),
            None => {}
        }
        while state.n_done == self.n_seen {
            if state.n_threads == 0 {
                return Err(Error::Interrupted);
            }
            let waited = self.board.result_or_end.wait_timeout(state, Watch::EVERY);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.n_done == self.n_seen {
                drop(state);
                watch.look()?;
                state = self.board.lock();
            }
        }
        self.n_seen = state.n_done;
        drop(state);
        watch.look()
    }
}

impl<W: Worker> Drop for Pipeline<'_, W> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.board.lock().is_closed = true;
        self.board.job_or_end.notify_all();
    }
}

/// Does jobs until there are no more.
fn attend<W: Worker>(worker: &mut W, board: &Board<W>, stop: &AtomicBool) {
    loop {
        let mut state = board.lock();
        let (i, job) = loop {
            if state.is_closed {
                return;
            }
            if let Some(next) = state.jobs.pop_front() {
                break next;
            }
            let waited = board.job_or_end.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let alarm = Alarm { board, i };
        let result = worker.work(job, stop);
        std::mem::forget(alarm);
        board.put(i, result);
    }
}

/// Reports a job whose worker panics, for which the calling thread would wait forever.
struct Alarm<'a, W: Worker> {
    board: &'a Board<W>,
    i: u64,
}

impl<W: Worker> Drop for Alarm<'_, W> {
    fn drop(&mut self) {
        self.board.put(self.i, Err(Error::Interrupted));
    }
}

/// Counts a thread that ends, however it does.
struct Leaving<'a, W: Worker>(&'a Board<W>);

impl<W: Worker> Drop for Leaving<'_, W> {
    fn drop(&mut self) {
        self.0.lock().n_threads -= 1;
        self.0.result_or_end.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles numbers, the slower the higher the number's remainder; refuses 1000.
    struct Doubler;

    impl Worker for Doubler {
        type Job = u64;
        type Done = u64;

        fn work(&mut self, job: u64, _: &AtomicBool) -> Result<u64> {
            thread::sleep(std::time::Duration::from_micros(job % 7 * 20));
            assert!(job != 2000, "a panic");
            if job == 1000 {
                return Err(Error::Interrupted);
            }
            Ok(2 * job)
        }

        fn is_long(job: &u64) -> bool {
            job.is_multiple_of(5)
        }
    }

    fn doubled(numbers: &[u64], n_threads: usize, most: usize) -> Result<Vec<u64>> {
        run(
            n_threads,
            || Doubler,
            |mut pipeline| {
                let mut found = Vec::new();
                for &number in numbers {
                    pipeline.send(number)?;
                    while pipeline.under_way() > most {
                        pipeline.work(&mut Watch::never())?;
                        while let Some(result) = pipeline.take() {
                            found.push(result?);
                        }
                    }
                }
                while pipeline.under_way() > 0 {
                    pipeline.work(&mut Watch::never())?;
                    while let Some(result) = pipeline.take() {
                        found.push(result?);
                    }
                }
                Ok(found)
            },
        )
    }

    #[test]
    fn in_order() -> Result<()> {
        let numbers: Vec<u64> = (0..200).collect();
        let expected: Vec<u64> = numbers.iter().map(|n| 2 * n).collect();
        for n_threads in [1, 2, 5] {
            for most in [0, 3, 1000] {
                assert_eq!(doubled(&numbers, n_threads, most)?, expected);
            }
        }
        Ok(())
    }

    #[test]
    fn errors_and_panics_end_it() {
        for n_threads in [1, 3] {
            assert!(doubled(&[1, 1000, 3, 4, 5], n_threads, 2).is_err());
            let panics = || doubled(&[1, 2000, 3, 4, 5], n_threads, 2);
            assert!(std::panic::catch_unwind(panics).is_err());
        }
    }

    #[test]
    fn the_watch_ends_a_wait() {
        let mut ask = || Err(Error::Interrupted);
        let mut watch = Watch::new(&mut ask);
        let ended = run(
            2,
            || Doubler,
            |mut pipeline| {
                for i in 0.. {
                    pipeline.send(i % 100 * 5)?;
                    pipeline.work(&mut watch)?;
                    pipeline.take();
                }
                Ok(())
            },
        );
        assert!(matches!(ended, Err(Error::Interrupted)));
    }
}
