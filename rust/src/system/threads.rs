//! Thread pools: one for each piece of work, gone after it, so that a fork finds no threads to lose.

use crate::error::{Error, OutOfMemory, Result};
use crate::system::memory;
use crate::system::sync::{Instant, thread};
use std::fmt;
use std::hint::black_box;
use std::time::Duration;

/// The number of threads to use for what the caller asked.
///
/// # Errors
/// [`Error::Argument`] for 0.
pub fn resolve(num_threads: Option<usize>) -> Result<usize> {
    match num_threads {
        Some(0) => Err(Error::argument(
            "num_threads",
            "0",
            "it must be at least 1 (or None for one a core)",
        )),
        Some(n) => Ok(n.min(1024)),
        None => Ok(thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// A pool of `n` threads.
///
/// # Errors
/// [`Error::Argument`] if the system cannot start them.
pub fn pool(n: usize) -> Result<rayon::ThreadPool> {
    let built = rayon::ThreadPoolBuilder::new().num_threads(n).build();
    built.map_err(|reason| {
        let reason = format!("the threads could not be started: {reason}");
        Error::argument("num_threads", n.to_string(), reason)
    })
}

/// What a thread takes beside its stack, in bytes, and some to spare.
const THREAD_BYTES: usize = 32 << 10;

/// With less than this no more threads are started, in bytes: one that begins without memory ends the
/// process, where it first looks for a variable of its own, and the allocator may give it nothing of what
/// other threads have freed. More than what the allocator keeps back, so that it asks the system.
const LITTLE: usize = 64 << 20;

/// What no thread asks for before another has begun, in bytes.
const PLENTY: usize = 256 << 20;

/// Looks whether there is memory for `n` more threads.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn room_for(n: usize) -> Result<()> {
    Ok(could_have(LITTLE + n * THREAD_BYTES)?)
}

/// Whether so little is left that this thread might take, before one that it has started begins, what that
/// one needs for it.
pub(crate) fn is_memory_short() -> bool {
    could_have(PLENTY).is_err()
}

/// Takes so many bytes and gives them back, which a compiler might leave out.
fn could_have(n_bytes: usize) -> Result<(), OutOfMemory> {
    let room: Vec<u8> = memory::with_capacity(n_bytes)?;
    black_box(&room);
    Ok(())
}

/// Asks now and then during long work whether to go on, always in the thread that made the call: only
/// there may Python's signal handlers run.
pub struct Watch<'a> {
    ask: Option<&'a mut (dyn FnMut() -> Result<()> + Send)>,
    next: Option<Instant>,
}

impl<'a> Watch<'a> {
    /// How long Ctrl-C may have to wait.
    pub(crate) const EVERY: Duration = Duration::from_millis(50);

    /// Calls `ask` each 50 ms or so; its error ends the work.
    pub fn new(ask: &'a mut (dyn FnMut() -> Result<()> + Send)) -> Self {
        Self {
            ask: Some(ask),
            next: None,
        }
    }

    /// Lets the work go on.
    pub fn never() -> Self {
        Self {
            ask: None,
            next: None,
        }
    }

    /// Asks if it is time to. Reading the clock takes about 30 ns.
    ///
    /// # Errors
    /// What is answered.
    pub fn look(&mut self) -> Result<()> {
        if self.ask.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        let next = *self.next.get_or_insert(now + Self::EVERY);
        if now < next {
            return Ok(());
        }
        self.next = Some(now + Self::EVERY);
        self.ask()
    }

    fn ask(&mut self) -> Result<()> {
        self.ask.as_mut().map_or(Ok(()), |ask| ask())
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Threads that share a piece of work: the caller's own and a pool's.
///
/// The caller works too, as only its thread may run Python's signal handlers in between.
#[derive(Debug)]
pub struct Team {
    others: Option<rayon::ThreadPool>,
    size: usize,
}

impl Team {
    /// A team of as many as [`resolve`] says, or of fewer if the system cannot start them.
    ///
    /// # Errors
    /// As [`resolve`].
    pub fn new(num_threads: Option<usize>) -> Result<Self> {
        let mut size = resolve(num_threads)?;
        // Where the system has no memory for so many, fewer do the same, and one always can.
        let mut others = None;
        while size > 1 && others.is_none() {
            others = room_for(size - 1).and_then(|()| pool(size - 1)).ok();
            if others.is_none() {
                size = size.div_ceil(2);
            }
        }
        Ok(Self { others, size })
    }

    /// How many work together.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Calls `work` on each item, one a thread; returns when all are done.
    pub fn run<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        let Some((own, rest)) = items.split_first_mut() else {
            return;
        };
        match &self.others {
            Some(pool) if !rest.is_empty() => pool.in_place_scope(|scope| {
                for item in rest {
                    let work = &work;
                    scope.spawn(move |_| work(item));
                }
                work(own);
            }),
            _ => items.iter_mut().for_each(work),
        }
    }
}
