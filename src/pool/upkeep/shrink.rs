//! Closes surplus: connections above the minimum that have been idle for too long, and those above
//! a lowered limit.

use crate::clock::Tick;
use crate::config::Settings;
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::pool::service::enqueue;
use crate::pool::state::pooled::Raw;
use crate::pool::supply::overruns::has_room;
use crate::pool::supply::shortage::Shortage;
use std::time::Duration;

/// No more connections above a lowered limit are closed in one go: neither who lowers it nor other
/// chores of the pool are kept waiting.
const SLICE: usize = 256;

/// Connections open and not about to be closed.
fn open<M: Manager>(raw: &Raw<M>) -> usize {
    let service = &raw.context().service;
    service.open().saturating_sub(service.closing())
}

/// Whether the minimum needs a connection that is out
/// [briefly](crate::pool::state::job::BrieflyOut).
pub(crate) fn is_needed<M: Manager>(raw: &Raw<M>) -> bool {
    let settings = raw.context().settings.load();
    open(raw) <= settings.min_size
        || settings.min_idle > 0 && Shortage::of(raw).free <= settings.min_idle
}

/// How many idle connections the minimum does not need.
fn surplus<M: Manager>(raw: &Raw<M>, settings: &Settings) -> usize {
    let surplus = open(raw).saturating_sub(settings.min_size);
    if surplus == 0 || settings.min_idle == 0 {
        return surplus;
    }
    surplus.min(raw.count_idle().saturating_sub(settings.min_idle))
}

/// Slots not lent and when they last were, longest ago last. Some may be empty.
fn longest_idle<M: Manager>(raw: &Raw<M>, before: Tick) -> Vec<(Tick, u32)> {
    let slots = (0..).zip(raw.ledgers()).filter(|(_, ledger)| !ledger.is_lent());
    let mut idle: Vec<_> = slots
        .map(|(index, ledger)| (ledger.last_changed(), index))
        .filter(|(last_used, _)| *last_used < before)
        .collect();
    idle.sort_unstable_by(|a, b| b.cmp(a));
    idle
}

/// Connections that a pass beginning `now` may close because they have been idle for too long; the
/// last one is to be closed first.
pub(crate) fn candidates<M: Manager>(raw: &Raw<M>, now: Tick) -> Vec<(Tick, u32)> {
    let settings = raw.context().settings.load();
    match settings.idle_timeout {
        Some(timeout) if surplus(raw, &settings) > 0 => {
            let too_long = now.0.saturating_sub(timeout.as_nanos().try_into().unwrap_or(u64::MAX));
            longest_idle(raw, Tick(too_long))
        }
        _ => Vec::new(),
    }
}

/// Closes what is left of the `candidates`, down to the minimum and as far as there is room.
pub(crate) fn shrink<M: Manager>(raw: &Raw<M>, candidates: &mut Vec<(Tick, u32)>, now: Tick) {
    if candidates.is_empty() {
        return;
    }
    let settings = raw.context().settings.load();
    let timeout = settings.idle_timeout.unwrap_or(Duration::MAX);
    let mut surplus = surplus(raw, &settings);
    while let Some(&(last_used, index)) = candidates.last() {
        if surplus == 0 || now.since(last_used) <= timeout {
            return candidates.clear();
        }
        if !has_room(raw) {
            return;
        }
        candidates.pop();
        if let Some(slot) = raw.claim_idle_at(index)
            && slot.ledger().last_changed() == last_used
        {
            enqueue::close(slot, EvictionCause::IdleTimeout);
            surplus -= 1;
        }
    }
}

/// Closes idle connections above a lowered limit, longest idle first; of very many a slice, and
/// rings for the visit that goes on.
pub(crate) fn shed<M: Manager>(raw: &Raw<M>) {
    let state = raw.context();
    // Another thread that is at it sees this debt, or the next visit does: who changes the limit
    // rings afterwards.
    let Ok(mut candidates) = state.above_limit.try_lock() else { return };
    if !raw.is_in_debt() {
        return *candidates = Vec::new();
    }
    if candidates.is_empty() && raw.count_idle() > 0 {
        *candidates = longest_idle(raw, Tick::NEVER);
    }
    let slice = if state.is_manual() { usize::MAX } else { SLICE };
    for _ in 0..slice {
        let Some((_, index)) = candidates.pop() else { return };
        let Some(slot) = raw.claim_idle_at(index) else { continue };
        if !raw.take_debt() {
            return *candidates = Vec::new();
        }
        enqueue::retire(slot);
    }
    state.ring.ring();
}
