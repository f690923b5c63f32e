//! What the manager knows of a connection without I/O. It is asked once before each loan and once
//! after it, and before that whether only a ping can tell.

use super::enqueue;
use super::judge::suspect_generation;
use crate::health::EvictionCause;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::pool::state::entry::Entry;
use crate::pool::state::pooled::Slot;

/// Why the connection is useless, if the manager says so. A panic counts as an answer, as it must
/// not leave a destructor. For a manager that does not override [`Manager::has_broken`] this
/// compiles to nothing.
#[inline(always)]
pub(crate) fn flaw<M: Manager>(entry: &mut Entry<M>) -> Option<EvictionCause> {
    let Entry { connection, manager, .. } = entry;
    match no_unwind(|| manager.has_broken(connection)) {
        Some(false) => None,
        Some(true) => Some(EvictionCause::Broken),
        None => Some(EvictionCause::Panicked),
    }
}

/// Whether the manager wants the connection pinged before this loan. A panic is a flaw. For a
/// manager that does not override [`Manager::needs_ping`] this compiles to nothing.
#[inline(always)]
pub(crate) fn doubt<M: Manager>(entry: &mut Entry<M>) -> Result<bool, EvictionCause> {
    let Entry { connection, manager, .. } = entry;
    no_unwind(|| manager.needs_ping(connection)).ok_or(EvictionCause::Panicked)
}

/// Closes a connection that has a [flaw]. If it has broken, others of its age may have, too.
pub(crate) fn evict<M: Manager>(slot: Slot<M>, cause: EvictionCause) {
    if cause == EvictionCause::Broken {
        suspect_generation(slot.pool(), slot.value().record.generation);
    }
    enqueue::close(slot, cause);
}
