//! The last look before a loan: what the manager knows of the connection without I/O. Asked once,
//! after the strategy and after any ping.

use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::pool::service::flaw::{self, flaw};
use crate::pool::state::pooled::Slot;
use crate::pool::supply::news;

/// Looks at a connection that is about to be lent. `None`: it has been evicted.
pub(crate) fn look<M: Manager>(mut slot: Slot<M>) -> Option<Slot<M>> {
    match flaw(slot.value_mut()) {
        None => Some(slot),
        Some(cause) => {
            evict(slot, cause);
            None
        }
    }
}

/// Closes a connection that has a flaw.
#[cold]
#[inline(never)]
pub(crate) fn evict<M: Manager>(slot: Slot<M>, cause: EvictionCause) {
    if cause == EvictionCause::Broken && slot.value().is_unused(slot.ledger()) {
        news::found_dead(slot.pool().context(), slot.value().record.born);
    }
    flaw::evict(slot, cause);
}
