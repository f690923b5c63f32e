//! What can be counted: exact at rest, a mixture of moments while bits move.

use super::{PoolHooks, RawPool};

/// See [`RawPool::gauges`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) idle: usize,
    pub(crate) vacant: usize,
    pub(crate) retired: usize,
    /// Borrowers, not slots that they wait for.
    pub(crate) waiting: usize,
    /// Handed to a waiter, and not yet taken.
    pub(crate) granted: usize,
}

/// Which bit of a slot is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resting {
    Idle,
    Vacant,
    Retired,
}

impl<H: PoolHooks> RawPool<H> {
    /// Which bit of the slot `index` is set; `None` if a token owns the slot or it is granted.
    /// Exact at rest.
    pub(crate) fn resting(&self, index: u32) -> Option<Resting> {
        let bitmaps = [
            (&self.idle, Resting::Idle),
            (&self.vacant, Resting::Vacant),
            (&self.retired, Resting::Retired),
        ];
        bitmaps.into_iter().find(|(bitmap, _)| bitmap.is_set(index)).map(|(_, resting)| resting)
    }

    /// Where slots are that no token owns, and how many wait for one: exact at rest.
    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            idle: self.idle.count(),
            vacant: self.vacant.count(),
            retired: self.retired.count(),
            waiting: self.room.borrowers(),
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

    /// How many of a class wait, and how many slots it was handed in line; that is counted if there
    /// are several classes.
    pub(crate) fn share(&self, class: usize) -> (usize, u64) {
        let served = self.room.shares.get(class).map_or(0, |share| share.served.get());
        (self.room.borrowers_of(class), served)
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
