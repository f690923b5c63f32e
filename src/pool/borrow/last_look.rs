//! The last look before a loan: what the manager knows of the connection without I/O. Asked once,
//! after the strategy and after any ping.

use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::pool::service::enqueue;
use crate::pool::service::judge::suspect_generation;
use crate::pool::state::entry::Entry;
use crate::pool::state::pooled::Slot;
use crate::pool::supply::news;

/// Why the connection must not be lent, if the manager says so. Nothing is left of it in the code
/// of a manager that does not override [`Manager::has_broken`].
#[inline(always)]
pub(crate) fn flaw<M: Manager>(
    entry: &mut Entry<M::Connection>,
    manager: &M,
) -> Option<EvictionCause> {
    match no_unwind(|| manager.has_broken(&mut entry.connection)) {
        Some(false) => None,
        Some(true) => Some(EvictionCause::Broken),
        None => Some(EvictionCause::Panicked),
    }
}

/// Looks at a connection that is about to be lent. `None`: it has been evicted.
pub(crate) fn look<M: Manager>(mut slot: Slot<M>) -> Option<Slot<M>> {
    let (entry, _, raw) = slot.parts_and_pool();
    match flaw(entry, &raw.context().manager) {
        None => Some(slot),
        Some(cause) => {
            evict(slot, cause);
            None
        }
    }
}

/// Has a connection closed that has a [flaw].
#[cold]
#[inline(never)]
pub(crate) fn evict<M: Manager>(slot: Slot<M>, cause: EvictionCause) {
    if cause == EvictionCause::Broken {
        let (raw, entry) = (slot.pool(), slot.value());
        if entry.is_unused(slot.ledger()) {
            news::found_dead(raw.context(), entry.info.born);
        }
        suspect_generation(raw, entry.info.generation);
    }
    enqueue::close(slot, cause);
}
