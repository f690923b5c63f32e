//! Work that a borrower does.

use std::time::{Duration, Instant};

/// Keeps the processor busy.
pub fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}
