//! The calls into the manager: ping, reset, close. Workers make them; a borrower whose face is the
//! driver's kind may ping itself. `opening` has the connect.

use crate::clock::{Deadline, Tick};
use crate::error::ManagerError;
use crate::health::EvictionCause;
use crate::hooks::{self, Hook};
use crate::manager::{BoxFuture, Face, Manager};
use crate::observe::EventKind;
use crate::pool::ground::assignment::taken_back;
use crate::pool::ground::caught::{Caught, Foreign, let_go};
use crate::pool::service::enqueue;
use crate::pool::service::judge::suspect_generation;
use crate::pool::service::release;
use crate::pool::state::State;
use crate::pool::state::beside::Guest;
use crate::pool::state::entry::{Entry, Fresh};
use crate::pool::state::job::{Held, Job};
use crate::pool::state::pooled::{Raw, Slot};
use crate::pool::supply::news;
use crate::pool::supply::overruns::taking_long_at;
use crate::stats::{Call, Ledger, Noted, Priority};
use crate::sync::Arc;
use std::time::Duration;

/// What hooks have set is how the connection is meant to be; what they have left open is not.
pub(super) async fn settle<M: Manager>(
    state: &State<M>,
    manager: &M,
    connection: &mut M::Connection,
    deadline: &Deadline,
    is_unsettled: bool,
) -> Result<(), ManagerError<M::Error>> {
    if !is_unsettled {
        return Ok(());
    }
    state.driver.reset(manager, connection, deadline).await.map_err(ManagerError::Failed)
}

/// Runs the hooks that accompany a loan, and settles what they have left open.
async fn accompany<M: Manager>(
    state: &State<M>,
    hooks: &[Hook<M>],
    entry: &mut Entry<M>,
    ledger: &Ledger,
    deadline: &Deadline,
) -> Result<(), ManagerError<M::Error>> {
    if hooks.is_empty() {
        return Ok(());
    }
    run_hooks(state, hooks, entry, ledger).await?;
    let Entry { connection, manager, .. } = entry;
    let is_unsettled = manager.needs_reset_after_hook(connection);
    settle(state, manager, connection, deadline, is_unsettled).await
}

pub(super) async fn close<M: Manager>(raw: &Arc<Raw<M>>, mut job: Job<M>) {
    let state = raw.context();
    let is_broken = job.is_broken;
    let Some((connection, manager)) = job.vacate() else { return };
    let Held::Empty(vacant, _) = &job.held else { return };
    let limit = state.settings.load().close_timeout;
    let (begun, deadline, _noted) =
        begin(state, vacant.ledger(), Call::Close, Priority::Upkeep, limit);
    say_goodbye(state, &manager, connection, is_broken, begun, &deadline).await;
}

/// Closes a connection that was never in service.
pub(crate) async fn close_guest<M: Manager>(state: &State<M>, fresh: Fresh<M>, guest: Guest<M>) {
    let Fresh { connection, manager, .. } = fresh;
    let manager = Foreign::new(manager);
    let limit = state.settings.load().close_timeout;
    let (begun, deadline) = limits(state, Call::Close, limit);
    guest.enters(Call::Close, begun, deadline.moment());
    say_goodbye(state, &manager, connection, false, begun, &deadline).await;
}

async fn say_goodbye<M: Manager>(
    state: &State<M>,
    manager: &M,
    connection: M::Connection,
    is_broken: bool,
    begun: Tick,
    deadline: &Deadline,
) {
    let goodbye = if is_broken {
        // The server would not hear it, and in an outage it would keep the slot from the next
        // attempt.
        Box::pin(async move { drop(connection) })
    } else {
        state.driver.close(manager, connection, deadline)
    };
    // Its outcome does not matter: the connection is gone.
    let _ = call(state, deadline, goodbye).await;
    state.note(EventKind::Closed { took: state.clock.now().since(begun) });
}

