//! What a pool is besides: cloned, shown, and of use after a panic.

use super::handle::Pool;
use crate::manager::Manager;
use crate::sync::Arc;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A panic leaves no invariant of the pool broken, wherever it comes from: foreign code is called
/// while nothing is half done, and its panics are caught; locks that a panic has poisoned hold
/// whole values. A connection whose borrower panics is closed, unless
/// [`keep_on_unwind`](crate::Builder::keep_on_unwind) says otherwise.
impl<M: Manager> UnwindSafe for Pool<M> {}

/// As for [`UnwindSafe`]: after a panic the pool is still sound.
impl<M: Manager> RefUnwindSafe for Pool<M> {}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("settings", &self.state().settings.load())
            .field("counts", &self.stats().counts())
            .finish_non_exhaustive()
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self::adopt(Arc::clone(&self.raw), self.reserve.clone())
    }
}
