//! A waiter: a state, a waker, and the ticket by which its owner polls it or leaves.
//!
//! A waiter is settled once, by a compare-exchange; the thread that wins it acts. See `README.md`
//! for the races.

use super::slots::{Home, Lodging, Occupied};
use crate::no_unwind::no_unwind;
use crate::sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError, switch_point};
use std::task::{Context, Poll, Waker};

// The states of a waiter. `WAITING` and `NOTIFIED` ("retry the claim") alternate, and are left for
// good once, by a compare-exchange; `FIRST_GRANT + index` says that the slot `index` is the
// waiter's own.
const WAITING: usize = 0;
const NOTIFIED: usize = 1;
pub(super) const CLOSED: usize = 2;
pub(super) const FAILED: usize = 3;
pub(super) const EXPIRED: usize = 4;
const TAKEN: usize = 5;
const CANCELLED: usize = 6;
const FIRST_GRANT: usize = 8;

/// "No deadline": the ticket's owner keeps it itself, or there is none.
pub(crate) const NEVER: u64 = u64::MAX;

/// What became of a waiter.
pub(crate) enum Outcome<H: Lodging> {
    /// The slot is the waiter's.
    Granted(Occupied<H>),
    /// The pool was closed.
    Closed,
    /// The pool failed all that waited at that moment.
    Failed,
    /// The waiter's deadline has passed.
    Expired,
}

/// The terms on which a waiter stands in line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// When it expires, or [`NEVER`].
    pub(crate) deadline: u64,
    /// Until when newcomers may claim before it. Zero: they never may.
    pub(crate) patience: u64,
    /// Goes to the head of the line, however long that is: it has waited before, and the slot that
    /// it was granted turned out to be of no use.
    pub(crate) ahead: bool,
}

/// The node of a waiter: its state, its terms and its waker.
pub(crate) struct Waiter {
    state: AtomicUsize,
    pub(super) terms: Terms,
    /// Locked for a moment by the waiter itself while it replaces the waker; others only ever try.
    waker: Mutex<Option<Waker>>,
}

impl Waiter {
    pub(super) fn new(waker: Waker, terms: Terms) -> Arc<Self> {
        Arc::new(Self { state: AtomicUsize::new(WAITING), terms, waker: Mutex::new(Some(waker)) })
    }

    pub(super) fn is_waiting(&self) -> bool {
        // O6
        self.state.load(Ordering::Acquire) <= NOTIFIED
    }

    /// Changes `from` into `to`; `false` if the state is another.
    fn exchange(&self, from: usize, to: usize) -> bool {
        // O5: releases what the waiter is to find (its slot, that the pool is closed), and acquires
        // the unlocked waker of a waiter that has looked again before (O7). On failure nothing is
        // read.
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Changes `WAITING` or `NOTIFIED` into `to` and returns which it was; `None` if another thread
    /// has settled the waiter. The winner must wake the waiter.
    fn leave_for(&self, to: usize) -> Option<usize> {
        loop {
            for from in [WAITING, NOTIFIED] {
                if self.exchange(from, to) {
                    return Some(from);
                }
            }
            if !self.is_waiting() {
                return None;
            }
        }
    }

    /// The same, for callers that need not know what the state was.
    pub(super) fn settle(&self, to: usize) -> bool {
        self.leave_for(to).is_some()
    }

    /// Changes `WAITING` into `NOTIFIED` and returns the wake-up for it. A waiter that is notified
    /// already is notified again, by a read-modify-write: so it sees every slot that was idle
    /// before (README, race 7). `None`: it has left.
    pub(super) fn notify(&self) -> Option<Wakes> {
        loop {
            if self.exchange(WAITING, NOTIFIED) {
                return Some(Wakes::of(self.take_waker()));
            }
            if self.exchange(NOTIFIED, NOTIFIED) {
                return Some(Wakes::default());
            }
            if !self.is_waiting() {
                return None;
            }
        }
    }

    /// The waker to fire after a won [`settle`](Self::settle). `None` if the waiter is replacing it
    /// at this moment: then it looks at its state again afterwards (O7) and needs no wake-up.
    pub(super) fn take_waker(&self) -> Option<Waker> {
        self.waker.try_lock().ok().and_then(|mut waker| waker.take())
    }

    fn lock_waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `slot` to the waiter, or back to the caller if the waiter has left.
    pub(crate) fn grant<H: Lodging>(&self, slot: Occupied<H>) -> Result<Wakes, Occupied<H>> {
        let index = slot.index() as usize;
        if self.settle(FIRST_GRANT + index) {
            slot.into_grant();
            Ok(Wakes::of(self.take_waker()))
        } else {
            Err(slot)
        }
    }

    /// Settles the waiter as failed.
    pub(crate) fn fail(&self) -> Wakes {
        Wakes::of(if self.settle(FAILED) { self.take_waker() } else { None })
    }

    /// Settles the waiter as closed: the pool is.
    pub(crate) fn close(&self) -> Wakes {
        Wakes::of(if self.settle(CLOSED) { self.take_waker() } else { None })
    }
}

/// Wake-ups to fire once the dispatcher has left: they are foreign code, may panic and may
/// re-enter.
#[derive(Default)]
#[must_use]
pub(crate) struct Wakes {
    /// Mostly there is one, and then nothing is allocated.
    first: Option<Waker>,
    rest: Vec<Waker>,
}

impl Wakes {
    fn of(first: Option<Waker>) -> Self {
        Self { first, rest: Vec::new() }
    }

    pub(super) fn add(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.first.is_none() => self.first = Some(waker),
            Some(waker) => self.rest.push(waker),
            None => {}
        }
    }

    pub(super) fn append(&mut self, more: Self) {
        more.first.into_iter().chain(more.rest).for_each(|waker| self.add(Some(waker)));
    }

