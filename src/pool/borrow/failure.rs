//! Why a checkout fails, with the counts of that moment.

use crate::clock::Tick;
use crate::config::Shedding;
use crate::error::{GetError, ManagerError, Phase};
use crate::manager::{Face, Manager};
use crate::no_unwind::no_unwind;
use crate::observe::{EventKind, WaitOutcome};
use crate::pool::snapshot::counts;
use crate::pool::state::pooled::Raw;
use crate::pool::supply::admission::hopeless_wait;
use crate::pool::supply::overruns::overdue;
use crate::pool::supply::shortage::is_out;
use crate::pool::supply::tries;
use crate::sync::{Arc, Relaxed};
use std::panic::Location;
use std::time::Duration;

/// What a checkout was waiting for.
pub(crate) fn phase(is_pinging: &Relaxed<bool>) -> Phase {
    if is_pinging.get() { Phase::Ping } else { Phase::Wait }
}

/// What has come of a wait that ended with `error`.
pub(crate) fn outcome_of<E>(error: &GetError<E>) -> WaitOutcome {
    match error {
        GetError::TimedOut { .. } => WaitOutcome::TimedOut,
        _ => WaitOutcome::Failed,
    }
}

/// The borrower's time is up.
pub(crate) fn timed_out<M: Manager>(
    raw: &Raw<M>,
    phase: Phase,
    waited: Duration,
) -> GetError<M::Error> {
    let state = raw.context();
    let counts = counts(raw);
    let is_open = counts.idle + counts.lent + counts.maintenance > 0;
    let is_opening = counts.opening > 0 || overdue(raw, state.clock.now()).maintenance == 0;
    let phase = match phase {
        Phase::Wait if !is_open && is_opening && !counts.is_shut() => Phase::Connect,
        phase => phase,
    };
    state.note(EventKind::TimedOut { phase, waited });
    let last = match phase {
        Phase::Ping => &state.last_ping_failure,
        _ => &state.last_connect_failure,
    };
    let under_way = counts.opening + counts.maintenance + counts.quarantined;
    let is_lendable = phase == Phase::Wait && counts.lent + counts.idle > 0;
    let hangs_on_manager = under_way > 0 && !is_lendable;
    let pending = || hangs_on_manager.then(|| Arc::new(ManagerError::Pending));
    GetError::TimedOut { phase, waited, counts, cause: last.load_full().or_else(pending) }
}

/// The line is full.
pub(crate) fn refused<M: Manager>(raw: &Raw<M>) -> GetError<M::Error> {
    raw.context().note(EventKind::Refused);
    GetError::TooManyWaiters { counts: counts(raw) }
}

/// The line is too slow for all, as a borrower has found that came at `begun`.
pub(crate) fn shed<M: Manager>(raw: &Raw<M>, begun: Tick) -> GetError<M::Error> {
    let state = raw.context();
    let waited = state.clock.now().since(begun);
    state.note(EventKind::Shed { waited });
    let target = match state.settings.load().shedding {
        Shedding::CoDel { target, .. } => target,
        // It was turned off at this moment.
        Shedding::Off => waited,
    };
    GetError::Shed { waited, target, counts: counts(raw) }
}

/// Fails if the borrower cannot be served before its `deadline`.
pub(crate) fn look_for_time<M: Manager>(
    raw: &Raw<M>,
    class: u8,
    now: Tick,
    begun: Tick,
    deadline: Tick,
) -> Result<(), GetError<M::Error>> {
    let Some(expected_wait) = hopeless_wait(raw, class, now, deadline.since(now)) else {
        return Ok(());
    };
    let limit = deadline.since(begun);
    raw.context().note(EventKind::Hopeless { expected_wait, limit });
    Err(GetError::Hopeless { expected_wait, limit, counts: counts(raw) })
}

/// The strategy has evicted one connection after the other, fresh ones too.
pub(crate) fn all_evicted<M: Manager>(raw: &Raw<M>, evicted: usize) -> GetError<M::Error> {
    GetError::AllEvicted { evicted, counts: counts(raw) }
}

/// Fails if the driver may need this very thread for what is waited for.
pub(crate) fn ask_for_leave_to_wait<M: Manager>(
    raw: &Raw<M>,
    face: Face,
) -> Result<(), GetError<M::Error>> {
    if may_wait(&**raw.context().manager.load(), face) {
        return Ok(());
    }
    Err(GetError::WrongThread { counts: counts(raw) })
}

/// Whether the manager can open a connection while this thread waits for it.
pub(crate) fn may_wait<M: Manager>(manager: &M, face: Face) -> bool {
    no_unwind(|| manager.may_wait_here(face)).unwrap_or(true)
}

/// All connections are held by borrowers that wait for another.
pub(crate) fn deadlock<M: Manager>(
    raw: &Raw<M>,
    held: &'static Location<'static>,
) -> GetError<M::Error> {
    GetError::Deadlock { held, counts: counts(raw) }
}

/// Connecting has failed. `None`: no cause is known, as a connect has succeeded meanwhile.
pub(crate) fn cannot_connect<M: Manager>(raw: &Raw<M>) -> Option<GetError<M::Error>> {
    let cause = raw.context().last_connect_failure.load_full()?;
    Some(GetError::Connect { counts: counts(raw), cause })
}

/// Fails if connecting has failed for good, no other attempt is made yet, and no connection is
/// open.
pub(crate) fn look_for_hope<M: Manager>(
    raw: &Raw<M>,
    now: Tick,
    fail_fast: bool,
) -> Result<(), GetError<M::Error>> {
    // During a pause all wait.
    if !raw.context().is_hopeless(now, fail_fast) || raw.is_paused() || !is_out(raw) {
        return Ok(());
    }
    if raw.context().is_held() {
        // None waits when the governor calls, so this attempt is made for none of them.
        tries::note(raw);
    }
    cannot_connect(raw).map_or(Ok(()), Err)
}
