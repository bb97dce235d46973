//! The names of the core's `system::sync`: loom's for the cache, shuttle's for the threads.

pub(crate) use loom::sync::atomic::{AtomicU64, fence};
pub(crate) use shuttle::sync::atomic::AtomicBool;
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::sync::{LockResult, PoisonError};

use std::ops::Add;
use std::time::Duration;

/// A cell that is written once, with steps that loom sees: it has none of its own.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    is_set: loom::sync::atomic::AtomicBool,
    writing: loom::sync::Mutex<()>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            is_set: loom::sync::atomic::AtomicBool::new(false),
            writing: loom::sync::Mutex::new(()),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        let is_set = self.is_set.load(Ordering::Acquire);
        is_set.then(|| self.value.get()).flatten()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let _writing = self.writing.lock();
        self.value.set(value)?;
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }
}

/// What goes wrong at random in an execution, and only so often, so that each one ends.
pub(crate) mod faults {
    use shuttle::rand::{Rng, thread_rng};
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

    static MAY_TIME_OUT: AtomicU32 = AtomicU32::new(0);
    static MAY_FAIL: AtomicU32 = AtomicU32::new(0);
    static FAILED: AtomicU32 = AtomicU32::new(0);
    pub(super) static CLOCK_MS: AtomicU64 = AtomicU64::new(0);

    /// Begins an execution in which so many waits may time out and so many threads may fail to start.
    pub(crate) fn allow(timeouts: u32, failed_starts: u32) {
        MAY_TIME_OUT.store(timeouts, Relaxed);
        MAY_FAIL.store(failed_starts, Relaxed);
        FAILED.store(0, Relaxed);
        CLOCK_MS.store(0, Relaxed);
    }

    fn strikes(left: &AtomicU32) -> bool {
        let strikes = left.load(Relaxed) > 0 && thread_rng().gen_bool(0.5);
        if strikes {
            left.fetch_sub(1, Relaxed);
        }
        strikes
    }

    pub(super) fn wait_times_out() -> bool {
        strikes(&MAY_TIME_OUT)
    }

    pub(super) fn start_fails() -> bool {
        let fails = strikes(&MAY_FAIL);
        FAILED.fetch_add(u32::from(fails), Relaxed);
        fails
    }

    /// How many threads have failed to start in this execution.
    pub(crate) fn starts_failed() -> u32 {
        FAILED.load(Relaxed)
    }
}

/// A clock that goes on by 40 ms now and then when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        use shuttle::rand::{Rng, thread_rng};
        let passed = if thread_rng().gen_bool(0.5) { 40 } else { 0 };
        let before = faults::CLOCK_MS.fetch_add(passed, Ordering::Relaxed);
        Self(Duration::from_millis(before + passed))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, more: Duration) -> Self {
        Self(self.0 + more)
    }
}

/// A condition to wait for, which may time out.
#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    /// With whether it has timed out.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        if faults::wait_times_out() {
            return Ok((guard, true));
        }
        match self.0.wait(guard) {
            Ok(guard) => Ok((guard, false)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), false))),
        }
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Threads that may fail to start.
pub(crate) mod thread {
    use super::faults;
    pub(crate) use shuttle::thread::scope;
    use shuttle::thread::{Scope, ScopedJoinHandle};
    use std::io;
    pub(crate) use std::thread::available_parallelism;

    #[derive(Debug)]
    pub(crate) struct Builder;

    impl Builder {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
            self,
            scope: &'scope Scope<'scope, '_>,
            work: impl FnOnce() -> T + Send + 'scope,
        ) -> io::Result<ScopedJoinHandle<'scope, T>> {
            if faults::start_fails() {
                return Err(io::Error::other("no more threads"));
            }
            Ok(scope.spawn(work))
        }
    }
}
