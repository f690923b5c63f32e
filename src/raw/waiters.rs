//! The waiting room: one line for threads and tasks, first in first out, with direct hand-off.
//!
//! Arrivals push into a lock-free inbox and call for a matchmaker. Whoever raises the call counter from
//! zero *is* the matchmaker until it has answered every call; nobody ever waits for it. It alone owns
//! the ordered line. See `README.md` for the states and the races.

use super::slots::Occupied;
use super::{House, RawPool};
use crate::sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError, SegQueue,
};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

// The states of a waiter. `WAITING` is left once, by a compare-exchange; `FIRST_GRANT + index` says that
// the slot `index` is the waiter's own.
const WAITING: usize = 0;
const CANCELLED: usize = 1;
const CLOSED: usize = 2;
const FAILED: usize = 3;
const EXPIRED: usize = 4;
const TAKEN: usize = 5;
const FIRST_GRANT: usize = 8;

/// "No deadline": its owner keeps it, or there is none.
pub(crate) const NEVER: u64 = u64::MAX;
/// The line keeps its memory up to this many places.
const ROOMY: usize = 64;
/// So many cancelled waiters are tolerated in the line beyond the number of living ones.
const SLACK: usize = 8;

/// What became of a waiter.
pub(crate) enum Outcome<H: House> {
    /// The slot is the waiter's.
    Granted(Occupied<H>),
    /// The pool was closed.
    Closed,
    /// The pool has given up on all who waited at that moment.
    Failed,
    /// The waiter's deadline has passed.
    Expired,
}

/// One who waits: a state and a wake-up.
pub(crate) struct Waiter {
    state: AtomicUsize,
    deadline: u64,
    /// Has stood in line before, and goes to its head.
    ahead: bool,
    /// Held for a moment by the waiter itself while it replaces the waker; others only ever try.
    waker: Mutex<Option<Waker>>,
}

impl Waiter {
    fn new(waker: Waker, deadline: u64, ahead: bool) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicUsize::new(WAITING),
            deadline,
            ahead,
            waker: Mutex::new(Some(waker)),
        })
    }

    fn is_waiting(&self) -> bool {
        // O6
        self.state.load(Ordering::Acquire) == WAITING
    }

    /// `WAITING → to`, by whoever comes first. The winner must wake the waiter.
    fn settle(&self, to: usize) -> bool {
        // O5: releases what the waiter is to find (its slot, the closed flag), and acquires the unlocked
        // waker of a waiter that has looked again before (O7). O11 on failure: nothing is read.
        self.state.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The waker to fire after a won [`settle`](Self::settle). `None` when the waiter is replacing it
    /// this very moment: then it looks at its state again afterwards (O7) and needs no wake-up.
    fn take_waker(&self) -> Option<Waker> {
        self.waker.try_lock().ok().and_then(|mut waker| waker.take())
    }

    fn lock_waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `slot` over, or back if the waiter has left.
    pub(crate) fn grant<H: House>(&self, slot: Occupied<H>) -> Result<Wakes, Occupied<H>> {
        let index = slot.index() as usize;
        if self.settle(FIRST_GRANT + index) {
            slot.into_grant();
            Ok(Wakes::of(self.take_waker()))
        } else {
            Err(slot)
        }
    }

    /// Tells the waiter that it must look for another way.
    pub(crate) fn fail(&self) -> Wakes {
        Wakes::of(if self.settle(FAILED) { self.take_waker() } else { None })
    }

    /// Tells the waiter that the pool is closed.
    pub(crate) fn close(&self) -> Wakes {
        Wakes::of(if self.settle(CLOSED) { self.take_waker() } else { None })
    }
}

/// Wake-ups to fire once the matchmaker has left: they are foreign code, may panic and may re-enter.
#[derive(Default)]
#[must_use]
pub(crate) struct Wakes {
    /// Most often there is one, and then nothing is allocated.
    first: Option<Waker>,
    rest: Vec<Waker>,
}

impl Wakes {
    fn of(first: Option<Waker>) -> Self {
        Self { first, rest: Vec::new() }
    }

