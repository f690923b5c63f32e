//! Tells of connections that are lent for longer than the settings find usual.
//!
//! A look costs a glance at each slot, so there is none before a loan that was seen could be told
//! of, and none for the time that a new loan has.

use super::keeper::PERIOD;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::pool::state::pooled::Raw;
use crate::sync::Arc;

/// Looks if it is time to; the answer is when it will be. Only one thread at a time comes here.
pub(crate) fn look<M: Manager>(raw: &Raw<M>, now: Tick) -> Tick {
    let state = raw.context();
    let Some(threshold) = state.settings.load().leak_threshold else { return Tick::NEVER };
    let Ok(mut leaks) = state.leaks.try_lock() else { return Tick::NEVER };
    // A threshold that was lowered since counts from now.
    let next = leaks.next.min(now + threshold);
    if now < next {
        leaks.next = next;
        return next;
    }
    let (mut next, mut found) = (now + threshold, Vec::new());
    let mut told = std::mem::take(&mut leaks.told);
    for (slot, ledger) in raw.ledgers().enumerate() {
        let Some(holder) = ledger.holder(now) else { continue };
        let transitions = ledger.transitions();
        let is_told = told.remove(&slot) == Some(transitions);
        if is_told || holder.since >= threshold {
            leaks.told.insert(slot, transitions);
        }
        if holder.since < threshold {
            next = next.min(now + (threshold - holder.since));
        } else if !is_told {
            found.push(holder);
        }
    }
    // The hot path's clock may lag by as much.
    leaks.next = next.max(now + PERIOD);
    let next = leaks.next;
    drop(leaks);
    for holder in found {
        state.note(EventKind::HeldTooLong { holder: Arc::new(holder) });
    }
    next
}
