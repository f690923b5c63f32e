//! Foreign code whose panics must not spread.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `foreign` returns, unless it panics. Never unwinds itself, which the compiler sees: callers
/// need no landing pads, and so keep what they own in registers.
#[inline(always)]
pub(crate) fn no_unwind<T>(foreign: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(foreign)) {
        Ok(value) => Some(value),
        Err(payload) => {
            discard(payload);
            None
        }
    }
}

/// The destructor of a panic's payload is foreign code, too.
#[cold]
#[inline(never)]
fn discard(payload: Box<dyn std::any::Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Enough: there is no end to it.
        std::mem::forget(another);
    }
}
