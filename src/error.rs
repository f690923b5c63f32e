//! Errors: one type per operation, each with its cause and the counts of the moment.

use crate::sync::Arc;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What came of a call into a manager.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManagerError<E> {
    /// The manager said no.
    Failed(E),
    /// It did not answer in time and was dropped.
    TimedOut,
    /// It panicked, with this message.
    Panicked(String),
}

impl<E: fmt::Display> fmt::Display for ManagerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::TimedOut => f.write_str("no answer within the limit"),
            Self::Panicked(message) => write!(f, "the manager panicked: {message}"),
        }
    }
}

impl<E: Error + 'static> Error for ManagerError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// What a pool looked like when something went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Open connections that nobody holds.
    pub idle: usize,
    /// Connections held by borrowers.
    pub lent: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Borrowers in line.
    pub waiting: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { idle, lent, opening, waiting } = self;
        write!(f, "{idle} idle, {lent} lent, {opening} opening, {waiting} waiting")
    }
}

/// What a borrower was waiting for when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// A connection: one returned, or one opened.
    Wait,
    /// The ping of the connection that it was about to get.
    Ping,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wait => "waiting for a connection",
            Self::Ping => "waiting for a ping",
        })
    }
}

/// Why [`get`](crate::Pool::get), [`get_timeout`](crate::Pool::get_timeout) or
/// [`get_async`](crate::Pool::get_async) came back without a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum GetError<E> {
    /// The time was up.
    TimedOut {
        /// What the borrower was waiting for.
        phase: Phase,
        /// How long it had waited.
        waited: Duration,
        /// What the pool looked like.
        counts: Counts,
        /// The error of the last attempt to connect, if that failed; this is the `source()`.
        cause: Option<Arc<ManagerError<E>>>,
    },
    /// The line is as long as [`Settings::max_waiters`](crate::Settings::max_waiters) allows.
    Full {
        /// What the pool looked like.
        counts: Counts,
    },
    /// Connecting failed for a reason that will not pass by itself.
    Connect {
        /// What the pool looked like.
        counts: Counts,
        /// The reason; this is the `source()`.
        cause: Arc<ManagerError<E>>,
    },
    /// The pool is closed.
    Closed,
}

impl<E: fmt::Display> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { phase, waited, counts, cause } => {
                write!(f, "timed out after {waited:.1?} {phase} ({counts})")?;
                match cause {
                    Some(cause) => write!(f, "; the last connect failed: {cause}"),
                    None => Ok(()),
                }
            }
            Self::Full { counts } => write!(f, "too many borrowers are waiting ({counts})"),
            Self::Connect { counts, cause } => write!(f, "cannot connect: {cause} ({counts})"),
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl<E: Error + 'static> Error for GetError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TimedOut { cause, .. } => cause.as_deref().map(|cause| cause as _),
            Self::Connect { cause, .. } => Some(&**cause),
            _ => None,
        }
    }
}

/// Why [`try_get`](crate::Pool::try_get) came back without a connection. It carries no counts: taking
/// them would cost more than the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryGetError {
    /// No connection is idle, or others are waiting for one.
    Empty,
    /// The pool is closed.
    Closed,
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "no connection is idle",
            Self::Closed => "the pool is closed",
        })
    }
}

impl Error for TryGetError {}

/// Why [`Builder::build`](crate::Builder::build) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError<E> {
    /// The configuration contradicts itself.
    Config(ConfigError),
    /// The system would not start the housekeeper's thread.
    Thread(std::io::Error),
    /// The pool was not [ready](crate::Builder::wait_ready) in time, or never will be.
    NotReady(NotReady<E>),
}

impl<E: fmt::Display> fmt::Display for BuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Thread(_) => f.write_str("the housekeeper's thread could not be started"),
            Self::NotReady(error) => error.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for BuildError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(_) => None,
            Self::Thread(error) => Some(error),
            Self::NotReady(error) => error.source(),
        }
    }
}

/// The first connections were not open in time, or a permanent error says that they never will be.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotReady<E> {
    /// How many connections are open.
    pub open: usize,
    /// How many should be.
    pub wanted: usize,
    /// The error of the last attempt to connect, if that failed; this is the `source()`.
    pub cause: Option<Arc<ManagerError<E>>>,
}

impl<E: fmt::Display> fmt::Display for NotReady<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pool is not ready: {} of {} connections are open", self.open, self.wanted)?;
        match &self.cause {
            Some(cause) => write!(f, "; the last connect failed: {cause}"),
            None => Ok(()),
        }
    }
}

impl<E: Error + 'static> Error for NotReady<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Everything that is wrong with a configuration, not only the first thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok` if there is no problem.
    pub(crate) fn of(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// The problems; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration: ")?;
        for (n, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A number or a duration must not be zero: the setting's name.
    Zero(&'static str),
    /// A number is greater than the one that bounds it.
    Above {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: usize,
        /// What bounds it.
        bound: &'static str,
        /// The bound's value.
        limit: usize,
    },
    /// A number is less than the one that bounds it.
    Below {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: usize,
        /// What bounds it.
        bound: &'static str,
        /// The bound's value.
        limit: usize,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(setting) => write!(f, "{setting} is zero"),
            Self::Above { setting, value, bound, limit } => {
                write!(f, "{setting} ({value}) is above {bound} ({limit})")
            }
            Self::Below { setting, value, bound, limit } => {
                write!(f, "{setting} ({value}) is below {bound} ({limit})")
            }
        }
    }
}
