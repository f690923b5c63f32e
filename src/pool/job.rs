//! What connectors do: the work on a connection that no borrower's thread may be kept with.

use super::outage::Permit;
use super::shared::{Pooled, Raw, Slot};
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::raw::slots::Vacant;
use crate::raw::waiter::{Waiter, Wakes};
use crate::stats::Behalf;
use crate::sync::{Arc, ArrayQueue, AtomicUsize, Ordering};

/// One piece of work. It owns the slot it is about.
pub(crate) enum Job<M: Manager> {
    /// Open a connection. It is counted in `Growth::in_flight`. The rest is boxed, as there are as many places for jobs
    /// as slots.
    Open(Vacant<Pooled<M>>, Box<(Option<Replaces>, Permit)>),
    /// Work on an open connection, which is out of service for that time.
    Tend(OutOfService<M>, Task),
}

/// Jobs of one sort and the connectors that do them. There are two lanes, so that what borrowers wait for
/// (connects, resets, pings of connections promised to them) is never held up by hanging closes.
pub(crate) struct Lane<M: Manager> {
    pub(crate) jobs: ArrayQueue<Job<M>>,
    /// Connectors at work.
    pub(crate) connectors: AtomicUsize,
    /// Those of them that have not yet looked for a job.
    pub(crate) starting: AtomicUsize,
}

impl<M: Manager> Lane<M> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            jobs: ArrayQueue::new(capacity),
            connectors: AtomicUsize::new(0),
            starting: AtomicUsize::new(0),
        }
    }
}

/// What to do with an open connection.
pub(crate) enum Task {
    /// Close it: with a goodbye, unless it is `broken`. If `retire`, its slot goes out of use.
    Close { retire: bool, broken: bool },
    /// Reset it, then put it back.
    Reset,
    /// Ping it, then put it back, or hand it to the one who has an reservation.
    Ping(Option<Reservation>),
}

/// Somebody waits for this connection in particular. Dropped unkept, it tells him so.
pub(crate) struct Reservation(Option<Arc<Waiter>>);

impl Reservation {
    pub(crate) fn with(waiter: Arc<Waiter>) -> Self {
        Self(Some(waiter))
    }

    /// Hands the connection over, or back if nobody waits any more.
    pub(crate) fn keep<M: Manager>(mut self, slot: Slot<M>) -> Result<(), Slot<M>> {
        match self.0.take() {
            Some(waiter) if slot.pool().is_closed() => {
                drop(slot);
                waiter.close().fire();
                Ok(())
            }
            Some(waiter) => waiter.grant(slot).map(Wakes::fire),
            None => Err(slot),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(waiter) = self.0.take() {
            waiter.fail().fire();
        }
    }
}

/// The connection that a fresh one replaces.
pub(crate) struct Replaces {
    pub(crate) index: u32,
    pub(crate) born: crate::clock::Tick,
    pub(crate) cause: EvictionCause,
    /// Dropped when the attempt is over, which tells the old connection's entry.
    pub(crate) _attempt: Arc<()>,
}

impl Replaces {
    /// Has the old connection closed, if nobody holds it.
    pub(crate) fn close<M: Manager>(self, raw: &Raw<M>) {
        if let Some(slot) = raw.claim_idle_at(self.index)
            && slot.value().info.born == self.born
        {
            Job::close(slot, self.cause);
        }
    }
}

/// What a connection is out of service for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A ping or a reset that borrowers may be waiting for.
    Borrowers,
    /// A ping that nobody waits for.
    Check,
    /// To be closed.
    Close,
}

impl Errand {
    pub(crate) fn behalf(self) -> Behalf {
        if self == Self::Borrowers { Behalf::Borrowers } else { Behalf::Upkeep }
    }
}

/// How many connections are out of service, by errand.
#[derive(Debug, Default)]
pub(crate) struct Errands([AtomicUsize; 3]);

// O11 throughout: gauges.
impl Errands {
    pub(crate) fn begin(&self, errand: Errand) {
        self.0[errand as usize].fetch_add(1, Ordering::Relaxed); // O11
    }

    pub(crate) fn end(&self, errand: Errand) {
        self.0[errand as usize].fetch_sub(1, Ordering::Relaxed); // O11
    }

    fn count(&self, errand: Errand) -> usize {
        self.0[errand as usize].load(Ordering::Relaxed) // O11
    }

