//! What can be counted: exact at rest, a mixture of moments while bits move.

use super::{PoolHooks, RawPool};

/// See [`RawPool::gauges`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) idle: usize,
    pub(crate) vacant: usize,
    pub(crate) retired: usize,
    pub(crate) waiting: usize,
    /// Handed to a waiter, and not yet taken.
    pub(crate) granted: usize,
}

impl<H: PoolHooks> RawPool<H> {
    /// Where slots are that no token owns, and how many wait for one: exact at rest.
    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            idle: self.idle.count(),
            vacant: self.vacant.count(),
            retired: self.retired.count(),
            waiting: self.room.live(),
            granted: self.room.granted.get(),
        }
    }

    /// Idle slots: exact at rest.
    pub(crate) fn count_idle(&self) -> usize {
        self.idle.count()
    }

    /// Waiters in the line that have not left it.
    pub(crate) fn waiting(&self) -> usize {
        self.room.live()
    }

    /// How many nodes stand in the line, including those of waiters that have left.
    pub(crate) fn queued(&self) -> usize {
        self.room.queued()
    }

    /// A moment no later than the earliest deadline in the line.
    pub(crate) fn next_deadline(&self) -> u64 {
        self.room.next_deadline()
    }
}
