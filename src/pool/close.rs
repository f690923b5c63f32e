//! Closing: waiters fail at once, and lent connections are closed on their return.

use super::assembly::hire_housekeeper;
use super::ground::governor::Member;
use super::ground::park::block_on;
use super::handle::Pool;
use super::snapshot::stats;
use super::state::kept::Kept;
use super::state::pooled::Raw;
use super::upkeep::housekeeper;
use super::upkeep::keeper::Household;
use super::work::worker;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::stats::{Holder, Overrun};
use crate::sync::{Arc, thread};
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// What [`Pool::close_within`] achieved.
///
/// ```
/// # use caliburn::{Manager, Pool};
/// # use std::time::Duration;
/// fn shut_down<M: Manager>(pool: &Pool<M>) {
///     let report = pool.close_within(Duration::from_secs(5));
///     if !report.is_complete() {
///         eprintln!("{report}"); // who still holds what, and which calls hang
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CloseReport {
    /// Connections that the pool has closed in its whole life, those of its
    /// [reserve](Pool::reserved) included, as in all that follows.
    pub closes: u64,
    /// Connections still lent when the time was up.
    pub still_lent: usize,
    /// Connections still being opened or closed when the time was up, those in quarantine included,
    /// and the one by which another manager is [tried](Pool::switch_manager).
    pub unfinished: usize,
    /// Which borrowers hold the connections that are still lent.
    pub holders: Vec<Holder>,
    /// The calls into the manager that had not returned when the time was up, and the tasks that
    /// the spawner had not run.
    pub overruns: Vec<Overrun>,
}

impl CloseReport {
    /// Returns whether every connection was closed in time.
    pub fn is_complete(&self) -> bool {
        self.still_lent == 0 && self.unfinished == 0
    }

    /// Of a pool and its reserve.
    fn and(mut self, other: Self) -> Self {
        self.closes += other.closes;
        self.still_lent += other.still_lent;
        self.unfinished += other.unfinished;
        self.holders.extend(other.holders);
        self.overruns.extend(other.overruns);
        self
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_complete() {
            return f.write_str("closed, nothing left");
        }
        write!(
            f,
            "closed with {} connections lent, {} unfinished",
            self.still_lent, self.unfinished
        )?;
        for holder in &self.holders {
            write!(f, "; held by {holder}")?;
        }
        for overrun in &self.overruns {
            write!(f, "; {overrun}")?;
        }
        Ok(())
    }
}

impl<M: Manager> Pool<M> {
    /// Closes the pool for all its handles, and its [reserve](Self::reserved), as dropping the last
    /// handle does. Does not block. Waiters and newcomers fail at once with `Closed`. The pool
    /// closes idle connections in the background, and lent ones on their return. A second close
    /// does nothing; nor does a close in a forked child, as the connections are its parent's.
    pub fn close(&self) {
        if self.raw.is_inherited() {
            return;
        }
        // First, so that both are closed as soon as the pool is seen to be.
        self.reserved().into_iter().for_each(Self::close);
        let state = self.raw.context();
        if state.is_closing.exchange(false, true) {
            state.note(EventKind::PoolClosed);
        }
        self.raw.close();
        state.member.iter().for_each(Member::withdraw);
        if state.is_manual() {
            worker::run_all(&self.raw);
        }
        see_out(&self.raw);
        worker::start(&self.raw);
        state.ring.ring();
        state.events.post();
    }

    /// Returns a future that is ready when the pool is closed, by a call or with its last handle.
    /// It is no handle itself, and may outlive all of them. For what runs beside the pool and
    /// should end with it. Never ready in a forked child.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # fn watch<M: Manager>(pool: &Pool<M>) {
    /// let closed = pool.until_closed();
    /// let watcher = async move {
    ///     closed.await;
    ///     println!("no more songs");
    /// };
    /// # drop(watcher);
    /// # }
    /// ```
    pub fn until_closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let raw = Kept::from(Arc::clone(&self.raw));
        async move { raw.context().events.wait_until(|| raw.is_closed().then_some(())).await }
    }

    /// Returns whether the pool is closed, or belongs to the [parent process](Pool#forks).
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed() || self.raw.is_inherited()
    }

    /// [Closes](Self::close) the pool and blocks up to `timeout` until every connection is closed
    /// and its destructor has run. The pool closes connections that are still lent on their return.
    pub fn close_within(&self, timeout: Duration) -> CloseReport {
        let deadline = self.close_by(timeout);
        for pool in self.whole() {
            block_on(pool.until_torn_down(), &pool.raw.context().clock, deadline);
        }
        self.close_report()
    }

    /// As [`close_within`](Self::close_within), for tasks. The pool is closed even if the future is
    /// dropped half-way.
    pub async fn close_within_async(&self, timeout: Duration) -> CloseReport {
        let deadline = self.close_by(timeout);
        for pool in self.whole() {
            pool.raw.context().timeout(deadline, pool.until_torn_down()).await;
        }
        self.close_report()
    }

    /// Closes, and has each goodbye that is still to be said be late by then.
    fn close_by(&self, timeout: Duration) -> Tick {
        let deadline = self.raw.context().clock.now() + timeout;
        for state in self.whole().map(Self::state) {
            state.closed_by.set(deadline.0);
            state.watch.note(deadline);
        }
        self.close();
        deadline
    }

    async fn until_torn_down(&self) {
        let is_over = || self.raw.is_over() || self.raw.is_inherited();
        self.raw.context().events.wait_until(|| is_over().then_some(())).await
    }

    fn close_report(&self) -> CloseReport {
        let own = self.own_report();
        self.reserved().map(Self::own_report).into_iter().fold(own, CloseReport::and)
    }

    fn own_report(&self) -> CloseReport {
        // Names before figures: a call that comes back meanwhile was unfinished when time was up.
        let (overruns, holders) = (self.overruns(), self.holders());
        let stats = stats(&self.raw);
        // Slots go before the gauges.
        if self.raw.is_over() {
            let (holders, overruns) = Default::default();
            let closes = stats.closes;
            return CloseReport { closes, still_lent: 0, unfinished: 0, holders, overruns };
        }
        let late = overruns.iter().filter(|overrun| overrun.call.is_some()).count();
        let unfinished = stats.opening + stats.maintenance + stats.quarantined;
        CloseReport {
            closes: stats.closes,
            still_lent: stats.lent.max(holders.len()),
            unfinished: unfinished.max(late),
            holders,
            overruns,
        }
    }
}

/// Makes the housekeeper keep a closed pool until its last connection has gone, even if its user
/// maintained the pool before: no caller may ever do so again.
fn see_out<M: Manager>(raw: &Arc<Raw<M>>) {
    let ring = &raw.context().ring;
    // A thread that unwinds must not drop a manager, whose destructor might panic, too.
    let is_needed = !raw.is_over() || thread::panicking();
    if !is_needed || !ring.is_heard() && hire_housekeeper(raw).is_err() {
        return;
    }
    if let Some(number) = ring.number() {
        housekeeper::see_out(number, Arc::clone(raw) as Arc<dyn Household>);
    }
}
