//! The waiting room: one line for threads and tasks, first in first out, with direct hand-off.
//!
//! Arrivals push into a lock-free inbox and call for a dispatcher. Whoever raises the call counter from
//! zero *is* the dispatcher until it has answered every call; nobody ever waits for it. It alone owns
//! the ordered line. See `README.md` for the states and the races.

use super::bitmap::Newcomers;
use super::slots::Occupied;
use super::waiter::{CLOSED, EXPIRED, FAILED, NEVER, Terms, Ticket, Waiter, Wakes};
use super::{PoolHooks, RawPool};
use crate::sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, PoisonError, SegQueue,
};
use std::collections::VecDeque;
use std::task::Waker;

/// The line keeps its memory up to this many places.
const ROOMY: usize = 64;
/// So many cancelled waiters are tolerated in the line beyond the number of living ones.
const SLACK: usize = 8;

/// The room itself, on lines of its own: those who wait write here, and must not disturb those who need not.
#[repr(align(128))]
pub(super) struct WaitingRoom {
    inbox: SegQueue<Arc<Waiter>>,
    /// How many calls for a dispatcher are unanswered.
    calls: AtomicUsize,
    /// What only the dispatcher touches. The lock is never contended: `calls` elects one.
    queue: Mutex<Queue>,
    /// Waiters in the line that are still waiting.
    live: AtomicUsize,
    /// Waiters in the line, with the cancelled, as the dispatcher left it.
    queued: AtomicUsize,
    /// No later than the earliest deadline in the line.
    next_deadline: AtomicU64,
    /// Deadlines up to here are to expire.
    expire_to: AtomicU64,
    /// All who wait are to fail.
    fail_all: AtomicBool,
}

/// The dispatcher's own things.
struct Queue {
    line: VecDeque<Arc<Waiter>>,
    /// Whether the bell hangs, and the gate with it.
    bell: Option<Newcomers>,
    expired_to: u64,
}

