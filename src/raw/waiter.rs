//! A waiter: a state, a waker, and the ticket by which its owner polls it or leaves.
//!
//! A waiter is settled by a compare-exchange; the thread that wins it acts. That is for good, but
//! for a grant that is not taken. See `README.md` for the races.

use super::slots::{Home, Lodging, Occupied};
pub(crate) use super::terms::{NEVER, Terms};
use super::wakes::wake_all;
use crate::no_unwind::no_unwind;
use crate::sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError, switch_point};
use std::task::{Context, Poll, Waker};

// The states of a waiter. In the first three it waits: `NOTIFIED` says "retry the claim", `LATE`
// that it has let a grant lapse and not been polled since. They are left by a compare-exchange.
// `FIRST_GRANT + index` says that the slot `index` is the waiter's own; taken back, that becomes
// `LATE` or `LAPSED`. All others are final.
const WAITING: usize = 0;
const NOTIFIED: usize = 1;
pub(super) const LATE: usize = 2;
pub(super) const CLOSED: usize = 3;
pub(super) const FAILED: usize = 4;
pub(super) const EXPIRED: usize = 5;
pub(super) const LAPSED: usize = 6;
pub(super) const SHED: usize = 7;
const TAKEN: usize = 8;
const CANCELLED: usize = 9;
const FIRST_GRANT: usize = 16;

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
    /// What was granted was not taken in time, and went to another: look again.
    Lapsed,
    /// The line is slow, and the waiter was late.
    Shed,
}

/// The node of a waiter: its state, its terms and its waker.
pub(crate) struct Waiter {
    state: AtomicUsize,
    pub(super) terms: Terms,
    /// Whether it stands in line; a reservation does not.
    pub(super) in_line: bool,
    /// Locked for a moment by the waiter itself while it replaces the waker; others only ever try.
    waker: Mutex<Option<Waker>>,
}

impl Waiter {
    pub(super) fn new(waker: Waker, terms: Terms, in_line: bool) -> Arc<Self> {
        let (state, waker) = (AtomicUsize::new(WAITING), Mutex::new(Some(waker)));
        Arc::new(Self { state, terms, in_line, waker })
    }

    pub(super) fn class(&self) -> usize {
        usize::from(self.terms.class)
    }

    pub(super) fn is_waiting(&self) -> bool {
        // O6
        self.state.load(Ordering::Acquire) <= LATE
    }

    /// Whether it waits, and has let nothing lapse since it was polled.
    pub(super) fn is_prompt(&self) -> bool {
        // O11: a guess.
        self.state.load(Ordering::Relaxed) < LATE
    }

    /// Whether it waits, has let a grant lapse, and was not polled since.
    pub(super) fn is_late(&self) -> bool {
        // O11: a guess. The thread that changes it requests another round.
        self.state.load(Ordering::Relaxed) == LATE
    }

    /// A slot was granted, and was not taken yet.
    pub(super) fn is_granted(&self) -> bool {
        // O11: a guess.
        self.state.load(Ordering::Relaxed) >= FIRST_GRANT
    }

    /// Changes `from` into `to`; `false` if the state is another.
    fn exchange(&self, from: usize, to: usize) -> bool {
        // O5: releases what the waiter is to find (its slot, that the pool is closed), and acquires
        // the unlocked waker of a waiter that has looked again before (O7). On failure nothing is
        // read.
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Changes the state of one that waits into `to` and returns which it was; `None` if another
    /// thread has settled the waiter. The winner must wake the waiter.
    fn leave_for(&self, to: usize) -> Option<usize> {
        let mut from = WAITING;
        loop {
            // O5; O11 on failure: another guess.
            match self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(from),
                Err(state) if state <= LATE => from = state,
                Err(_) => return None,
            }
        }
    }

    /// The same, for callers that need not know what the state was.
    pub(super) fn settle(&self, to: usize) -> bool {
        self.leave_for(to).is_some()
    }

