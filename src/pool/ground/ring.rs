//! How a pool calls for upkeep, and says when it will need it.
//!
//! | who is there | a ring | the next visit |
//! |---|---|---|
//! | a keeper | wakes it | is known to the keeper |
//! | only the housekeeper | wakes it, and leaves the pool's number | stands in its timetable |
//! | neither: the pool is maintained by its user | is not heard | |
//!
//! A keeper is a thread that visits this pool alone and lingers for a while; the housekeeper sends
//! one when there is none.
//!
//! *A ring meets a leaving keeper.* The caller sets `rung` by a read-modify-write, then looks for a
//! keeper. The keeper takes itself down, then looks at `rung` by a read-modify-write. If the
//! keeper's comes second it sees the ring and stays; if it comes first the caller sees that there
//! is no keeper.
//!
//! *A pool leaves its rest as a visitor finds it there.* Who begins a connect counts it, then looks
//! at the moment announced for the next visit, and rings if that is too late. The visitor announces
//! the moment, then looks at the counts. Both go to the moment by a read-modify-write: if the
//! visitor's comes second it sees the count, and comes again soon; if it comes first, it is the
//! moment that the other sees.
//!
//! *A ring meets a ring.* The keeper may answer the first while its caller is still about to wake
//! it, and then there is another. Both callers find the keeper: they share the lock.

use super::rung::Rung;
use crate::clock::Tick;
use crate::fork::{Own, PerProcess};
use crate::sync::{Arc, AtomicBool, AtomicU64, OnceLock, Ordering, PoisonError, RwLock, thread};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Ring {
    /// Unset: the pool is maintained by its user.
    housekeeper: OnceLock<Hired>,
    /// The keeper. Written by the keeper itself; others only ever try to read it.
    keeper: RwLock<Option<thread::Thread>>,
    rung: AtomicBool,
    /// When the next visit will be; a caller that needs it earlier rings.
    next_visit: AtomicU64,
}

/// The housekeeper's thread, the pool's number there, and where to leave it.
#[derive(Debug)]
struct Hired {
    thread: thread::Thread,
    number: usize,
    rung: Arc<Own<Rung>>,
}

impl Hired {
    fn call(&self) {
        self.rung.set(self.number);
        self.thread.unpark();
    }
}

/// The calls of pools without a keeper.
pub(crate) static RUNG: PerProcess<Rung> = PerProcess::new();

impl Ring {
    pub(crate) fn new() -> Self {
        Self {
            housekeeper: OnceLock::new(),
            keeper: RwLock::new(None),
            rung: AtomicBool::new(false),
            next_visit: AtomicU64::new(Tick::NEVER.0),
        }
    }

    /// From now on the housekeeper hears this pool, which has that `number` there.
    pub(crate) fn hire(&self, housekeeper: thread::Thread, number: usize) {
        let hired = Hired { thread: housekeeper, number, rung: RUNG.get() };
        let _ = self.housekeeper.set(hired);
    }

    /// Whether a ring is heard.
    pub(crate) fn is_heard(&self) -> bool {
        self.housekeeper.get().is_some()
    }

    /// The pool's number with the housekeeper.
    pub(crate) fn number(&self) -> Option<usize> {
        self.housekeeper.get().map(|hired| hired.number)
    }

    /// Calls for a visit. Takes no lock, allocates nothing and does not wait.
    pub(crate) fn ring(&self) {
        let Some(housekeeper) = self.housekeeper.get() else { return };
        // O9: what the caller did before is visible to the visit that answers.
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        match self.keeper.try_read().ok().as_deref() {
            Some(Some(keeper)) => keeper.unpark(),
            // If the keeper writes, it comes or leaves, and looks at `rung` afterwards.
            Some(None) | None => housekeeper.call(),
        }
    }

    /// Asks for a visit without waking a thread: it comes when the housekeeper next looks round.
    pub(crate) fn mark(&self) {
        if let Some(hired) = self.housekeeper.get() {
            hired.rung.set(hired.number);
        }
    }

    /// Makes sure that there is a visit no later than `at`.
    pub(crate) fn ring_before(&self, at: Tick) {
        // O8: a read-modify-write, so that it comes either after the announcement of the next visit
        // and sees it, or before and then the visitor sees the deadline that was noted before the
        // ring.
        if self.next_visit.fetch_add(0, Ordering::AcqRel) > at.0 {
            self.ring();
        }
    }

    /// Says when the next visit will be. The visitor looks again at what was noted before.
    pub(crate) fn announce(&self, next: Tick) {
        // O8: pairs with `ring_before`.
        self.next_visit.swap(next.0, Ordering::AcqRel);
    }

    /// The caller is the keeper from now on.
    pub(crate) fn keep(&self) {
        self.set_keeper(Some(thread::current()));
    }

    /// Whether there was a ring since the last answer.
    pub(crate) fn is_rung(&self) -> bool {
        // O9
        self.rung.load(Ordering::Acquire)
    }

    /// Answers a ring: whether there was one. What was done before it is visible now.
    pub(crate) fn answer(&self) -> bool {
        // O9
        self.rung.swap(false, Ordering::AcqRel)
    }

    fn set_keeper(&self, keeper: Option<thread::Thread>) {
        *self.keeper.write().unwrap_or_else(PoisonError::into_inner) = keeper;
    }

    /// The keeper leaves. False: there was a ring, and it must go on.
    pub(crate) fn leave(&self) -> bool {
        self.set_keeper(None);
        // O9: a read-modify-write; see the module.
        if self.rung.fetch_or(false, Ordering::AcqRel) {
            self.keep();
            return false;
        }
        true
    }
}

/// The pool is gone: the housekeeper need not remember it.
impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(housekeeper) = self.housekeeper.get() {
            housekeeper.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;
    use crate::clock::Tick;
    use crate::sync::thread;
    use std::time::{Duration, Instant};

    /// The first is about to wake the keeper, which is awake already, has answered, and sleeps
    /// again.
    #[test]
    fn a_ring_is_heard_though_another_is_in_the_middle_of_one() {
        const PLENTY: Duration = Duration::from_secs(20);
        let ring = Ring::new();
        let housekeeper = thread::spawn(thread::park);
        ring.hire(housekeeper.thread().clone(), 0);
        ring.announce(Tick::NEVER);
        ring.keep();
        let another = ring.keeper.try_read().unwrap();
        let begun = Instant::now();
        ring.ring_before(Tick(1));
        thread::park_timeout(PLENTY);
        assert!(begun.elapsed() < PLENTY, "the keeper was not woken");
        drop(another);
        housekeeper.thread().unpark();
        housekeeper.join().unwrap();
    }
}
