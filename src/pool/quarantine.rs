//! Calls into the manager that outlive their limit.
//!
//! Futures are dropped when their time is up; a call that blocks a thread cannot be. It keeps its slot until
//! it comes back, and so keeps nobody else: no borrower waits for it, and its place among those who may
//! connect, or tend connections, at once is given to another. Nothing is counted up or down for this: who is
//! late is read off the slots' ledgers.

use super::outage::TAKING_LONG;
use super::shared::Raw;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::stats::{Behalf, Call, Ledger, Overrun, Running};

/// All calls under way: one look at each slot.
fn running<M: Manager>(raw: &Raw<M>) -> impl Iterator<Item = Running> {
    raw.ledgers().filter_map(Ledger::running)
}

/// How many calls are late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Late {
    pub(crate) connects: usize,
    /// Pings, resets and closes.
    pub(crate) tending: usize,
    /// Those of them that occupy connectors for upkeep; those of these that are closes.
    pub(crate) upkeep: usize,
    pub(crate) closes: usize,
}

impl Late {
    /// One look at all slots.
    pub(crate) fn now<M: Manager>(raw: &Raw<M>, now: Tick) -> Self {
        let mut late = Self::default();
        for call in running(raw).filter(|call| call.is_late(now)) {
            match call.call {
                Call::Connect => late.connects += 1,
                _ => late.tending += 1,
            }
            late.upkeep += usize::from(call.behalf == Behalf::Upkeep);
            late.closes += usize::from(call.call == Call::Close);
        }
        late
    }
}

/// Connects that take long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stuck {
    /// They are late, or have been under way for long.
    pub(crate) old: usize,
    /// Those of them that others need not wait for: they are late, or a connect begun later has succeeded.
    pub(crate) lost: usize,
}

impl Stuck {
    /// One look at all slots.
    pub(crate) fn now<M: Manager>(raw: &Raw<M>, now: Tick) -> Self {
        let mut stuck = Self::default();
        let outage = &raw.context().growth.outage;
        for call in running(raw).filter(|call| call.call == Call::Connect) {
            let is_late = call.is_late(now);
            let is_old = is_late || now.since(call.begun) >= TAKING_LONG;
            stuck.old += usize::from(is_old);
            stuck.lost += usize::from(is_late || is_old && outage.is_old_news(call.begun));
        }
        stuck
    }
}

/// Whether a connect begun before that moment may still succeed.
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