impl WaitingRoom {
    pub(super) fn new() -> Self {
        Self {
            inbox: SegQueue::new(),
            calls: AtomicUsize::new(0),
            queue: Mutex::new(Queue { line: VecDeque::new(), bell: None, expired_to: 0 }),
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

impl<H: PoolHooks> RawPool<H> {
    /// Joins the line, unless `max_waiters` stand there already. The ticket may be granted on return.
    pub(crate) fn enroll(
        &self,
        waker: &Waker,
        terms: Terms,
        max_waiters: usize,
    ) -> Result<Ticket<'_, H>, TooMany> {
        let room = &self.room;
        // Foreign code: before anything is counted.
        let waker = waker.clone();
        // O11: a limit on a gauge; each newcomer counts itself first, so no two pass for one place.
        let before = room.live.fetch_add(1, Ordering::Relaxed);
        if before >= max_waiters && !terms.ahead {
            room.left();
            return Err(TooMany);
        }
        let waiter = Waiter::new(waker, terms);
        let ticket = Ticket::in_line(self, Arc::clone(&waiter));
        room.inbox.push(waiter);
        if terms.deadline != NEVER {
            // O8: after the push, so that whoever forgets this figure (`expire_line`) finds the waiter.
            room.next_deadline.fetch_min(terms.deadline, Ordering::AcqRel);
        }
        self.dispatch();
        Ok(ticket)
    }

    /// A waiter in the line has cancelled.
    pub(super) fn leave_line(&self) {
        self.room.left();
        if self.room.is_littered() {
            self.dispatch();
        }
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

    /// Calls for a dispatcher, and is it if nobody else is. Never blocks. The caller must hold the pool
    /// alive by something other than the bit that it has just set.
    pub(crate) fn dispatch(&self) {
        self.witness.touch();
        // O4: what the caller did before is visible to the dispatcher that answers this call.
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

    /// One round of the dispatcher.
    fn round(&self, wakes: &mut Wakes) {
        let room = &self.room;
        let mut queue = room.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = &mut *queue;
        let expire_to = self.requested_expiry(queue);
        // O4: rides on the call. Taken before the inbox is drained, so that none is missed.
        let fail_all =
            room.fail_all.load(Ordering::Relaxed) && room.fail_all.swap(false, Ordering::Relaxed);
        let mut ahead = 0;
        while let Some(waiter) = room.inbox.pop() {
            if waiter.terms.ahead {
                queue.line.insert(ahead, waiter);
                ahead += 1;
            } else {
                queue.line.push_back(waiter);
            }
        }
        if self.is_closed() {
            self.settle_line(queue, CLOSED, wakes);
        } else if fail_all {
            self.settle_line(queue, FAILED, wakes);
        }
        if let Some(now) = expire_to {
            self.expire_line(queue, now, wakes);
        }
        // O11
        room.queued.store(queue.line.len(), Ordering::Relaxed);
        if room.is_littered() {
            queue.line.retain(|waiter| waiter.is_waiting());
        }
        self.serve_line(queue, wakes);
        if queue.line.is_empty() && queue.line.capacity() > ROOMY {
            queue.line = VecDeque::new();
        }
        // O11
        room.queued.store(queue.line.len(), Ordering::Relaxed);
    }

    /// Grants idle slots in order, and keeps the bell hung up exactly while somebody is left.
    fn serve_line(&self, queue: &mut Queue, wakes: &mut Wakes) {
        loop {
            while queue.line.front().is_some_and(|waiter| !waiter.is_waiting()) {
                queue.line.pop_front();
            }
            let Some(oldest) = queue.line.front() else {
                return self.lower_flags(queue);
            };
            let patience = oldest.terms.patience;
            if patience > 0 && patience > H::now(&self.context) {
                self.raise_flags(queue, Newcomers::MayClaim);
                return self.notify_line(queue, wakes);
            }
            self.raise_flags(queue, Newcomers::MustWait);
            let Some(index) = self.idle.claim_past_flags(crate::sync::thread_number()) else {
                return;
            };
            let mut slot = Occupied::adopt(self, index);
            loop {
                let Some(waiter) = queue.line.pop_front() else {
                    slot.put_without_dispatch();
                    break;
                };
                match waiter.grant(slot) {
                    Ok(wake) => {
                        self.room.left();
                        wakes.append(wake);
                        break;
                    }
                    Err(refused) => slot = refused,
                }
            }
        }
    }

    /// Tells as many as there are idle slots, the oldest first, that they may try their luck.
    fn notify_line(&self, queue: &Queue, wakes: &mut Wakes) {
        let living = queue.line.iter().filter_map(|waiter| waiter.notify());
        living.take(self.idle.count()).for_each(|wake| wakes.append(wake));
    }

    fn settle_line(&self, queue: &mut Queue, to: usize, wakes: &mut Wakes) {
        for waiter in queue.line.drain(..) {
            if waiter.settle(to) {
                self.room.left();
                wakes.add(waiter.take_waker());
            }
        }
    }

    /// The new expiry mark, if one was asked for. Forgets the earliest deadline, before the inbox is
    /// drained: a deadline that is noted later is noted for a waiter that the scan may not see.
    fn requested_expiry(&self, queue: &mut Queue) -> Option<u64> {
        // O4
        let asked = self.room.expire_to.load(Ordering::Relaxed);
        if asked <= queue.expired_to {
            return None;
        }
        queue.expired_to = asked;
        // O8
        self.room.next_deadline.swap(NEVER, Ordering::AcqRel);
        Some(asked)
    }

    fn expire_line(&self, queue: &mut Queue, now: u64, wakes: &mut Wakes) {
        let mut earliest = NEVER;
        queue.line.retain(|waiter| {
            if waiter.terms.deadline > now {
                earliest = earliest.min(waiter.terms.deadline);
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

    fn raise_flags(&self, queue: &mut Queue, gate: Newcomers) {
        if queue.bell != Some(gate) {
            queue.bell = Some(gate);
            self.idle.raise_flags(gate);
        }
    }

    fn lower_flags(&self, queue: &mut Queue) {
        if queue.bell.take().is_some() {
            self.idle.lower_flags();
        }
    }
}

/// The line is as long as it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;
