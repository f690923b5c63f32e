//! Work on a slot that is out of service, and the queues where it waits for a worker. `enqueue` has
//! the verbs.

use super::entry::{Attempt, Stage};
use super::kept::Kept;
use super::pooled::{Raw, Slot, Vacant};
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::pool::ground::backoff::Permit;
use crate::pool::ground::governor::Leave;
use crate::raw::waiter::Waiter;
use crate::stats::{Call, Priority};
use crate::sync::{Arc, ArrayQueue, AtomicUsize, Ordering, Relaxed, SegQueue};

/// A slot out of service, and the call into the manager that is to be made for it.
///
/// It is counted in [`Service`] as long as it lives. If it is dropped before its end, because a
/// task was cancelled or a callback panicked, its `Drop` (in `enqueue`) leaves the slot in a sound
/// state.
pub(crate) struct Job<M: Manager> {
    pub(crate) held: Held<M>,
    pub(crate) call: Call,
    pub(crate) priority: Priority,
    /// Once the connection is closed, its slot is retired: a unit of the debt has been taken.
    pub(crate) retires: bool,
    /// The connection is unusable: it is dropped, not closed gracefully.
    pub(crate) is_broken: bool,
    /// The call has begun: if the job is dropped now, the call was cancelled half-way.
    pub(crate) is_begun: bool,
    /// A ping for a borrower: the hooks before a loan are run, too.
    pub(crate) is_for_loan: bool,
    /// The connection will be free again soon. Given up once it is.
    pub(crate) briefly_out: Option<BrieflyOut>,
}

/// The slot of a [`Job`].
pub(crate) enum Held<M: Manager> {
    /// A connection, and the borrower that has reserved it.
    Open(Slot<M>, Option<Reservation>),
    /// An empty slot: to open a connection in, or what closing one leaves. The order is boxed, as
    /// there are as many places for jobs as slots.
    Empty(Vacant<M>, Option<Box<Order>>),
    /// The slot has gone on.
    Gone,
}

impl<M: Manager> Held<M> {
    /// The slot is another process's.
    pub(crate) fn is_inherited(&self) -> bool {
        match self {
            Self::Open(slot, _) => slot.pool().is_inherited(),
            Self::Empty(vacant, _) => vacant.pool().is_inherited(),
            Self::Gone => false,
        }
    }
}

/// A connect that has been asked for.
pub(crate) struct Order {
    pub(crate) permit: Permit,
    /// The governor's, if there is one. It ends with the order, if not before.
    pub(crate) leave: Option<Leave>,
    pub(crate) replaces: Option<Replaces>,
    /// For callers that do not wait: it is made in any case.
    pub(crate) is_for_try: bool,
}

/// The connection that a fresh one replaces.
pub(crate) struct Replaces {
    pub(crate) index: u32,
    /// Which the old connection's entry has, too.
    pub(crate) attempt: Arc<Attempt>,
}

impl Drop for Replaces {
    fn drop(&mut self) {
        self.attempt.end(Stage::Over);
    }
}

impl Replaces {
    /// Begins to replace a connection, unless that is done. It stays in service.
    pub(crate) fn begin<M: Manager>(slot: &mut Slot<M>, cause: EvictionCause) -> Option<Self> {
        let index = slot.index();
        slot.value_mut().replace(cause).map(|attempt| Self { index, attempt })
    }

    /// The old connection is no more, and its entry with it.
    pub(crate) fn is_vain(&self) -> bool {
        Arc::strong_count(&self.attempt) == 1
    }

    /// The old connection, if it lies idle.
    pub(crate) fn claim<M: Manager>(&self, raw: &Raw<M>) -> Option<Slot<M>> {
        raw.claim_idle_at(self.index).filter(|slot| slot.value().is_replaced_by(&self.attempt))
    }
}

/// A borrower waits for this connection in particular. Dropping the reservation tells the borrower
/// that it came to nothing.
pub(crate) struct Reservation(Option<Arc<Waiter>>);

impl Reservation {
    pub(crate) fn with(waiter: Arc<Waiter>) -> Self {
        Self(Some(waiter))
    }

    /// Hands the connection over, or back if the borrower has left.
    pub(crate) fn keep<M: Manager>(mut self, slot: Slot<M>) -> Result<(), Slot<M>> {
        match self.0.take() {
            Some(waiter) if slot.pool().is_closed() => {
                drop(slot);
                waiter.close();
                Ok(())
            }
            Some(waiter) => {
                let raw = Kept::of(&slot);
                raw.grant(waiter, slot)
            }
            None => Err(slot),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(waiter) = self.0.take() {
            waiter.fail();
        }
    }
}

/// A kind of jobs that have workers of their own, so that what hangs in one holds up no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Connects.
    Connect,
    /// Pings and resets that borrowers wait for.
    Demand,
    /// Pings and closes that no borrower waits for.
    Upkeep,
}

impl Lane {
    pub(crate) const ALL: [Self; 3] = [Self::Connect, Self::Demand, Self::Upkeep];
}