    pub(crate) fn fire(self) {
        wake_all(self.first.into_iter().chain(self.rest));
    }
}

/// Fires wakers. A panic of one reaches neither the caller, perhaps a guard's `Drop`, nor the
/// others.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        no_unwind(|| waker.wake());
    }
}

/// The waiter's own end: poll it, or drop it to leave. Dropped with a grant, it passes the slot on.
#[must_use]
pub(crate) struct Ticket<'a, H: Lodging> {
    pool: &'a H::Pool,
    waiter: Arc<Waiter>,
    /// It stands in the line, as opposed to a reservation.
    pub(super) in_line: bool,
    /// It may have held the waker's lock when another thread tried it, so the waker may still be
    /// there.
    has_locked: bool,
}

impl<'a, H: Lodging> Ticket<'a, H> {
    /// The ticket of a waiter in the line.
    pub(super) fn in_line(pool: &'a H::Pool, waiter: Arc<Waiter>) -> Self {
        Self { pool, waiter, in_line: true, has_locked: false }
    }

    /// The ticket of a waiter outside the line; the caller gives the [other end](Self::waiter)
    /// away.
    pub(super) fn reservation(pool: &'a H::Pool, waker: Waker) -> Self {
        let terms = Terms { deadline: NEVER, patience: 0, ahead: false };
        Self { pool, waiter: Waiter::new(waker, terms), in_line: false, has_locked: false }
    }

    /// The other end of a reservation, by which the waiter is settled.
    pub(crate) fn waiter(&self) -> Arc<Waiter> {
        Arc::clone(&self.waiter)
    }

    /// Whether the waiter has been settled.
    pub(crate) fn is_settled(&self) -> bool {
        !self.waiter.is_waiting()
    }

    /// Ready once the waiter has been settled; else `cx` is woken when it is.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<H>> {
        // O6: acquires the granted slot (O5).
        if let Some(outcome) = self.read(self.waiter.state.load(Ordering::Acquire)) {
            return Poll::Ready(outcome);
        }
        self.has_locked = true;
        if !self.knows(cx.waker()) {
            // Cloning and dropping wakers is foreign code: never under the lock.
            let fresh = cx.waker().clone();
            let stale = self.waiter.lock_waker().replace(fresh);
            drop(stale);
        }
        // Even if the waker was known: the settling thread may have found the lock taken and left
        // the waking to this look. O7: a read-modify-write. Either it comes after the settling (O5)
        // and sees it, or it comes before, and then the settling thread sees the lock free and the
        // fresh waker.
        let state = self.waiter.state.fetch_add(0, Ordering::AcqRel);
        let outcome = if state == NOTIFIED { self.retry_claim() } else { self.read(state) };
        outcome.map_or(Poll::Pending, Poll::Ready)
    }

    /// Claims an idle slot as a newcomer would. The waker stays, for the next notification.
    #[cold]
    fn retry_claim(&self) -> Option<Outcome<H>> {
        // O5: sees all slots that were idle at the notification. Later ones come with another.
        if !self.waiter.exchange(NOTIFIED, WAITING) {
            // O6
            return self.read(self.waiter.state.load(Ordering::Acquire));
        }
        let slot = self.pool.claim()?;
        match self.waiter.leave_for(TAKEN) {
            None => {
                // The waiter has been granted another slot, or needs none.
                drop(slot);
                // O6
                self.read(self.waiter.state.load(Ordering::Acquire))
            }
            Some(before) => {
                self.pool.leave_line();
                if before == NOTIFIED {
                    // Notified anew, of another slot: the next in line may have that.
                    self.pool.dispatch();
                }
                Some(Outcome::Granted(slot))
            }
        }
    }

    fn knows(&self, waker: &Waker) -> bool {
        let known = self.waiter.lock_waker();
        switch_point();
        known.as_ref().is_some_and(|known| known.will_wake(waker))
    }

    fn read(&self, state: usize) -> Option<Outcome<H>> {
        Some(match state {
            WAITING | NOTIFIED => return None,
            CLOSED => Outcome::Closed,
            FAILED => Outcome::Failed,
            EXPIRED => Outcome::Expired,
            granted => {
                debug_assert!(granted >= FIRST_GRANT, "a settled ticket was polled again");
                // O11: only the ticket's owner changes a settled state.
                self.waiter.state.store(TAKEN, Ordering::Relaxed);
                Outcome::Granted(Occupied::adopt(self.pool, (granted - FIRST_GRANT) as u32))
            }
        })
    }
}

impl<H: Lodging> Drop for Ticket<'_, H> {
    fn drop(&mut self) {
        // O11: this thread wrote it, if it is so.
        let is_taken = self.waiter.state.load(Ordering::Relaxed) == TAKEN;
        if is_taken && !self.has_locked {
            // The thread that settled the waiter has taken the waker.
            return;
        }
        if self.pool.is_inherited() {
            // A thread that is not in this process may have held the lock of the waker.
            return std::mem::forget(Arc::clone(&self.waiter));
        }
        let before = self.waiter.leave_for(CANCELLED);
        // The node may outlive the ticket. The waker must not: its destructor is foreign code,
        // which the dispatcher would run.
        let stale = self.waiter.lock_waker().take();
        match before {
            Some(_) if !self.in_line => {}
            Some(WAITING) => self.pool.leave_line(),
            Some(_) => {
                // The next in line may have the slot of which this one was notified.
                self.pool.leave_line();
                self.pool.dispatch();
            }
            None => {
                // O6: acquires the granted slot.
                let state = self.waiter.state.load(Ordering::Acquire);
                if state >= FIRST_GRANT {
                    drop(self.read(state));
                }
            }
        }
        no_unwind(|| drop(stale));
    }
}