    fn add(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.first.is_none() => self.first = Some(waker),
            Some(waker) => self.rest.push(waker),
            None => {}
        }
    }

    pub(crate) fn fire(self) {
        for waker in self.first.into_iter().chain(self.rest) {
            // A waker's panic must reach neither a returning guard nor the other waiters.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// A waiter's own end: poll it, or drop it to leave. Left with a grant, it passes the slot on.
#[must_use]
pub(crate) struct Ticket<'a, H: House> {
    pool: &'a RawPool<H>,
    waiter: Arc<Waiter>,
    /// Stands in the line, as opposed to having an appointment.
    in_line: bool,
}

impl<'a, H: House> Ticket<'a, H> {
    /// Waits for somebody who holds the other end, outside the line.
    pub(super) fn appointment(pool: &'a RawPool<H>, waker: Waker) -> Self {
        Self { pool, waiter: Waiter::new(waker, NEVER, false), in_line: false }
    }

    /// The other end of an appointment.
    pub(crate) fn waiter(&self) -> Arc<Waiter> {
        Arc::clone(&self.waiter)
    }

    /// Somebody has settled it already.
    pub(crate) fn is_settled(&self) -> bool {
        !self.waiter.is_waiting()
    }

    /// Ready once the waiter has been settled; else `cx` is woken when it is.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<H>> {
        // O6: acquires the granted slot (O5).
        if let Some(outcome) = self.read(self.waiter.state.load(Ordering::Acquire)) {
            return Poll::Ready(outcome);
        }
        if !self.knows(cx.waker()) {
            // Cloning and dropping wakers is foreign code: never under the lock.
            let fresh = cx.waker().clone();
            let stale = self.waiter.lock_waker().replace(fresh);
            drop(stale);
        }
        // Even if the waker was known: a settler may have found the lock taken and left the waking to this
        // look. O7: a read-modify-write, so that it comes either after the settling (O5) and sees it, or before
        // and then the settler sees the lock free and the fresh waker in it.
        let state = self.waiter.state.fetch_add(0, Ordering::AcqRel);
        self.read(state).map_or(Poll::Pending, Poll::Ready)
    }

    fn knows(&self, waker: &Waker) -> bool {
        let known = self.waiter.lock_waker();
        crate::sync::switch_point();
        known.as_ref().is_some_and(|known| known.will_wake(waker))
    }

    fn read(&self, state: usize) -> Option<Outcome<H>> {
        Some(match state {
            WAITING => return None,
            CLOSED => Outcome::Closed,
            FAILED => Outcome::Failed,
            EXPIRED => Outcome::Expired,
            granted => {
                debug_assert!(granted >= FIRST_GRANT, "a settled ticket was polled again");
                // O11: a settled state is the ticket's alone.
                self.waiter.state.store(TAKEN, Ordering::Relaxed);
                Outcome::Granted(Occupied::adopt(self.pool, (granted - FIRST_GRANT) as u32))
            }
        })
    }
}

impl<H: House> Drop for Ticket<'_, H> {
    fn drop(&mut self) {
        let was_waiting = self.waiter.settle(CANCELLED);
        // The node may outlive the ticket; the waker must not, as its destructor is foreign code that the
        // matchmaker would run.
        let stale = self.waiter.lock_waker().take();
        if was_waiting {
            if self.in_line {
                self.pool.room.left();
                if self.pool.room.is_littered() {
                    self.pool.dispatch();
                }
            }
        } else {
            // O6: acquires the granted slot.
            let state = self.waiter.state.load(Ordering::Acquire);
            if state >= FIRST_GRANT {
                drop(self.read(state));
            }
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(stale)));
    }
}

impl<H: House> fmt::Debug for Outcome<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(slot) => f.debug_tuple("Granted").field(slot).finish(),
            Self::Closed => f.write_str("Closed"),
            Self::Failed => f.write_str("Failed"),
            Self::Expired => f.write_str("Expired"),
        }
    }
}

impl<H: House> fmt::Debug for Ticket<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("in_line", &self.in_line).finish_non_exhaustive()
    }
}

