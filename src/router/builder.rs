//! From endpoints and terms to a router.

use super::error::RouterError;
use super::handle::Router;
use super::members::EndpointPool;
use super::state::{Observer, State, Terms};
use super::stats::EndpointChange;
use crate::clock::Clock;
use crate::manager::Manager;
use crate::pool::{PERIOD, take_on};
use crate::role::Role;
use crate::sync::{Arc, Weak};
use std::fmt;
use std::time::Duration;

impl<M: Manager> Router<M> {
    /// Starts building a router; its page has an [example](Router).
    pub fn builder() -> RouterBuilder<M> {
        RouterBuilder {
            endpoints: Vec::new(),
            clock: Clock::real(),
            manual_maintenance: false,
            terms: Terms {
                checkout_timeout: Duration::from_secs(30),
                probe_interval: Duration::from_secs(1),
                probe_timeout: Duration::from_secs(1),
                max_lag: None,
                observers: Vec::new(),
            },
        }
    }
}

/// Builds a [`Router`].
///
/// ```
/// # use caliburn::{BlockingManager, Pool, Router, router::RouterError};
/// # use std::time::Duration;
/// fn build<M: BlockingManager>(
///     [db1, db2, db3]: [M; 3],
/// ) -> Result<Router<M>, RouterError<M::Error>> {
///     Router::builder()
///         .endpoint("db1", Pool::builder(db1).max_size(16)) // The manager tells its role.
///         .primary("db2", Pool::builder(db2)) // So they are until they say otherwise.
///         .replica("db3", Pool::builder(db3))
///         .checkout_timeout(Duration::from_secs(2))
///         .probe_interval(Duration::from_secs(1))
///         .probe_timeout(Duration::from_secs(1))
///         .max_lag(Duration::from_secs(10))
///         .observer(|change| eprintln!("{change}"))
///         .build()
/// }
/// ```
#[must_use]
pub struct RouterBuilder<M: Manager> {
    endpoints: Vec<(Arc<str>, Role, EndpointPool<M>)>,
    clock: Clock,
    manual_maintenance: bool,
    terms: Terms,
}

impl<M: Manager> RouterBuilder<M> {
    /// Adds an endpoint, by the pool or the builder of one. It serves [`Any`](crate::Target::Any)
    /// until its manager has told its [role](crate::BlockingManager::role).
    pub fn endpoint(self, name: impl Into<Arc<str>>, pool: impl Into<EndpointPool<M>>) -> Self {
        self.declare(name.into(), Role::Unknown, pool.into())
    }

    /// Adds an endpoint that is the primary, unless its manager says otherwise.
    pub fn primary(self, name: impl Into<Arc<str>>, pool: impl Into<EndpointPool<M>>) -> Self {
        self.declare(name.into(), Role::Primary, pool.into())
    }

    /// Adds an endpoint that is a replica, unless its manager says otherwise.
    pub fn replica(self, name: impl Into<Arc<str>>, pool: impl Into<EndpointPool<M>>) -> Self {
        self.declare(name.into(), Role::Replica, pool.into())
    }

    fn declare(mut self, name: Arc<str>, role: Role, pool: EndpointPool<M>) -> Self {
        self.endpoints.push((name, role, pool));
        self
    }

    /// Sets the limit on [`get`](Router::get) and [`get_async`](Router::get_async), whatever
    /// `checkout_timeout` the pools have. Default: 30 s.
    pub fn checkout_timeout(mut self, checkout_timeout: Duration) -> Self {
        self.terms.checkout_timeout = checkout_timeout;
        self
    }

    /// Sets how often each endpoint is asked for its role, by a connection of its pool: each 25 ms
    /// at most. Default: 1 s.
    pub fn probe_interval(mut self, probe_interval: Duration) -> Self {
        self.terms.probe_interval = probe_interval.max(PERIOD);
        self
    }

    /// Sets how long an endpoint may take to tell its role, 25 ms at least. When two answers in a
    /// row are late or wrong, the endpoint is left out. Default: 1 s.
    pub fn probe_timeout(mut self, probe_timeout: Duration) -> Self {
        self.terms.probe_timeout = probe_timeout.max(PERIOD);
        self
    }

    /// Sets how far a replica may be behind the primary, if the manager can tell how far it is; one
    /// that is further behind is left out. While the primary is out, none is. Default: no limit.
    pub fn max_lag(mut self, max_lag: Duration) -> Self {
        self.terms.max_lag = Some(max_lag);
        self
    }

    /// Adds a callback for each change of an endpoint's state or role. The router's upkeep calls
    /// it, or the thread that adds or drains an endpoint; it should not block, as it delays the
    /// upkeep. A panic in it is ignored. What happens in the pools is told to
    /// [their observers](crate::Builder::observer).
    pub fn observer(mut self, observer: impl Fn(&EndpointChange) + Send + Sync + 'static) -> Self {
        let observer: Observer = Box::new(observer);
        self.terms.observers.push(observer);
        self
    }

    /// Sets the clock that the router reads; its pools should have the same. Default:
    /// [`Clock::real`].
    ///
    /// ```
    /// # use caliburn::{Clock, Manager, MockClock, RouterBuilder};
    /// fn under_test<M: Manager>(builder: RouterBuilder<M>) -> (RouterBuilder<M>, MockClock) {
    ///     let (clock, hand) = Clock::mock();
    ///     (builder.clock(clock).manual_maintenance(), hand)
    /// }
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Turns off the upkeep in the background: only [`Router::maintain`] looks at the endpoints.
    /// For tests; [`clock`](Self::clock) has an [example](Self::clock). Default: a thread of the
    /// crate's own does it.
    pub fn manual_maintenance(mut self) -> Self {
        self.manual_maintenance = true;
        self
    }

    /// Builds the router, and the pools of those endpoints that were given by a builder.
    ///
    /// A server that cannot be reached is no error: its endpoint is left out until it can. The
    /// router opens a connection to each endpoint by itself, to ask for its role.
    ///
    /// # Errors
    ///
    /// Returns [`RouterError`] if two endpoints have the same name, if a pool cannot be built, or
    /// if the system has no thread left for the upkeep.
    pub fn build(self) -> Result<Router<M>, RouterError<M::Error>> {
        let state = Arc::new(State::new(self.clock, self.terms));
        let router = Router::adopt(state);
        for (name, role, pool) in self.endpoints {
            router.add(name, role, pool)?;
        }
        if !self.manual_maintenance {
            let weak: Weak<State<M>> = Arc::downgrade(&router.state);
            let (thread, number) = take_on(weak).map_err(RouterError::Thread)?;
            router.state.ring.hire(thread, number);
            router.state.ring.ring();
        }
        Ok(router)
    }
}

impl<M: Manager> fmt::Debug for RouterBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.endpoints.iter().map(|(name, role, _)| (name, role)).collect();
        f.debug_struct("RouterBuilder").field("endpoints", &names).finish_non_exhaustive()
    }
}
