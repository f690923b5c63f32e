//! Connectors do the [jobs](super::job): threads of the crew for blocking managers, tasks for async ones.
//!
//! A connector takes jobs until none is left. It owns nothing but a count on the pool between two jobs, so
//! one that is dropped half-way (its runtime went away) leaves the others where they are.

use super::block_on::block_on;
use super::job::{Job, OutOfService, Replaces, Task};
use super::shared::{Entry, Pooled, Raw, Shared};
use super::{crew, growth};
use crate::clock::{Deadline, Tick};
use crate::error::ManagerError;
use crate::health::EvictionCause;
use crate::manager::{BoxFuture, ErrorClass, Kind, Manager};
use crate::raw::slots::Vacant;
use crate::raw::waiters::Waiter;
use crate::sync::{Arc, Ordering};
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// Has connectors started for the jobs that wait, as far as the limits allow.
pub(crate) fn pump<M: Manager>(raw: &Arc<Raw<M>>) {
    let shared = raw.context();
    if shared.is_by_hand() {
        return;
    }
    // O11: a connector too many finds nothing to do; the housekeeper's next visit makes up for one too few.
    while shared.connectors_starting.load(Ordering::Relaxed) < shared.jobs.len() {
        let Some(connector) = Connector::begin(raw) else { return };
        let run = connector.run();
        match (&shared.spawner, shared.driver.kind()) {
            (Some(spawn), Kind::Async) => {
                // Foreign code; if it fails the connector is dropped and a later pump tries again.
                let _ = catch_unwind(AssertUnwindSafe(|| spawn(Box::pin(run))));
            }
            _ => {
                let clock = shared.clock.clone();
                crew::submit(Box::new(move || {
                    block_on(run, &clock, Tick::NEVER);
                }));
            }
        }
        if shared.jobs.is_empty() {
            return;
        }
    }
}

/// Does all jobs here and now.
pub(crate) fn run_all<M: Manager>(raw: &Arc<Raw<M>>) {
    while let Some(job) = raw.context().jobs.pop() {
        block_on(perform(raw, job), &raw.context().clock, Tick::NEVER);
    }
}

/// A connector's place among those that may work at once.
struct Connector<M: Manager> {
    raw: Arc<Raw<M>>,
    has_started: bool,
}

impl<M: Manager> Connector<M> {
    fn begin(raw: &Arc<Raw<M>>) -> Option<Self> {
        reserve(raw.context()).then(|| {
            // O11
            raw.context().connectors_starting.fetch_add(1, Ordering::Relaxed);
            Self { raw: Arc::clone(raw), has_started: false }
        })
    }

