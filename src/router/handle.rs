//! The handle: what callers do with a router.

use super::roster::Roster;
use super::route::{First, Route, Routed, timed_out};
use super::state::State;
use super::stats::{EndpointStats, RouterStats};
use super::target::Target;
use super::upkeep::look_round;
use crate::clock::Tick;
use crate::error::TryGetError;
use crate::manager::{Face, Manager};
use crate::observe::cause_of;
use crate::pool::block_on;
use crate::sync::{Arc, Ordering};
use crate::{Pool, PooledConnection};
use std::fmt;
use std::future::Future;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A thread looks at the clock itself if the timer that should wake it is late by this.
const LATE: Duration = Duration::from_millis(1);

/// Several servers of the same data, with a [`Pool`] for each: a primary and its replicas, for
/// example. It sends each borrower to an endpoint that can serve it, leaves out endpoints that have
/// failed, and notices which one is the primary. See the [guide](crate::guide::endpoints).
///
/// ```
/// # use caliburn::{BlockingManager, Deadline, Manager, Role, RoleReport};
/// # struct Db(Role);
/// # impl Manager for Db {
/// #     type Connection = ();
/// #     type Error = std::io::Error;
/// # }
/// # impl BlockingManager for Db {
/// #     fn connect(&self, _: &Deadline) -> std::io::Result<()> { Ok(()) }
/// #     fn ping(&self, _: &mut (), _: &Deadline) -> std::io::Result<()> { Ok(()) }
/// # }
/// # fn connect_to(host: &str) -> Db { Db(Role::Unknown) }
/// use caliburn::{Pool, Router, Target};
/// use std::time::Duration;
///
/// let router = Router::builder()
///     .primary("db1", Pool::builder(connect_to("db1.internal")).max_size(8))
///     .replica("db2", Pool::builder(connect_to("db2.internal")).max_size(16))
///     .replica("db3", Pool::builder(connect_to("db3.internal")).max_size(16))
///     .max_lag(Duration::from_secs(10))
///     .build()
///     .unwrap();
///
/// let writer = router.get(Target::Primary).unwrap();
/// let reader = router.get_timeout(Target::PreferReplica, Duration::from_secs(1)).unwrap();
/// assert_eq!(router.endpoint_of(&writer).as_deref(), Some("db1"));
/// if let Ok(now) = router.try_get(Target::Any) {
///     drop(now);
/// }
/// for endpoint in router.stats().endpoints {
///     println!("{endpoint}"); // db2 (replica): up for 3.0s; 12 loans, 1 lent, 0 waiting
/// }
/// # drop((writer, reader));
/// ```
///
/// Clones are handles of the same router. With the last of them its pools are closed, unless they
/// have other handles. In a forked child it lends nothing, as its pools do.
pub struct Router<M: Manager> {
    pub(super) state: Arc<State<M>>,
}

impl<M: Manager> Router<M> {
    pub(super) fn adopt(state: Arc<State<M>>) -> Self {
        // O11: counted here, compared when dropped.
        state.handles.fetch_add(1, Ordering::Relaxed);
        Self { state }
    }

    /// Borrows a connection to an endpoint of that kind, blocking the thread for up to
    /// [`checkout_timeout`](crate::RouterBuilder::checkout_timeout).
    ///
    /// Of two endpoints drawn by chance it takes the one where a newcomer would be served sooner. A
    /// borrower that waits there when the endpoint fails goes to another one, within its limit. If
    /// no endpoint of that kind is up, it waits for one.
    ///
    /// # Errors
    ///
    /// Returns [`RouteError`](crate::RouteError), which names each endpoint and why it did not
    /// serve.
    #[track_caller]
    pub fn get(&self, target: Target) -> Routed<M> {
        let borrower = Location::caller();
        self.lend_idle(target, borrower)
            .or_else(|first| self.get_slowly(target, None, first, borrower))
    }

    /// As [`get`](Self::get), but waits up to `timeout`.
    ///
    /// # Errors
    ///
    /// Returns [`RouteError`](crate::RouteError), as [`get`](Self::get) does.
    #[track_caller]
    pub fn get_timeout(&self, target: Target, timeout: Duration) -> Routed<M> {
        let borrower = Location::caller();
        self.lend_idle(target, borrower)
            .or_else(|first| self.get_slowly(target, Some(timeout), first, borrower))
    }

