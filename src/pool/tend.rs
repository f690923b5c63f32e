//! What connectors do to connections: open, ping, reset, close. Borrowers of the driver's own kind ping too.

use super::growth;
use super::job::{Appointment, Job, OutOfService, Replaces, Task};
use super::shared::{Entry, Pooled, Raw, Shared, Slot};
use super::within::{Caught, within};
use crate::clock::{Deadline, Tick};
use crate::error::ManagerError;
use crate::health::EvictionCause;
use crate::manager::{BoxFuture, ErrorClass, Kind, Manager};
use crate::raw::slots::Vacant;
use crate::stats::{Behalf, Call, Ledger, Noted};
use crate::sync::{Arc, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One job, whatever comes of it.
pub(crate) async fn perform<M: Manager>(raw: &Arc<Raw<M>>, job: Job<M>) {
    let behalf = job.behalf();
    match job {
        Job::Open(slot, replaces) => open(raw, InFlight::new(slot), replaces).await,
        Job::Tend(slot, Task::Close { retire }) => close(raw, slot, retire).await,
        Job::Tend(slot, Task::Reset) => reset(raw, slot, behalf).await,
        Job::Tend(slot, Task::Ping(appointment)) => ping(raw, slot, behalf, appointment).await,
    }
    growth::grow(raw);
    raw.context().ring();
}

/// A connect in flight; however it ends, it is no longer counted.
struct InFlight<M: Manager>(Option<Vacant<Pooled<M>>>);

impl<M: Manager> InFlight<M> {
    fn new(slot: Vacant<Pooled<M>>) -> Self {
        Self(Some(slot))
    }

    /// Ends it; the caller has taken it off the count.
    fn end(mut self) -> Option<Vacant<Pooled<M>>> {
        self.0.take()
    }
}

impl<M: Manager> Drop for InFlight<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.pool().context().growth.release();
        }
    }
}

async fn open<M: Manager>(raw: &Arc<Raw<M>>, slot: InFlight<M>, replaces: Option<Replaces>) {
    let shared = raw.context();
    let Some(ledger) = slot.0.as_ref().map(Vacant::ledger) else { return };
    if raw.is_closed() {
        return;
    }
    if replaces.is_none() && growth::spare(raw) {
        shared.counters.connects_spared.add();
        drop(slot.end());
        return;
    }
    let begun = shared.clock.now();
    let (deadline, noted) = begin(shared, ledger, Call::Connect, Behalf::Borrowers);
    let result = call(shared, &deadline, shared.driver.connect(&shared.manager, &deadline)).await;
    drop(noted);
    match flatten(result) {
        Ok(connection) => {
            let Some(vacant) = slot.end() else { return };
            welcome(raw, vacant, connection, begun);
            if let Some(old) = replaces {
                // Made, now break. If somebody holds it, the next sweep finds it.
                old.close(raw);
            }
        }
        Err(error) => {
            let is_permanent = note_failure(shared, error, begun);
            drop(slot);
            if is_permanent || (shared.settings.load().fail_fast && growth::open(raw) == 0) {
                raw.fail_all();
            }
        }
    }
    shared.notices.post();
}

/// A connection has been opened. If the limit was lowered meanwhile, it goes again.
fn welcome<M: Manager>(
    raw: &Raw<M>,
    vacant: Vacant<Pooled<M>>,
    connection: M::Connection,
    begun: Tick,
) {
    let shared = raw.context();
    let entry =
        Entry::newborn(connection, vacant.ledger(), shared.clock.now(), shared.generation());
    let occupied = vacant.fill(entry);
    shared.counters.connects.add();
    shared.last_connect_failure.store(None);
    growth::opened(raw, begun);
    if raw.take_debt() {
        Job::retire(occupied);
    } else {
        drop(occupied);
    }
}

/// A connect that was begun at `begun` has failed. True if it will fail again.
fn note_failure<M: Manager>(
    shared: &Shared<M>,
    error: ManagerError<M::Error>,
    begun: Tick,
) -> bool {
    shared.counters.connect_failures.add();
    if shared.growth.outage.is_old_news(begun) {
        return false;
    }
    let is_permanent = match &error {
        ManagerError::Failed(error) => {
            let class = catch_unwind(AssertUnwindSafe(|| shared.manager.classify(error)));
            matches!(class, Ok(ErrorClass::Permanent))
        }
        _ => false,
    };
    shared.last_connect_failure.store(Some(Arc::new(error)));
    shared.growth.narrow();
    shared.growth.outage.failed(begun, shared.clock.now(), is_permanent);
    is_permanent
}

async fn close<M: Manager>(raw: &Arc<Raw<M>>, slot: OutOfService<M>, retire: bool) {
    let shared = raw.context();
    let Some(slot) = slot.end() else { return };
    let (vacant, entry) = slot.vacate();
    let leaving = Leaving::new(vacant, retire);
    let Some(ledger) = leaving.vacant.as_ref().map(Vacant::ledger) else { return };
    let (deadline, _noted) = begin(shared, ledger, Call::Close, Behalf::Upkeep);
    let goodbye = shared.driver.close(&shared.manager, entry.connection, &deadline);
    // Nothing hangs on how it ends: the connection is gone.
    let _ = call(shared, &deadline, goodbye).await;
    shared.counters.closes.add();
}

/// A slot whose connection is being closed: under maintenance until it is dropped, then vacant, or retired.
struct Leaving<M: Manager> {
    vacant: Option<Vacant<Pooled<M>>>,
    retire: bool,
}

