//! Jobs -> results, in the order of the jobs, in several threads of which the caller's is one.
//!
//! Threads live for one call. The caller's thread sends jobs and takes results, and does jobs itself
//! while it has nothing else to do: one that only waited would take its time from the others.

use crate::error::{Error, Result};
use crate::system::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use crate::system::sync::{AtomicBool, Mutex, Ordering, PoisonError, thread};
use crate::system::threads::{Watch, room_for};
use std::collections::BTreeMap;

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
    let (jobs, queue) = channel();
    let (done, results) = channel();
    let (queue, stop) = (Mutex::new(queue), AtomicBool::new(false));
    thread::scope(|scope| {
        // The others end when this is dropped.
        let mut pipeline = Pipeline {
            own: make(),
            alone: true,
            queue: &queue,
            jobs,
            results,
            early: BTreeMap::new(),
            n_sent: 0,
            n_taken: 0,
            stop: &stop,
        };
        for _ in 1..n_threads {
            if room_for(1).is_err() {
                break;
            }
            let (queue, done, stop, make) = (&queue, done.clone(), &stop, &make);
            let started = thread::Builder::new()
                .spawn_scoped(scope, move || attend(&mut make(), queue, &done, stop));
            if started.is_err() {
                break;
            }
            pipeline.alone = false;
        }
        // The results end with the threads.
        drop(done);
        body(pipeline)
    })
}

/// With the number of the job.
type Numbered<T> = (u64, T);

/// The caller's end.
pub(crate) struct Pipeline<'a, W: Worker> {
    own: W,
    alone: bool,
    queue: &'a Mutex<Receiver<Numbered<W::Job>>>,
    jobs: Sender<Numbered<W::Job>>,
    results: Receiver<Numbered<Result<W::Done>>>,
    /// Results that came before their turn.
    early: BTreeMap<u64, Result<W::Done>>,
    n_sent: u64,
    n_taken: u64,
    stop: &'a AtomicBool,
}

impl<W: Worker> Pipeline<'_, W> {
    /// Adds a job to those that wait for a thread.
    ///
    /// # Errors
    /// None, as long as this exists.
    pub fn send(&mut self, job: W::Job) -> Result<()> {
        self.n_sent += 1;
        let job = (self.n_sent - 1, job);
        self.jobs.send(job).map_err(|_| Error::Interrupted)
    }

    /// How many jobs were sent whose results have not been taken.
    pub fn under_way(&self) -> usize {
        (self.n_sent - self.n_taken) as usize
    }

    /// The next result in the order of the jobs, if it has come.
    pub fn take(&mut self) -> Option<Result<W::Done>> {
        while let Ok((i, result)) = self.results.try_recv() {
            self.early.insert(i, result);
        }
        let result = self.early.remove(&self.n_taken)?;
        self.n_taken += 1;
        Some(result)
    }

    /// Does a job, or waits for one that another thread does. There must be some under way, of which
    /// the first has not come.
    ///
    /// # Errors
    /// What `watch` is answered.
    pub fn work(&mut self, watch: &mut Watch) -> Result<()> {
        // Who holds the queue waits for a job, so there is none; or takes one, and will bring a result.
        let job = self.queue.try_lock().ok().and_then(|q| q.try_recv().ok());
        match job {
            Some((i, job)) if self.alone || !W::is_long(&job) => {
                let result = self.own.work(job, self.stop);
                self.early.insert(i, result);
                return watch.look();
            }
            Some(long) => self.jobs.send(long).map_err(|_| Error::Interrupted)?,
            None => {}
        }
        loop {
            match self.results.recv_timeout(Watch::EVERY) {
                Ok((i, result)) => {
                    self.early.insert(i, result);
                    return watch.look();
                }
                Err(RecvTimeoutError::Timeout) => watch.look()?,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Interrupted),
            }
        }
    }
}

impl<W: Worker> Drop for Pipeline<'_, W> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Does jobs until there are no more.
fn attend<W: Worker>(
    worker: &mut W,
    queue: &Mutex<Receiver<Numbered<W::Job>>>,
    done: &Sender<Numbered<Result<W::Done>>>,
    stop: &AtomicBool,
) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((i, job)) = next else { return };
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let alarm = Alarm { done, i };
        let result = worker.work(job, stop);
        std::mem::forget(alarm);
        // Nobody may be left to take the result.
        let _ = done.send((i, result));
    }
}

/// Reports a job whose worker panics, for which the calling thread would wait forever.
struct Alarm<'a, T> {
    done: &'a Sender<Numbered<Result<T>>>,
    i: u64,
}

impl<T> Drop for Alarm<'_, T> {
    fn drop(&mut self) {
        let _ = self.done.send((self.i, Err(Error::Interrupted)));
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
