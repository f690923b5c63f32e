//! The calls into the manager: connect, ping, reset, close. Workers make them; a borrower whose
//! face is the driver's kind may ping itself.

use crate::clock::{Deadline, Tick};
use crate::data::ConnectionData;
use crate::error::ManagerError;
use crate::health::{ConnectionInfo, EvictionCause};
use crate::hooks::{self, Hook};
use crate::manager::{BoxFuture, Face, Manager};
use crate::observe::EventKind;
use crate::pool::ground::assignment::taken_back;
use crate::pool::ground::caught::{Caught, let_go};
use crate::pool::service::enqueue;
use crate::pool::service::judge::suspect_generation;
use crate::pool::service::release;
use crate::pool::state::State;
use crate::pool::state::entry::{Entry, Fresh, Stage};
use crate::pool::state::job::{Held, Job, Order};
use crate::pool::state::pooled::{Raw, Slot, Vacant};
use crate::pool::supply::overruns::taking_long_at;
use crate::pool::supply::{growth, news};
use crate::stats::{Call, Ledger, Noted, Priority};
use crate::sync::Arc;
use std::time::Duration;

/// Does one job to its end.
pub(crate) async fn perform<M: Manager>(raw: &Arc<Raw<M>>, job: Job<M>) {
    match job.call {
        Call::Connect => connect(raw, job).await,
        Call::Ping => ping(raw, job).await,
        Call::Reset => reset(raw, job).await,
        Call::Close => close(raw, job).await,
    }
}

/// Opens a connection, unless it is no longer needed.
async fn connect<M: Manager>(raw: &Arc<Raw<M>>, mut job: Job<M>) {
    let state = raw.context();
    let Held::Empty(vacant, Some(order)) = &job.held else { return };
    if raw.is_closed() {
        return;
    }
    let is_optional = order.replaces.is_none() && !order.is_for_try;
    if is_optional && growth::skip(raw) {
        state.note(EventKind::ConnectSkipped);
        drop(job);
        return growth::end_skip(raw);
    }
    let limit = order.permit.limit;
    let (begun, deadline, noted) =
        begin(state, vacant.ledger(), Call::Connect, Priority::Demand, limit);
    let future = Box::pin(open(state, &deadline, begun));
    let result = fallible_call(state, &deadline, future).await;
    drop(noted);
    let Some((vacant, order)) = job.take_order() else { return };
    state.supply.end_order(&order);
    match result {
        Ok(fresh) => {
            welcome(raw, vacant, fresh, begun);
            news::opened(raw);
            if let Some(old) = order.replaces {
                // Made, so break.
                growth::close_old(raw, &old, Stage::Made);
            }
        }
        Err(error) => {
            let affected = news::connect_failed(raw, error, begun, order.permit);
            vacant.give_back();
            state.service.end(Call::Connect, Priority::Demand);
            news::tell(raw, &affected);
        }
    }
    state.events.post();
}

/// The manager's part, and that of the hooks.
async fn open<M: Manager>(
    state: &State<M>,
    deadline: &Deadline,
    begun: Tick,
) -> Result<Fresh<M::Connection>, ManagerError<M::Error>> {
    let opened = state.driver.connect(&state.manager, deadline).await;
    let connection = opened.map_err(ManagerError::Failed)?;
    let mut fresh = Fresh { connection, data: ConnectionData::default() };
    let hooks = &state.hooks.after_connect;
    if !hooks.is_empty() {
        let info = ConnectionInfo::newborn(begun, state.generation.get(), 0);
        let Fresh { connection, data } = &mut fresh;
        hooks::run::<M>(hooks, connection, &info, data).await.map_err(ManagerError::of_hook)?;
        let is_unsettled = state.manager.needs_reset(connection);
        settle(state, connection, deadline, is_unsettled).await?;
    }
    Ok(fresh)
}

