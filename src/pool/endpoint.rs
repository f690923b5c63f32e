//! What a router asks of a pool that is one of its endpoints: the little that callers have no
//! method for.

use super::borrow::checkout::Checkout;
use super::borrow::failure::{self, phase};
use super::borrow::fast_path::{Lending, lend_at_home};
use super::borrow::guard::PooledConnection;
use super::borrow::step::{Step, judge_or_claim, lend, lend_now};
use super::handle::Pool;
use super::state::entry::Entry;
use super::state::kept::Kept;
use super::state::pooled::Slot;
use super::supply::shortage;
use super::work::calls::fallible_call;
use super::work::launch::launch;
use super::work::worker::run_here;
use crate::clock::Deadline;
use crate::error::{GetError, ManagerError, TryGetError};
use crate::manager::{Face, Manager};
use crate::role::RoleReport;
use crate::stats::Histogram;
use crate::sync::{Arc, Relaxed};
use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// A connection that was claimed in vain, or none: for [`Pool::get_slowly_as`].
pub(crate) struct Taken<M: Manager>(Option<Slot<M>>);

impl<M: Manager> Taken<M> {
    pub(crate) const NOTHING: Self = Self(None);

    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }
}

/// What can be seen of a pool at a glance, without foreign code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signs {
    /// Rises when a connection was found dead, and with each that is opened.
    pub(crate) news: u64,
    /// Connecting fails, or what it opens is dead.
    pub(crate) is_failing: bool,
    /// Further waiting is in vain, for borrowers that do not insist.
    pub(crate) is_hopeless: bool,
    pub(crate) is_closed: bool,
    /// Nothing is lent on purpose.
    pub(crate) is_shut: bool,
    /// The sum of all loans that were measured.
    pub(crate) measured: u64,
}

/// What came of asking for a role.
#[derive(Debug)]
pub(crate) enum Answer<E> {
    Told(RoleReport),
    Failed(Arc<ManagerError<E>>),
    /// There was none to ask by: all are lent, or none is open yet.
    NoConnection,
}

impl<M: Manager> Pool<M> {
    /// Tells this pool's connections from those of others.
    pub(crate) fn has_lent(&self, connection: &PooledConnection<M>) -> bool {
        std::ptr::eq(&raw const *self.raw, PooledConnection::pool(connection))
    }

    /// Borrowers that hold a connection or wait for one.
    #[inline]
    pub(crate) fn load(&self) -> usize {
        let service = &self.state().service;
        let out = service.open().saturating_sub(self.raw.count_idle());
        out.saturating_sub(service.maintenance()) + self.raw.waiting()
    }

    pub(crate) fn signs(&self) -> Signs {
        let state = self.state();
        let is_failing = state.supply.failing_since().is_some();
        let settings = state.settings.load();
        Signs {
            news: state.generation.get().wrapping_add(state.counters.connects.get()),
            is_failing,
            is_hopeless: state.supply.has_failed(settings.fail_fast),
            is_closed: self.is_closed(),
            is_shut: self.is_paused() || settings.max_size == 0,
            measured: state.counters.use_time.sum(),
        }
    }

    /// Whether no connection is open that may yet serve a borrower.
    pub(crate) fn is_out(&self) -> bool {
        shortage::is_out(&self.raw)
    }

    /// How long measured loans have lasted.
    pub(crate) fn measured(&self) -> Histogram {
        self.state().counters.use_time.snapshot()
    }

    /// Why the last connect failed, if it did.
    pub(crate) fn last_failure(&self) -> Option<Arc<ManagerError<M::Error>>> {
        self.state().last_connect_failure.load_full()
    }

    /// The first step of a checkout, at which most end.
    #[inline(always)]
    pub(crate) fn lend_idle(
        &self,
        borrower: &'static Location<'static>,
    ) -> Result<PooledConnection<M>, Taken<M>> {
        lend_at_home(&self.raw, borrower).map_err(Taken)
    }

    /// The other steps, for a caller that will not wait.
    pub(crate) fn lend_now(
        &self,
        Taken(taken): Taken<M>,
        borrower: &'static Location<'static>,
    ) -> Result<PooledConnection<M>, TryGetError> {
        lend_now(&self.raw, taken, borrower)
    }

