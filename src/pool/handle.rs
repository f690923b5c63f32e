//! The handle: what callers do with a pool.

use super::borrow::checkout::Checkout;
use super::borrow::failure::{self, phase};
use super::borrow::fast_path::{FastPath, Lending, lend_at_home};
use super::borrow::guard::PooledConnection;
use super::borrow::step::{Step, judge_or_claim, lend, lend_now};
use super::ground::park::block_on;
use super::state::State;
use super::state::classes::ORDINARY;
use super::state::pooled::{Raw, Slot};
use super::supply::growth;
use super::upkeep::{shrink, sweep, visit};
use super::work::worker;
use crate::config::Settings;
use crate::error::{ConfigError, GetError, Problem, TryGetError};
use crate::manager::{Face, Manager};
use crate::sync::{Arc, Ordering, PoisonError, Relaxed};
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

#[doc = include_str!("handle.md")]
pub struct Pool<M: Manager> {
    pub(crate) raw: Arc<Raw<M>>,
    /// One for all handles. It has none of its own.
    pub(super) reserve: Option<Arc<Self>>,
}

impl<M: Manager> Pool<M> {
    pub(crate) fn adopt(raw: Arc<Raw<M>>, reserve: Option<Arc<Self>>) -> Self {
        // O11: counted here, compared when dropped.
        raw.context().handles.fetch_add(1, Ordering::Relaxed);
        Self { raw, reserve }
    }

    pub(crate) fn state(&self) -> &State<M> {
        self.raw.context()
    }

    /// Borrows a connection, blocking the thread for up to
    /// [`Settings::checkout_timeout`](Settings::checkout_timeout).
    ///
    /// Waiters, threads and tasks alike, are served in the order of their arrival, unless
    /// [`Fairness`](crate::Fairness) says otherwise. If the strategy wants the connection pinged
    /// first and the driver blocks, this thread pings it. A worker does so if
    /// [`ping_on`](Settings::ping_on) says so, or if less time is left than a ping may take.
    ///
    /// # Errors
    ///
    /// Returns [`GetError`], whose variants tell why no connection could be borrowed.
    #[inline(always)]
    #[track_caller]
    pub fn get(&self) -> Result<PooledConnection<M>, GetError<M::Error>> {
        self.lend(None, Location::caller(), ORDINARY)
    }

    /// As [`get`](Self::get), but waits up to `timeout`. With zero it lends an idle connection or
    /// returns at once, and then counts as demand like a failed [`try_get`](Self::try_get). With
    /// [`Duration::MAX`] it waits without a limit.
    ///
    /// # Errors
    ///
    /// Returns [`GetError`], as [`get`](Self::get) does.
    #[inline]
    #[track_caller]
    pub fn get_timeout(
        &self,
        timeout: Duration,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        self.lend(Some(timeout), Location::caller(), ORDINARY)
    }

