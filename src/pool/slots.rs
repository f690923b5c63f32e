//! Each slot as it can be seen without owning it.

use super::state::pooled::Raw;
use super::supply::overruns::with_limit;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::raw::gauges::Resting;
use crate::stats::{Call, Ledger, Running, SlotInfo, SlotState};
use std::time::Duration;

/// See [`Pool::slots`](crate::Pool::slots).
pub(crate) fn slots<M: Manager>(raw: &Raw<M>) -> Vec<SlotInfo> {
    let now = raw.context().clock.now();
    raw.ledgers().zip(0..).map(|(ledger, index)| slot(raw, ledger, index, now)).collect()
}

fn slot<M: Manager>(raw: &Raw<M>, ledger: &Ledger, index: u32, now: Tick) -> SlotInfo {
    let opened = ledger.opened();
    let (state, since) = at_rest(raw, ledger, index, now)
        .or_else(|| on_loan(ledger, now))
        .or_else(|| in_a_call(raw, ledger, now))
        // It may have come to rest since the first look.
        .or_else(|| at_rest(raw, ledger, index, now))
        .unwrap_or_else(|| (out(raw, opened), None));
    let age = opened.map(|opened| now.since(opened));
    SlotInfo { state, since, age, checkouts: ledger.checkouts() }
}

type Seen = (SlotState, Option<Duration>);

/// Its bit is set.
fn at_rest<M: Manager>(raw: &Raw<M>, ledger: &Ledger, index: u32, now: Tick) -> Option<Seen> {
    Some(match raw.resting(index)? {
        Resting::Idle => (SlotState::Idle, Some(now.since(ledger.last_changed()))),
        Resting::Vacant => (SlotState::Vacant, None),
        Resting::Retired => (SlotState::Retired, None),
    })
}

fn on_loan(ledger: &Ledger, now: Tick) -> Option<Seen> {
    let holder = ledger.holder(now)?;
    let since = holder.since;
    Some((SlotState::Lent(holder), Some(since)))
}

fn in_a_call<M: Manager>(raw: &Raw<M>, ledger: &Ledger, now: Tick) -> Option<Seen> {
    let running: Running = with_limit(raw, ledger.running()?);
    let state = match running.call {
        call if running.is_late(now) => SlotState::Quarantined(call),
        Call::Connect => SlotState::Opening,
        call => SlotState::Maintenance(call),
    };
    Some((state, Some(now.since(running.begun))))
}

/// A thread or a queue has it.
fn out<M: Manager>(raw: &Raw<M>, opened: Option<Tick>) -> SlotState {
    match opened {
        Some(_) => SlotState::InTransit,
        // Torn down.
        None if raw.is_closed() => SlotState::Retired,
        None => SlotState::Opening,
    }
}