    pub(crate) fn closing(&self) -> usize {
        self.count(Errand::Close)
    }

    /// What nobody waits for.
    pub(crate) fn upkeep(&self) -> usize {
        self.count(Errand::Check) + self.closing()
    }

    pub(crate) fn all(&self) -> usize {
        self.count(Errand::Borrowers) + self.upkeep()
    }
}

/// A connection that must not be lent, and is counted as such. Dropped, because a task was cancelled or a
/// callback panicked, it is closed.
pub(crate) struct OutOfService<M: Manager> {
    slot: Option<Slot<M>>,
    errand: Errand,
    is_being_pinged: bool,
}

impl<M: Manager> OutOfService<M> {
    pub(crate) fn new(slot: Slot<M>, errand: Errand) -> Self {
        slot.pool().context().errands.begin(errand);
        Self { slot: Some(slot), errand, is_being_pinged: false }
    }

    /// Ends it: the connection is fit, or is about to be closed.
    pub(crate) fn end(mut self) -> Option<Slot<M>> {
        let slot = self.slot.take();
        if let Some(slot) = &slot {
            slot.pool().context().errands.end(self.errand);
        }
        slot
    }

    pub(crate) fn behalf(&self) -> Behalf {
        self.errand.behalf()
    }

    pub(crate) fn slot(&mut self) -> Option<&mut Slot<M>> {
        self.slot.as_mut()
    }

    /// From here on a drop means that a ping was cancelled.
    pub(crate) fn is_being_pinged(&mut self) {
        self.is_being_pinged = true;
    }
}

impl<M: Manager> Drop for OutOfService<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let shared = slot.pool().context();
            shared.errands.end(self.errand);
            if self.is_being_pinged {
                shared.counters.pings_cancelled.add();
            }
            let is_as_before = self.is_being_pinged
                && no_unwind(|| shared.manager.ping_is_cancel_safe()).unwrap_or(false);
            if is_as_before {
                drop(slot);
            } else {
                Job::close(slot, EvictionCause::PingCancelled);
            }
        }
    }
}

impl<M: Manager> Job<M> {
    /// Has a connection opened in `slot`.
    pub(crate) fn open(slot: Vacant<Pooled<M>>, replaces: Option<Replaces>, permit: Permit) {
        let raw = slot.keep_alive();
        Self::Open(slot, Box::new((replaces, permit))).enqueue(&raw);
    }

    /// Has the connection closed. Takes no lock, allocates nothing and waits for nobody.
    pub(crate) fn close(slot: Slot<M>, cause: EvictionCause) {
        slot.pool().context().count_eviction(cause);
        Self::tend(slot, Task::Close { retire: false, broken: cause.is_broken() });
    }

    /// The same, and its slot goes out of use; the caller has taken a unit of the debt.
    pub(crate) fn retire(slot: Slot<M>) {
        slot.pool().context().count_eviction(EvictionCause::Surplus);
        Self::tend(slot, Task::Close { retire: true, broken: false });
    }

    pub(crate) fn reset(slot: Slot<M>) {
        Self::tend(slot, Task::Reset);
    }

    pub(crate) fn ping(slot: Slot<M>, reservation: Option<Reservation>) {
        Self::tend(slot, Task::Ping(reservation));
    }

    fn tend(slot: Slot<M>, task: Task) {
        let raw = slot.keep_alive();
        let errand = match task {
            Task::Close { .. } => Errand::Close,
            Task::Ping(None) => Errand::Check,
            Task::Ping(Some(_)) | Task::Reset => Errand::Borrowers,
        };
        Self::Tend(OutOfService::new(slot, errand), task).enqueue(&raw);
    }

    fn enqueue(self, raw: &Arc<Raw<M>>) {
        let shared = raw.context();
        let lane = match &self {
            Self::Tend(slot, _) if slot.behalf() == Behalf::Upkeep => &shared.upkeep,
            Self::Open(..) | Self::Tend(..) => &shared.demand,
        };
        // Each job owns one of `capacity` slots, and so many places there are.
        let refused = lane.jobs.push(self);
        debug_assert!(refused.is_ok());
        if shared.is_by_hand() && raw.is_closed() {
            // Nobody may ever crank a closed pool again.
            super::connector::drain(raw);
        } else {
            shared.ring();
        }
    }
}