/// What hooks have set is how the connection is meant to be; what they have left open is not.
async fn settle<M: Manager>(
    state: &State<M>,
    connection: &mut M::Connection,
    deadline: &Deadline,
    is_unsettled: bool,
) -> Result<(), ManagerError<M::Error>> {
    if !is_unsettled {
        return Ok(());
    }
    state.driver.reset(&state.manager, connection, deadline).await.map_err(ManagerError::Failed)
}

/// Runs the hooks that accompany a loan, and settles what they have left open.
async fn accompany<M: Manager>(
    state: &State<M>,
    hooks: &[Hook<M>],
    entry: &mut Entry<M::Connection>,
    ledger: &Ledger,
    deadline: &Deadline,
) -> Result<(), ManagerError<M::Error>> {
    if hooks.is_empty() {
        return Ok(());
    }
    run_hooks(state, hooks, entry, ledger).await?;
    let is_unsettled = state.manager.needs_reset_after_hook(&mut entry.connection);
    settle(state, &mut entry.connection, deadline, is_unsettled).await
}

impl<M: Manager> Job<M> {
    /// Takes the slot and the order of a connect; the caller counts the job off.
    fn take_order(&mut self) -> Option<(Vacant<M>, Order)> {
        match std::mem::replace(&mut self.held, Held::Gone) {
            Held::Empty(vacant, Some(order)) => Some((vacant, *order)),
            other => {
                self.held = other;
                None
            }
        }
    }
}

/// Puts a fresh connection in service; if the limit was lowered meanwhile, it is closed again.
fn welcome<M: Manager>(raw: &Raw<M>, vacant: Vacant<M>, fresh: Fresh<M::Connection>, begun: Tick) {
    let state = raw.context();
    let (now, generation) = (state.clock.now(), state.generation.get());
    let jitter = state.supply.jitter.draw();
    let mut entry = Entry::newborn(fresh, vacant.ledger(), begun, now, generation, jitter);
    if state.last_ping_failure.load().is_some() {
        // Connects may succeed though what they open is dead.
        entry.info.distrust();
    }
    let slot = vacant.fill(entry);
    news::connected(state, begun);
    // The borrower that it is handed to may look at the counts at once.
    state.service.arrives();
    if raw.take_debt() {
        enqueue::retire(slot)
    } else if state.invalid.is_to_be_replaced(slot.ledger()) {
        enqueue::close(slot, EvictionCause::Invalidated)
    } else {
        drop(slot)
    }
    // Now that a borrower finds it: who waits for the start must not be told too early.
    state.service.open.add(1);
    state.service.has_arrived();
}

async fn close<M: Manager>(raw: &Arc<Raw<M>>, mut job: Job<M>) {
    let state = raw.context();
    let is_broken = job.is_broken;
    let Some(connection) = job.vacate() else { return };
    let Held::Empty(vacant, _) = &job.held else { return };
    let limit = state.settings.load().close_timeout;
    let (begun, deadline, _noted) =
        begin(state, vacant.ledger(), Call::Close, Priority::Upkeep, limit);
    let goodbye = if is_broken {
        // The server would not hear it, and in an outage it would keep the slot from the next
        // attempt.
        Box::pin(async move { drop(connection) })
    } else {
        state.driver.close(&state.manager, connection, &deadline)
    };
    // Its outcome does not matter: the connection is gone.
    let _ = call(state, &deadline, goodbye).await;
    state.note(EventKind::Closed { took: state.clock.now().since(begun) });
}

