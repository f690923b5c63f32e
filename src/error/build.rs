//! Errors in building and configuring a pool.

use super::{FORKED, ManagerError, write_causes};
use crate::sync::Arc;
use std::error::Error;
use std::fmt;

/// Why [`Builder::build`](crate::Builder::build) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError<E> {
    /// The settings contradict each other.
    Config(ConfigError),
    /// The system could not start the housekeeper's thread.
    Thread(std::io::Error),
    /// The pool was not [ready](crate::Builder::wait_ready) in time, or never will be.
    NotReady(NotReady<E>),
}

impl<E: Error + 'static> fmt::Display for BuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NotReady(error) => error.fmt(f),
            Self::Thread(_) => {
                f.write_str("cannot start the housekeeper's thread")?;
                write_causes(self, f)
            }
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

/// The first connections were not open in time, or never will be: connecting failed with a
/// permanent error or, with [`fail_fast`](crate::Settings::fail_fast), with any error; or the pool
/// is closed.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotReady<E> {
    /// How many connections are open.
    pub open: usize,
    /// How many should be.
    pub wanted: usize,
    /// The error of the last connect, if it failed; its `source()` is the driver's error.
    pub cause: Option<Arc<ManagerError<E>>>,
    /// Whether the pool is closed.
    pub is_closed: bool,
    /// Whether the pool is its parent's, as this process was forked.
    pub is_forked: bool,
}

impl<E: Error + 'static> fmt::Display for NotReady<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_forked {
            return write!(f, "the pool is not ready: {FORKED}");
        }
        if self.is_closed {
            return f.write_str("the pool is not ready: it is closed");
        }
        write!(f, "the pool is not ready: {} of {} connections are open", self.open, self.wanted)?;
        if self.cause.is_some() {
            f.write_str("; the last connect failed")?;
        }
        write_causes(self, f)
    }
}

impl<E: Error + 'static> Error for NotReady<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().and_then(ManagerError::as_source)
    }
}

/// All problems of a configuration, not only the first.
///
/// ```
/// # use caliburn::ConfigError;
/// fn report(error: &ConfigError) {
///     for problem in error.problems() {
///         eprintln!("- {problem}");
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok` if there is no problem.
    pub(crate) fn of(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn of_one(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }

    /// Returns the problems, at least one.
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

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The setting of this name must not be zero.
    Zero(&'static str),
    /// A setting is greater than its upper bound.
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
    /// A setting is less than its lower bound.
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
    /// No setting has this name.
    Unknown(String),
    /// The setting of this name is given more than once.
    Repeated(String),
    /// The setting of this name must be given.
    Missing(&'static str),
    /// A setting has a value that makes no sense. The value is not repeated, as it may be secret.
    Invalid {
        /// The setting.
        setting: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The setting of this name is another one in the [governor](crate::ConnectGovernor) that is in
    /// use under the same key, or whose limits were to be
    /// [changed](crate::ConnectGovernor::change).
    Differs(&'static str),
    /// The process was forked, and the pool whose settings were to be changed is its
    /// [parent's](crate::Pool#forks).
    Forked,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(setting) => write!(f, "{setting} must not be zero"),
            Self::Repeated(setting) => write!(f, "{setting} is given more than once"),
            Self::Above { setting, value, bound, limit } => {
                write!(f, "{setting} ({value}) is above {bound} ({limit})")
            }
            Self::Below { setting, value, bound, limit } => {
                write!(f, "{setting} ({value}) is below {bound} ({limit})")
            }
            Self::Unknown(setting) => write!(f, "{setting} is not a setting"),
            Self::Missing(setting) => write!(f, "{setting} is not given"),
            Self::Invalid { setting, expected } => write!(f, "{setting} must be {expected}"),
            Self::Differs(setting) => {
                write!(f, "{setting} is another one in the governor that is in use")
            }
            Self::Forked => f.write_str(FORKED),
        }
    }
}
