//! Taking in a connection that was opened elsewhere.

use super::handle::Pool;
use super::state::entry::Fresh;
use super::state::pooled::Raw;
use super::work::opening::welcome;
use crate::data::ConnectionData;
use crate::error::{AddError, AddReason};
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::stats::{Call, Priority};

impl<M: Manager> Pool<M> {
    /// Takes in a connection that was opened elsewhere, for example one that was
    /// [detached](crate::PooledConnection::detach) from another pool. From now on it is this pool's
    /// like any other. The pool does not ping it first, nor run the
    /// [hooks](crate::Builder::after_connect) of new connections on it.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool, PooledConnection};
    /// fn move_one<M: Manager>(from: &Pool<M>, to: &Pool<M>) {
    ///     let Ok(conn) = from.try_get() else { return };
    ///     if let Err(error) = to.add(PooledConnection::detach(conn)) {
    ///         eprintln!("{error}");
    ///         drop(error.connection);
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the connection in an [`AddError`] if the pool has no room for it or is closed.
    pub fn add(&self, connection: M::Connection) -> Result<(), AddError<M::Connection>> {
        let state = self.state();
        // The era first: see `raw::era`.
        let (era, manager) = (self.raw.eras().current(), state.manager.load_full());
        let fresh = Fresh { connection, manager, data: ConnectionData::default() };
        match take_in(&self.raw, fresh, era) {
            Ok(()) => {
                state.note(EventKind::Added);
                Ok(())
            }
            Err((Fresh { connection, .. }, reason)) => Err(AddError { connection, reason }),
        }
    }
}

/// Puts a connection in service that was opened in that `era`, if there is room for it.
pub(super) fn take_in<M: Manager>(
    raw: &Raw<M>,
    fresh: Fresh<M>,
    era: u64,
) -> Result<(), (Fresh<M>, AddReason)> {
    if raw.is_inherited() {
        return Err((fresh, AddReason::Forked));
    }
    let state = raw.context();
    // Counted first, as by growth: a slot that was claimed would pass for a connection.
    state.service.begin(Call::Connect, Priority::Demand);
    let Some(vacant) = raw.claim_vacant() else {
        state.service.end(Call::Connect, Priority::Demand);
        let reason = if raw.is_closed() { AddReason::Closed } else { AddReason::Full };
        return Err((fresh, reason));
    };
    vacant.ledger().stamp().set(era);
    welcome(raw, vacant, fresh);
    state.ring.ring();
    state.events.post();
    Ok(())
}
