//! The dispatch: one line for threads and tasks, first in first out, with direct hand-off.
//!
//! Arrivals push into a lock-free inbox and request a dispatch. The thread that raises the count of
//! requests from zero *is* the dispatcher until it has answered every request; no thread waits for
//! it. It alone owns the ordered line. See `README.md` for the states and the races.

use super::bitmap::Newcomers;
use super::room::{FAIL_ALL, Queue, RESUMED};
use super::slots::Occupied;
use super::standing::Standing;
use super::waiter::{CLOSED, EXPIRED, FAILED, NEVER, Notice, Terms, Ticket, Waiter};
use super::wakes::{Wakes, wake_all};
use super::{PoolHooks, RawPool};
use crate::sync::{Arc, PoisonError};
use std::task::Waker;

impl<H: PoolHooks> RawPool<H> {
    /// Joins the line, unless `max_waiters` of its class stand there already. The slot may be
    /// granted on return.
    pub(crate) fn enroll(
        &self,
        waker: &Waker,
        terms: Terms,
        max_waiters: usize,
    ) -> Result<Ticket<'_, H>, TooMany> {
        let room = &self.room;
        let class = usize::from(terms.class);
        let is_full = |borrowers| borrowers >= max_waiters && !terms.ahead;
        // A first look, so that a full room refuses without writing anything.
        if is_full(room.borrowers_of(class)) {
            return Err(TooMany);
        }
        // Foreign code: before anything is counted.
        let waker = waker.clone();
        // An arrival counts itself first, so no two pass for one place.
        if is_full(room.came(&terms)) {
            // As any waiter leaves: the last of the others may have left meanwhile, and counted on
            // this one to be the last.
            self.leave_line(&terms);
            return Err(TooMany);
        }
        let waiter = Waiter::new(waker, terms, true);
        let ticket = Ticket::in_line(self, Arc::clone(&waiter));
        room.inbox.push(waiter);
        self.dispatch();
        Ok(ticket)
    }

    /// An ordinary borrower begins to wait for several slots. It counts as one: its waiters, if it
    /// has some in line, are parts of it. `false`: `max_waiters` wait already.
    pub(crate) fn enter_as_one(&self, max_waiters: usize) -> bool {
        self.room.enter(max_waiters)
    }

    /// It does not wait any more.
    pub(crate) fn leave_as_one(&self) {
        self.room.leave();
    }

    /// Counts off a waiter that has left the line, or that has been refused.
    pub(super) fn leave_line(&self, terms: &Terms) {
        self.room.left(terms);
        if self.room.is_littered(self.room.queued()) {
            self.dispatch();
        }
    }

    /// Expires deadlines up to `now`, and takes back what was granted and not taken.
    pub(crate) fn expire(&self, now: u64) {
        self.room.expire_to.raise(now);
        self.dispatch();
    }

    /// Fails all that wait now.
    pub(crate) fn fail_all(&self) {
        self.room.errands.note(FAIL_ALL);
        self.dispatch();
    }

    /// Requests a dispatch, and does it unless another thread is at it already. Never blocks. The
    /// caller must keep the pool alive by something other than the bit that it has just set.
    pub(crate) fn dispatch(&self) {
        self.witness.touch();
        if self.is_inherited() {
            // The dispatcher, if there was one, is in another process.
            return;
        }
        let (mut wakes, mut due) = (Wakes::default(), NEVER);
        if !self.room.requests.answer(|| due = due.min(self.round(&mut wakes))) {
            return;
        }
        if due != NEVER {
            // Before a waker, which is foreign code and may block.
            H::on_deadline(&self.context, due);
        }
        let is_crowd = wakes.is_crowd;
        wakes.fire();
        if is_crowd {
            // To the last one, even if waiters help.
            wake_all(std::iter::from_fn(|| self.room.crowd.pop()));
        }
        if self.is_closed() {
            self.evacuate();
        }
    }

    /// One round of the dispatcher. The pool above must be told that it has to come by the moment
    /// returned.
    fn round(&self, wakes: &mut Wakes) -> u64 {
        let room = &self.room;
        let mut queue = room.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = &mut *queue;
        // Both are taken before the inbox is drained, so that no waiter is missed.
        let expire_to = self.requested_expiry();
        let errands = room.errands.take();
        queue.line.note_emptied();
        self.drain_inbox(queue);
        // After that: who came after a pause waits.
        let door = self.door();
        if door.is_closed() {
            self.settle_line(queue, CLOSED, wakes);
            self.take_back(queue, NEVER, wakes);
        } else if errands & FAIL_ALL != 0 {
            self.settle_line(queue, FAILED, wakes);
        }
        if let Some(now) = expire_to {
            self.expire_line(queue, now, wakes);
        }
        if errands & RESUMED != 0 {
            queue.flags = Some(Newcomers::MustWait);
        }
        if queue.must_look_behind && !door.is_paused() {
            self.serve_those_back(queue, wakes);
        }
        if room.is_littered(queue.line.len()) {
            queue.line.retain(|waiter| waiter.is_waiting());
        }
        self.serve_line(queue, door.is_paused(), wakes);
        room.queued.set(queue.line.len());
        std::mem::replace(&mut queue.lapses.due, NEVER)
    }

    /// Moves arrivals into the line.
    fn drain_inbox(&self, queue: &mut Queue) {
        let inbox = &self.room.inbox;
        // A look costs no fence, as a pop in vain does.
        while !inbox.is_empty()
            && let Some(waiter) = inbox.pop()
        {
            let waiter = Standing::new(waiter);
            if !waiter.in_line {
                // A reservation has its slot, but the grant may lapse.
                self.watch(queue, waiter);
                continue;
            }
            queue.earliest = queue.earliest.min(waiter.terms.deadline);
            self.note_due(&mut queue.lapses, waiter.terms.deadline);
            if waiter.terms.ahead {
                queue.line.join_ahead(waiter);
                // Others may have been granted what it comes before.
                queue.must_look_behind = true;
            } else {
                queue.line.join(waiter);
            }
        }
    }

    /// Grants idle slots in order, and keeps the waiters flag up exactly while waiters are left.
    fn serve_line(&self, queue: &mut Queue, is_paused: bool, wakes: &mut Wakes) {
        'slots: loop {
            let Some((class, first)) = queue.line.next() else {
                return self.lower_flags(queue);
            };
            let patience = first.terms.patience;
            if is_paused {
                return self.raise_flags(queue, Newcomers::MustWait);
            }
            if patience > 0 {
                let now = H::now(&self.context);
                if patience > now {
                    self.raise_flags(queue, Newcomers::MayClaim);
                    return self.notify_line(queue, now, wakes);
                }
            }
            self.raise_flags(queue, Newcomers::MustWait);
            let Some(index) = self.idle.claim_past_flags(crate::sync::thread_number()) else {
                return;
            };
            let mut slot = Occupied::<H>::adopt(self, index);
            let mut next = match H::shedding(&self.context) {
                None => queue.line.pop(class),
                Some(terms) => self.pop_in_time(queue, terms, wakes),
            };
            while let Some(waiter) = next {
                let class = waiter.class();
                match self.grant_in_line(queue, waiter, slot, wakes) {
                    Ok(()) => {
                        queue.line.charge(class);
                        self.room.served(class);
                        continue 'slots;
                    }
                    Err(refused) => slot = refused,
                }
                next = queue.line.next().map(|(class, _)| class).and_then(|at| queue.line.pop(at));
            }
            slot.put_without_dispatch();
        }
    }

    /// Hands `slot` to a waiter that stood in line, or back if that has left.
    pub(super) fn grant_in_line(
        &self,
        queue: &mut Queue,
        mut waiter: Standing,
        slot: Occupied<H>,
        wakes: &mut Wakes,
    ) -> Result<(), Occupied<H>> {
        let (was_late, waker) = waiter.grant(slot)?;
        self.room.left(&waiter.terms);
        wakes.add(waker);
        waiter.was_late = was_late && !waiter.was_robbed;
        waiter.was_robbed = false;
        self.watch(queue, waiter);
        Ok(())
    }

    /// Notifies as many waiters as there are idle slots, the oldest first: they may retry the
    /// claim. Those that have not heeded it for long do not count.
    fn notify_line(&self, queue: &mut Queue, now: u64, wakes: &mut Wakes) {
        let mut idle = self.idle.count();
        for waiter in queue.line.iter_mut() {
            if idle == 0 {
                return;
            }
            let Some(notice) = waiter.notify() else { continue };
            if let Notice::News(waker) = notice {
                wakes.add(waker);
                self.begin_grace(&mut queue.lapses, waiter, now);
                queue.earliest = queue.earliest.min(waiter.due);
            }
            idle -= usize::from(waiter.due > now);
        }
    }

    fn settle_line(&self, queue: &mut Queue, to: usize, wakes: &mut Wakes) {
        queue.line.drain().for_each(|waiter| self.turn_away(&waiter, to, wakes));
    }

    /// Settles a waiter that was taken out of the line, and has it woken after one that was granted
    /// a slot. Threads wake each other.
    pub(super) fn turn_away(&self, waiter: &Standing, to: usize, wakes: &mut Wakes) {
        if !waiter.settle(to) {
            return;
        }
        self.room.left(&waiter.terms);
        let waker = waiter.take_waker();
        if waiter.terms.grace == NEVER {
            wakes.is_crowd = true;
            waker.into_iter().for_each(|waker| self.room.crowd.push(waker));
        } else {
            wakes.add_last(waker);
        }
    }

    /// Wakes some of the crowd: what a thread that was woken does for the others before it goes.
    pub(super) fn wake_some(&self) {
        const EACH: usize = 2;
        if self.is_inherited() {
            // Another thread may have been at the queue when the process was forked.
            return;
        }
        wake_all(std::iter::from_fn(|| self.room.crowd.pop()).take(EACH));
    }

    /// Up to when deadlines are to expire, if that was requested. Forgets the earliest deadline:
    /// the round notes it anew.
    fn requested_expiry(&self) -> Option<u64> {
        // Taken, not kept: what was requested once says nothing of waiters that come later, nor
        // does it depend on a clock that only rises.
        let expire_to = (self.room.expire_to.get() > 0).then(|| self.room.expire_to.replace(0))?;
        self.room.note_next_deadline(NEVER);
        Some(expire_to)
    }

    /// Settles waiters whose deadline has come, and takes back grants that have lapsed.
    fn expire_line(&self, queue: &mut Queue, now: u64, wakes: &mut Wakes) {
        if queue.earliest <= now {
            queue.earliest = self.scan_line(queue, now, wakes);
        }
        let earliest = self.take_back(queue, now, wakes).min(queue.earliest);
        self.note_due(&mut queue.lapses, earliest);
    }

    /// Looks at the whole line. Returns when the next look is due.
    fn scan_line(&self, queue: &mut Queue, now: u64, wakes: &mut Wakes) -> u64 {
        let mut earliest = NEVER;
        queue.line.retain(|waiter| {
            if waiter.terms.deadline > now {
                earliest = earliest.min(waiter.terms.deadline);
                if waiter.due > now {
                    // The waiter may have heeded it meanwhile: then this look was needless.
                    earliest = earliest.min(waiter.due);
                }
                return true;
            }
            if waiter.settle(EXPIRED) {
                self.room.left(&waiter.terms);
                wakes.add(waiter.take_waker());
            }
            false
        });
        earliest
    }

    fn raise_flags(&self, queue: &mut Queue, newcomers: Newcomers) {
        if queue.flags != Some(newcomers) {
            queue.flags = Some(newcomers);
            self.idle.raise_flags(newcomers);
        }
    }

    fn lower_flags(&self, queue: &mut Queue) {
        if queue.flags.take().is_some() {
            self.idle.lower_flags();
            queue.line.rest();
        }
    }
}

/// The line is as long as it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;