async fn reset<M: Manager>(raw: &Arc<Raw<M>>, mut job: Job<M>) {
    let state = raw.context();
    job.is_begun = true;
    // Until it is back.
    let _briefly_out = job.briefly_out.take();
    let Some(slot) = job.slot() else { return };
    let (entry, ledger) = slot.parts();
    let limit = state.settings.load().reset_timeout;
    let (begun, deadline, noted) = begin(state, ledger, Call::Reset, Priority::Demand, limit);
    let is_due = entry.reset_due;
    let future = Box::pin(make_clean(state, entry, ledger, &deadline));
    let result = fallible_call(state, &deadline, future).await;
    drop(noted);
    let result = if is_late(state, &deadline) {
        let_go(result);
        Err(ManagerError::TimedOut)
    } else {
        result
    };
    let took = state.clock.now().since(begun);
    let Some(slot) = job.end() else { return };
    match result {
        Ok(()) => {
            if is_due {
                state.note(EventKind::Reset { took });
            }
            release::put_back(slot)
        }
        Err(failure) => {
            let cause = match failure {
                // It says nothing about the server.
                ManagerError::Hook(_) => EvictionCause::HookFailed,
                _ => EvictionCause::ResetFailed,
            };
            if is_due {
                state.note(EventKind::ResetFailed { took, cause: state.cause(&failure) });
            }
            let_go(failure);
            if cause == EvictionCause::ResetFailed {
                suspect_generation(raw, slot.value().info.generation);
            }
            enqueue::close(slot, cause);
        }
    }
}

/// The manager's part in a reset, if it is due, and that of the hooks.
async fn make_clean<M: Manager>(
    state: &State<M>,
    entry: &mut Entry<M::Connection>,
    ledger: &Ledger,
    deadline: &Deadline,
) -> Result<(), ManagerError<M::Error>> {
    let hooks = &state.hooks;
    let mut is_renewed = false;
    if entry.reset_due {
        let reset = state.driver.reset(&state.manager, &mut entry.connection, deadline).await;
        reset.map_err(ManagerError::Failed)?;
        entry.reset_due = false;
        entry.was_reset(ledger, state.clock.now());
        is_renewed = !hooks.after_connect.is_empty() && state.manager.renews_session();
    }
    if is_renewed {
        run_hooks(state, &hooks.after_connect, entry, ledger).await?;
        let is_unsettled = state.manager.needs_reset(&mut entry.connection);
        settle(state, &mut entry.connection, deadline, is_unsettled).await?;
    }
    accompany(state, &hooks.on_return, entry, ledger, deadline).await
}

async fn run_hooks<M: Manager>(
    state: &State<M>,
    hooks: &[Hook<M>],
    entry: &mut Entry<M::Connection>,
    ledger: &Ledger,
) -> Result<(), ManagerError<M::Error>> {
    entry.refresh(ledger, state.generation.get(), state.clock.now());
    let Entry { connection, info, data, .. } = entry;
    hooks::run::<M>(hooks, connection, info, data).await.map_err(ManagerError::Hook)
}

async fn ping<M: Manager>(raw: &Arc<Raw<M>>, mut job: Job<M>) {
    let reservation = job.take_reservation();
    // Until it is back.
    let _briefly_out = job.briefly_out.take();
    let Some(slot) = check(raw, job).await else { return };
    let unclaimed = match reservation {
        Some(reservation) => reservation.keep(slot),
        None => Err(slot),
    };
    if let Err(slot) = unclaimed {
        release::put_back_checked(slot);
    }
}