    /// Notifies one that waits, and returns its waker if that is news. A waiter that is notified
    /// already is notified again, by a read-modify-write: so it sees every slot that was idle
    /// before (README, race 7). `None`: it has left.
    pub(super) fn notify(&self) -> Option<Notice> {
        let before = self.leave_for(NOTIFIED)?;
        let is_news = before != NOTIFIED;
        Some(if is_news { Notice::News(self.take_waker()) } else { Notice::Known })
    }

    /// The waker to fire after a won [`settle`](Self::settle). `None` if the waiter is replacing it
    /// at this moment: then it looks at its state again afterwards (O7) and needs no wake-up.
    pub(super) fn take_waker(&self) -> Option<Waker> {
        self.waker.try_lock().ok().and_then(|mut waker| waker.take())
    }

    fn lock_waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `slot` to the waiter, or back to the caller if the waiter has left. Returns whether it
    /// was late, and the waker to fire.
    pub(super) fn grant<H: Lodging>(
        &self,
        slot: Occupied<H>,
    ) -> Result<(bool, Option<Waker>), Occupied<H>> {
        let index = slot.index() as usize;
        // First, as its owner may take it at once.
        slot.pool().granted().add(1);
        let Some(before) = self.leave_for(FIRST_GRANT + index) else {
            slot.pool().granted().subtract(1);
            return Err(slot);
        };
        slot.into_grant();
        Ok((before == LATE, self.take_waker()))
    }

    /// Changes "granted" into `to`; the caller then owns the slot. `None`: nothing is granted, or
    /// another thread was faster, the owner of the ticket or the dispatcher.
    pub(super) fn withdraw<H: Lodging>(&self, pool: &H::Pool, to: usize) -> Option<Occupied<H>> {
        // O11: a guess.
        let state = self.state.load(Ordering::Relaxed);
        let index = state.checked_sub(FIRST_GRANT)?;
        // O6: acquires the slot (O5), of whichever grant; releases what the next state needs. O11
        // on failure.
        self.state.compare_exchange(state, to, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        pool.granted().subtract(1);
        Some(Occupied::adopt(pool, index as u32))
    }

    /// Settles the waiter as failed, and wakes it.
    pub(crate) fn fail(&self) {
        self.settle_and_wake(FAILED);
    }

    /// Settles the waiter as closed, as the pool is, and wakes it.
    pub(crate) fn close(&self) {
        self.settle_and_wake(CLOSED);
    }

    fn settle_and_wake(&self, to: usize) {
        if self.settle(to) {
            wake_all(self.take_waker());
        }
    }
}

/// What a waiter that waits is told by a notification.
pub(super) enum Notice {
    /// It is to retry: fire its waker, if there is one.
    News(Option<Waker>),
    /// It was told before, and has not retried yet.
    Known,
}

/// The waiter's own end: poll it, or drop it to leave. Dropped with a grant, it passes the slot on.
#[must_use]
pub(crate) struct Ticket<'a, H: Lodging> {
    pool: &'a H::Pool,
    pub(super) waiter: Arc<Waiter>,
    /// It may have held the waker's lock when another thread tried it, so the waker may still be
    /// there.
    has_locked: bool,
}

impl<'a, H: Lodging> Ticket<'a, H> {
    /// The ticket of a waiter in the line.
    pub(super) fn in_line(pool: &'a H::Pool, waiter: Arc<Waiter>) -> Self {
        Self { pool, waiter, has_locked: false }
    }

