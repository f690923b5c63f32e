//! Errors: one type per operation, each with its cause and the counts of the moment.

mod add;
mod build;
mod many;
mod switch;

pub use add::{AddError, AddReason};
pub use build::{BuildError, ConfigError, NotReady, Problem};
pub use many::GetManyError;
pub use switch::SwitchError;

use crate::hooks::HookError;
use crate::sync::Arc;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// Why a call into a manager brought no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManagerError<E> {
    /// The manager returned this error.
    Failed(E),
    /// A [hook](crate::Builder::after_connect) returned this error, which is not the manager's.
    Hook(HookError),
    /// The call did not end within its limit.
    TimedOut,
    /// The manager panicked, with this message.
    Panicked(String),
    /// The [spawner](crate::Builder::spawner) panicked, dropped the call's task, or did not poll it
    /// in time. A thread of the pool ran the call instead, and the manager panicked there with this
    /// message.
    Spawner(String),
    /// The call had not ended when the borrower's time was up.
    Pending,
}

impl<E: Error + 'static> ManagerError<E> {
    /// A hook's error: the driver's own, if it is one of those.
    pub(crate) fn of_hook(error: HookError) -> Self {
        match error.downcast() {
            Ok(error) => Self::Failed(*error),
            Err(error) => Self::Hook(error),
        }
    }
}

impl<E: Error + 'static> ManagerError<E> {
    /// As the source of another error: the driver's error itself, if there is one.
    fn as_source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Pending => None,
            other => Some(other),
        }
    }
}

impl<E: Error + 'static> fmt::Display for ManagerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::Hook(_) => f.write_str("a hook failed"),
            Self::TimedOut => f.write_str("no answer within the limit"),
            Self::Panicked(message) => write!(f, "the manager panicked: {message}"),
            Self::Spawner(message) => write!(
                f,
                "the spawner did not run the task; on a thread of the pool it panicked: {message}"
            ),
            Self::Pending => f.write_str("no answer yet"),
        }?;
        write_causes(self, f)
    }
}

/// Appends the causes of `error` in the alternate form, `{error:#}`. In the plain form an error
/// says only what it knows itself, and its `source()` the rest, so that no report says it twice.
/// Leaves out what was said already, as some drivers repeat the cause in their own text.
fn write_causes(error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !f.alternate() {
        return Ok(());
    }
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            write!(f, ": {text}")?;
            said = text;
        }
        next = cause.source();
    }
    Ok(())
}

impl<E: Error + 'static> Error for ManagerError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Hook(error) => Some(&**error),
            _ => None,
        }
    }
}

/// What a pool looked like when something went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Maximum number of connections.
    pub max_size: usize,
    /// Open connections that no borrower holds.
    pub idle: usize,
    /// Connections held by borrowers.
    pub lent: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Connections being pinged, reset or closed.
    pub maintenance: usize,
    /// Slots whose call into the manager has outlived its limit.
    pub quarantined: usize,
    /// Borrowers in line.
    pub waiting: usize,
    /// Whether the pool is [paused](crate::Pool::pause).
    pub is_paused: bool,
}

impl Counts {
    /// Whether nothing is lent on purpose.
    pub(crate) fn is_shut(&self) -> bool {
        self.is_paused || self.max_size == 0
    }

    /// What keeps borrowers waiting, if it is not the manager.
    fn obstacle(&self) -> Option<&'static str> {
        if self.is_paused {
            Some("the pool is paused")
        } else if self.max_size == 0 {
            Some("max_size is 0")
        } else if self.lent >= self.max_size {
            Some("all are lent, Pool::holders() says to whom")
        } else {
            None
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_size, idle, lent, opening, maintenance, quarantined, .. } = self;
        write!(f, "of {max_size}: {idle} idle, {lent} lent, {opening} opening")?;
        for (count, what) in [(maintenance, "in maintenance"), (quarantined, "quarantined")] {
            if *count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(f, "; {} waiting", self.waiting)
    }
}

/// What a borrower was waiting for when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// A connection, returned or freshly opened.
    Wait,
    /// A connect, as no connection was open at all.
    Connect,
    /// The ping of the connection that it was about to borrow.
    Ping,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wait => "waiting for a connection",
            Self::Connect => "waiting for a first connection to be opened",
            Self::Ping => "waiting for the ping of a connection",
        })
    }
}

