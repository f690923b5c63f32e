//! The guard: a borrowed connection.

use crate::data::ConnectionData;
use crate::health::{ConnectionInfo, EvictionCause};
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::pool::service::enqueue;
use crate::pool::service::release::end_loan;
use crate::pool::state::entry::Entry;
use crate::pool::state::kept::{Kept, give_up};
use crate::pool::state::pooled::{Pooled, Raw, Slot};
use crate::raw::slots::Lent;
use crate::stats::{Signature, cut};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A connection on loan. Dropping it returns the connection to its pool, on any thread and whether
/// the pool still has handles or not.
///
/// The drop does no I/O, takes no lock and does not block: if the connection must be reset, pinged
/// or closed, a worker does that. If a guard is dropped while its thread unwinds, its connection is
/// closed, unless [`Builder::keep_on_unwind`](crate::Builder::keep_on_unwind) was called. A guard
/// that is [forgotten](std::mem::forget) keeps its slot lent for good.
///
/// It is two words long, `'static`, and holds no reference count of its own. Its methods are
/// associated functions, so that they hide no method of the driver:
/// `PooledConnection::info(&conn)`.
///
/// ```
/// # use caliburn::{Manager, PooledConnection};
/// # use std::time::Duration;
/// /// How often this session has been looked at.
/// struct Looks(u32);
///
/// fn look_at<M: Manager>(conn: &mut PooledConnection<M>) {
///     if PooledConnection::info(conn).age() > Duration::from_secs(3600) {
///         PooledConnection::suspect(conn); // It is pinged before it is lent again.
///     }
///     PooledConnection::data_mut(conn).get_or_insert_with(|| Looks(0)).0 += 1;
///     assert!(PooledConnection::data(conn).get::<Looks>().is_some());
/// }
/// ```
#[must_use = "a connection that is not kept goes back at once"]
pub struct PooledConnection<M: Manager>(Lent<Pooled<M>>);

impl<M: Manager> PooledConnection<M> {
    #[inline(always)]
    pub(crate) fn new(slot: Lent<Pooled<M>>) -> Self {
        Self(slot)
    }

    pub(crate) fn pool(this: &Self) -> &Raw<M> {
        this.0.pool()
    }

    pub(crate) fn entry_mut(this: &mut Self) -> &mut Entry<M> {
        this.0.value_mut()
    }

    /// Takes the connection out of the pool for good. Its slot becomes free for another connection.
    ///
    /// ```
    /// # use caliburn::{Manager, PooledConnection};
    /// fn keep<M: Manager>(conn: PooledConnection<M>) -> M::Connection {
    ///     PooledConnection::detach(conn)
    /// }
    /// ```
    #[must_use = "a connection that is not kept is closed"]
    pub fn detach(this: Self) -> M::Connection {
        let slot = end_of_loan(this);
        let raw = Kept::of(&slot);
        slot.ledger().end();
        let (vacant, Entry { connection, manager, .. }) = slot.vacate();
        give_up(manager);
        raw.context().note(EventKind::Detached);
        vacant.give_back();
        raw.context().service.open.subtract(1);
        raw.context().ring.ring();
        connection
    }

    /// Returns the connection to be closed, as the borrower knows that it is unusable.
    ///
    /// ```
    /// # use caliburn::{Manager, PooledConnection};
    /// fn give_back<M: Manager>(conn: PooledConnection<M>, is_garbled: bool) {
    ///     if is_garbled {
    ///         PooledConnection::discard(conn);
    ///     }
    /// }
    /// ```
    pub fn discard(this: Self) {
        let slot = end_of_loan(this);
        enqueue::close(slot, EvictionCause::Discarded);
    }

    /// Makes the pool ping the connection before its next loan, whatever the strategy says.
    pub fn suspect(this: &mut Self) {
        let now = this.0.pool().context().clock.tick();
        let entry = this.0.value_mut();
        entry.suspect();
        entry.note_error(now);
    }

    /// Names the work that the connection is borrowed for, such as a request's id, for
    /// [`Pool::holders`](crate::Pool::holders) and reports of leaks. The label holds until the
    /// connection is returned, or until the next call. It is cut after 256 bytes.
    ///
    /// ```
    /// # use caliburn::{GetError, Manager, Pool, PooledConnection};
    /// # fn report<M: Manager>(pool: &Pool<M>) -> Result<(), GetError<M::Error>> {
    /// let mut conn = pool.get()?;
    /// PooledConnection::set_label(&mut conn, "monthly report");
    /// assert_eq!(pool.holders()[0].label.as_deref(), Some("monthly report"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_label(this: &mut Self, label: &str) {
        let ledger = this.0.ledger();
        let borrower = ledger.signature().and_then(|signature| signature.borrower.clone());
        let (transitions, label) = (ledger.transitions(), Some(cut(label)));
        ledger.sign(Signature { transitions, borrower, label });
    }

    /// Returns the values that the user keeps beside the connection.
    pub fn data(this: &Self) -> &ConnectionData {
        &this.0.value().data
    }

    /// As [`data`](Self::data), mutable.
    pub fn data_mut(this: &mut Self) -> &mut ConnectionData {
        &mut this.0.value_mut().data
    }

    /// Returns what the pool knows of the connection: its age, uses and checks.
    pub fn info(this: &Self) -> ConnectionInfo {
        let (entry, state) = (this.0.value(), this.0.pool().context());
        entry.info(this.0.ledger(), state.generation.get(), state.clock.tick())
    }
}

/// A guard that goes down with a panic has its connection closed by default. A connection that is
/// used on after a panic was caught may be in the middle of something, as after any error: its
/// manager is asked about it when it comes back, and [`discard`](PooledConnection::discard) closes
/// it.
impl<M: Manager> UnwindSafe for PooledConnection<M> {}

/// As for [`UnwindSafe`].
impl<M: Manager> RefUnwindSafe for PooledConnection<M> {}

fn end_of_loan<M: Manager>(connection: PooledConnection<M>) -> Slot<M> {
    let mut slot = connection.0.into_occupied();
    end_loan(&mut slot);
    slot
}

impl<M: Manager> Deref for PooledConnection<M> {
    type Target = M::Connection;

    #[inline(always)]
    fn deref(&self) -> &M::Connection {
        &self.0.value().connection
    }
}

impl<M: Manager> DerefMut for PooledConnection<M> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.0.value_mut().connection
    }
}

impl<M: Manager> AsRef<M::Connection> for PooledConnection<M> {
    fn as_ref(&self) -> &M::Connection {
        self
    }
}

impl<M: Manager> AsMut<M::Connection> for PooledConnection<M> {
    fn as_mut(&mut self) -> &mut M::Connection {
        self
    }
}

impl<M: Manager<Connection: fmt::Debug>> fmt::Debug for PooledConnection<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
