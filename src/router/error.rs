//! Why a router lends nothing, and why it takes no endpoint.

use super::stats::EndpointState;
use super::target::Target;
use crate::error::{FORKED, GetError, ManagerError};
use crate::role::Role;
use crate::sync::Arc;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why [`Router::get`](crate::Router::get) and its other forms returned no connection.
///
/// `Display` names each endpoint, and why it did not serve. The `source()` is the first of those
/// causes.
#[derive(Debug)]
#[non_exhaustive]
pub enum RouteError<E> {
    /// The time was up.
    TimedOut {
        /// What was asked for.
        target: Target,
        /// How long the borrower had waited.
        waited: Duration,
        /// Each endpoint, and why it did not serve.
        endpoints: Vec<EndpointError<E>>,
    },
    /// No endpoint can serve, and waiting would not help: each that could has refused the borrower,
    /// fails with a permanent error (with [`fail_fast`](crate::Settings::fail_fast): with any), is
    /// draining or closed; or there is none.
    Unavailable {
        /// What was asked for.
        target: Target,
        /// Each endpoint, and why it did not serve.
        endpoints: Vec<EndpointError<E>>,
    },
    /// The borrower asks in a way in which no endpoint could serve it:
    /// [`WrongThread`](GetError::WrongThread) or [`Deadlock`](GetError::Deadlock).
    Refused {
        /// The endpoint that said so.
        endpoint: Arc<str>,
        /// What it said.
        error: GetError<E>,
    },
    /// The process was forked, and the router is its parent's.
    Forked,
}

/// An endpoint that did not serve a borrower.
#[derive(Debug)]
#[non_exhaustive]
pub struct EndpointError<E> {
    /// Its name.
    pub name: Arc<str>,
    /// Its role.
    pub role: Role,
    /// Its state.
    pub state: EndpointState,
    /// What its pool said to this borrower, if it was asked.
    pub refusal: Option<GetError<E>>,
    /// Why the endpoint is out.
    pub cause: Option<Arc<ManagerError<E>>>,
}

impl<E: Error + 'static> fmt::Display for EndpointError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) is {}", self.name, self.role, self.state)?;
        match (&self.refusal, &self.cause) {
            (Some(refusal), _) => write!(f, ": {refusal:#}"),
            (None, Some(cause)) => write!(f, ": {cause:#}"),
            (None, None) => Ok(()),
        }
    }
}

impl<E: Error + 'static> Error for EndpointError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match (&self.refusal, &self.cause) {
            (Some(refusal), _) => refusal.source(),
            (None, Some(cause)) => Some(&**cause),
            (None, None) => None,
        }
    }
}

impl<E: Error + 'static> fmt::Display for RouteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = match self {
            Self::TimedOut { target, waited, endpoints } => {
                write!(f, "timed out after {waited:.1?} waiting for {target}")?;
                endpoints
            }
            Self::Unavailable { target, endpoints } => {
                write!(f, "no connection to {target} can be had")?;
                endpoints
            }
            Self::Refused { endpoint, error } => return write!(f, "{endpoint}: {error}"),
            Self::Forked => return f.write_str(FORKED),
        };
        if endpoints.is_empty() {
            return f.write_str(": the router has no endpoints");
        }
        for (n, endpoint) in endpoints.iter().enumerate() {
            write!(f, "{}{endpoint}", if n == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

impl<E: Error + 'static> Error for RouteError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TimedOut { endpoints, .. } | Self::Unavailable { endpoints, .. } => {
                endpoints.iter().find_map(Error::source)
            }
            Self::Refused { error, .. } => error.source(),
            Self::Forked => None,
        }
    }
}

/// Why a router takes no endpoint, or was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum RouterError<E> {
    /// There is an endpoint of that name already.
    DuplicateName(Arc<str>),
    /// The endpoint's pool was not built.
    Build {
        /// The endpoint's name.
        endpoint: Arc<str>,
        /// Why.
        error: crate::error::BuildError<E>,
    },
    /// The system has no thread left for the upkeep.
    Thread(std::io::Error),
    /// The process was forked, and the router is its parent's.
    Forked,
}

impl<E: Error + 'static> fmt::Display for RouterError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateName(name) => write!(f, "there is an endpoint {name} already"),
            Self::Build { endpoint, error } => write!(f, "{endpoint}: {error}"),
            Self::Thread(_) => f.write_str("the system has no thread for the upkeep"),
            Self::Forked => f.write_str(FORKED),
        }
    }
}

impl<E: Error + 'static> Error for RouterError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Build { error, .. } => error.source(),
            Self::Thread(error) => Some(error),
            Self::DuplicateName(_) | Self::Forked => None,
        }
    }
}