impl<M: Manager> Leaving<M> {
    fn new(vacant: Vacant<Pooled<M>>, retire: bool) -> Self {
        vacant.pool().context().in_maintenance.fetch_add(1, Ordering::Relaxed); // O11
        Self { vacant: Some(vacant), retire }
    }
}

impl<M: Manager> Drop for Leaving<M> {
    fn drop(&mut self) {
        let Some(vacant) = self.vacant.take() else { return };
        let raw = vacant.keep_alive();
        raw.context().in_maintenance.fetch_sub(1, Ordering::Relaxed); // O11
        if self.retire { vacant.retire() } else { vacant.give_back() }
    }
}

async fn reset<M: Manager>(raw: &Arc<Raw<M>>, mut slot: OutOfService<M>, behalf: Behalf) {
    let shared = raw.context();
    let Some(occupied) = slot.slot() else { return };
    let (entry, ledger, _) = occupied.parts();
    let (deadline, noted) = begin(shared, ledger, Call::Reset, behalf);
    let future = shared.driver.reset(&shared.manager, &mut entry.connection, &deadline);
    let result = call(shared, &deadline, future).await;
    drop(noted);
    shared.counters.resets.add();
    let Some(slot) = slot.end() else { return };
    if matches!(result, Ok(Ok(()))) && !is_late(shared, &deadline) {
        super::release::put_back(slot);
    } else {
        shared.suspect_generation(slot.value().info.generation);
        Job::close(slot, EvictionCause::ResetFailed);
    }
}

async fn ping<M: Manager>(
    raw: &Arc<Raw<M>>,
    slot: OutOfService<M>,
    behalf: Behalf,
    appointment: Option<Appointment>,
) {
    let Some(slot) = check(raw, slot, behalf).await else { return };
    let unclaimed = match appointment {
        Some(appointment) => appointment.keep(slot),
        None => Err(slot),
    };
    if let Err(slot) = unclaimed {
        super::release::put_back_checked(slot);
    }
}

/// Pings. The connection comes back if it answered; if not, it is on its way to be closed.
pub(crate) async fn check<M: Manager>(
    raw: &Raw<M>,
    mut slot: OutOfService<M>,
    behalf: Behalf,
) -> Option<Slot<M>> {
    let shared = raw.context();
    slot.is_being_pinged();
    let generation = shared.generation();
    shared.counters.pings.add();
    let (entry, ledger, _) = slot.slot()?.parts();
    let (deadline, noted) = begin(shared, ledger, Call::Ping, behalf);
    let future = shared.driver.ping(&shared.manager, &mut entry.connection, &deadline);
    let result = flatten(call(shared, &deadline, future).await);
    drop(noted);
    let mut slot = slot.end()?;
    let failure = match result {
        Ok(()) if is_late(shared, &deadline) => ManagerError::TimedOut,
        Ok(()) => {
            let entry = slot.value_mut();
            entry.info.last_checked = shared.clock.now();
            entry.info.generation = generation;
            entry.ping_due = false;
            shared.growth.outage.answered();
            if shared.last_ping_failure.load().is_some() {
                shared.last_ping_failure.store(None);
            }
            return Some(slot);
        }
        Err(failure) => failure,
    };
    shared.counters.ping_failures.add();
    shared.last_ping_failure.store(Some(Arc::new(failure)));
    shared.suspect_generation(slot.value().info.generation);
    reject(slot, EvictionCause::PingFailed);
    None
}

/// Has a connection closed that was unfit to be lent. If it never was, the server may be to blame.
pub(crate) fn reject<M: Manager>(slot: Slot<M>, cause: EvictionCause) {
    let shared = slot.pool().context();
    let entry = slot.value();
    if entry.is_unused(slot.ledger())
        && shared.growth.outage.rejected(entry.info.born, shared.clock.now())
    {
        shared.growth.narrow();
    }
    Job::close(slot, cause);
}

/// Why a call has no answer of the manager's.
enum Interrupted {
    TimedOut,
    Panicked(String),
}

fn flatten<T, E>(result: Result<Result<T, E>, Interrupted>) -> Result<T, ManagerError<E>> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ManagerError::Failed(error)),
        Err(Interrupted::TimedOut) => Err(ManagerError::TimedOut),
        Err(Interrupted::Panicked(message)) => Err(ManagerError::Panicked(message)),
    }
}

/// Fixes a call's limit and notes it beside the slot, for those who look for calls that overrun.
fn begin<'a, M: Manager>(
    shared: &Shared<M>,
    ledger: &'a Ledger,
    call: Call,
    behalf: Behalf,
) -> (Deadline, Noted<'a>) {
    let settings = shared.settings.load();
    let limit = match call {
        Call::Connect => settings.connect_timeout,
        Call::Ping => settings.ping_timeout,
        Call::Reset => settings.reset_timeout,
        Call::Close => settings.close_timeout,
    };
    let begun = shared.clock.now();
    let deadline = Deadline::at(&shared.clock, begun + limit);
    let noted = ledger.call(call, behalf, begun, deadline.moment());
    (deadline, noted)
}

/// Drives a manager's call: a panic ends it, and so does its deadline, unless it blocks the thread.
async fn call<M: Manager, T>(
    shared: &Shared<M>,
    deadline: &Deadline,
    future: BoxFuture<'_, T>,
) -> Result<T, Interrupted> {
    match within(shared, deadline.moment(), Caught::new(future)).await {
        Some(answer) => answer.map_err(Interrupted::Panicked),
        None => Err(Interrupted::TimedOut),
    }
}

/// An answer that came after its time, which only a call that blocks can bring.
fn is_late<M: Manager>(shared: &Shared<M>, deadline: &Deadline) -> bool {
    shared.driver.kind() == Kind::Blocking && deadline.is_past()
}
