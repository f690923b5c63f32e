//! What a router tells of its endpoints.

use crate::role::Role;
use crate::stats::Stats;
use crate::sync::Arc;
use std::fmt;
use std::time::Duration;

/// What a [`Router`](crate::Router) makes of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointState {
    /// It serves.
    Up,
    /// It is a replica that is behind by more than
    /// [`max_lag`](crate::RouterBuilder::max_lag), and is left out.
    Lagging,
    /// It has failed, and is left out and probed.
    Out,
    /// It answers again, but has failed too often to be taken back yet.
    OnTrial,
    /// The user lets it [drain](crate::Router::drain).
    Draining,
    /// Its pool is [paused](crate::Pool::pause), or its `max_size` is 0.
    Paused,
    /// Its pool is closed.
    Closed,
}

impl EndpointState {
    /// Whether it may serve again without anybody doing anything to the router.
    pub(super) fn may_come_back(self) -> bool {
        !matches!(self, Self::Draining | Self::Closed)
    }
}

impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Lagging => "lagging",
            Self::Out => "out",
            Self::OnTrial => "on trial",
            Self::Draining => "draining",
            Self::Paused => "paused",
            Self::Closed => "closed",
        })
    }
}

/// A snapshot of a router, from [`Router::stats`](crate::Router::stats).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouterStats {
    /// Each endpoint, in the order in which they were added.
    pub endpoints: Vec<EndpointStats>,
}

impl RouterStats {
    /// Returns the figures of the endpoint of that name.
    ///
    /// ```
    /// # use caliburn::{Manager, Router, router::EndpointState};
    /// fn is_up<M: Manager>(router: &Router<M>, name: &str) -> bool {
    ///     router.stats().endpoint(name).is_some_and(|one| one.state == EndpointState::Up)
    /// }
    /// ```
    pub fn endpoint(&self, name: &str) -> Option<&EndpointStats> {
        self.endpoints.iter().find(|one| &*one.name == name)
    }
}

/// An endpoint and its figures.
///
/// `Display` makes a line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Its name.
    pub name: Arc<str>,
    /// The role that it last told, or was declared with.
    pub role: Role,
    /// Whether it serves.
    pub state: EndpointState,
    /// For how long it has been in that state.
    pub since: Duration,
    /// How far it is behind the primary, as it last told.
    pub lag: Option<Duration>,
    /// How often it has failed soon after it was taken back, since it was last calm.
    pub relapses: u32,
    /// What a loan lasts there, as a moving mean; `None` if none was measured.
    pub response: Option<Duration>,
    /// Why it is out.
    pub cause: Option<Arc<str>>,
    /// The figures of its pool; `checkouts` are its loans.
    pub pool: Stats,
}

impl fmt::Display for EndpointStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, role, state, since, pool, .. } = self;
        write!(f, "{name} ({role}): {state} for {since:.1?}")?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(lag) = self.lag {
            write!(f, "; lags by {lag:.1?}")?;
        }
        if self.relapses > 0 {
            write!(f, "; {} relapses", self.relapses)?;
        }
        let Stats { checkouts, lent, waiting, .. } = pool;
        write!(f, "; {checkouts} loans, {lent} lent, {waiting} waiting")?;
        self.response.map_or(Ok(()), |response| write!(f, "; a loan lasts {response:.1?}"))
    }
}

impl fmt::Display for RouterStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, endpoint) in self.endpoints.iter().enumerate() {
            write!(f, "{}{endpoint}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// A change of an endpoint, for [`RouterBuilder::observer`](crate::RouterBuilder::observer).
///
/// `Display` makes a line for a log of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointChange {
    /// The endpoint's name.
    pub name: Arc<str>,
    /// Its role from now on.
    pub role: Role,
    /// Its state from now on.
    pub state: EndpointState,
    /// Why it is out.
    pub cause: Option<Arc<str>>,
}

impl fmt::Display for EndpointChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) is {}", self.name, self.role, self.state)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}
