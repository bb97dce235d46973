//! The working memory of threads that are not encoding just now, kept for those that will be.

use crate::encode::groups::State;
use crate::system::memory;
use std::sync::Mutex;

/// A pool of states.
///
/// Nobody ever waits here, so that a process forked while another thread is inside can go on: a thread
/// that does not get in makes a new state, or drops its own.
#[allow(clippy::vec_box)] // A state takes kilobytes, which would be copied each time.
#[derive(Debug, Default)]
pub(crate) struct StatePool {
    shards: [Mutex<Vec<Box<State>>>; 8],
}

thread_local! {
    /// Its address tells threads apart.
    static THREAD_MARK: u8 = const { 0 };
}

impl StatePool {
    /// The shards, this thread's own first.
    fn shards(&self) -> impl Iterator<Item = &Mutex<Vec<Box<State>>>> {
        let mark = THREAD_MARK.with(|mark| std::ptr::from_ref(mark) as usize);
        // Thread-local storage lies megabytes or pages apart.
        let own = (mark >> 12).wrapping_mul(0x9e37_79b9) >> 16;
        let n = self.shards.len();
        (0..n).map(move |i| &self.shards[(own + i) % n])
    }

    /// A state that is used again, if there is one.
    pub(crate) fn take(&self) -> Option<Box<State>> {
        let mut parked = self.shards().filter_map(|d| d.try_lock().ok()?.pop());
        parked.next()
    }

    /// Keeps a state for later.
    pub(crate) fn put(&self, state: Box<State>) {
        for shard in self.shards() {
            if let Ok(mut states) = shard.try_lock() {
                // Where there is no memory to keep it, it is dropped.
                let _ = memory::push(&mut states, state);
                return;
            }
        }
    }
}
