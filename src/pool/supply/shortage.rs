//! How many connections there are, and how many there should be.

use super::overruns::overdue;
use crate::error::NotReady;
use crate::manager::Manager;
use crate::pool::state::pooled::Raw;
use crate::stats::Ledger;

/// See the [module](self).
pub(crate) struct Shortage {
    /// Connects asked for and not over.
    pub(crate) connecting: usize,
    /// Open connections: idle, lent or in maintenance.
    pub(crate) open: usize,
    /// Free connections, and those that are out for a ping or a reset and will soon be free.
    /// Counted only if the minimum or a waiter asks for some.
    pub(crate) free: usize,
    /// How many more the minimum asks for.
    pub(crate) missing: usize,
    /// Waiters that idle connections will not serve. None during a pause: no connection will.
    pub(crate) waiting: usize,
}

impl Shortage {
    pub(crate) fn of<M: Manager>(raw: &Raw<M>) -> Self {
        let state = raw.context();
        let (settings, service) = (state.settings.load(), &state.service);
        // Before, or a connection that has just been opened or put back would be seen nowhere; and
        // after, or one that has just been taken would be.
        let (connecting, soon) = (service.connecting(), service.briefly_out());
        let (open, waiting) = (service.open(), if raw.is_paused() { 0 } else { raw.waiting() });
        // Counting looks at all words, so only where it matters.
        let idle = if settings.min_idle > 0 || waiting > 0 { raw.count_idle() } else { 0 };
        let connecting = connecting.max(service.connecting());
        let soon = soon.max(service.briefly_out());
        // Connections whose call is late may never come back.
        let late = if soon > 0 { overdue(raw, state.clock.now()).briefly_out } else { 0 };
        let soon = soon.saturating_sub(late);
        let floor = state.supply.floor(&settings);
        let free = idle + soon;
        let missing_idle = settings.min_idle.saturating_sub(free);
        let room = settings.max_size.saturating_sub(open);
        Self {
            connecting,
            open,
            free,
            missing: floor.saturating_sub(open).max(missing_idle).min(room),
            // Idle connections serve waiters that are just enrolling or have not been polled yet.
            waiting: waiting.saturating_sub(idle),
        }
    }

    /// How many connects would do.
    pub(crate) fn wanted(&self, ramp: usize) -> usize {
        self.missing.saturating_add(self.waiting.min(ramp))
    }
}

/// Whether no connection is open that may yet serve a borrower.
pub(crate) fn is_out<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let late = overdue(raw, state.clock.now());
    let lost = state.service.closing() + (late.maintenance - late.closes);
    // The count may be one too low for a moment, so it is not the only witness.
    Shortage::of(raw).open <= lost && raw.count_idle() == 0 && !raw.ledgers().any(Ledger::is_lent)
}

/// Whether the initial connections are open, or never will be. `None`: not yet.
pub(crate) fn is_ready<M: Manager>(raw: &Raw<M>) -> Option<Result<(), NotReady<M::Error>>> {
    let state = raw.context();
    if raw.is_closed() {
        return Some(Err(not_ready(raw)));
    }
    let Shortage { missing, .. } = Shortage::of(raw);
    if raw.is_inherited() {
        return Some(Err(not_ready(raw)));
    }
    if missing == 0 {
        return Some(Ok(()));
    }
    let is_over = state.supply.has_failed(state.settings.load().fail_fast);
    let not_ready = is_over.then(|| not_ready(raw))?;
    // If no cause is known, a connect has succeeded meanwhile.
    not_ready.cause.is_some().then_some(Err(not_ready))
}

/// How far the start has come.
pub(crate) fn not_ready<M: Manager>(raw: &Raw<M>) -> NotReady<M::Error> {
    let Shortage { open, missing, .. } = Shortage::of(raw);
    let cause = raw.context().last_connect_failure.load_full();
    let (is_closed, is_forked) = (raw.is_closed(), raw.is_inherited());
    NotReady { open, wanted: open + missing, cause, is_closed, is_forked }
}