/// The jobs of one lane and the workers that do them.
pub(crate) struct Queue<M: Manager> {
    /// Jobs put by returning guards, which must not allocate.
    bounded: ArrayQueue<Job<M>>,
    /// Jobs put by growth.
    unbounded: SegQueue<Job<M>>,
    /// Workers started and not gone.
    pub(crate) workers: AtomicUsize,
    /// Workers that have not yet looked for a job.
    pub(crate) starting: Relaxed<usize>,
}

impl<M: Manager> Queue<M> {
    /// With `places` for jobs that must not allocate.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            bounded: ArrayQueue::new(places),
            unbounded: SegQueue::new(),
            workers: AtomicUsize::new(0),
            starting: Relaxed::<usize>::new(0),
        }
    }

    pub(crate) fn push(&self, job: Job<M>) {
        if let Err(job) = self.bounded.push(job) {
            self.unbounded.push(job);
        }
    }

    pub(crate) fn pop(&self) -> Option<Job<M>> {
        self.bounded.pop().or_else(|| self.unbounded.pop())
    }

    pub(crate) fn len(&self) -> usize {
        self.bounded.len() + self.unbounded.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bounded.is_empty() && self.unbounded.is_empty()
    }
}

/// How many slots are out of service, by call and priority.
#[derive(Debug, Default)]
pub(crate) struct Service {
    calls: [[AtomicUsize; 2]; 4],
    briefly_out: Arc<AtomicUsize>,
    /// Open connections, wherever they are. One is counted when a borrower can find it, and counted
    /// off after its slot has become vacant. See [`open`](Self::open).
    pub(crate) open: Relaxed<usize>,
    /// Connects that are over, whose connections are about to be found by borrowers.
    arriving: AtomicUsize,
}

/// Stands for a connection that upkeep has taken and will soon have put back.
///
/// It is made before the connection stops being idle and dropped after it is idle again, so that at
/// no moment the connection seems to be missing: for a moment it is counted twice instead.
#[derive(Debug)]
pub(crate) struct BrieflyOut(Arc<AtomicUsize>);

impl Drop for BrieflyOut {
    fn drop(&mut self) {
        // O9: what became of the connection can be seen.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Service {
    /// A connection is about to be taken for a moment.
    pub(crate) fn take_briefly(&self) -> BrieflyOut {
        // O9: nothing is read or left to be seen here.
        self.briefly_out.fetch_add(1, Ordering::Relaxed);
        BrieflyOut(Arc::clone(&self.briefly_out))
    }

    /// Connections that will soon be free again.
    pub(crate) fn briefly_out(&self) -> usize {
        // O9: as in `get`.
        self.briefly_out.load(Ordering::Acquire)
    }

    pub(crate) fn begin(&self, call: Call, priority: Priority) {
        // O9: nothing is read or left to be seen here.
        self.calls[call as usize][priority as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The job is over, and what became of its slot can be seen.
    pub(crate) fn end(&self, call: Call, priority: Priority) {
        // O9
        self.calls[call as usize][priority as usize].fetch_sub(1, Ordering::Release);
    }

    fn get(&self, call: Call, priority: Priority) -> usize {
        // O9: the gauges that are read after this show what became of the slots counted off.
        self.calls[call as usize][priority as usize].load(Ordering::Acquire)
    }

    /// Open connections. For a moment one may have been counted off before it was counted.
    pub(crate) fn open(&self) -> usize {
        self.open.get().cast_signed().max(0).cast_unsigned()
    }

    /// No slot is out of service.
    pub(crate) fn is_empty(&self) -> bool {
        self.connecting() + self.maintenance() == 0
    }

    fn count(&self, call: Call) -> usize {
        self.get(call, Priority::Demand) + self.get(call, Priority::Upkeep)
    }

    /// Connects asked for, until borrowers can find their connections.
    pub(crate) fn connecting(&self) -> usize {
        // The calls first: one that is over then has arrived before.
        let opening = self.opening();
        // O9
        opening + self.arriving.load(Ordering::Acquire)
    }

    /// Connects asked for and not over.
    pub(crate) fn opening(&self) -> usize {
        self.count(Call::Connect)
    }

    /// A connect is over: its connection no longer counts as being opened, though growth reckons
    /// with it until it [has arrived](Self::has_arrived).
    pub(crate) fn arrives(&self) {
        // O9: before the connect is counted off, which releases it.
        self.arriving.fetch_add(1, Ordering::Relaxed);
        self.end(Call::Connect, Priority::Demand);
    }

    /// Borrowers can find the connection.
    pub(crate) fn has_arrived(&self) {
        // O9
        self.arriving.fetch_sub(1, Ordering::Release);
    }

    pub(crate) fn closing(&self) -> usize {
        self.count(Call::Close)
    }

    /// Open connections out of service.
    pub(crate) fn maintenance(&self) -> usize {
        self.count(Call::Ping) + self.count(Call::Reset) + self.closing()
    }

    /// Connections in maintenance that no borrower waits for.
    pub(crate) fn upkeep(&self) -> usize {
        [Call::Ping, Call::Reset, Call::Close]
            .map(|call| self.get(call, Priority::Upkeep))
            .into_iter()
            .sum()
    }
}