pub(super) async fn reset<M: Manager>(raw: &Arc<Raw<M>>, mut job: Job<M>) {
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
                suspect_generation(raw, slot.value().record.generation);
            }
            enqueue::close(slot, cause);
        }
    }
}

/// The manager's part in a reset, if it is due, and that of the hooks.
async fn make_clean<M: Manager>(
    state: &State<M>,
    entry: &mut Entry<M>,
    ledger: &Ledger,
    deadline: &Deadline,
) -> Result<(), ManagerError<M::Error>> {
    let hooks = &state.hooks;
    let mut is_renewed = false;
    if entry.reset_due {
        let reset = state.driver.reset(&entry.manager, &mut entry.connection, deadline).await;
        reset.map_err(ManagerError::Failed)?;
        entry.reset_due = false;
        entry.was_reset(ledger, state.clock.now());
        is_renewed = !hooks.after_connect.is_empty() && entry.manager.renews_session();
    }
    if is_renewed {
        run_hooks(state, &hooks.after_connect, entry, ledger).await?;
        let Entry { connection, manager, .. } = &mut *entry;
        let is_unsettled = manager.needs_reset(connection);
        settle(state, manager, connection, deadline, is_unsettled).await?;
    }
    accompany(state, &hooks.on_return, entry, ledger, deadline).await
}

async fn run_hooks<M: Manager>(
    state: &State<M>,
    hooks: &[Hook<M>],
    entry: &mut Entry<M>,
    ledger: &Ledger,
) -> Result<(), ManagerError<M::Error>> {
    let info = entry.info(ledger, state.generation.get(), state.clock.now());
    let Entry { connection, data, .. } = entry;
    hooks::run::<M>(hooks, connection, &info, data).await.map_err(ManagerError::Hook)
}

pub(super) async fn ping<M: Manager>(raw: &Arc<Raw<M>>, mut job: Job<M>) {
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
            let pinged = state.driver.ping(&entry.manager, &mut entry.connection, &deadline).await;
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
            news::answered(state, slot.value().record.born);
            return Some(slot);
        }
        Err(failure) => failure,
    };
    let entry = slot.value();
    let (born, was_lent) = (entry.record.born, !entry.is_unused(slot.ledger()));
    let cause = match failure {
        // A hook's error says nothing about the server.
        ManagerError::Hook(_) => EvictionCause::HookFailed,
        _ => EvictionCause::PingFailed,
    };
    let failure = Arc::new(failure);
    if cause == EvictionCause::PingFailed {
        let (took, cause) = (state.clock.now().since(begun), state.cause(&*failure));
        state.note(EventKind::PingFailed { took, cause });
        suspect_generation(raw, entry.record.generation);
    }
    let affected = news::ping_failed(state, failure, born, begun, was_lent);
    enqueue::close(slot, cause);
    news::tell(raw, &affected);
    None
}

/// Notes beside the slot that a call begins now and when it should end, so that an overrun is seen.
pub(super) fn begin<'a, M: Manager>(
    state: &State<M>,
    ledger: &'a Ledger,
    call: Call,
    priority: Priority,
    limit: Duration,
) -> (Tick, Deadline, Noted<'a>) {
    let (begun, deadline) = limits(state, call, limit);
    let noted = ledger.call(call, priority, begun, deadline.moment());
    state.watch.note(taking_long_at(call, begun, deadline.moment()));
    (begun, deadline, noted)
}

/// When a call begins that begins now, and when it should end.
fn limits<M: Manager>(state: &State<M>, call: Call, limit: Duration) -> (Tick, Deadline) {
    let begun = state.clock.now();
    // A goodbye that is said while a caller waits for the last of them is late when that caller's
    // time is up.
    let closed_by = Tick(state.closed_by.get());
    let is_waited_for = call == Call::Close && begun < closed_by;
    let limit = begun + limit;
    let deadline = if is_waited_for { limit.min(closed_by) } else { limit };
    (begun, Deadline::at(&state.clock, deadline))
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
pub(crate) async fn fallible_call<M: Manager, T>(
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
