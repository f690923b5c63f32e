//! Connectors do the [jobs](super::job): threads of the crew for blocking managers, tasks for async ones.
//!
//! A connector takes jobs until none is left. It owns nothing but a count on the pool between two jobs, so
//! one that is dropped half-way (its runtime went away) leaves the others where they are.

use super::block_on::block_on;
use super::growth::Growth;
use super::job::{Appointment, Job, Lane, OutOfService, Replaces, Task};
use super::shared::{Entry, Pooled, Raw, Shared};
use super::{crew, growth};
use crate::clock::{Deadline, Tick};
use crate::error::ManagerError;
use crate::health::EvictionCause;
use crate::manager::{BoxFuture, ErrorClass, Kind, Manager};
use crate::raw::slots::Vacant;
use crate::sync::{Arc, Ordering};
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

/// Has connectors started for the jobs that wait, as far as the limits allow.
pub(crate) fn pump<M: Manager>(raw: &Arc<Raw<M>>) {
    let shared = raw.context();
    if shared.is_by_hand() {
        return;
    }
    let settings = shared.settings.load();
    let upkeep = settings.maintenance_concurrency;
    let overdue = shared.growth.overdue(shared.clock.tick());
    let demand = settings.connect_concurrency.saturating_add(upkeep).saturating_add(overdue);
    for (which, limit) in [(Which::Demand, demand), (Which::Upkeep, upkeep)] {
        let lane = which.of(shared);
        // O11: a connector too many finds nothing to do; the next visit makes up for one too few.
        let starting = lane.starting.load(Ordering::Relaxed);
        for _ in starting..lane.jobs.len() {
            let Some(connector) = Connector::begin(raw, which, limit) else { break };
            if !launch(connector) {
                break;
            }
        }
    }
}

/// Has it run by whoever can. False: nobody can now.
fn launch<M: Manager>(connector: Connector<M>) -> bool {
    let raw = Arc::clone(&connector.raw);
    let shared = raw.context();
    // A closed pool may have outlived its runtime; then threads must do what is left.
    let is_orphaned = raw.is_closed() && shared.visits_since_close() > 1;
    match &shared.spawner {
        Some(spawn) if shared.driver.kind() == Kind::Async && !is_orphaned => {
            // Foreign code. If it fails, or drops what it was given, a later visit tries again.
            let run = connector.run();
            catch_unwind(AssertUnwindSafe(|| spawn(Box::pin(run)))).is_ok()
        }
        _ => {
            let clock = shared.clock.clone();
            crew::submit(Box::new(move || {
                block_on(connector.run(), &clock, Tick::NEVER);
            }))
        }
    }
}

/// Does all jobs here and now, and keeps the timers of those that are being done.
pub(crate) fn run_all<M: Manager>(raw: &Arc<Raw<M>>) {
    let shared = raw.context();
    while let Some(job) = shared.demand.jobs.pop().or_else(|| shared.upkeep.jobs.pop()) {
        let mut work = pin!(perform(raw, job));
        while block_on(work.as_mut(), &shared.clock, shared.timers.next()).is_none() {
            super::sweep::fire_timers(raw);
        }
    }
}

/// [`run_all`] for a closed pool by hand. What is done may free slots and so call for more: only the
/// outermost call does it, or a pool of thousands would overflow the stack.
pub(crate) fn drain<M: Manager>(raw: &Arc<Raw<M>>) {
    let shared = raw.context();
    // O9: orders a job that was queued before a vain attempt against the look after the flag is cleared.
    while !shared.has_no_jobs() && !shared.draining.swap(true, Ordering::AcqRel) {
        run_all(raw);
        // O9
        shared.draining.swap(false, Ordering::AcqRel);
    }
}

/// One of the two lanes.
#[derive(Clone, Copy)]
enum Which {
    Demand,
    Upkeep,
}

impl Which {
    fn of<M: Manager>(self, shared: &Shared<M>) -> &Lane<M> {
        match self {
            Self::Demand => &shared.demand,
            Self::Upkeep => &shared.upkeep,
        }
    }
}

/// A connector's place among those that may work at once.
struct Connector<M: Manager> {
    raw: Arc<Raw<M>>,
    which: Which,
    has_started: bool,
}

impl<M: Manager> Connector<M> {
    fn begin(raw: &Arc<Raw<M>>, which: Which, limit: usize) -> Option<Self> {
        let lane = which.of(raw.context());
        lane.connectors
            // O9; O11 on failure.
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .ok()?;
        // O11
        lane.starting.fetch_add(1, Ordering::Relaxed);
        Some(Self { raw: Arc::clone(raw), which, has_started: false })
    }

    fn lane(&self) -> &Lane<M> {
        self.which.of(self.raw.context())
    }

    fn started(&mut self) {
        if !std::mem::replace(&mut self.has_started, true) {
            // O11
            self.lane().starting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn run(mut self) {
        loop {
            let job = self.lane().jobs.pop();
            self.started();
            match job {
                Some(job) => perform(&self.raw, job).await,
                None => break,
            }
        }
        let raw = Arc::clone(&self.raw);
        drop(self);
        // A job that came between the last look and the leaving.
        if !raw.context().has_no_jobs() {
            pump(&raw);
        }
    }
}

impl<M: Manager> Drop for Connector<M> {
    fn drop(&mut self) {
        self.started();
        // O9: orders the leaving before the look at the jobs that follows.
        self.lane().connectors.fetch_sub(1, Ordering::AcqRel);
    }
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
    shared.growth.begun(deadline.at());
    let ended = Ended(&shared.growth, deadline.at());
    let result = call(shared, &deadline, shared.driver.connect(&shared.manager, &deadline)).await;
    drop(ended);
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
                // Made, now break. If somebody holds it, the next sweep finds it.
                old.close(raw);
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

/// Notes that a connect is over, however it ended.
struct Ended<'a>(&'a Growth, Tick);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended(self.1);
    }
}

async fn close<M: Manager>(raw: &Arc<Raw<M>>, slot: OutOfService<M>, retire: bool) {
    let shared = raw.context();
    let Some(slot) = slot.end() else { return };
    let (vacant, entry) = slot.vacate();
    let _leaving = Leaving::new(vacant, retire);
    let deadline = Deadline::by(&shared.clock, shared.settings.load().close_timeout, Tick::NEVER);
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
    appointment: Option<Appointment>,
) {
    let Some(slot) = check(raw, slot).await else { return };
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
) -> Option<super::shared::Slot<M>> {
    let shared = raw.context();
    let deadline = Deadline::by(&shared.clock, shared.settings.load().ping_timeout, Tick::NEVER);
    slot.is_being_pinged();
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