/// Pings the connection if that is due, and prepares it for a loan if it is for one. Returns it if
/// all went well; else it has been queued to be closed.
pub(crate) async fn check<M: Manager>(raw: &Raw<M>, mut job: Job<M>) -> Option<Slot<M>> {
    let state = raw.context();
    let priority = job.priority;
    job.is_begun = true;
    let generation = state.generation.get();
    let is_for_loan = job.is_for_loan;
    let (entry, ledger) = job.slot()?.parts();
    let is_due = entry.ping_due;
    if is_due {
        state.note(EventKind::PingBegan);
    }
    let limit = state.settings.load().ping_timeout;
    let (begun, deadline, noted) = begin(state, ledger, Call::Ping, priority, limit);
    let future = Box::pin(async {
        if is_due {
            let pinged = state.driver.ping(&state.manager, &mut entry.connection, &deadline).await;
            pinged.map_err(ManagerError::Failed)?;
            let now = state.clock.now();
            entry.has_answered(ledger, now, generation);
            if !is_late(state, &deadline) {
                // Before the hooks, which may fail.
                let took = now.since(begun);
                state.note(EventKind::Pinged { took });
                entry.is_slow = state.supply.pings.is_slow(took);
            }
        }
        if is_for_loan || !is_due {
            accompany(state, &state.hooks.before_acquire, entry, ledger, &deadline).await?;
            entry.was_prepared(ledger, state.clock.now());
        }
        Ok(())
    });
    let result = fallible_call(state, &deadline, future).await;
    drop(noted);
    let slot = job.end()?;
    let failure = match result {
        Ok(()) if is_late(state, &deadline) => ManagerError::TimedOut,
        Ok(()) => {
            if !is_due {
                return Some(slot);
            }
            news::answered(state, slot.value().info.born);
            return Some(slot);
        }
        Err(failure) => failure,
    };
    let entry = slot.value();
    let (born, was_lent) = (entry.info.born, !entry.is_unused(slot.ledger()));
    let cause = match failure {
        // A hook's error says nothing about the server.
        ManagerError::Hook(_) => EvictionCause::HookFailed,
        _ => EvictionCause::PingFailed,
    };
    let failure = Arc::new(failure);
    if cause == EvictionCause::PingFailed {
        let (took, cause) = (state.clock.now().since(begun), state.cause(&*failure));
        state.note(EventKind::PingFailed { took, cause });
        suspect_generation(raw, entry.info.generation);
    }
    let affected = news::ping_failed(state, failure, born, begun, was_lent);
    enqueue::close(slot, cause);
    news::tell(raw, &affected);
    None
}

/// Notes beside the slot that a call begins now and when it should end, so that an overrun is seen.
fn begin<'a, M: Manager>(
    state: &State<M>,
    ledger: &'a Ledger,
    call: Call,
    priority: Priority,
    limit: Duration,
) -> (Tick, Deadline, Noted<'a>) {
    let begun = state.clock.now();
    // A goodbye that is said while a caller waits for the last of them is late when that caller's
    // time is up.
    let closed_by = Tick(state.closed_by.get());
    let is_waited_for = call == Call::Close && begun < closed_by;
    let limit = begun + limit;
    let deadline = if is_waited_for { limit.min(closed_by) } else { limit };
    let deadline = Deadline::at(&state.clock, deadline);
    let noted = ledger.call(call, priority, begun, deadline.moment());
    state.watch.note(taking_long_at(call, begun, deadline.moment()));
    (begun, deadline, noted)
}

/// Drives a manager's call: a panic ends it, and so does its deadline, unless it blocks the thread.
async fn call<M: Manager, T>(
    state: &State<M>,
    deadline: &Deadline,
    future: BoxFuture<'_, T>,
) -> Result<T, ManagerError<M::Error>> {
    match state.timeout(deadline.moment(), Caught::new(future)).await {
        // The manager is not to blame if it needs its runtime.
        Some(answer) => answer.map_err(|message| match taken_back() {
            Some(_) => ManagerError::Spawner(message),
            None => ManagerError::Panicked(message),
        }),
        None => Err(ManagerError::TimedOut),
    }
}

/// The same for a call that may return an error.
async fn fallible_call<M: Manager, T>(
    state: &State<M>,
    deadline: &Deadline,
    future: BoxFuture<'_, Result<T, ManagerError<M::Error>>>,
) -> Result<T, ManagerError<M::Error>> {
    call(state, deadline, future).await?
}

/// Whether an answer came after its deadline, which is possible only if the call blocks.
fn is_late<M: Manager>(state: &State<M>, deadline: &Deadline) -> bool {
    state.driver.kind() == Face::Blocking && deadline.is_past()
}
