//! What connectors do: the work on a connection that no borrower's thread may be kept with.

use super::shared::{Pooled, Raw, Slot};
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::raw::slots::Vacant;
use crate::raw::waiters::Waiter;
use crate::sync::{Arc, Ordering};

/// One piece of work. It owns the slot it is about.
pub(crate) enum Job<M: Manager> {
    /// Open a connection. It is counted in `Growth::in_flight`.
    Open(Vacant<Pooled<M>>, Option<Replaces>),
    /// Work on an open connection, which is out of service for that time.
    Tend(OutOfService<M>, Task),
}

/// What to do with an open connection.
pub(crate) enum Task {
    /// Close it. If `retire`, its slot goes out of use.
    Close { retire: bool },
    /// Reset it, then put it back.
    Reset,
    /// Ping it, then put it back, or hand it to the one who has an appointment.
    Ping(Option<Arc<Waiter>>),
}

/// The connection that a fresh one replaces.
pub(crate) struct Replaces {
    pub(crate) index: u32,
    pub(crate) born: crate::clock::Tick,
    pub(crate) cause: EvictionCause,
    /// Dropped when the attempt is over, which tells the old connection's `Vitals`.
    pub(crate) _attempt: Arc<()>,
}

/// A connection that must not be lent, and is counted as such. Dropped, because a task was cancelled or a
/// callback panicked, it is closed.
pub(crate) struct OutOfService<M: Manager>(Option<Slot<M>>);

impl<M: Manager> OutOfService<M> {
    pub(crate) fn new(slot: Slot<M>) -> Self {
        // O11: a gauge.
        slot.pool().context().in_maintenance.fetch_add(1, Ordering::Relaxed);
        Self(Some(slot))
    }

    /// Ends it: the connection is fit, or is about to be closed.
    pub(crate) fn end(mut self) -> Option<Slot<M>> {
        let slot = self.0.take();
        if let Some(slot) = &slot {
            // O11
            slot.pool().context().in_maintenance.fetch_sub(1, Ordering::Relaxed);
        }
        slot
    }

    pub(crate) fn slot(&mut self) -> Option<&mut Slot<M>> {
        self.0.as_mut()
    }
}

impl<M: Manager> Drop for OutOfService<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            let shared = slot.pool().context();
            shared.count_eviction(EvictionCause::PingCancelled);
            shared.in_maintenance.fetch_sub(1, Ordering::Relaxed); // O11
            Job::close_uncounted(slot, false);
        }
    }
}

impl<M: Manager> Job<M> {
    /// Has a connection opened in `slot`.
    pub(crate) fn open(slot: Vacant<Pooled<M>>, replaces: Option<Replaces>) {
        let raw = slot.keep_alive();
        Self::Open(slot, replaces).enqueue(&raw);
    }

    /// Has the connection closed. Takes no lock, allocates nothing and waits for nobody.
    pub(crate) fn close(slot: Slot<M>, cause: EvictionCause) {
        slot.pool().context().count_eviction(cause);
        Self::close_uncounted(slot, false);
    }

    /// The same, and its slot goes out of use; the caller has taken a unit of the debt.
    pub(crate) fn retire(slot: Slot<M>) {
        slot.pool().context().count_eviction(EvictionCause::Surplus);
        Self::close_uncounted(slot, true);
    }

    fn close_uncounted(slot: Slot<M>, retire: bool) {
        Self::tend(slot, Task::Close { retire });
    }

    pub(crate) fn reset(slot: Slot<M>) {
        Self::tend(slot, Task::Reset);
    }

    pub(crate) fn ping(slot: Slot<M>, appointment: Option<Arc<Waiter>>) {
        Self::tend(slot, Task::Ping(appointment));
    }

    fn tend(slot: Slot<M>, task: Task) {
        let raw = slot.keep_alive();
        Self::Tend(OutOfService::new(slot), task).enqueue(&raw);
    }

    fn enqueue(self, raw: &Arc<Raw<M>>) {
        let shared = raw.context();
        // Each job owns one of `capacity` slots, and so many places there are.
        let refused = shared.jobs.push(self);
        debug_assert!(refused.is_ok());
        if shared.is_by_hand() && raw.is_closed() {
            // Nobody may ever crank a closed pool again.
            super::connector::run_all(raw);
        } else {
            shared.ring();
        }
    }
}
