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
    /// Free connections, and those that are out for a ping or a reset and will soon be free. Counted
    /// only if the minimum or a waiter asks for some.
    pub(crate) free: usize,
    /// How many more the minimum asks for.
    pub(crate) missing: usize,
    /// Waiters that idle connections will not serve.
    pub(crate) waiting: usize,
}

impl Shortage {
    pub(crate) fn of<M: Manager>(raw: &Raw<M>) -> Self {
        let state = raw.context();
        let (settings, service) = (state.settings.load(), &state.service);
        // Before, or a connection that has just been opened or put back would be seen nowhere; and
        // after, or one that has just been taken would be.
        let (connecting, soon) = (service.connecting(), service.briefly_out());
        let (occupied, waiting) = (service.occupied.get(), raw.waiting());
        // All words are looked at only for somebody.
        let idle = if settings.min_idle > 0 || waiting > 0 { raw.count_idle() } else { 0 };
        let connecting = connecting.max(service.connecting());
        let open = occupied.saturating_sub(connecting);
        let soon = soon.max(service.briefly_out());
        // Those that are late may never come.
        let late = if soon > 0 { overdue(raw, state.clock.now()).briefly_out } else { 0 };
        let soon = soon.saturating_sub(late);
        let warm_up = state.supply.warm_up.get();
        let floor = settings.min_size.max(warm_up.min(settings.max_size));
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
    let Shortage { missing, .. } = Shortage::of(raw);
    if missing == 0 {
        Some(Ok(()))
    } else if raw.is_closed() || raw.context().supply.is_permanent() {
        Some(Err(not_ready(raw)))
    } else {
        None
    }
}

/// How far the start has come.
pub(crate) fn not_ready<M: Manager>(raw: &Raw<M>) -> NotReady<M::Error> {
    let Shortage { open, missing, .. } = Shortage::of(raw);
    NotReady { open, wanted: open + missing, cause: raw.context().last_connect_failure.load_full() }
}
