//! The handle of a governor, and what it tells.

use super::keys;
use super::shared::Shared;
use crate::pool::ground::governor::{Desk, Member, Tally};
use crate::sync::Arc;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Limits how many connections all pools that share it open at once, and per second.
///
/// A pool has a limit of its own,
/// [`connect_concurrency`](crate::Settings::connect_concurrency). When a process with forty pools
/// starts, or when the server does, forty times as many connects come in at once; with a governor
/// no more than the server bears. Give it to each pool that connects to that server:
///
/// ```
/// use caliburn::{BlockingManager, BuildError, ConnectGovernor, Pool};
///
/// fn open<M: BlockingManager>(manager: M) -> Result<Pool<M>, BuildError<M::Error>> {
///     let governor = ConnectGovernor::builder()
///         .max_concurrent(8)
///         .per_second(50)
///         .shared("db-1")
///         .map_err(BuildError::Config)?;
///     Pool::builder(manager).min_size(8).connect_governor(&governor).build()
/// }
/// ```
///
/// Clones are handles to the same governor. A governor with a
/// [key](crate::ConnectGovernorBuilder::shared) is the same in the whole process. Its limits can be
/// [changed](Self::change) at any time.
///
/// **Order.** Pools that are held stand in line, each once, first in, first out: with each connect
/// that it may begin, a pool goes to the end. A pool that is held polls nothing, and is called when
/// it is its turn. If it needs no connection then, the next is called; until then it stands there,
/// so that borrowers who have little time get one in the end, if not the first of them. One that
/// does not come within 100 ms, because its threads are busy or its user does not maintain it,
/// loses its turn to the next: so many of them in a row hold up the others for as often as long.
///
/// **What counts.** Every connect of these pools and of their [reserves](crate::Builder::reserved):
/// for borrowers, for the minimum and the start, for replacements and for probes in an outage, from
/// when it is asked for until the manager's call is over. The trial of
/// [`switch_manager`](crate::Pool::switch_manager) counts, but is not held. Connections that a
/// driver opens beside those of the pool (to cancel a query, to nodes of a cluster) are not seen,
/// and a connection that is [added](crate::Pool::add) was opened elsewhere. Pings are no connects.
///
/// **What hangs.** A connect that takes long (500 ms, or four times as long as connects usually
/// take, if that is more, but no more than 3 s longer; its own limit, if that is less) no longer
/// counts towards [`max_concurrent`](crate::ConnectGovernorBuilder::max_concurrent), up to the same
/// number again. If no other is under way, one more may always begin. Connects that take long do
/// not count at all once a later one has succeeded. So neither a black hole nor a pool with a wrong
/// address holds the others for long.
///
/// **Failing.** While a pool is held after a permanent error (with
/// [`fail_fast`](crate::Settings::fail_fast): any error), borrowers fail at once as they do while
/// it is too early for the next attempt; the one that asks for it waits.
///
/// **Time.** A governor reads a [clock](crate::ConnectGovernorBuilder::clock) of its own, whatever
/// clocks its pools read. In a forked child it begins anew.
///
/// A pool without a governor pays nothing for it, and no checkout does.
#[derive(Clone)]
pub struct ConnectGovernor(pub(super) Arc<Shared>);

impl ConnectGovernor {
    /// Returns the governor that is in use in this process under `key`. It is in use as long as
    /// there is a handle to it, or a pool that has it.
    ///
    /// ```
    /// # use caliburn::ConnectGovernor;
    /// assert!(ConnectGovernor::find("db-1").is_none());
    /// let governor = ConnectGovernor::builder().max_concurrent(8).shared("db-1")?;
    /// assert!(ConnectGovernor::find("db-1").is_some());
    /// # drop(governor);
    /// # Ok::<(), caliburn::ConfigError>(())
    /// ```
    pub fn find(key: &str) -> Option<Self> {
        keys::find(key).map(Self)
    }

    /// Returns what the governor is doing, and what it has done in this process.
    ///
    /// ```
    /// # let governor = caliburn::ConnectGovernor::builder().max_concurrent(8).build()?;
    /// let stats = governor.stats();
    /// println!("{} connecting, {} pools held", stats.connecting, stats.waiting);
    /// # Ok::<(), caliburn::ConfigError>(())
    /// ```
    pub fn stats(&self) -> GovernorStats {
        let governor = self.0.with_office(|office| office.governor(&self.0));
        let Tally { taken, long, waiting } = governor.tally();
        GovernorStats {
            connecting: taken,
            taking_long: long,
            waiting,
            granted: governor.granted(),
            held: governor.held(),
        }
    }

    /// The part of one more pool.
    pub(in crate::pool) fn member(&self) -> Member {
        self.0.with_office(|office| {
            let desk = office.desk.upgrade().unwrap_or_else(|| {
                let governor = office.governor(&self.0);
                let handle: Arc<Shared> = Arc::clone(&self.0);
                let desk = Arc::new(Desk::new(governor, handle));
                office.desk = Arc::downgrade(&desk);
                desk
            });
            Member::new(desk)
        })
    }
}

/// A change that unwinds has changed nothing, and no other lock is held while foreign code runs.
impl UnwindSafe for ConnectGovernor {}

/// As for [`UnwindSafe`].
impl RefUnwindSafe for ConnectGovernor {}

impl fmt::Debug for ConnectGovernor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = self.0.limits.load();
        f.debug_struct("ConnectGovernor")
            .field("max_concurrent", &limits.max_concurrent)
            .field("per_second", &limits.per_second)
            .field("burst", &limits.burst())
            .finish_non_exhaustive()
    }
}

/// A snapshot of a [governor](ConnectGovernor).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GovernorStats {
    /// Connects that were given leave and are not over.
    pub connecting: usize,
    /// Those of them that take long.
    pub taking_long: usize,
    /// Pools that stand in line.
    pub waiting: usize,
    /// Connects that were given leave. This count and the next run from when the governor was
    /// built.
    pub granted: u64,
    /// Times that a pool had to stand in line.
    pub held: u64,
}
