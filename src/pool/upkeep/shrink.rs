//! Closes surplus: connections above the minimum that have been idle for too long, and those above
//! a lowered limit.

use crate::clock::Tick;
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::pool::service::enqueue;
use crate::pool::state::pooled::Raw;
use crate::pool::supply::overruns::overdue;
use crate::pool::supply::shortage::Shortage;

/// Connections open and not about to be closed.
fn open<M: Manager>(raw: &Raw<M>) -> usize {
    Shortage::of(raw).open.saturating_sub(raw.context().service.closing())
}

/// Whether the minimum needs every idle connection.
pub(crate) fn is_needed<M: Manager>(raw: &Raw<M>) -> bool {
    let settings = raw.context().settings.load();
    open(raw) <= settings.min_size || raw.gauges().idle < settings.min_idle
}

/// Whether another connection may be taken out of service.
pub(crate) fn has_room<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let limit = state.settings.load().maintenance_concurrency;
    let busy = state.service.upkeep();
    busy < limit || busy.saturating_sub(overdue(raw, state.clock.now()).upkeep) < limit
}

/// Idle connections and when they were last used, longest idle first.
fn longest_idle<M: Manager>(raw: &Raw<M>) -> Vec<(Tick, u32)> {
    let mut idle: Vec<_> = (0..raw.capacity() as u32)
        .filter_map(|index| {
            let slot = raw.claim_idle_at(index)?;
            Some((slot.ledger().last_changed(), index))
        })
        .collect();
    idle.sort_unstable();
    idle
}

/// Closes connections that have been idle for too long, down to the minimum. True if there is more
/// to do.
pub(crate) fn shrink<M: Manager>(raw: &Raw<M>, now: Tick) -> bool {
    let settings = raw.context().settings.load();
    let Some(timeout) = settings.idle_timeout else { return false };
    let surplus = |raw: &Raw<M>| {
        let idle = raw.gauges().idle;
        open(raw).saturating_sub(settings.min_size).min(idle.saturating_sub(settings.min_idle))
    };
    if surplus(raw) == 0 {
        return false;
    }
    for (last_used, index) in longest_idle(raw) {
        if now.since(last_used) <= timeout || surplus(raw) == 0 {
            return false;
        }
        if !has_room(raw) {
            return true;
        }
        if let Some(slot) = raw.claim_idle_at(index)
            && slot.ledger().last_changed() == last_used
        {
            enqueue::close(slot, EvictionCause::IdleTimeout);
        }
    }
    false
}

/// Closes idle connections above a lowered limit, longest idle first.
pub(crate) fn shed<M: Manager>(raw: &Raw<M>) {
    if !raw.is_in_debt() {
        return;
    }
    for (_, index) in longest_idle(raw) {
        if !raw.take_debt() {
            return;
        }
        match raw.claim_idle_at(index) {
            Some(slot) => enqueue::retire(slot),
            None => raw.return_debt(),
        }
    }
}
