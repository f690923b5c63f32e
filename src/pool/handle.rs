//! The handle: what callers do with a pool.

use super::borrow::checkout::Checkout;
use super::borrow::failure::{self, phase};
use super::borrow::fast_path::{FastPath, lend_at_home};
use super::borrow::guard::PooledConnection;
use super::borrow::step::{Step, judge_or_claim, lend, lend_now};
use super::ground::park::block_on;
use super::snapshot;
use super::state::State;
use super::state::pooled::{Raw, Slot};
use super::supply::{growth, overruns, shortage};
use super::upkeep::{shrink, sweep, visit};
use super::work::worker;
use crate::config::Settings;
use crate::error::{ConfigError, GetError, NotReady, TryGetError};
use crate::manager::{Kind, Manager};
use crate::stats::{Holder, Ledger, Overrun, Stats};
use crate::sync::{Arc, Ordering, PoisonError, Relaxed};
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

/// A handle to a pool of connections. Clone it freely; dropping the last one closes the pool.
///
/// See the [crate page](crate) for an example.
pub struct Pool<M: Manager> {
    pub(crate) raw: Arc<Raw<M>>,
}

impl<M: Manager> Pool<M> {
    pub(crate) fn adopt(raw: Arc<Raw<M>>) -> Self {
        // O11: counted here, compared when dropped.
        raw.context().handles.fetch_add(1, Ordering::Relaxed);
        Self { raw }
    }

    fn state(&self) -> &State<M> {
        self.raw.context()
    }