/// The room itself.
pub(super) struct WaitingRoom {
    inbox: SegQueue<Arc<Waiter>>,
    /// How many calls for a matchmaker are unanswered.
    calls: AtomicUsize,
    /// What only the matchmaker touches. The lock is never contended: `calls` elects one.
    desk: Mutex<Desk>,
    /// Waiters in the line that are still waiting.
    live: AtomicUsize,
    /// Waiters in the line, with the cancelled, as the matchmaker left it.
    queued: AtomicUsize,
    /// No later than the earliest deadline in the line.
    next_deadline: AtomicU64,
    /// Deadlines up to here are to expire.
    expire_to: AtomicU64,
    /// All who wait are to fail.
    fail_all: AtomicBool,
}

/// The matchmaker's own things.
struct Desk {
    line: VecDeque<Arc<Waiter>>,
    gate_is_up: bool,
    expired_to: u64,
}

impl WaitingRoom {
    pub(super) fn new() -> Self {
        Self {
            inbox: SegQueue::new(),
            calls: AtomicUsize::new(0),
            desk: Mutex::new(Desk { line: VecDeque::new(), gate_is_up: false, expired_to: 0 }),
            live: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            next_deadline: AtomicU64::new(NEVER),
            expire_to: AtomicU64::new(0),
            fail_all: AtomicBool::new(false),
        }
    }

