//! What connectors do to connections: open, ping, reset, close. Borrowers of the driver's own kind ping too.

use super::growth;
use super::job::{Errand, Job, OutOfService, Replaces, Reservation, Task};
use super::outage::Permit;
use super::quarantine::has_elder;
use super::shared::{Entry, Pooled, Raw, Shared, Slot, suspect_generation};
use super::within::{Caught, let_go, within};
use crate::clock::{Deadline, Tick};
use crate::error::ManagerError;
use crate::health::EvictionCause;
use crate::manager::{BoxFuture, ErrorClass, Kind, Manager};
use crate::no_unwind::no_unwind;
use crate::raw::slots::Vacant;
use crate::stats::{Behalf, Call, Ledger, Noted};
use crate::sync::Arc;
use arc_swap::ArcSwapOption;
use std::time::Duration;

/// One job, whatever comes of it.
pub(crate) async fn perform<M: Manager>(raw: &Arc<Raw<M>>, job: Job<M>) {
    match job {
        Job::Open(slot, rest) => {
            let (replaces, permit) = *rest;
            let slot = InFlight { slot: Some(slot), permit };
            if !open(raw, slot, replaces).await {
                // Who wants it all the same is heard at the next visit; asking here might never end.
                return raw.context().ring();
            }
        }
        Job::Tend(slot, Task::Close { retire, broken }) => close(raw, slot, retire, broken).await,
        Job::Tend(slot, Task::Reset) => reset(raw, slot).await,
        Job::Tend(slot, Task::Ping(reservation)) => ping(raw, slot, reservation).await,
    }
    growth::grow(raw);
    raw.context().ring();
}

/// A connect in flight; however it ends, it is no longer counted. Dropped, it says nothing of the server.
struct InFlight<M: Manager> {
    slot: Option<Vacant<Pooled<M>>>,
    permit: Permit,
}

impl<M: Manager> InFlight<M> {
    /// It has failed.
    fn fail(mut self) {
        self.slot.take().into_iter().for_each(count_off);
    }
}

/// The slot first: see `growth`.
fn count_off<M: Manager>(slot: Vacant<Pooled<M>>) {
    let raw = slot.keep_alive();
    slot.give_back();
    raw.context().growth.release();
}

impl<M: Manager> Drop for InFlight<M> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let shared = slot.pool().context();
        shared.growth.outage.call_off(self.permit, shared.clock.now());
        count_off(slot);
    }
}

/// Opens a connection. False: it was not needed any more.
async fn open<M: Manager>(
    raw: &Arc<Raw<M>>,
    mut slot: InFlight<M>,
    replaces: Option<Replaces>,
) -> bool {
    let shared = raw.context();
    if raw.is_closed() {
        return true;
    }
    if replaces.is_none() && growth::is_superfluous(raw) {
        shared.counters.connects_skipped.add();
        drop(slot);
        shared.growth.end_sparing();
        return false;
    }
    let Some(ledger) = slot.slot.as_ref().map(Vacant::ledger) else { return true };
    let limit = slot.permit.limit;
    let (begun, deadline, noted) = begin(shared, ledger, Call::Connect, Behalf::Borrowers, limit);
    let result = call(shared, &deadline, shared.driver.connect(&shared.manager, &deadline)).await;
    drop(noted);
    match flatten(result) {
        Ok(connection) => {
            let Some(vacant) = slot.slot.take() else { return true };
            welcome(raw, vacant, connection, begun);
            if let Some(old) = replaces {
                // Made, now break. If somebody holds it, the next sweep finds it.
                old.close(raw);
            }
        }
        Err(error) => {
            let news = note_failure(raw, error, begun, slot.permit);
            slot.fail();
            match news {
                News::Permanent => raw.fail_all(),
                News::Passing => fail_the_impatient(raw),
                News::None => {}
            }
        }
    }
    shared.notices.post();
    true
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
    // Before anybody has it: whoever comes next must not be told of old failures.
    shared.growth.outage.succeeded(begun, shared.clock.now());
    forget_failure(shared);
    if raw.take_debt() {
        Job::retire(occupied);
    } else {
        drop(occupied);
    }
    growth::opened(raw);
}

/// Puts a new cause in the place of the old one, whose destructor is foreign code.
fn replace<E>(cause: &ArcSwapOption<ManagerError<E>>, new: Option<Arc<ManagerError<E>>>) {
    let_go(cause.swap(new));
}

/// There is no cause any more. In good times there was none, and nothing is written.
fn forget<E>(cause: &ArcSwapOption<ManagerError<E>>) {
    if cause.load().is_some() {
        replace(cause, None);
    }
}

/// Connecting works again, unless there are doubts.
fn forget_failure<M: Manager>(shared: &Shared<M>) {
    if !shared.growth.outage.is_failing() {
        forget(&shared.last_connect_failure);
    }
}

/// Those who will not wait for better times, if nothing is open, are told that times are bad.
fn fail_the_impatient<M: Manager>(raw: &Raw<M>) {
    if raw.context().settings.load().fail_fast && growth::is_out(raw) {
        raw.fail_all();
    }
}

/// What a failed connect tells.
enum News {
    /// Nothing: a later one has succeeded, or it was a probe with little time and others have more.
    None,
    Passing,
    Permanent,
}