    /// As [`get`](Self::get), from a task, on any executor.
    ///
    /// Cancel-safe: a future that is dropped leaves the line, as that of [`Pool::get_async`] does.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled again after it was ready.
    ///
    /// # Errors
    ///
    /// Returns [`RouteError`](crate::RouteError), as [`get`](Self::get) does.
    ///
    /// ```
    /// # use caliburn::{AsyncManager, RouteError, Router, Target};
    /// # async fn read<M: AsyncManager>(router: &Router<M>) -> Result<(), RouteError<M::Error>> {
    /// let connection = router.get_async(Target::Replica).await?;
    /// # drop(connection);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn get_async(&self, target: Target) -> impl Future<Output = Routed<M>> + Send + '_ {
        self.get_as_task(target, None, Location::caller())
    }

    /// As [`get_async`](Self::get_async), but waits up to `timeout`.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled again after it was ready.
    ///
    /// # Errors
    ///
    /// Returns [`RouteError`](crate::RouteError), as [`get`](Self::get) does.
    #[track_caller]
    pub fn get_timeout_async(
        &self,
        target: Target,
        timeout: Duration,
    ) -> impl Future<Output = Routed<M>> + Send + '_ {
        self.get_as_task(target, Some(timeout), Location::caller())
    }

    /// Borrows an idle connection to an endpoint of that kind, as [`Pool::try_get`] does: from the
    /// endpoint that `get` would take, else from any other.
    ///
    /// # Errors
    ///
    /// Returns [`TryGetError`], of the endpoint that was tried first;
    /// [`Empty`](TryGetError::Empty) if no endpoint of that kind is up.
    #[track_caller]
    pub fn try_get(&self, target: Target) -> Result<PooledConnection<M>, TryGetError> {
        let borrower = Location::caller();
        let first = match self.lend_idle(target, borrower) {
            Ok(connection) => return Ok(connection),
            Err(first) => first,
        };
        let mut error = TryGetError::Empty;
        let roster = self.state.roster.load_full();
        if let Some((endpoint, taken)) = first {
            match endpoint.pool.lend_now(taken, borrower) {
                Ok(connection) => return Ok(connection),
                Err(why) => error = why,
            }
        }
        for endpoint in roster.candidates(target) {
            if let Ok(connection) = endpoint.lend_if_idle(borrower) {
                return Ok(connection);
            }
        }
        Err(error)
    }

    fn lend_idle(
        &self,
        target: Target,
        borrower: &'static Location<'static>,
    ) -> Result<PooledConnection<M>, First<M>> {
        let roster = self.state.roster.load();
        let endpoint = roster.choose(target).ok_or(None)?;
        endpoint.pool.lend_idle(borrower).map_err(|taken| Some((Arc::clone(endpoint), taken)))
    }

    fn route(
        &self,
        target: Target,
        face: Face,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
    ) -> Route<'_, M> {
        let state = &*self.state;
        let begun = state.clock.now();
        let deadline = begun + timeout.unwrap_or(state.terms.checkout_timeout);
        Route { state, target, face, begun, deadline, borrower, refused: Vec::new() }
    }

    #[cold]
    #[inline(never)]
    fn get_slowly(
        &self,
        target: Target,
        timeout: Option<Duration>,
        first: First<M>,
        borrower: &'static Location<'static>,
    ) -> Routed<M> {
        let route = self.route(target, Face::Blocking, timeout, borrower);
        let (begun, until): (Tick, Tick) = (route.begun, route.deadline + LATE);
        block_on(route.run(first), &self.state.clock, until)
            .unwrap_or_else(|| Err(timed_out(&self.state, target, begun, Vec::new())))
    }

    async fn get_as_task(
        &self,
        target: Target,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
    ) -> Routed<M> {
        match self.lend_idle(target, borrower) {
            Ok(connection) => Ok(connection),
            Err(first) => {
                let route = self.route(target, Face::Async, timeout, borrower);
                Box::pin(route.run(first)).await
            }
        }
    }

    /// Returns the name of the endpoint that `connection` was borrowed from; `None` if it is not
    /// one of this router's, or was removed.
    pub fn endpoint_of(&self, connection: &PooledConnection<M>) -> Option<Arc<str>> {
        let roster = self.state.roster.load();
        let mut endpoints = roster.views.iter().map(|view| &view.endpoint);
        let found = endpoints.find(|endpoint| endpoint.pool.has_lent(connection))?;
        Some(Arc::clone(&found.name))
    }

    /// Returns the pool of the endpoint of that name, to change its settings for example.
    ///
    /// ```
    /// # use caliburn::{Manager, Router};
    /// # fn shrink<M: Manager>(router: &Router<M>) {
    /// if let Some(pool) = router.pool("db3") {
    ///     pool.change(|settings| settings.max_size = 4).unwrap();
    /// }
    /// # }
    /// ```
    pub fn pool(&self, name: &str) -> Option<Pool<M>> {
        let roster = self.state.roster.load();
        let view = roster.views.iter().find(|view| &*view.endpoint.name == name)?;
        Some(view.endpoint.pool.clone())
    }

    /// Returns each endpoint with its role, its state, and the figures of its pool.
    pub fn stats(&self) -> RouterStats {
        let (roster, now) = (self.state.roster.load_full(), self.state.clock.now());
        let each = roster.views.iter().map(|view| EndpointStats {
            name: Arc::clone(&view.endpoint.name),
            role: view.role,
            state: view.state,
            since: now.since(view.since),
            lag: view.endpoint.lag(),
            relapses: view.relapses,
            response: view.endpoint.response.get(),
            cause: view.cause.as_ref().map(|cause| cause_of(&**cause)),
            pool: view.endpoint.pool.stats(),
        });
        RouterStats { endpoints: each.collect() }
    }

    /// Has all endpoints asked for their roles at once, rather than when they are next due: for
    /// example, when a write has failed because the server is read-only, and the manager does not
    /// [see that itself](crate::Manager::tell_doubts). Does not block.
    ///
    /// ```
    /// # use caliburn::{Manager, Router};
    /// # fn on_error<M: Manager>(router: &Router<M>, is_read_only: bool) {
    /// if is_read_only {
    ///     router.recheck();
    /// }
    /// # }
    /// ```
    pub fn recheck(&self) {
        if self.state.is_inherited() {
            return;
        }
        let roster = self.state.roster.load();
        roster.views.iter().for_each(|view| view.endpoint.is_doubted.set(true));
        self.state.ring.ring();
    }

    /// [Maintains](Pool::maintain) all pools, then does on this thread what the router's upkeep
    /// would do now. Only a router with
    /// [`manual_maintenance`](crate::RouterBuilder::manual_maintenance) needs it.
    ///
    /// ```
    /// # use caliburn::{Manager, MockClock, Router};
    /// # use std::time::Duration;
    /// # fn test<M: Manager>(router: &Router<M>, hand: &MockClock) {
    /// hand.advance(Duration::from_secs(1));
    /// router.maintain(); // The endpoints are probed.
    /// # }
    /// ```
    pub fn maintain(&self) {
        if self.state.is_inherited() {
            return;
        }
        let maintain_pools = || {
            let roster = self.state.roster.load_full();
            roster.views.iter().for_each(|view| view.endpoint.pool.maintain());
        };
        maintain_pools();
        look_round(&self.state);
        // What was asked for.
        maintain_pools();
    }

    /// [Closes](Pool::close) the pools of all endpoints. Does not block.
    ///
    /// ```
    /// # use caliburn::{Manager, Router};
    /// # fn shut_down<M: Manager>(router: &Router<M>) {
    /// router.close();
    /// # }
    /// ```
    pub fn close(&self) {
        let roster = self.state.roster.load_full();
        roster.views.iter().for_each(|view| view.endpoint.pool.close());
        if !self.state.is_inherited() {
            self.state.ring.ring();
        }
    }
}

impl<M: Manager> Clone for Router<M> {
    fn clone(&self) -> Self {
        Self::adopt(Arc::clone(&self.state))
    }
}

impl<M: Manager> Drop for Router<M> {
    fn drop(&mut self) {
        if self.state.is_inherited() {
            // Never the last of it: what is in it is the parent's.
            return std::mem::forget(Arc::clone(&self.state));
        }
        // O9: the drop of the last handle comes after all that the others did.
        if self.state.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Not with the state, which the upkeep may hold for a while.
            let records = std::mem::take(&mut self.state.book().records);
            let roster = self.state.roster.swap(Arc::new(Roster::new(Vec::new())));
            drop((records, roster));
            self.state.ring.ring();
        }
    }
}

impl<M: Manager> fmt::Debug for Router<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roster = self.state.roster.load();
        let endpoints =
            roster.views.iter().map(|view| (&view.endpoint.name, view.role, view.state));
        f.debug_struct("Router").field("endpoints", &endpoints.collect::<Vec<_>>()).finish()
    }
}

/// As for [`Pool`]: a panic leaves nothing half done.
impl<M: Manager> UnwindSafe for Router<M> {}

/// As for [`UnwindSafe`].
impl<M: Manager> RefUnwindSafe for Router<M> {}
