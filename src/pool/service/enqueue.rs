//! Puts slots out of service and into a queue, where workers find them. Takes no lock and does not
//! wait.

use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::observe::EventKind;
use crate::pool::ground::caught::Foreign;
use crate::pool::state::entry::Entry;
use crate::pool::state::job::{Held, Job, Lane, Order, Reservation};
use crate::pool::state::kept::Kept;
use crate::pool::state::pooled::{Raw, Slot, Vacant};
use crate::stats::{Call, Priority};
use crate::sync::Arc;

/// Queues a connect in `slot`. The caller has counted the connect, and sees to it that a
/// worker is there.
pub(crate) fn connect<M: Manager>(slot: Vacant<M>, order: Order) {
    let raw = Kept::of_vacant(&slot);
    let held = Held::Empty(slot, Some(Box::new(order)));
    Job::of(held, Call::Connect, Priority::Demand).push(&raw);
}

/// Queues the close of the connection.
pub(crate) fn close<M: Manager>(slot: Slot<M>, cause: EvictionCause) {
    close_or_retire(slot, cause, false);
}

/// The same, and its slot is retired; the caller has taken a unit of the debt.
pub(crate) fn retire<M: Manager>(slot: Slot<M>) {
    close_or_retire(slot, EvictionCause::Surplus, true);
}

fn close_or_retire<M: Manager>(slot: Slot<M>, cause: EvictionCause, retires: bool) {
    let raw = Kept::of(&slot);
    raw.context().note(EventKind::Evicted { cause });
    let mut job = Job::new(&raw, Held::Open(slot, None), Call::Close, Priority::Upkeep);
    job.retires = retires;
    job.is_broken = cause.is_broken();
    job.put(&raw);
}

/// Queues a reset of the connection, then puts it back.
pub(crate) fn reset<M: Manager>(slot: Slot<M>) {
    let raw = Kept::of(&slot);
    let briefly_out = raw.context().service.take_briefly();
    let mut job = Job::new(&raw, Held::Open(slot, None), Call::Reset, Priority::Demand);
    job.briefly_out = Some(briefly_out);
    job.put(&raw);
}

/// Queues a ping of the connection, then puts it back.
pub(crate) fn check<M: Manager>(mut slot: Slot<M>) {
    slot.value_mut().ping_due = true;
    ping(slot, None);
}

/// Has the connection pinged if that is due, and prepared for a loan; then put back or, if a
/// borrower has reserved it, handed over.
pub(crate) fn ping<M: Manager>(slot: Slot<M>, reservation: Option<Reservation>) {
    let raw = Kept::of(&slot);
    let is_reserved = reservation.is_some();
    let briefly_out = (!is_reserved).then(|| raw.context().service.take_briefly());
    let priority = if is_reserved { Priority::Demand } else { Priority::Upkeep };
    let mut job = Job::new(&raw, Held::Open(slot, reservation), Call::Ping, priority);
    job.is_for_loan = is_reserved;
    job.briefly_out = briefly_out;
    job.put(&raw);
}

impl<M: Manager> Job<M> {
    fn new(raw: &Raw<M>, held: Held<M>, call: Call, priority: Priority) -> Self {
        raw.context().service.begin(call, priority);
        Self::of(held, call, priority)
    }

    /// A job that has been counted.
    fn of(held: Held<M>, call: Call, priority: Priority) -> Self {
        Self {
            held,
            call,
            priority,
            retires: false,
            is_broken: false,
            is_begun: false,
            is_for_loan: false,
            briefly_out: None,
        }
    }

    /// A ping that its borrower makes itself; with a reservation, as it may be taken from it.
    pub(crate) fn own_ping(slot: Slot<M>, reservation: Option<Reservation>) -> Self {
        let raw = Kept::of(&slot);
        let mut job = Self::new(&raw, Held::Open(slot, reservation), Call::Ping, Priority::Demand);
        job.is_for_loan = true;
        job
    }

    /// Queues the job, and wakes or starts a worker for it.
    fn put(self, raw: &Raw<M>) {
        self.push(raw);
        raw.context().ring.ring();
    }

