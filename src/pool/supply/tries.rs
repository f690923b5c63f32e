//! Demand of callers that do not wait: an attempt that found no idle connection in a pool with
//! room.
//!
//! The attempt only leaves a note: it starts no thread and wakes none. The next visit has
//! [growth](super::growth) open one connection for all attempts noted so far.

use crate::manager::Manager;
use crate::pool::state::pooled::Raw;

/// An attempt has found nothing. Wait-free. During a pause it says nothing about demand.
pub(crate) fn note<M: Manager>(raw: &Raw<M>) {
    let (state, supply) = (raw.context(), &raw.context().supply);
    if !supply.tried.get() && raw.has_vacant() && !raw.is_paused() {
        supply.tried.set(true);
        state.ring.mark();
    }
}

/// A visit: the attempts noted so far are to be met.
pub(crate) fn hear<M: Manager>(raw: &Raw<M>) {
    let supply = &raw.context().supply;
    // In normal operation nothing is written.
    if supply.tried.get() {
        supply.tried.set(false);
        supply.try_due.set(true);
    }
}
