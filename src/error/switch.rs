//! Errors in changing a pool's manager.

use super::{FORKED, ManagerError, write_causes};
use std::error::Error;
use std::fmt;

/// Why [`Pool::switch_manager`](crate::Pool::switch_manager) did not change the manager. The pool
/// goes on as before.
#[derive(Debug)]
#[non_exhaustive]
pub enum SwitchError<E> {
    /// The new manager could not open a connection in time. `Pending`: its call, which blocks, had
    /// not ended when the time was up.
    Connect(ManagerError<E>),
    /// The system has no thread left to try the new manager on.
    NoThread,
    /// A blocking call on the one thread that drives the runtime of the new manager's connections:
    /// the trial needs this thread. Use
    /// [`switch_manager_async`](crate::Pool::switch_manager_async), or block another thread.
    WrongThread,
    /// The pool is closed.
    Closed,
    /// The process was forked, and the pool is its [parent's](crate::Pool#forks).
    Forked,
}

impl<E: Error + 'static> fmt::Display for SwitchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect(_) => "the new manager cannot connect; the pool keeps the old one",
            Self::NoThread => {
                "no thread is left to try the new manager on; the pool keeps the old one"
            }
            Self::WrongThread => {
                "a blocking switch on the thread that drives the connections would wait for \
                 itself; use switch_manager_async, or block another thread"
            }
            Self::Closed => "the pool is closed",
            Self::Forked => FORKED,
        })?;
        write_causes(self, f)
    }
}

impl<E: Error + 'static> Error for SwitchError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // The driver's own error, if there is one.
            Self::Connect(ManagerError::Failed(error)) => Some(error),
            Self::Connect(other) => Some(other),
            _ => None,
        }
    }
}
