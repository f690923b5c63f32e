//! What the end of a connect or a ping tells about the server, and which waiters must hear of it.

use super::overruns::has_elder;
use super::shortage::is_out;
use crate::clock::Tick;
use crate::error::ManagerError;
use crate::manager::{ErrorClass, Manager};
use crate::no_unwind::no_unwind;
use crate::observe::{Cause, EventKind};
use crate::pool::ground::assignment::{Reason, taken_back};
use crate::pool::ground::backoff::Permit;
use crate::pool::ground::caught::let_go;
use crate::pool::ground::random;
use crate::pool::state::State;
use crate::pool::state::pooled::Raw;
use crate::pool::state::supply::{Pace, Turn};
use crate::sync::Arc;
use arc_swap::ArcSwapOption;

/// A connect that was begun at `begun` has succeeded. Call it before any borrower has the
/// connection: the next borrower must not hear of old failures.
pub(crate) fn connected<M: Manager>(state: &State<M>, begun: Tick) {
    let took = state.clock.now().since(begun);
    state.note(EventKind::Connected { took });
    state.supply.pace(|pace| pace.meter.connects.note(took));
    proven(state, begun);
}

/// The server has shown at `begun`, or since, that connects succeed.
pub(crate) fn proven<M: Manager>(state: &State<M>, begun: Tick) {
    let now = state.clock.now();
    learn(state, now, None, |pace| pace.backoff.succeeded(begun, now, random::share()));
    forget_failure(state);
}

/// Borrowers can find the connection now, and its connect is no longer counted.
pub(crate) fn opened<M: Manager>(raw: &Raw<M>) {
    let state = raw.context();
    let (is_short, limit) = (raw.waiting() > 0, state.settings.load().connect_concurrency);
    state.supply.pace(|pace| pace.ramp.succeeded(is_short, limit));
}

/// Which waiters fail because connecting has failed.
#[must_use]
pub(crate) enum Affected {
    /// None: a later connect has succeeded, or this was a probe with little time and others have
    /// more.
    None,
    /// All if `fail_fast` is set and no connection is open; else none.
    Impatient,
    /// All waiters.
    All,
}

/// A connect that was begun at `begun` has failed; `is_past`: the era in which it was begun is
/// over, so it was perhaps made with another manager.
pub(crate) fn connect_failed<M: Manager>(
    raw: &Raw<M>,
    manager: &M,
    error: ManagerError<M::Error>,
    begun: Tick,
    permit: Permit,
    is_past: bool,
) -> Affected {
    let state = raw.context();
    let now = state.clock.now();
    let took = now.since(begun);
    let had_little_time =
        permit.limit < state.settings.load().connect_timeout && now >= begun + permit.limit;
    let says_nothing = is_past
        || state.supply.is_overtaken(begun)
        || (had_little_time && has_elder(raw, begun, now));
    if says_nothing {
        let cause = state.cause(&error);
        state.note(EventKind::ConnectFailed { took, is_permanent: false, cause });
        let_go(error);
        return Affected::None;
    }
    let is_permanent = match &error {
        ManagerError::Failed(error) => {
            no_unwind(|| manager.classify(error)) == Some(ErrorClass::Permanent)
        }
        // The spawner's runtime does not run the connect, and no other thread can.
        ManagerError::Spawner(_) => taken_back() == Some(Reason::Dropped),
        _ => false,
    };
    let cause = state.cause(&error);
    state.note(EventKind::ConnectFailed { took, is_permanent, cause: Arc::clone(&cause) });
    replace(&state.last_connect_failure, Some(Arc::new(error)));
    learn(state, now, Some(cause), |pace| {
        pace.ramp.failed();
        pace.backoff.failed(begun, now, is_permanent, random::share());
    });
    if is_permanent { Affected::All } else { Affected::Impatient }
}

/// Fails the waiters that are [affected](connect_failed), once the connect is no longer counted.
pub(crate) fn tell<M: Manager>(raw: &Raw<M>, affected: &Affected) {
    if raw.is_paused() {
        // They wait for its end.
        return;
    }
    match affected {
        Affected::All => raw.fail_all(),
        Affected::Impatient if raw.context().settings.load().fail_fast && is_out(raw) => {
            raw.fail_all();
        }
        Affected::Impatient | Affected::None => {}
    }
}

/// A connection born at `born` has answered a ping.
pub(crate) fn answered<M: Manager>(state: &State<M>, born: Tick) {
    // In normal operation nothing is written.
    if state.supply.is_in_doubt() {
        learn(state, state.clock.now(), None, |pace| pace.backoff.answered(born));
    }
    forget_failure(state);
    forget(&state.last_ping_failure);
}

/// The manager knew a connection born at `born` to be dead before it was ever lent.
pub(crate) fn found_dead<M: Manager>(state: &State<M>, born: Tick) {
    let now = state.clock.now();
    learn(state, now, None, |pace| {
        if pace.backoff.rejected(born, now, now, random::share()) {
            pace.ramp.failed();
        }
    });
}

/// A connection born at `born`, which `was_lent` before or not, has failed the ping begun at
/// `begun`.
pub(crate) fn ping_failed<M: Manager>(
    state: &State<M>,
    failure: Arc<ManagerError<M::Error>>,
    born: Tick,
    begun: Tick,
    was_lent: bool,
) -> Affected {
    replace(&state.last_ping_failure, Some(Arc::clone(&failure)));
    let now = state.clock.now();
    let is_stillborn = !was_lent
        && learn(state, now, Some(state.cause(&*failure)), |pace| {
            let is_stillborn = pace.backoff.rejected(born, begun, now, random::share());
            if is_stillborn {
                pace.ramp.failed();
            }
            is_stillborn
        });
    if !is_stillborn {
        return Affected::None;
    }
    replace(&state.last_connect_failure, Some(failure));
    Affected::Impatient
}

/// Runs `with` on the two machines, and tells of an outage that begins, for this `cause`, or ends:
/// under their lock, so that the end is not told before the beginning.
fn learn<M: Manager, R>(
    state: &State<M>,
    now: Tick,
    cause: Option<Cause>,
    with: impl FnOnce(&mut Pace) -> R,
) -> R {
    state.supply.learn(now, with, |turn| {
        // What was handed over before says nothing of now.
        state.supply.line.break_off(now);
        state.note(match turn {
            Turn::Begun => EventKind::OutageBegan { cause },
            Turn::Ended(lasted) => EventKind::OutageEnded { lasted },
        });
    })
}

/// Replaces the old cause, whose destructor is foreign code.
fn replace<E>(cause: &ArcSwapOption<ManagerError<E>>, new: Option<Arc<ManagerError<E>>>) {
    let_go(cause.swap(new));
}

/// Forgets the cause. In normal operation there is none, and nothing is written.
fn forget<E>(cause: &ArcSwapOption<ManagerError<E>>) {
    if cause.load().is_some() {
        replace(cause, None);
    }
}

/// Forgets why connecting failed, unless it still fails or is in doubt.
fn forget_failure<M: Manager>(state: &State<M>) {
    if !state.supply.is_failing() {
        forget(&state.last_connect_failure);
    }
}