    /// The error is returned through `error`, so that a connection comes back in registers.
    #[inline(always)]
    pub(super) fn lend(
        &self,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
        class: u8,
    ) -> Lending<M> {
        match lend_at_home(&self.raw, borrower) {
            Ok(connection) => Ok(connection),
            Err(taken) => {
                let mut error = GetError::Closed;
                self.get_slowly(taken, timeout, borrower, class, &mut error).ok_or(error)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn get_slowly(
        &self,
        taken: Option<Slot<M>>,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
        class: u8,
        error: &mut GetError<M::Error>,
    ) -> Option<PooledConnection<M>> {
        if self.raw.is_inherited() {
            std::mem::forget(taken);
            *error = GetError::Forked;
            return None;
        }
        let step = match judge_or_claim(&self.raw, taken) {
            Step::Lend(slot) => return Some(lend(slot, borrower, Face::Blocking)),
            step => step,
        };
        let is_pinging = Relaxed::default();
        let checkout = Checkout::begin(&self.raw, Face::Blocking, timeout, borrower, &is_pinging)
            .of_class(class);
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
    /// The future is ready at its first poll if a connection is idle and fit. If the strategy wants
    /// the connection pinged and the driver blocks, a worker pings it, not the executor.
    ///
    /// A future that is not polled does not block other borrowers. A connection handed to it goes
    /// to the next waiter after 25 ms (for a second from then on, after 0.25 ms), or when its
    /// timeout has passed. The future keeps its place in line; if it lets a second connection
    /// lapse, the pool passes it over until it is polled. If it was in the middle of a ping, the
    /// pool finishes the ping after a second.
    ///
    /// Cancel-safe: a future dropped while it waits leaves the line. A connection already handed to
    /// it goes to the next waiter. If it was in the middle of a ping, the pool replaces the
    /// connection, unless [`Manager::ping_is_cancel_safe`] returns true.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled again after it was ready.
    ///
    /// # Errors
    ///
    /// Returns [`GetError`], as [`get`](Self::get) does.
    #[inline(always)]
    #[track_caller]
    pub fn get_async(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<M>, GetError<M::Error>>> + Send + '_ {
        let borrower = Location::caller();
        FastPath::new(&self.raw, borrower, move |taken| {
            self.get_slowly_async(taken, None, borrower, ORDINARY)
        })
    }

    /// As [`get_async`](Self::get_async), but waits up to `timeout`, as
    /// [`get_timeout`](Self::get_timeout) does.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled again after it was ready.
    ///
    /// # Errors
    ///
    /// Returns [`GetError`], as [`get`](Self::get) does.
    #[inline(always)]
    #[track_caller]
    pub fn get_timeout_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<PooledConnection<M>, GetError<M::Error>>> + Send + '_ {
        let borrower = Location::caller();
        FastPath::new(&self.raw, borrower, move |taken| {
            self.get_slowly_async(taken, Some(timeout), borrower, ORDINARY)
        })
    }

    pub(super) async fn get_slowly_async(
        &self,
        taken: Option<Slot<M>>,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
        class: u8,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let step = match judge_or_claim(&self.raw, taken) {
            Step::Lend(slot) => return Ok(lend(slot, borrower, Face::Async)),
            step => step,
        };
        let is_pinging = Relaxed::default();
        let checkout =
            Checkout::begin(&self.raw, Face::Async, timeout, borrower, &is_pinging).of_class(class);
        let mut checkout = pin!(checkout.run(step));
        poll_fn(|cx| {
            // Also if it was begun before the fork: a ping is not gone on with.
            if self.raw.is_inherited() {
                return Poll::Ready(Err(GetError::Forked));
            }
            checkout.as_mut().poll(cx)
        })
        .await
    }

    /// Borrows an idle connection, if there is one and no other borrower waits for it (or
    /// [`Fairness`](crate::Fairness) lets newcomers go first).
    ///
    /// Wait-free: at most `capacity` + 1 atomic read-modify-writes; no allocation, no lock, and no
    /// system call unless a connection must be pinged or closed. It asks the strategy but never
    /// pings: it hands a connection that must be pinged to a worker, and a later attempt may borrow
    /// it.
    ///
    /// A failed attempt counts as demand: if the pool has room, it begins to open a connection
    /// within 25 ms, one at a time for all such attempts. In a pool with
    /// [`manual_maintenance`](crate::Builder::manual_maintenance) the next
    /// [`maintain`](Self::maintain) does so.
    ///
    /// # Errors
    ///
    /// Returns [`TryGetError`] if no connection is idle, if other borrowers wait for one, if the
    /// pool is closed, or if it belongs to the parent process.
    #[inline(always)]
    #[track_caller]
    pub fn try_get(&self) -> Result<PooledConnection<M>, TryGetError> {
        let borrower = Location::caller();
        match lend_at_home(&self.raw, borrower) {
            Ok(connection) => Ok(connection),
            Err(taken) => lend_now(&self.raw, taken, borrower),
        }
    }

    /// Returns a copy of the current settings, to change and [`set`](Self::set).
    pub fn settings(&self) -> Settings {
        Settings::clone(&self.state().settings.load())
    }

    /// Replaces all settings at once or, if they contradict each other, none.
    ///
    /// A lowered `max_size` closes idle connections at once, longest idle first, and lent ones on
    /// their return. Timeouts apply from the next call that they limit.
    ///
    /// # Errors
    ///
    /// Returns all problems of `settings`; the pool keeps its old ones.
    pub fn set(&self, settings: Settings) -> Result<(), ConfigError> {
        self.change(|current| *current = settings)
    }

    /// Changes some settings under a lock, so that concurrent changes do not undo each other.
    /// `change` must not change the settings of the same pool, or of its reserve: it would
    /// deadlock. The [reserve](Self::reserved) follows, except for its sizes.
    ///
    /// # Errors
    ///
    /// Returns all problems of the changed settings; the pool keeps its old ones. In a forked child
    /// an inherited pool does not call `change`.
    ///
    /// ```
    /// # use caliburn::{ConfigError, Manager, Pool};
    /// # fn shift<M: Manager>(pool: &Pool<M>) -> Result<(), ConfigError> {
    /// pool.change(|settings| {
    ///     settings.min_size += 10;
    ///     settings.max_size += 10;
    /// })
    /// # }
    /// ```
    pub fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), ConfigError> {
        if self.raw.is_inherited() {
            return ConfigError::of(vec![Problem::Forked]);
        }
        let state = self.state();
        let changing = state.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.settings.load_full();
        let mut after = Settings::clone(&before);
        change(&mut after);
        after.validate(self.raw.capacity())?;
        let by = before.max_size as i64 - after.max_size as i64;
        if let Some(reserve) = self.reserved().map(Self::state) {
            let following = after.with_sizes_of(&reserve.settings.load());
            reserve.put(following);
        }
        state.put(after);
        drop(changing);
        // Differences add up to the same, in whatever order they are made.
        self.heed(by);
        self.reserved().into_iter().for_each(|reserve| reserve.heed(0));
        Ok(())
    }

    /// Does what new settings call for. They take away `by` slots.
    fn heed(&self, by: i64) {
        growth::forget_start(&self.raw);
        self.raw.adjust(by);
        shrink::shed(&self.raw);
        worker::grow(&self.raw);
        self.state().ring.ring();
        self.state().events.post();
    }

    /// Returns the number of slots, the upper bound of `max_size`.
    pub fn capacity(&self) -> usize {
        self.raw.capacity()
    }

    /// Returns the manager that opens connections now. A connection that was opened before a
    /// [switch](Self::switch_manager) is looked after by the manager of that time.
    pub fn manager(&self) -> Arc<M> {
        self.state().manager.load_full()
    }

    /// Does on this thread what the housekeeper would do now, in the [reserve](Self::reserved) too:
    /// keeps deadlines, begins or continues a sweep if it is due, and asks for growth.
    ///
    /// Only a pool with [`manual_maintenance`](crate::Builder::manual_maintenance) needs it. There
    /// it also does the work of the workers, drives the futures of an async manager, and returns
    /// when nothing is left to do. A connect that hangs keeps it busy until the limit of that
    /// connect.
    ///
    /// If another thread is at it already, that thread goes on and does it. With a
    /// [mocked clock](crate::Clock::mock) this call waits for it, for a second at most.
    pub fn maintain(&self) {
        self.whole().for_each(Self::keep_order);
    }

    fn keep_order(&self) {
        // The work is the parent's.
        while !self.raw.is_inherited() {
            visit::visit(&self.raw);
            visit::await_other(&self.raw);
            if self.state().has_no_jobs() || !self.state().is_manual() {
                return;
            }
            worker::run_all(&self.raw);
        }
    }

    /// Begins a sweep now, even if none is due, and [maintains](Self::maintain) the pool. The
    /// strategy judges the idle connections. The pool closes those idle for too long, down to the
    /// minimum, and replaces those that the minimum needs.
    pub fn sweep(&self) {
        self.whole().for_each(|pool| sweep::ask(&pool.raw));
        self.maintain();
    }
}

impl<M: Manager> Drop for Pool<M> {
    fn drop(&mut self) {
        if self.raw.is_inherited() {
            // Never the last of it, so that no destructor of what is in it runs.
            return std::mem::forget(Arc::clone(&self.raw));
        }
        // O9: the drop of the last handle comes after all that the others did.
        if self.state().handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }
}