/// A connect that was begun at `begun` has failed.
fn note_failure<M: Manager>(
    raw: &Raw<M>,
    error: ManagerError<M::Error>,
    begun: Tick,
    permit: Permit,
) -> News {
    let shared = raw.context();
    let now = shared.clock.now();
    shared.counters.connect_failures.add();
    let had_little_time =
        permit.limit < shared.settings.load().connect_timeout && now >= begun + permit.limit;
    let is_none =
        shared.growth.outage.is_old_news(begun) || (had_little_time && has_elder(raw, begun, now));
    if is_none {
        let_go(error);
        return News::None;
    }
    let is_permanent = match &error {
        ManagerError::Failed(error) => {
            no_unwind(|| shared.manager.classify(error)) == Some(ErrorClass::Permanent)
        }
        _ => false,
    };
    replace(&shared.last_connect_failure, Some(Arc::new(error)));
    shared.growth.narrow();
    shared.growth.outage.failed(begun, now, is_permanent);
    if is_permanent { News::Permanent } else { News::Passing }
}

async fn close<M: Manager>(raw: &Arc<Raw<M>>, slot: OutOfService<M>, retire: bool, broken: bool) {
    let shared = raw.context();
    let Some(slot) = slot.end() else { return };
    let (vacant, entry) = slot.vacate();
    let leaving = Leaving::new(vacant, retire);
    let Some(ledger) = leaving.vacant.as_ref().map(Vacant::ledger) else { return };
    let limit = shared.settings.load().close_timeout;
    let (_, deadline, _noted) = begin(shared, ledger, Call::Close, Behalf::Upkeep, limit);
    let goodbye = if broken {
        // It would reach nobody, and in an outage keep the slot from the next attempt.
        Box::pin(async move { drop(entry.connection) })
    } else {
        shared.driver.close(&shared.manager, entry.connection, &deadline)
    };
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
        vacant.pool().context().errands.begin(Errand::Close);
        Self { vacant: Some(vacant), retire }
    }
}

impl<M: Manager> Drop for Leaving<M> {
    fn drop(&mut self) {
        let Some(vacant) = self.vacant.take() else { return };
        let raw = vacant.keep_alive();
        raw.context().errands.end(Errand::Close);
        if self.retire { vacant.retire() } else { vacant.give_back() }
    }
}

async fn reset<M: Manager>(raw: &Arc<Raw<M>>, mut slot: OutOfService<M>) {
    let shared = raw.context();
    let Some(occupied) = slot.slot() else { return };
    let (entry, ledger) = occupied.parts();
    let limit = shared.settings.load().reset_timeout;
    let (_, deadline, noted) = begin(shared, ledger, Call::Reset, Behalf::Borrowers, limit);
    let future = shared.driver.reset(&shared.manager, &mut entry.connection, &deadline);
    let result = call(shared, &deadline, future).await;
    drop(noted);
    shared.counters.resets.add();
    let Some(slot) = slot.end() else { return };
    if matches!(result, Ok(Ok(()))) && !is_late(shared, &deadline) {
        super::release::put_back(slot);
    } else {
        suspect_generation(raw, slot.value().info.generation);
        Job::close(slot, EvictionCause::ResetFailed);
    }
}

async fn ping<M: Manager>(
    raw: &Arc<Raw<M>>,
    slot: OutOfService<M>,
    reservation: Option<Reservation>,
) {
    let Some(slot) = check(raw, slot).await else { return };
    let unclaimed = match reservation {
        Some(reservation) => reservation.keep(slot),
        None => Err(slot),
    };
    if let Err(slot) = unclaimed {
        super::release::put_back_checked(slot);
    }
}

/// Pings. The connection comes back if it answered; if not, it is on its way to be closed.
pub(crate) async fn check<M: Manager>(raw: &Raw<M>, mut slot: OutOfService<M>) -> Option<Slot<M>> {
    let shared = raw.context();
    let behalf = slot.behalf();
    slot.is_being_pinged();
    let generation = shared.generation();
    shared.counters.pings.add();
    let (entry, ledger) = slot.slot()?.parts();
    let limit = shared.settings.load().ping_timeout;
    let (begun, deadline, noted) = begin(shared, ledger, Call::Ping, behalf, limit);
    let future = shared.driver.ping(&shared.manager, &mut entry.connection, &deadline);
    let result = flatten(call(shared, &deadline, future).await);
    drop(noted);
    let mut slot = slot.end()?;
    let failure = match result {
        Ok(()) if is_late(shared, &deadline) => ManagerError::TimedOut,
        Ok(()) => {
            let entry = slot.value_mut();
            entry.has_answered(shared.clock.now(), generation);
            shared.growth.outage.answered(entry.info.born);
            forget_failure(shared);
            forget(&shared.last_ping_failure);
            return Some(slot);
        }
        Err(failure) => failure,
    };
    shared.counters.ping_failures.add();
    let failure = Arc::new(failure);
    replace(&shared.last_ping_failure, Some(Arc::clone(&failure)));
    let (entry, now) = (slot.value(), shared.clock.now());
    suspect_generation(raw, entry.info.generation);
    let is_stillborn = entry.is_unused(slot.ledger())
        && shared.growth.outage.rejected(entry.info.born, begun, now);
    Job::close(slot, EvictionCause::PingFailed);
    if is_stillborn {
        replace(&shared.last_connect_failure, Some(failure));
        shared.growth.narrow();
        fail_the_impatient(raw);
    }
    None
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

/// Notes beside the slot that a call begins now and when it should be over, for those who look for calls that
/// overrun.
fn begin<'a, M: Manager>(
    shared: &Shared<M>,
    ledger: &'a Ledger,
    call: Call,
    behalf: Behalf,
    limit: Duration,
) -> (Tick, Deadline, Noted<'a>) {
    let begun = shared.clock.now();
    let deadline = Deadline::at(&shared.clock, begun + limit);
    let noted = ledger.call(call, behalf, begun, deadline.moment());
    (begun, deadline, noted)
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
