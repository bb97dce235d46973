//! What a panic, which is a bug, says before it becomes an exception.

use std::io::Write as _;
use std::panic;

/// Has panics of this module say where they are, and no more. With RUST_BACKTRACE set, `std` would look for the
/// names of functions while it holds a lock; where there is no memory for that, it reports this, waits for
/// the same lock, and never returns. The exception has Python's own traceback.
pub fn report_briefly() {
    panic::set_hook(Box::new(|info| {
        // There may be nobody to read it.
        let _ = writeln!(std::io::stderr(), "bytemill: {info}");
    }));
}
