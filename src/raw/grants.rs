//! What was granted and is not taken: it lapses after a while, and goes to another.
//!
//! A task that was woken need not be polled soon: the holder of its future may be waiting for
//! something else, perhaps for the very slot that was granted. See `README.md`, "A grant that is
//! not taken".

use super::room::{Lapses, Queue, SLACK};
use super::slots::Occupied;
use super::standing::Standing;
use super::waiter::{CLOSED, EXPIRED, LAPSED, LATE, NEVER, Terms, Ticket, Waiter};
use super::wakes::{Wakes, wake_all};
use super::{PoolHooks, RawPool};
use crate::sync::Arc;
use std::task::Waker;

/// Once a grant has lapsed, others probably will, too: a task that keeps one future unpolled keeps
/// more of them. So for this many graces a grant has only this part of one.
const HURRIED_GRACES: u64 = 40;
const HURRY: u64 = 100;

impl<H: PoolHooks> RawPool<H> {
    /// A ticket outside the line, for a caller that will be [given](Self::grant) a certain slot.
    pub(crate) fn reservation(&self, waker: &Waker, terms: Terms) -> Ticket<'_, H> {
        Ticket::reservation(self, waker.clone(), terms)
    }

    /// Hands `slot` to a waiter that has reserved it, or back if that has left.
    pub(crate) fn grant(&self, waiter: Arc<Waiter>, slot: Occupied<H>) -> Result<(), Occupied<H>> {
        let (_, waker) = waiter.grant(slot)?;
        if waiter.terms.grace != NEVER {
            // The dispatcher alone takes grants back.
            self.room.inbox.push(waiter);
            self.dispatch();
        }
        wake_all(waker);
        Ok(())
    }

    /// Remembers a waiter that was granted a slot, if that may lapse.
    pub(super) fn watch(&self, queue: &mut Queue, mut waiter: Standing) {
        if waiter.terms.grace == NEVER {
            return;
        }
        let now = H::now(&self.context);
        if self.room.next_deadline() <= now {
            // Something may have lapsed: the next round looks. As long as slots are handed on, no
            // other thread need come for it.
            self.expire(now);
        }
        self.begin_grace(&mut queue.lapses, &mut waiter, now);
        // Mostly the last one has taken its grant by now.
        if let Some(last) = queue.granted.last_mut()
            && !last.is_granted()
        {
            *last = waiter;
            return;
        }
        // No more than `capacity` grants are there at once; the others have been taken.
        if queue.granted.len() > 2 * self.capacity() + SLACK {
            queue.granted.retain(|waiter| waiter.is_granted());
        }
        queue.granted.push(waiter);
    }

    /// What the waiter is told `now` lapses after its grace, and the pool above has to come then.
    pub(super) fn begin_grace(&self, lapses: &mut Lapses, waiter: &mut Standing, now: u64) {
        let Terms { mut grace, deadline, .. } = waiter.terms;
        if grace == NEVER {
            return;
        }
        if now < lapses.hurried_until && waiter.may_be_hurried() {
            grace = grace.div_ceil(HURRY);
        }
        waiter.due = now.saturating_add(grace).min(deadline);
        self.note_due(lapses, waiter.due);
    }

    /// At that moment something expires or lapses, and the pool above has to come.
    pub(super) fn note_due(&self, lapses: &mut Lapses, due: u64) {
        if due < self.room.next_deadline() {
            self.room.note_next_deadline(due);
            lapses.due = due.min(lapses.due);
        }
    }

    /// Takes back what has lapsed by `now`, in a closed pool everything. Returns when the next
    /// grant lapses.
    pub(super) fn take_back(&self, queue: &mut Queue, now: u64, wakes: &mut Wakes) -> u64 {
        let mut earliest = NEVER;
        let mut slots = Vec::new();
        for waiter in std::mem::take(&mut queue.granted) {
            if !waiter.is_granted() {
                continue;
            }
            if waiter.due <= now {
                let class = waiter.class();
                slots.extend(self.recall(queue, waiter, now).map(|slot| (class, slot)));
            } else {
                earliest = earliest.min(waiter.due);
                queue.granted.push(waiter);
            }
        }
        // Now that all stand in line again from whom something was taken.
        for (class, slot) in slots {
            self.pass_on(queue, class, slot, wakes, |waiter| waiter.is_prompt());
        }
        earliest
    }

    /// Takes a grant back, unless it has been taken meanwhile. No wake-up is due: the one for the
    /// grant is still under way, or it was needless (O7).
    fn recall(&self, queue: &mut Queue, mut waiter: Standing, now: u64) -> Option<Occupied<H>> {
        if self.is_closed() {
            return waiter.withdraw(self, CLOSED);
        }
        if waiter.terms.deadline <= now {
            return waiter.withdraw(self, EXPIRED);
        }
        if now >= queue.lapses.hurried_until {
            let graces = waiter.terms.grace.saturating_mul(HURRIED_GRACES);
            queue.lapses.hurried_until = now.saturating_add(graces);
        }
        if waiter.was_late || !waiter.in_line {
            return waiter.withdraw(self, LAPSED);
        }
        waiter.has_lapsed = true;
        self.put_back_in_line(queue, waiter)
    }

    /// Takes a grant back from one that stands in line again.
    fn put_back_in_line(&self, queue: &mut Queue, waiter: Standing) -> Option<Occupied<H>> {
        // Before it may leave again. What is undone below is seen by this round.
        let terms = waiter.terms;
        self.room.came(&terms);
        let slot = waiter.withdraw(self, LATE);
        if slot.is_some() {
            queue.stand(waiter);
            queue.must_look_behind = true;
        } else {
            self.room.left(&terms);
        }
        slot
    }

    /// Serves those that let a grant lapse and are polled now: what was granted to others behind
    /// them, and was not taken yet, is theirs. Otherwise, where all are polled late, each slot
    /// would always be granted to one that is not polled yet.
    pub(super) fn serve_those_back(&self, queue: &mut Queue, wakes: &mut Wakes) {
        // First: one that is polled from now on requests another round, which then looks again.
        queue.must_look_behind = queue.line.has_late();
        for class in 0..queue.line.queues().count() {
            while let Some(at) = granted_behind(queue, class) {
                let mut last = queue.granted.swap_remove(at);
                last.was_robbed = true;
                let place = last.place;
                if let Some(slot) = self.put_back_in_line(queue, last) {
                    // If all before it have left meanwhile, the last one has it again.
                    self.pass_on(queue, class, slot, wakes, |waiter| {
                        waiter.is_prompt() || waiter.was_robbed && waiter.place == place
                    });
                }
            }
        }
    }

    /// Hands a slot that was taken back from one of the class to the first of it of those that
    /// `may_have` it, or else leaves it idle.
    fn pass_on(
        &self,
        queue: &mut Queue,
        class: usize,
        mut slot: Occupied<H>,
        wakes: &mut Wakes,
        may_have: impl Fn(&Standing) -> bool,
    ) {
        while !self.is_paused()
            && let Some(waiter) = queue.line.take(class, &may_have)
        {
            match self.grant_in_line(queue, waiter, slot, wakes) {
                Ok(()) => return,
                Err(refused) => slot = refused,
            }
        }
        slot.put_without_dispatch();
    }
}

/// The last of a class that was granted a slot and has not taken it, among those behind the first
/// of it that waits.
fn granted_behind(queue: &Queue, class: usize) -> Option<usize> {
    let first = queue.line.queues().nth(class)?.iter().find(|waiter| waiter.is_prompt())?;
    let is_behind = |waiter: &Standing| {
        waiter.class() == class && waiter.place > first.place && waiter.is_granted()
    };
    let behind = queue.granted.iter().enumerate().filter(|(_, waiter)| is_behind(waiter));
    behind.max_by_key(|(_, waiter)| waiter.place).map(|(at, _)| at)
}