    fn started(&mut self) {
        if !std::mem::replace(&mut self.has_started, true) {
            // O11
            self.raw.context().connectors_starting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn run(mut self) {
        loop {
            let job = self.raw.context().jobs.pop();
            self.started();
            match job {
                Some(job) => perform(&self.raw, job).await,
                None => break,
            }
        }
        let raw = Arc::clone(&self.raw);
        drop(self);
        // A job that came between the last look and the leaving.
        if !raw.context().jobs.is_empty() {
            pump(&raw);
        }
    }
}

impl<M: Manager> Drop for Connector<M> {
    fn drop(&mut self) {
        self.started();
        // O9: orders the leaving before the look at the jobs that follows.
        self.raw.context().connectors.fetch_sub(1, Ordering::AcqRel);
    }
}

fn reserve<M: Manager>(shared: &Shared<M>) -> bool {
    let settings = shared.settings.load();
    let limit = settings.connect_concurrency.saturating_add(settings.maintenance_concurrency);
    shared
        .connectors
        // O9; O11 on failure.
        .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
        .is_ok()
}

/// One job, whatever comes of it.
async fn perform<M: Manager>(raw: &Arc<Raw<M>>, job: Job<M>) {
    match job {
        Job::Open(slot, replaces) => open(raw, InFlight::new(slot), replaces).await,
        Job::Tend(slot, Task::Close { retire }) => close(raw, slot, retire).await,
        Job::Tend(slot, Task::Reset) => reset(raw, slot).await,
        Job::Tend(slot, Task::Ping(appointment)) => ping(raw, slot, appointment).await,
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
    if raw.is_closed() {
        return;
    }
    if replaces.is_none() && growth::spare(raw) {
        shared.counters.connects_spared.add();
        drop(slot.end());
        return;
    }
    let deadline = Deadline::by(&shared.clock, shared.settings.load().connect_timeout, Tick::NEVER);
    let result = call(shared, &deadline, shared.driver.connect(&shared.manager, &deadline)).await;
    match flatten(result) {
        Ok(connection) => {
            let Some(vacant) = slot.end() else { return };
            let now = shared.clock.now();
            let entry = Entry::newborn(connection, vacant.ledger(), now, shared.generation());
            let occupied = vacant.fill(entry);
            shared.counters.connects.add();
            shared.last_failure.store(None);
            growth::opened(raw);
            if raw.take_debt() {
                Job::retire(occupied);
            } else {
                drop(occupied);
            }
            if let Some(old) = replaces {
                retire_replaced(raw, old);
            }
        }
        Err(error) => {
            shared.counters.connect_failures.add();
            let permanent = match &error {
                ManagerError::Failed(error) => {
                    let class = catch_unwind(AssertUnwindSafe(|| shared.manager.classify(error)));
                    matches!(class, Ok(ErrorClass::Permanent))
                }
                _ => false,
            };
            shared.last_failure.store(Some(Arc::new(error)));
            shared.growth.failed(shared.clock.now(), permanent);
            drop(slot);
            if permanent {
                raw.fail_all();
            }
        }
    }
    shared.notices.post();
}

/// Make before break: the fresh connection is there, the old one may go if nobody holds it. If somebody
/// does, the next sweep finds it.
fn retire_replaced<M: Manager>(raw: &Raw<M>, old: Replaces) {
    if let Some(slot) = raw.claim_idle_at(old.index)
        && slot.value().info.born == old.born
    {
        Job::close(slot, old.cause);
    }
}

async fn close<M: Manager>(raw: &Arc<Raw<M>>, slot: OutOfService<M>, retire: bool) {
    let shared = raw.context();
    let Some(slot) = slot.end() else { return };
    let _gauge = Maintenance::enter(raw);
    let (vacant, entry) = slot.vacate();
    let deadline = Deadline::by(&shared.clock, shared.settings.load().close_timeout, Tick::NEVER);
    let goodbye = shared.driver.close(&shared.manager, entry.connection, &deadline);
    // Nothing hangs on how it ends: the connection is gone.
    let _ = call(shared, &deadline, goodbye).await;
    shared.counters.closes.add();
    drop(_gauge);
    if retire || raw.take_debt() {
        vacant.retire();
    } else {
        drop(vacant);
    }
}

/// Counts a slot as under maintenance while its connection is being closed.
struct Maintenance<'a, M: Manager>(&'a Raw<M>);

impl<'a, M: Manager> Maintenance<'a, M> {
    fn enter(raw: &'a Raw<M>) -> Self {
        raw.context().in_maintenance.fetch_add(1, Ordering::Relaxed); // O11
        Self(raw)
    }
}

impl<M: Manager> Drop for Maintenance<'_, M> {
    fn drop(&mut self) {
        self.0.context().in_maintenance.fetch_sub(1, Ordering::Relaxed); // O11
    }
}

async fn reset<M: Manager>(raw: &Arc<Raw<M>>, mut slot: OutOfService<M>) {
    let shared = raw.context();
    let Some(occupied) = slot.slot() else { return };
    let deadline = Deadline::by(&shared.clock, shared.settings.load().reset_timeout, Tick::NEVER);
    let connection = &mut occupied.value_mut().connection;
    let result =
        call(shared, &deadline, shared.driver.reset(&shared.manager, connection, &deadline)).await;
    shared.counters.resets.add();
    let Some(slot) = slot.end() else { return };
    match result {
        Ok(Ok(())) => super::release::put_back(slot),
        _ => Job::close(slot, EvictionCause::ResetFailed),
    }
}

async fn ping<M: Manager>(
    raw: &Arc<Raw<M>>,
    slot: OutOfService<M>,
    appointment: Option<Arc<Waiter>>,
) {
    match check(raw, slot, Tick::NEVER).await {
        Some(slot) => match appointment {
            Some(waiter) if raw.is_closed() => {
                drop(slot);
                waiter.close().fire();
            }
            Some(waiter) => match waiter.grant(slot) {
                Ok(wakes) => wakes.fire(),
                Err(slot) => drop(slot),
            },
            None => super::release::put_back(slot),
        },
        None => {
            if let Some(waiter) = appointment {
                waiter.fail().fire();
            }
        }
    }
}

/// Pings. The connection comes back if it answered; if not, it is on its way to be closed.
pub(crate) async fn check<M: Manager>(
    raw: &Raw<M>,
    mut slot: OutOfService<M>,
    latest: Tick,
) -> Option<super::shared::Slot<M>> {
    let shared = raw.context();
    let deadline = Deadline::by(&shared.clock, shared.settings.load().ping_timeout, latest);
    let generation = shared.generation();
    let connection = &mut slot.slot()?.value_mut().connection;
    shared.counters.pings.add();
    let result =
        call(shared, &deadline, shared.driver.ping(&shared.manager, connection, &deadline)).await;
    let mut slot = slot.end()?;
    let entry = slot.value_mut();
    if let Ok(Ok(())) = result {
        entry.info.last_checked = shared.clock.now();
        entry.info.generation = generation;
        entry.ping_due = false;
        return Some(slot);
    }
    shared.counters.ping_failures.add();
    shared.suspect_generation(entry.info.generation);
    Job::close(slot, EvictionCause::PingFailed);
    None
}

/// Why a call has no answer of the manager's.
pub(crate) enum Interrupted {
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

/// Drives a manager's call: a panic ends it, and so does its deadline, unless it blocks the thread.
async fn call<M: Manager, T>(
    shared: &Shared<M>,
    deadline: &Deadline,
    future: BoxFuture<'_, T>,
) -> Result<T, Interrupted> {
    let mut sleep =
        shared.timers.sleep(&shared.clock, deadline.at(), |at: Tick| shared.ring_before(at));
    let mut future = Some(future);
    poll_fn(move |cx| {
        let Some(running) = future.as_mut() else { return Poll::Pending };
        let result = match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(Interrupted::Panicked(message(&*panic))),
            Ok(Poll::Pending) if Pin::new(&mut sleep).poll(cx).is_ready() => {
                Err(Interrupted::TimedOut)
            }
            Ok(Poll::Pending) => return Poll::Pending,
        };
        // What the future still holds may panic as it goes.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future.take())));
        Poll::Ready(result)
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).into(),
        (_, Some(message)) => message.clone(),
        _ => "no message".into(),
    }
}
