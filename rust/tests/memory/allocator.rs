//! An allocator that says no.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// Smaller allocations are never refused.
pub const LARGE: usize = 64 << 10;

/// The system's allocator, but for large allocations that are to be refused.
struct Refusing;

/// How many large allocations, of any thread, are still granted.
static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Whether all that follow the first that is refused are refused too, as under a limit.
static FOR_GOOD: AtomicBool = AtomicBool::new(false);
static REFUSED: AtomicUsize = AtomicUsize::new(0);

fn refuses(size: usize) -> bool {
    if size < LARGE {
        return false;
    }
    let next = |left: usize| match left {
        usize::MAX => None,
        0 if FOR_GOOD.load(SeqCst) => None,
        0 => Some(usize::MAX),
        _ => Some(left - 1),
    };
    let refused = match LEFT.fetch_update(SeqCst, SeqCst, next) {
        Ok(left) | Err(left) => left == 0,
    };
    REFUSED.fetch_add(usize::from(refused), SeqCst);
    refused
}

// SAFETY: all is the system's, but for null pointers, which say that there is no memory.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match refuses(layout.size()) {
            true => std::ptr::null_mut(),
            // SAFETY: as the caller says.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match refuses(layout.size()) {
            true => std::ptr::null_mut(),
            // SAFETY: as the caller says.
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match size > layout.size() && refuses(size) {
            true => std::ptr::null_mut(),
            // SAFETY: as the caller says.
            false => unsafe { System.realloc(place, layout, size) },
        }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

/// Calls `work` while the large allocation after `granted` others is refused, or all after it. Returns
/// what it does and how many were refused.
pub fn refusing<T>(granted: usize, for_good: bool, work: impl FnOnce() -> T) -> (T, usize) {
    FOR_GOOD.store(for_good, SeqCst);
    REFUSED.store(0, SeqCst);
    LEFT.store(granted, SeqCst);
    let done = work();
    LEFT.store(usize::MAX, SeqCst);
    (done, REFUSED.load(SeqCst))
}
