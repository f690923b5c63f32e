//! Whether a pool can serve its borrowers.

use super::ledger::Overrun;
use crate::error::ManagerError;
use crate::sync::Arc;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Whether a pool can serve its borrowers, and if not, why: for readiness probes and alarms. From
/// [`Pool::health`](crate::Pool::health). Its text has each problem with all its causes.
///
/// ```
/// # use caliburn::{Manager, Pool};
/// fn is_ready<M: Manager>(pool: &Pool<M>) -> bool {
///     let health = pool.health();
///     if !health.is_ok() {
///         eprintln!("{health}");
///     }
///     health.is_serving()
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolHealth<E> {
    /// The pool knows of no problem. A pool whose connections are all lent is ok.
    Ok,
    /// The pool serves borrowers, but has problems.
    Degraded(Vec<Defect<E>>),
    /// No connection is open, and connecting fails; or all slots are with calls that have outlived
    /// their limit.
    Down {
        /// For how long.
        since: Duration,
        /// Why the last attempt failed; `None` if fresh connections are dead at once.
        cause: Option<Arc<ManagerError<E>>>,
    },
    /// The pool is [paused](crate::Pool::pause), or its `max_size` is 0.
    Paused,
    /// The pool is closed, or belongs to the parent process.
    Closed,
}

/// A problem of a pool that serves its borrowers.
#[derive(Debug)]
#[non_exhaustive]
pub enum Defect<E> {
    /// Connecting fails. The pool lends the open connections as before.
    CannotConnect {
        /// For how long connecting has failed.
        since: Duration,
        /// Why the last attempt failed; `None` if fresh connections are dead at once.
        cause: Option<Arc<ManagerError<E>>>,
    },
    /// Fewer connections are open, or idle, than the settings require.
    BelowMinimum {
        /// Number of missing connections.
        missing: usize,
    },
    /// Calls into the manager that have outlived their limit; their slots are out of service.
    Overdue(Vec<Overrun>),
}

impl<E> PoolHealth<E> {
    /// Returns whether the pool knows of no problem.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok)
    }

    /// Returns whether the pool can serve borrowers: whether it is [`Ok`](Self::Ok) or
    /// [`Degraded`](Self::Degraded).
    pub fn is_serving(&self) -> bool {
        matches!(self, Self::Ok | Self::Degraded(_))
    }
}

impl<E: Error + 'static> fmt::Display for PoolHealth<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Degraded(defects) => {
                f.write_str("degraded: ")?;
                for (n, defect) in defects.iter().enumerate() {
                    write!(f, "{}{defect}", if n == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::Down { since, cause } => {
                write!(f, "down for {since:.1?}")?;
                write_cause(f, cause.as_deref())
            }
            Self::Paused => f.write_str("paused"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl<E: Error + 'static> fmt::Display for Defect<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotConnect { since, cause } => {
                write!(f, "connecting has failed for {since:.1?}")?;
                write_cause(f, cause.as_deref())
            }
            Self::BelowMinimum { missing } => {
                let connections = if *missing == 1 { "connection" } else { "connections" };
                write!(f, "{missing} {connections} fewer than the settings require")
            }
            Self::Overdue(overruns) => {
                for (n, overrun) in overruns.iter().enumerate() {
                    write!(f, "{}{overrun}", if n == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

/// With its sources: no error comes with a health that would tell them.
fn write_cause<E: Error + 'static>(
    f: &mut fmt::Formatter<'_>,
    cause: Option<&ManagerError<E>>,
) -> fmt::Result {
    match cause {
        // It has no `source` by which a report could ask for the rest.
        Some(cause) => write!(f, ": {cause:#}"),
        None => f.write_str(": connections are dead as soon as they are open"),
    }
}
