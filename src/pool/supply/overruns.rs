//! Calls into the manager that take long, or outlive their limit.
//!
//! Futures are dropped at their limit; a call that blocks a thread cannot be. It keeps its slot
//! until it returns, but holds up nothing else: no borrower waits for it, and it no longer counts
//! against the limits on concurrent connects and maintenance. No counter is kept for this: late
//! calls are read off the slots' ledgers.

use crate::clock::Tick;
use crate::manager::Manager;
use crate::pool::ground::backoff::TAKING_LONG;
use crate::pool::state::pooled::Raw;
use crate::stats::{Call, Ledger, Overrun, Priority, Running};

/// How many calls are late or, of connects, take long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overdue {
    /// Connects that are late.
    pub(crate) connects: usize,
    /// Pings, resets and closes that are late; those of them that no borrower waits for; those that
    /// are closes.
    pub(crate) maintenance: usize,
    pub(crate) upkeep: usize,
    pub(crate) closes: usize,
    /// Resets, and pings that no borrower waits for, that are late.
    pub(crate) briefly_out: usize,
    /// Connects that are late or have been under way for long.
    pub(crate) old_connects: usize,
    /// Old connects that other connects need not wait for: they are late, or a connect begun later
    /// has succeeded.
    pub(crate) lost_connects: usize,
}

/// All calls under way: one look at each slot.
fn running<M: Manager>(raw: &Raw<M>) -> impl Iterator<Item = Running> {
    raw.ledgers().filter_map(Ledger::running).map(|call| with_limit(raw, call))
}

/// How many connections beside the slots are in which call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Guests {
    /// In a connect that is not late.
    pub(crate) opening: usize,
    /// In a close that is not late.
    pub(crate) closing: usize,
    /// In a call that is late, and those of them that are open.
    pub(crate) late: usize,
    pub(crate) late_closes: usize,
}

/// Counts connections beside the slots.
pub(crate) fn guests<M: Manager>(raw: &Raw<M>, now: Tick) -> Guests {
    beside(raw).fold(Guests::default(), |mut guests, call| {
        let (is_late, is_close) = (call.is_late(now), call.call == Call::Close);
        guests.opening += usize::from(!is_late && !is_close);
        guests.closing += usize::from(!is_late && is_close);
        guests.late += usize::from(is_late);
        guests.late_closes += usize::from(is_late && is_close);
        guests
    })
}

/// The calls that connections beside the slots are in.
fn beside<M: Manager>(raw: &Raw<M>) -> impl Iterator<Item = Running> {
    raw.context().beside.calls().into_iter().map(|call| with_limit(raw, call))
}

/// The call with its real limit: a goodbye that is being said while a caller waits for the last of
/// them is late when that caller's time is up.
pub(crate) fn with_limit<M: Manager>(raw: &Raw<M>, mut call: Running) -> Running {
    let closed_by = Tick(raw.context().closed_by.get());
    if call.call == Call::Close && call.begun < closed_by {
        call.limit = call.limit.min(closed_by);
    }
    call
}

/// Counts late and long calls. Looks at the slots only if the watch says that there may be some.
pub(crate) fn overdue<M: Manager>(raw: &Raw<M>, now: Tick) -> Overdue {
    raw.context().watch.look(now, || {
        let (mut overdue, mut next) = (Overdue::default(), Tick::NEVER);
        for call in running(raw) {
            let at = taking_long_at(call.call, call.begun, call.limit);
            next = next.min(at.max(now));
            if at <= now {
                overdue.add(raw, call, now);
            }
        }
        (overdue, next)
    })
}

/// Whether another connection may be taken out of service.
pub(crate) fn has_room<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let limit = state.settings.load().maintenance_concurrency;
    let busy = state.service.upkeep();
    busy < limit || busy.saturating_sub(overdue(raw, state.clock.now()).upkeep) < limit
}

/// When a call into the manager will have taken long.
pub(crate) fn taking_long_at(call: Call, begun: Tick, limit: Tick) -> Tick {
    if call == Call::Connect { limit.min(begun + TAKING_LONG) } else { limit }
}

impl Overdue {
    /// Counts a call that takes long.
    fn add<M: Manager>(&mut self, raw: &Raw<M>, call: Running, now: Tick) {
        let is_late = call.is_late(now);
        let late = usize::from(is_late);
        if call.call == Call::Connect {
            self.connects += late;
            self.old_connects += 1;
            let is_lost = is_late || raw.context().supply.is_overtaken(call.begun);
            self.lost_connects += usize::from(is_lost);
        } else {
            self.maintenance += late;
            self.upkeep += usize::from(call.priority == Priority::Upkeep);
            self.closes += usize::from(call.call == Call::Close);
            let is_ping = call.call == Call::Ping && call.priority == Priority::Upkeep;
            self.briefly_out += usize::from(is_ping || call.call == Call::Reset);
        }
    }
}

/// Whether a connect begun before `begun` may still succeed.
pub(crate) fn has_elder<M: Manager>(raw: &Raw<M>, begun: Tick, now: Tick) -> bool {
    running(raw).any(|call| call.call == Call::Connect && call.begun < begun && !call.is_late(now))
}

/// The late calls, for the operator.
pub(crate) fn overruns<M: Manager>(raw: &Raw<M>) -> Vec<Overrun> {
    let now = raw.context().clock.now();
    running(raw)
        .chain(beside(raw))
        .filter(|call| call.is_late(now))
        .map(|call| Overrun { call: Some(call.call), since: now.since(call.begun) })
        .collect()
}