    /// The ticket of a waiter outside the line; the caller gives the [other end](Self::waiter)
    /// away.
    pub(super) fn reservation(pool: &'a H::Pool, waker: Waker, terms: Terms) -> Self {
        Self { pool, waiter: Waiter::new(waker, terms, false), has_locked: false }
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
        if let Some(outcome) = self.look() {
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
        let outcome = match state {
            WAITING => None,
            NOTIFIED => self.retry_claim(),
            LATE if self.waiter.exchange(LATE, WAITING) => self.come_back(),
            _ => self.look(),
        };
        outcome.map_or(Poll::Pending, Poll::Ready)
    }

    /// Claims an idle slot as a newcomer would. The waker stays, for the next notification.
    #[cold]
    fn retry_claim(&self) -> Option<Outcome<H>> {
        // O5: sees all slots that were idle at the notification. Later ones come with another.
        if !self.waiter.exchange(NOTIFIED, WAITING) {
            return self.look();
        }
        let slot = self.pool.claim()?;
        match self.waiter.leave_for(TAKEN) {
            None => {
                // The waiter has been granted another slot, or needs none.
                drop(slot);
                self.look()
            }
            Some(before) => {
                self.pool.leave_line(&self.waiter.terms);
                if before == NOTIFIED {
                    // Notified anew, of another slot: the next in line may have that.
                    self.pool.dispatch();
                }
                Some(Outcome::Granted(slot))
            }
        }
    }

    /// It was late, and is polled now: the dispatcher sees that, and grants it what others that
    /// stand behind it have not taken.
    #[cold]
    fn come_back(&self) -> Option<Outcome<H>> {
        self.pool.dispatch();
        self.look()
    }

    fn knows(&self, waker: &Waker) -> bool {
        let known = self.waiter.lock_waker();
        switch_point();
        known.as_ref().is_some_and(|known| known.will_wake(waker))
    }

    /// What has become of the waiter. Takes what is granted, or looks again if that was taken back.
    fn look(&self) -> Option<Outcome<H>> {
        loop {
            // O6
            let state = self.waiter.state.load(Ordering::Acquire);
            if matches!(state, CLOSED | FAILED | SHED) {
                self.pool.wake_some();
            }
            return Some(match state {
                WAITING | NOTIFIED | LATE => return None,
                CLOSED => Outcome::Closed,
                FAILED => Outcome::Failed,
                EXPIRED => Outcome::Expired,
                LAPSED => Outcome::Lapsed,
                SHED => Outcome::Shed,
                granted => {
                    debug_assert!(granted >= FIRST_GRANT, "a settled ticket was polled again");
                    match self.waiter.withdraw(self.pool, TAKEN) {
                        Some(slot) => Outcome::Granted(slot),
                        None => continue,
                    }
                }
            });
        }
    }

    /// Leaves for good, and says what the state was if the waiter waited, or takes what was
    /// granted.
    fn leave(&self) -> (Option<usize>, Option<Occupied<H>>) {
        loop {
            // O11: a guess. A grant may be taken back just now, or come anew.
            match self.waiter.state.load(Ordering::Relaxed) {
                WAITING | NOTIFIED | LATE => {
                    if let Some(before) = self.waiter.leave_for(CANCELLED) {
                        return (Some(before), None);
                    }
                }
                FIRST_GRANT.. => {
                    if let Some(slot) = self.waiter.withdraw(self.pool, CANCELLED) {
                        return (None, Some(slot));
                    }
                }
                _ => return (None, None),
            }
        }
    }
}

impl<H: Lodging> Drop for Ticket<'_, H> {
    fn drop(&mut self) {
        // O11: this thread wrote it, if it is so.
        let is_taken = self.waiter.state.load(Ordering::Relaxed) == TAKEN;
        // If so, the thread that settled the waiter has taken the waker.
        if !is_taken || self.has_locked {
            self.give_up();
        }
    }
}

impl<H: Lodging> Ticket<'_, H> {
    /// What a drop comes to beside the memory, if the waiter was not served in the shortest way.
    #[cold]
    #[inline(never)]
    fn give_up(&self) {
        if self.pool.is_inherited() {
            // A thread that is not in this process may have held the lock of the waker.
            return std::mem::forget(Arc::clone(&self.waiter));
        }
        let (before, granted) = self.leave();
        // The node may outlive the ticket. The waker must not: its destructor is foreign code,
        // which the dispatcher would run.
        let stale = self.waiter.lock_waker().take();
        match before {
            Some(_) if !self.waiter.in_line => {}
            Some(WAITING) => self.pool.leave_line(&self.waiter.terms),
            Some(_) => {
                // The next in line may have the slot of which this one was notified.
                self.pool.leave_line(&self.waiter.terms);
                self.pool.dispatch();
            }
            None => drop(granted),
        }
        no_unwind(|| drop(stale));
    }
}