    pub(super) fn live(&self) -> usize {
        // O11: a gauge.
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn queued(&self) -> usize {
        // O11: a gauge.
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn next_deadline(&self) -> u64 {
        // O8
        self.next_deadline.load(Ordering::Acquire)
    }

    fn left(&self) {
        // O11: a gauge; `is_littered` only decides when to tidy up.
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// The dead outnumber the living, or nobody lives.
    fn is_littered(&self) -> bool {
        let live = self.live();
        live == 0 || self.queued() > 2 * live + SLACK
    }
}

impl<H: House> RawPool<H> {
    /// Joins the line, unless `max_waiters` stand there already. The ticket may be granted on return.
    /// `ahead` goes to the head of the line, limit or no limit: it has waited before, and what it was
    /// given turned out to be of no use.
    pub(crate) fn enroll(
        &self,
        waker: &Waker,
        deadline: u64,
        max_waiters: usize,
        ahead: bool,
    ) -> Result<Ticket<'_, H>, TooMany> {
        let room = &self.room;
        // O11: a limit on a gauge; each newcomer counts itself first, so no two pass for one place.
        let before = room.live.fetch_add(1, Ordering::Relaxed);
        if before >= max_waiters && !ahead {
            room.left();
            return Err(TooMany(before));
        }
        let waiter = Waiter::new(waker.clone(), deadline, ahead);
        let ticket = Ticket { pool: self, waiter: Arc::clone(&waiter), in_line: true };
        room.inbox.push(waiter);
        if deadline != NEVER {
            // O8: after the push, so that whoever forgets this figure (`expire_line`) finds the waiter.
            room.next_deadline.fetch_min(deadline, Ordering::AcqRel);
        }
        self.dispatch();
        Ok(ticket)
    }

    /// Has deadlines up to `now` expire.
    pub(crate) fn expire(&self, now: u64) {
        // O4 orders it before the round that answers the call.
        self.room.expire_to.fetch_max(now, Ordering::Relaxed);
        self.dispatch();
    }

    /// Fails all who wait now.
    pub(crate) fn fail_all(&self) {
        // O4, as in `expire`.
        self.room.fail_all.store(true, Ordering::Relaxed);
        self.dispatch();
    }

    /// Calls for a matchmaker, and is it if nobody else is. Never blocks. The caller must hold the pool
    /// alive by something other than the bit that it has just set.
    pub(crate) fn dispatch(&self) {
        self.witness.touch();
        // O4: what the caller did before is visible to the matchmaker that answers this call.
        if self.room.calls.fetch_add(1, Ordering::AcqRel) != 0 {
            return;
        }
        let mut wakes = Wakes::default();
        let mut answered = 1;
        loop {
            self.round(&mut wakes);
            // O4: leaves only if no call has come since; else those calls' doings are visible now.
            let calls = self.room.calls.fetch_sub(answered, Ordering::AcqRel);
            if calls == answered {
                break;
            }
            answered = calls - answered;
        }
        wakes.fire();
        if self.is_closed() {
            self.evacuate();
        }
    }

    /// One round of the matchmaker.
    fn round(&self, wakes: &mut Wakes) {
        let room = &self.room;
        let mut desk = room.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let desk = &mut *desk;
        let expire_to = self.requested_expiry(desk);
        // O4: rides on the call. Taken before the inbox is drained, so that none is missed.
        let fail_all = room.fail_all.swap(false, Ordering::Relaxed);
        let mut ahead = 0;
        while let Some(waiter) = room.inbox.pop() {
            if waiter.ahead {
                desk.line.insert(ahead, waiter);
                ahead += 1;
            } else {
                desk.line.push_back(waiter);
            }
        }
        if self.is_closed() {
            self.settle_line(desk, CLOSED, wakes);
        } else if fail_all {
            self.settle_line(desk, FAILED, wakes);
        }
        if let Some(now) = expire_to {
            self.expire_line(desk, now, wakes);
        }
        // O11
        room.queued.store(desk.line.len(), Ordering::Relaxed);
        if room.is_littered() {
            desk.line.retain(|waiter| waiter.is_waiting());
        }
        self.serve_line(desk, wakes);
        if desk.line.is_empty() && desk.line.capacity() > ROOMY {
            desk.line = VecDeque::new();
        }
        // O11
        room.queued.store(desk.line.len(), Ordering::Relaxed);
    }

    /// Grants idle slots in order, and keeps the gate up exactly while somebody is left.
    fn serve_line(&self, desk: &mut Desk, wakes: &mut Wakes) {
        loop {
            while desk.line.front().is_some_and(|waiter| !waiter.is_waiting()) {
                desk.line.pop_front();
            }
            if desk.line.is_empty() {
                return self.lower_gate(desk);
            }
            self.raise_gate(desk);
            let Some(index) = self.idle.claim_past_gate(crate::sync::thread_number()) else {
                return;
            };
            let mut slot = Occupied::adopt(self, index);
            loop {
                let Some(waiter) = desk.line.pop_front() else {
                    slot.put_quietly();
                    break;
                };
                match waiter.grant(slot) {
                    Ok(wake) => {
                        self.room.left();
                        wakes.add(wake.first);
                        break;
                    }
                    Err(refused) => slot = refused,
                }
            }
        }
    }

    fn settle_line(&self, desk: &mut Desk, to: usize, wakes: &mut Wakes) {
        for waiter in desk.line.drain(..) {
            if waiter.settle(to) {
                self.room.left();
                wakes.add(waiter.take_waker());
            }
        }
    }

    /// The new expiry mark, if one was asked for. Forgets the earliest deadline, before the inbox is
    /// drained: a deadline that is noted later is noted for a waiter that the scan may not see.
    fn requested_expiry(&self, desk: &mut Desk) -> Option<u64> {
        // O4
        let asked = self.room.expire_to.load(Ordering::Relaxed);
        if asked <= desk.expired_to {
            return None;
        }
        desk.expired_to = asked;
        // O8
        self.room.next_deadline.swap(NEVER, Ordering::AcqRel);
        Some(asked)
    }

    fn expire_line(&self, desk: &mut Desk, now: u64, wakes: &mut Wakes) {
        let mut earliest = NEVER;
        desk.line.retain(|waiter| {
            if waiter.deadline > now {
                earliest = earliest.min(waiter.deadline);
                return true;
            }
            if waiter.settle(EXPIRED) {
                self.room.left();
                wakes.add(waiter.take_waker());
            }
            false
        });
        // O8
        self.room.next_deadline.fetch_min(earliest, Ordering::AcqRel);
    }

    fn raise_gate(&self, desk: &mut Desk) {
        if !desk.gate_is_up {
            desk.gate_is_up = true;
            self.idle.raise_gate();
        }
    }

    fn lower_gate(&self, desk: &mut Desk) {
        if desk.gate_is_up {
            desk.gate_is_up = false;
            self.idle.lower_gate();
        }
    }
}

/// The line is as long as it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) usize);
