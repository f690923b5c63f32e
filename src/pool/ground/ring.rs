//! How a pool calls the housekeeper, and tells it when to come.

use crate::clock::Tick;
use crate::sync::{AtomicU64, OnceLock, Ordering, thread};

/// The way to the housekeeper of one pool.
#[derive(Debug)]
pub(crate) struct Ring {
    /// The housekeeper's thread. Unset: the pool is maintained by its user.
    thread: OnceLock<thread::Thread>,
    /// When the housekeeper means to come by; a caller that needs it earlier rings.
    next_visit: AtomicU64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { thread: OnceLock::new(), next_visit: AtomicU64::new(Tick::NEVER.0) }
    }

    /// From now on `thread` is rung.
    pub(crate) fn hire(&self, thread: thread::Thread) {
        let _ = self.thread.set(thread);
    }

    /// Whether there is a housekeeper.
    pub(crate) fn is_heard(&self) -> bool {
        self.thread.get().is_some()
    }

    /// Calls the housekeeper. Takes no lock and does not wait.
    pub(crate) fn ring(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Makes sure that the housekeeper comes by no later than `at`.
    pub(crate) fn ring_before(&self, at: Tick) {
        // O8: a read-modify-write, so that it comes either after the housekeeper's announcement and
        // sees it, or before and then the housekeeper sees the deadline that was noted before the
        // ring.
        if self.next_visit.fetch_add(0, Ordering::AcqRel) > at.0 {
            self.ring();
        }
    }

    /// Says when the next visit will be. The housekeeper looks again at what was noted before.
    pub(crate) fn announce(&self, next: Tick) {
        // O8: pairs with `ring_before`.
        self.next_visit.swap(next.0, Ordering::AcqRel);
    }
}
