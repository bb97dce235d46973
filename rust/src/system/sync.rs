//! What threads share and wait by, named in one place: the models in `rust/models` compile the sources that
//! import it with a model checker's versions instead.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
pub(crate) use std::thread;
pub(crate) use std::time::Instant;
