//! Calls into the manager that take long, or outlive their limit.
//!
//! Futures are dropped when their time is up; a call that blocks a thread cannot be. It keeps its slot until
//! it comes back, and so keeps nobody else: no borrower waits for it, and its place among those who may
//! connect, or maintain connections, at once is given to another. Nothing is counted up or down for this: who is
//! late is read off the slots' ledgers.

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
    /// Pings, resets and closes that are late; those of them that no borrower waits for; those of these that are
    /// closes.
    pub(crate) maintenance: usize,
    pub(crate) upkeep: usize,
    pub(crate) closes: usize,
    /// Connects that are late or have been under way for long.
    pub(crate) old_connects: usize,
    /// Those of them that others need not wait for: they are late, or a connect begun later has succeeded.
    pub(crate) lost_connects: usize,
}

/// All calls under way: one look at each slot.
fn running<M: Manager>(raw: &Raw<M>) -> impl Iterator<Item = Running> {
    raw.ledgers().filter_map(Ledger::running)
}

/// One look at all slots, if it is worth it.
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

/// When a call into the manager will be worth a look.
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
        }
    }
}

/// Whether a connect begun before `begun` may still succeed.
pub(crate) fn has_elder<M: Manager>(raw: &Raw<M>, begun: Tick, now: Tick) -> bool {
    running(raw).any(|call| call.call == Call::Connect && call.begun < begun && !call.is_late(now))
}

/// For the operator.
pub(crate) fn overruns<M: Manager>(raw: &Raw<M>) -> Vec<Overrun> {
    let now = raw.context().clock.now();
    running(raw)
        .filter(|call| call.is_late(now))
        .map(|call| Overrun { call: call.call, since: now.since(call.begun) })
        .collect()
}
