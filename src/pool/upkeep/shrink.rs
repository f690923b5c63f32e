//! Closes surplus: connections above the minimum that have been idle for too long or that use does
//! not need, and those above a lowered limit.

use crate::clock::Tick;
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::pool::service::enqueue;
use crate::pool::state::pooled::Raw;
use crate::pool::supply::overruns::has_room;
use crate::pool::supply::shortage::Shortage;

/// No more connections above a lowered limit are closed in one go: neither who lowers it nor other
/// chores of the pool are kept waiting.
const SLICE: usize = 256;

/// Connections open and not about to be closed.
pub(super) fn open<M: Manager>(raw: &Raw<M>) -> usize {
    let service = &raw.context().service;
    service.open().saturating_sub(service.closing())
}

/// Whether the minimum needs a connection that is out
/// [briefly](crate::pool::state::job::BrieflyOut).
pub(crate) fn is_needed<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let settings = state.settings.load();
    open(raw) <= state.supply.floor(&settings)
        || settings.min_idle > 0 && Shortage::of(raw).free <= settings.min_idle
}

/// How many idle connections neither the minimum needs, nor who wants `keep` of them open.
pub(super) fn surplus<M: Manager>(raw: &Raw<M>, keep: usize) -> usize {
    let state = raw.context();
    let settings = state.settings.load();
    let surplus = open(raw).saturating_sub(keep.max(state.supply.floor(&settings)));
    if surplus == 0 || settings.min_idle == 0 {
        return surplus;
    }
    surplus.min(raw.count_idle().saturating_sub(settings.min_idle))
}

/// Slots not lent and when they last were, longest ago last. Some may be empty.
pub(super) fn longest_idle<M: Manager>(raw: &Raw<M>, before: Tick) -> Vec<(Tick, u32)> {
    let slots = (0..).zip(raw.ledgers()).filter(|(_, ledger)| !ledger.is_lent());
    let mut idle: Vec<_> = slots
        .map(|(index, ledger)| (ledger.last_changed(), index))
        .filter(|(last_used, _)| *last_used < before)
        .collect();
    idle.sort_unstable_by(|a, b| b.cmp(a));
    idle
}

/// What was last used before this moment has been idle for too long.
fn too_long_idle<M: Manager>(raw: &Raw<M>, now: Tick) -> Option<Tick> {
    let timeout = raw.context().settings.load().idle_timeout?;
    Some(Tick(now.0.saturating_sub(timeout.as_nanos().try_into().unwrap_or(u64::MAX))))
}

/// Connections that a pass beginning `now` may close because they have been idle for too long; the
/// last one is to be closed first.
pub(crate) fn candidates<M: Manager>(raw: &Raw<M>, now: Tick) -> Vec<(Tick, u32)> {
    match too_long_idle(raw, now) {
        Some(before) if surplus(raw, 0) > 0 => longest_idle(raw, before),
        _ => Vec::new(),
    }
}

/// Closes what is left of the `candidates`, down to the minimum and as far as there is room.
pub(crate) fn shrink<M: Manager>(raw: &Raw<M>, candidates: &mut Vec<(Tick, u32)>, now: Tick) {
    if candidates.is_empty() {
        return;
    }
    let before = too_long_idle(raw, now).unwrap_or_default();
    close(raw, candidates, before, surplus(raw, 0), EvictionCause::IdleTimeout);
}

/// Closes up to `surplus` of the `candidates`, the last one first, as far as there is room: those
/// that have not been used since they were found, nor since `before`. None are left when that is
/// done.
pub(super) fn close<M: Manager>(
    raw: &Raw<M>,
    candidates: &mut Vec<(Tick, u32)>,
    before: Tick,
    mut surplus: usize,
    cause: EvictionCause,
) {
    while let Some(&(last_used, index)) = candidates.last() {
        if surplus == 0 || last_used >= before {
            return *candidates = Vec::new();
        }
        if !has_room(raw) {
            return;
        }
        candidates.pop();
        if let Some(slot) = raw.claim_idle_at(index)
            && slot.ledger().last_changed() == last_used
        {
            enqueue::close(slot, cause);
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