    /// The other steps, for a borrower of that `face`.
    pub(crate) async fn get_slowly_as(
        &self,
        face: Face,
        Taken(taken): Taken<M>,
        timeout: Duration,
        borrower: &'static Location<'static>,
    ) -> Lending<M> {
        if self.raw.is_inherited() {
            std::mem::forget(taken);
            return Err(GetError::Forked);
        }
        let step = match judge_or_claim(&self.raw, taken) {
            Step::Lend(slot) => return Ok(lend(slot, borrower, face)),
            step => step,
        };
        let is_pinging = Relaxed::default();
        let begun = self.state().clock.now();
        let checkout = Checkout::begin(&self.raw, face, Some(timeout), borrower, &is_pinging);
        let mut checkout = pin!(checkout.run(step));
        let outcome = poll_fn(|cx| {
            if self.raw.is_inherited() {
                return Poll::Ready(Err(GetError::Forked));
            }
            checkout.as_mut().poll(cx)
        });
        if face == Face::Async {
            // The line minds its time.
            return outcome.await;
        }
        match self.state().timeout(begun + timeout, outcome).await {
            Some(outcome) => outcome,
            None => {
                let waited = self.state().clock.now().since(begun);
                Err(failure::timed_out(&self.raw, phase(&is_pinging), waited))
            }
        }
    }

    /// Asks the server for its role by `connection` or, without one, by the first that is handed
    /// over in line, and hands what comes of it to `report`. Each step gets as much as `limit`. In
    /// a pool that is maintained by its user this thread does it. False: no thread is to be had,
    /// and `report` was dropped.
    pub(crate) fn ask_role(
        &self,
        connection: Option<PooledConnection<M>>,
        limit: Duration,
        report: impl FnOnce(Answer<M::Error>) + Send + 'static,
    ) -> bool {
        let (state, pool) = (self.state(), Kept::from(Arc::clone(&self.raw)));
        let borrower = Location::caller();
        let work = async move {
            let asked = match connection {
                Some(connection) => Some(connection),
                None => stand_in_line(&pool, limit, borrower).await,
            };
            report(match asked {
                Some(connection) => role_by(&pool, connection, limit).await,
                None => Answer::NoConnection,
            });
        };
        if state.is_manual() {
            run_here(state, work);
            return true;
        }
        launch(&self.raw, work)
    }

    /// Whether its user maintains it.
    pub(crate) fn is_manual(&self) -> bool {
        self.state().is_manual()
    }
}

/// As a task would. It is no handle of the pool, which may close meanwhile.
async fn stand_in_line<M: Manager>(
    pool: &Kept<M>,
    limit: Duration,
    borrower: &'static Location<'static>,
) -> Option<PooledConnection<M>> {
    let is_pinging = Relaxed::default();
    let checkout = Checkout::begin(pool, Face::Async, Some(limit), borrower, &is_pinging);
    checkout.run(judge_or_claim(pool, None)).await.ok()
}

async fn role_by<M: Manager>(
    pool: &Kept<M>,
    mut asked: PooledConnection<M>,
    limit: Duration,
) -> Answer<M::Error> {
    let state = pool.context();
    let deadline = Deadline::at(&state.clock, state.clock.now() + limit);
    let entry = PooledConnection::entry_mut(&mut asked);
    // It says nothing about the work of borrowers.
    entry.is_measured = false;
    let Entry { connection, manager, .. } = entry;
    let told = state.driver.role(manager, connection, &deadline);
    let told = Box::pin(async { told.await.map_err(ManagerError::Failed) });
    let told = fallible_call(state, &deadline, told).await;
    let is_late = state.driver.kind() == Face::Blocking && deadline.is_past();
    match told {
        Ok(report) if !is_late => Answer::Told(report),
        told => {
            // Dropped half-way, or no longer of use.
            PooledConnection::discard(asked);
            Answer::Failed(Arc::new(told.err().unwrap_or(ManagerError::TimedOut)))
        }
    }
}
