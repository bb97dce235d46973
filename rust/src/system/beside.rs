//! Two pieces of work at a time.

use crate::system::sync::{AtomicBool, Ordering, thread};
use crate::system::threads::is_memory_short;
use std::panic::resume_unwind;

/// Does both, the second in a thread of its own where there is a core and memory for one; otherwise after the first.
///
/// The first is done in this thread. If that is over before the other thread has begun, as on a busy machine, this
/// one does the second as well.
pub(crate) fn beside<A, B: Send>(
    first: impl FnOnce() -> A,
    second: impl Fn() -> B + Sync,
) -> (A, B) {
    if thread::available_parallelism().map_or(1, usize::from) == 1 || is_memory_short() {
        return (first(), second());
    }
    let is_begun = AtomicBool::new(false);
    let begins = || !is_begun.swap(true, Ordering::Relaxed);
    thread::scope(|scope| {
        let work = || begins().then(&second);
        // Where the system has no thread, it is done here.
        let other = thread::Builder::new().spawn_scoped(scope, work);
        let first = first();
        if !begins()
            && let Ok(other) = other
        {
            match other.join() {
                Ok(Some(done)) => return (first, done),
                Ok(None) => {}
                Err(panic) => resume_unwind(panic),
            }
        }
        (first, second())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sync::AtomicU64;
    use std::time::Duration;

    /// Each once, whichever thread comes first.
    #[test]
    fn both_are_done() {
        let n_done = AtomicU64::new(0);
        for n in 0..100 {
            let first = || {
                thread::sleep(Duration::from_micros(n % 3 * 100));
                n + 1
            };
            let second = || vec![n_done.fetch_add(1, Ordering::Relaxed); 3];
            assert_eq!(beside(first, second), (n + 1, vec![n; 3]));
        }
        assert_eq!(n_done.into_inner(), 100);
    }

    #[test]
    fn a_panic_is_passed_on() {
        let done =
            std::panic::catch_unwind(|| beside(|| 1, || -> u32 { panic!("as it is tested") }));
        assert!(done.is_err());
    }
}
