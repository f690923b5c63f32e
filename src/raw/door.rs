//! The door: closed for good, or for a while.

use super::room::RESUMED;
use super::slots::{Occupied, Vacant};
use super::{PoolHooks, RawPool};
use crate::sync::Ordering;

// Bits of one word, as they are asked for together.

/// The pool is closed, for good.
const CLOSED: u32 = 1;
/// The pool is paused.
const PAUSED: u32 = 2;

/// The door at one moment.
#[derive(Clone, Copy)]
pub(super) struct Door(u32);

impl Door {
    pub(super) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    pub(super) fn is_paused(self) -> bool {
        self.0 & PAUSED != 0
    }
}

impl<H: PoolHooks> RawPool<H> {
    /// Closes: no claim succeeds any more, all waiters are told, what is idle goes to
    /// [`on_orphan`](PoolHooks::on_orphan), and what is lent follows on its return.
    pub(crate) fn close(&self) {
        // O10: a thread that sees it set needs nothing else; the dispatch (O4) orders it before the
        // evacuation.
        self.door.fetch_or(CLOSED, Ordering::Release);
        self.idle.close();
        self.dispatch();
    }

    #[inline]
    pub(super) fn door(&self) -> Door {
        // O10, O17
        Door(self.door.load(Ordering::Acquire))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.door().is_closed()
    }

    /// From now on no slot is handed out: who comes waits in line. Calls of this and of
    /// [`resume`](Self::resume) must not overlap; each is followed by a [dispatch](Self::dispatch).
    pub(crate) fn pause(&self) {
        // O17: a round that meets a waiter who came afterwards sees it.
        self.door.fetch_or(PAUSED, Ordering::Release);
        self.idle.pause();
    }

    /// Hands out slots again, to those that wait first.
    pub(crate) fn resume(&self) {
        // O17: before the request, whose round lowers the flags that are needless now.
        self.door.fetch_and(!PAUSED, Ordering::Release);
        self.idle.resume();
        self.room.errands.note(RESUMED);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.door().is_paused()
    }

    /// Neither closed nor paused.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.door().0 == 0
    }

    /// Whether every slot has been torn down: no connection is left and none will come.
    pub(crate) fn is_torn_down(&self) -> bool {
        self.torn_down() == self.capacity()
    }

    pub(crate) fn torn_down(&self) -> usize {
        // O10: pairs with the counting, so that what was done to a slot before is visible.
        self.torn_down.load(Ordering::Acquire)
    }

    /// Ends the slots of a closed pool whose bits are set. A thread that sets a bit later sees the
    /// closed pool's flags and requests a dispatch, and the thread that answers the last request
    /// comes here.
    pub(super) fn evacuate(&self) {
        // Each search goes on in the word of the last find: so all words are looked at once.
        let mut home = 0;
        while let Some(index) = self.idle.claim_past_flags(home) {
            home = index as usize;
            H::on_orphan(Occupied::<H>::adopt(self, index));
        }
        for bitmap in [&self.vacant, &self.retired] {
            while let Some(index) = bitmap.claim_past_flags(home) {
                home = index as usize;
                self.tear_down(Vacant::adopt(self, index));
            }
        }
    }

    /// Ends a slot of a closed pool: what giving it back comes to there, without a look at all
    /// words.
    pub(crate) fn tear_down(&self, slot: Vacant<H>) {
        slot.tear_down();
        // O10: releases what was done to the slot to a thread that reads the count.
        if self.torn_down.fetch_add(1, Ordering::AcqRel) + 1 == self.capacity() {
            H::on_torn_down(&self.context);
        }
    }
}
