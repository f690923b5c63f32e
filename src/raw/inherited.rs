//! A forked child has its parent's pools, and none of the threads that were at them.

use super::{PoolHooks, RawPool};
use crate::sync::forks;

impl<H: PoolHooks> RawPool<H> {
    /// Whether it was built in a process that this one was forked from, so that all that is in it
    /// is another's.
    pub(crate) fn is_inherited(&self) -> bool {
        self.born_in != forks()
    }

    /// In a child, while it has no other thread: no claim succeeds any more, and no connection
    /// passes for fit, so that each return goes the slow way. Takes no lock and allocates nothing.
    pub(crate) fn leave_to_parent(&self) {
        self.idle.close();
        self.advance_epoch();
    }
}