    /// Borrows a connection, blocking the thread for at most
    /// [`Settings::checkout_timeout`](Settings::checkout_timeout).
    ///
    /// Those who wait, threads and tasks alike, are served in the order in which they came, unless
    /// [`Fairness`](crate::Fairness) is chosen otherwise. If the
    /// strategy wants the connection pinged first and the driver is a blocking one, that happens on this
    /// thread, unless [`ping_on`](Settings::ping_on) says otherwise or less time is left than a ping may take:
    /// then on a worker's.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline(always)]
    #[track_caller]
    pub fn get(&self) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let borrower = Location::caller();
        match lend_at_home(&self.raw, borrower) {
            Ok(connection) => Ok(connection),
            Err(taken) => {
                let mut error = GetError::Closed;
                self.get_slowly(taken, None, borrower, &mut error).ok_or(error)
            }
        }
    }

    /// [`get`](Self::get) with a limit of its own. Zero: an idle connection or none; [`Duration::MAX`]:
    /// no limit.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    #[track_caller]
    pub fn get_timeout(
        &self,
        timeout: Duration,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let borrower = Location::caller();
        match lend_at_home(&self.raw, borrower) {
            Ok(connection) => Ok(connection),
            Err(taken) => {
                let mut error = GetError::Closed;
                self.get_slowly(taken, Some(timeout), borrower, &mut error).ok_or(error)
            }
        }
    }

    /// The error has a way of its own, so that a connection comes back in registers.
    #[cold]
    #[inline(never)]
    fn get_slowly(
        &self,
        taken: Option<Slot<M>>,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
        error: &mut GetError<M::Error>,
    ) -> Option<PooledConnection<M>> {
        let step = match judge_or_claim(&self.raw, taken) {
            Step::Lend(slot) => return Some(lend(slot, borrower)),
            step => step,
        };
        let is_pinging = Relaxed::default();
        let checkout = Checkout::begin(&self.raw, Kind::Blocking, timeout, borrower, &is_pinging);
        let (begun, deadline) = (checkout.begun(), checkout.deadline());
        let clock = &self.state().clock;
        let outcome = block_on(checkout.run(step), clock, deadline);
        let result = outcome.unwrap_or_else(|| {
            Err(failure::timed_out(&self.raw, phase(&is_pinging), clock.now().since(begun)))
        });
        result.map_err(|why| *error = why).ok()
    }

    /// Borrows a connection from a task, on any executor, within
    /// [`Settings::checkout_timeout`](Settings::checkout_timeout).
    ///
    /// Ready at its first poll if a connection is idle and fit. If the strategy wants it pinged and the
    /// driver blocks, a worker does that, not the executor.
    ///
    /// Cancel-safe: dropped while it waits, it leaves the line; dropped with a connection already handed
    /// to it, the connection goes to the next in line; dropped in the middle of a ping, the connection is
    /// replaced, unless [`Manager::ping_is_cancel_safe`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline(always)]
    #[track_caller]
    pub fn get_async(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<M>, GetError<M::Error>>> + Send + '_ {
        let borrower = Location::caller();
        FastPath::new(&self.raw, borrower, move |taken| {
            self.get_slowly_async(taken, None, borrower)
        })
    }

    /// [`get_async`](Self::get_async) with a limit of its own.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline(always)]
    #[track_caller]
    pub fn get_timeout_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<PooledConnection<M>, GetError<M::Error>>> + Send + '_ {
        let borrower = Location::caller();
        let slowly = move |taken| self.get_slowly_async(taken, Some(timeout), borrower);
        FastPath::new(&self.raw, borrower, slowly)
    }

    async fn get_slowly_async(
        &self,
        taken: Option<Slot<M>>,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let step = match judge_or_claim(&self.raw, taken) {
            Step::Lend(slot) => return Ok(lend(slot, borrower)),
            step => step,
        };
        let is_pinging = Relaxed::default();
        Checkout::begin(&self.raw, Kind::Async, timeout, borrower, &is_pinging).run(step).await
    }

    /// Borrows an idle connection, if there is one and nobody waits for it (or who does allows it: see
    /// [`Fairness`](crate::Fairness)).
    ///
    /// Wait-free: at most `capacity` + 1 atomic read-modify-writes; no allocation, no lock, and no system call
    /// unless the strategy wants something done. It asks the strategy but never pings: a connection that
    /// must be pinged is not lent but given to a worker, and a later attempt may have it.
    ///
    /// # Errors
    ///
    /// See [`TryGetError`].
    #[inline(always)]
    #[track_caller]
    pub fn try_get(&self) -> Result<PooledConnection<M>, TryGetError> {
        let borrower = Location::caller();
        match lend_at_home(&self.raw, borrower) {
            Ok(connection) => Ok(connection),
            Err(taken) => lend_now(&self.raw, taken, borrower),
        }
    }

    /// The settings as they are now: a copy to change and [`set`](Self::set).
    pub fn settings(&self) -> Settings {
        Settings::clone(&self.state().settings.load())
    }

    /// Changes the settings, all at once or, if they contradict each other, not at all.
    ///
    /// A lowered `max_size` closes idle connections at once, longest idle first, and lent ones when they
    /// come back. Limits on time take effect with the next call that they concern.
    ///
    /// # Errors
    ///
    /// All that is wrong with them.
    pub fn set(&self, settings: Settings) -> Result<(), ConfigError> {
        self.change(|current| *current = settings)
    }

    /// Changes some of the settings under a lock, so that two who do it at once do not undo each other.
    /// `change` must not change the settings of this pool by itself: it would wait for its own lock.
    ///
    /// # Errors
    ///
    /// All that is wrong with the outcome; nothing has changed then.
    ///
    /// ```
    /// # fn shift<M: caliburn::Manager>(pool: &caliburn::Pool<M>) -> Result<(), caliburn::ConfigError> {
    /// pool.change(|settings| {
    ///     settings.min_size += 10;
    ///     settings.max_size += 10;
    /// })
    /// # }
    /// ```
    pub fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), ConfigError> {
        let state = self.state();
        let changing = state.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.settings.load_full();
        let mut after = Settings::clone(&before);
        change(&mut after);
        after.validate(self.raw.capacity(), None)?;
        let by = before.max_size as i64 - after.max_size as i64;
        state.settings.store(Arc::new(after));
        drop(changing);
        growth::forget_start(&self.raw);
        // Differences add up to the same, in whatever order they are made.
        self.raw.adjust(by);
        shrink::shed(&self.raw);
        worker::grow(&self.raw);
        state.ring.ring();
        state.events.post();
        Ok(())
    }

    /// How many slots there are: the greatest `max_size` possible.
    pub fn capacity(&self) -> usize {
        self.raw.capacity()
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.state().manager
    }

    /// A snapshot of gauges and counters.
    pub fn stats(&self) -> Stats {
        snapshot::stats(&self.raw)
    }

    /// Who holds connections now, since when, and where they asked for them.
    pub fn holders(&self) -> Vec<Holder> {
        let now = self.state().clock.tick();
        self.raw.ledgers().filter_map(|ledger: &Ledger| ledger.holder(now)).collect()
    }

    /// The calls into the manager that have outlived their limit. Each keeps a slot
    /// [in quarantine](Stats::quarantined) until it comes back, and a thread: only calls that block can
    /// overrun, as futures are dropped at their limit.
    pub fn overruns(&self) -> Vec<Overrun> {
        overruns::overruns(&self.raw)
    }

    /// Does on this thread what the housekeeper would do now: keeps deadlines, goes on with a sweep or begins
    /// one that is due, asks for growth.
    ///
    /// In a pool built [`manual_maintenance`](Builder::manual_maintenance), and only there is it needed, it also does what workers
    /// would do, drives the futures of an async manager, and returns when it finds nothing more to do. A
    /// connect that hangs keeps it until its limit.
    pub fn maintain(&self) {
        loop {
            visit::visit(&self.raw);
            if self.state().has_no_jobs() || !self.state().is_manual() {
                return;
            }
            worker::run_all(&self.raw);
        }
    }

    /// Begins a sweep now, though none is due, and [maintains](Self::maintain): idle connections are
    /// judged by the strategy, closed down to the minimum if they were idle for too long, and replaced.
    pub fn sweep(&self) {
        sweep::ask(&self.raw);
        self.maintain();
    }

    /// Waits until the connections to open at the start are there.
    ///
    /// # Errors
    ///
    /// They were not in time, or connecting failed for good.
    pub fn ready(&self, timeout: Duration) -> Result<(), NotReady<M::Error>> {
        if self.state().is_manual() {
            // Nobody else will do anything about it.
            self.maintain();
            return shortage::is_ready(&self.raw)
                .unwrap_or_else(|| Err(shortage::not_ready(&self.raw)));
        }
        let deadline = self.state().clock.now() + timeout;
        block_on(self.until_ready(), &self.state().clock, deadline)
            .unwrap_or_else(|| Err(shortage::not_ready(&self.raw)))
    }

    /// [`ready`](Self::ready) for tasks. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    pub async fn ready_async(&self, timeout: Duration) -> Result<(), NotReady<M::Error>> {
        let deadline = self.state().clock.now() + timeout;
        self.state()
            .timeout(deadline, self.until_ready())
            .await
            .unwrap_or_else(|| Err(shortage::not_ready(&self.raw)))
    }

    async fn until_ready(&self) -> Result<(), NotReady<M::Error>> {
        self.state().events.wait_until(|| shortage::is_ready(&self.raw)).await
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self::adopt(Arc::clone(&self.raw))
    }
}

impl<M: Manager> Drop for Pool<M> {
    fn drop(&mut self) {
        // O9: whoever drops the last handle comes after all that the others did.
        if self.state().handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("settings", &self.state().settings.load())
            .field("counts", &self.stats().counts())
            .finish_non_exhaustive()
    }
}