/// Why [`get`](crate::Pool::get), [`get_timeout`](crate::Pool::get_timeout) or their async forms
/// returned no connection.
///
/// `Display` says in one sentence what the borrower waited for, how long, and what the pool looked
/// like. If connecting or a ping failed, the `source()` is the driver's error. `{error:#}` shows
/// all of it; so do reports, such as anyhow's.
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
        /// In phase `Ping`, the error of the last ping; else that of the last connect, if it
        /// failed. [`Pending`](ManagerError::Pending) if neither failed and the borrower could only
        /// wait for the manager; `None` if it could wait for other borrowers.
        cause: Option<Arc<ManagerError<E>>>,
    },
    /// The line is as long as [`Settings::max_waiters`](crate::Settings::max_waiters) allows.
    TooManyWaiters {
        /// What the pool looked like.
        counts: Counts,
    },
    /// The borrower was turned away, as [`Settings::shedding`](crate::Settings::shedding) says: the
    /// pool cannot serve all in time. Try again later, or answer without the database.
    Shed {
        /// How long the borrower had waited.
        waited: Duration,
        /// The longest wait that is right.
        target: Duration,
        /// What the pool looked like.
        counts: Counts,
    },
    /// The borrower was refused at once, as
    /// [`Settings::deadline_admission`](crate::Settings::deadline_admission) says: it could not be
    /// served in time.
    Hopeless {
        /// How long it would have had to wait, as far as can be told. Twice as long is more than
        /// it had left of its limit.
        expected_wait: Duration,
        /// Its own limit.
        limit: Duration,
        /// What the pool looked like.
        counts: Counts,
    },
    /// Connecting failed with a permanent error or, with [`fail_fast`](crate::Settings::fail_fast),
    /// with any error.
    Connect {
        /// What the pool looked like.
        counts: Counts,
        /// The reason; its `source()` is the driver's error.
        cause: Arc<ManagerError<E>>,
    },
    /// The health strategy evicted every connection that the borrower was offered: more than
    /// `max_size`, and one of them opened after the borrower came. Further attempts would not help.
    AllEvicted {
        /// Number of connections evicted.
        evicted: usize,
        /// What the pool looked like.
        counts: Counts,
    },
    /// A blocking `get` on the one thread that drives the connections' runtime: the driver needs
    /// this thread to open, ping or return a connection, so the `get` would wait for ever. Use
    /// [`get_async`](crate::Pool::get_async), or block another thread.
    WrongThread {
        /// What the pool looked like.
        counts: Counts,
    },
    /// The borrower holds a connection and would wait for another, as all others that hold one do:
    /// none would ever come back. Only if the pool
    /// [identifies](crate::Builder::identify_borrowers) borrowers.
    Deadlock {
        /// Where in the source the borrower had asked for the connection that it holds.
        held: &'static Location<'static>,
        /// What the pool looked like.
        counts: Counts,
    },
    /// The pool is closed.
    Closed,
    /// The process was forked, and the pool is its [parent's](crate::Pool#forks).
    Forked,
}

/// The text of every error of an inherited pool.
pub(crate) const FORKED: &str =
    "this process was forked and the pool is its parent's; build a pool of its own in the child";

impl<E: Error + 'static> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { phase, waited, counts, cause } => {
                write!(f, "timed out after {waited:.1?} {phase} ({counts})")?;
                match (phase, cause.as_deref()) {
                    (_, Some(ManagerError::Pending)) => {
                        f.write_str("; the manager has not answered yet")
                    }
                    (Phase::Ping, Some(_)) => f.write_str("; the last ping failed"),
                    (_, Some(_)) => f.write_str("; the last connect failed"),
                    (_, None) => {
                        counts.obstacle().map_or(Ok(()), |obstacle| write!(f, "; {obstacle}"))
                    }
                }
            }
            Self::TooManyWaiters { counts } => {
                write!(f, "as many borrowers as max_waiters allows wait already ({counts})")
            }
            Self::Shed { waited, target, counts } => write!(
                f,
                "turned away after {waited:.1?} in a line that is slower than {target:.1?}: there \
                 are more borrowers than the pool can serve; send fewer, hold connections for \
                 shorter, or raise max_size if the server has room ({counts})"
            ),
            Self::Hopeless { expected_wait, limit, counts } => write!(
                f,
                "refused at once: a wait of {expected_wait:.1?} is to be expected, and twice that \
                 is more than the limit of {limit:.1?} leaves; try again later, allow more time, \
                 hold connections for shorter, or raise max_size if the server has room ({counts})"
            ),
            Self::Connect { counts, .. } => write!(f, "cannot connect ({counts})"),
            Self::AllEvicted { evicted, counts } => write!(
                f,
                "the health strategy evicted {evicted} connections in a row, fresh ones too \
                 ({counts}); Stats::evictions has the causes"
            ),
            Self::WrongThread { counts } => write!(
                f,
                "a blocking get on the thread that drives the connections would wait for itself; \
                 use get_async, or block another thread ({counts})"
            ),
            Self::Deadlock { held, counts } => write!(
                f,
                "every connection is held by a borrower that waits for another one; this one's is \
                 from {held}: return it first, or raise max_size ({counts})"
            ),
            Self::Closed => f.write_str("the pool is closed"),
            Self::Forked => f.write_str(FORKED),
        }?;
        write_causes(self, f)
    }
}

impl<E: Error + 'static> Error for GetError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TimedOut { cause, .. } => cause.as_deref().and_then(ManagerError::as_source),
            Self::Connect { cause, .. } => cause.as_source(),
            _ => None,
        }
    }
}

/// Why [`try_get`](crate::Pool::try_get) returned no connection. It carries no counts: taking them
/// would cost more than the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryGetError {
    /// No connection is idle, or others are waiting for one.
    Empty,
    /// The pool is [paused](crate::Pool::pause).
    Paused,
    /// The pool is closed.
    Closed,
    /// The process was forked, and the pool is its [parent's](crate::Pool#forks).
    Forked,
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "no connection is idle, or others wait for it",
            Self::Paused => "the pool is paused",
            Self::Closed => "the pool is closed",
            Self::Forked => FORKED,
        })
    }
}

impl Error for TryGetError {}