    fn push(self, raw: &Raw<M>) {
        if raw.is_inherited() {
            // Another thread may have been at the queue when the process was forked: it never ends.
            return std::mem::forget(self);
        }
        raw.context().queue(self.lane()).push(self);
    }

    fn lane(&self) -> Lane {
        match (self.call, self.priority) {
            (Call::Connect, _) => Lane::Connect,
            (_, Priority::Demand) => Lane::Demand,
            (_, Priority::Upkeep) => Lane::Upkeep,
        }
    }

    /// The connection to work on.
    pub(crate) fn slot(&mut self) -> Option<&mut Slot<M>> {
        match &mut self.held {
            Held::Open(slot, _) => Some(slot),
            Held::Empty(..) | Held::Gone => None,
        }
    }

    /// The borrower that waits for this connection in particular.
    pub(crate) fn take_reservation(&mut self) -> Option<Reservation> {
        match &mut self.held {
            Held::Open(_, reservation) => reservation.take(),
            Held::Empty(..) | Held::Gone => None,
        }
    }

    /// The connection goes on: it counts as in service again.
    pub(crate) fn end(mut self) -> Option<Slot<M>> {
        let Held::Open(slot, _) = std::mem::replace(&mut self.held, Held::Gone) else {
            return None;
        };
        slot.pool().context().service.end(self.call, self.priority);
        Some(slot)
    }

    /// Takes the connection out to be closed, by the manager that opened it; the slot stays out of
    /// service until that is done.
    pub(crate) fn vacate(&mut self) -> Option<(M::Connection, Foreign<Arc<M>>)> {
        let Held::Open(slot, reservation) = std::mem::replace(&mut self.held, Held::Gone) else {
            return None;
        };
        drop(reservation);
        slot.ledger().leave();
        let (vacant, Entry { connection, manager, .. }) = slot.vacate();
        self.held = Held::Empty(vacant, None);
        Some((connection, Foreign::new(manager)))
    }
}

impl<M: Manager> Drop for Job<M> {
    fn drop(&mut self) {
        let held = std::mem::replace(&mut self.held, Held::Gone);
        if held.is_inherited() {
            return std::mem::forget(held);
        }
        match held {
            Held::Gone => {}
            Held::Empty(vacant, order) => self.leave_empty(vacant, order),
            Held::Open(slot, reservation) => {
                drop(reservation);
                self.abandon(slot);
            }
        }
    }
}

impl<M: Manager> Job<M> {
    /// The slot first, then the count: see [`Service`](crate::pool::state::job::Service).
    fn leave_empty(&self, vacant: Vacant<M>, order: Option<Box<Order>>) {
        let raw = Kept::of_vacant(&vacant);
        let state = raw.context();
        let was_open = order.is_none();
        vacant.ledger().end();
        if let Some(order) = order {
            // This says nothing about the server.
            let now = state.clock.now();
            state.supply.pace(|pace| pace.backoff.call_off(order.permit, now));
            state.supply.end_order(&order);
        }
        if raw.is_closed() {
            raw.tear_down(vacant);
        } else if self.retires {
            vacant.retire()
        } else {
            vacant.give_back()
        }
        if was_open {
            state.service.open.subtract(1);
        }
        state.service.end(self.call, self.priority);
    }

    /// Dropped before its end: a task was cancelled, or a runtime went away.
    fn abandon(&self, slot: Slot<M>) {
        let raw = Kept::of(&slot);
        let state = raw.context();
        state.service.end(self.call, self.priority);
        let is_cancelled_ping = self.call == Call::Ping && self.is_begun;
        if is_cancelled_ping {
            state.note(EventKind::PingCancelled);
        }
        // Hooks may have been left half done, in an unknown state.
        let is_ping_alone = !self.is_for_loan || state.hooks.before_acquire.is_empty();
        let manager = &slot.value().manager;
        let is_safe = || no_unwind(|| manager.ping_is_cancel_safe()).unwrap_or(false);
        if is_cancelled_ping && is_ping_alone && is_safe() {
            drop(slot);
        } else if self.retires {
            retire(slot);
        } else {
            close(slot, EvictionCause::PingCancelled);
        }
    }
}
