//! Errors in adding a connection that was opened elsewhere.

use super::FORKED;
use std::error::Error;
use std::fmt;

/// Why [`Pool::add`](crate::Pool::add) did not take a connection. It gives the connection back.
pub struct AddError<C> {
    /// The connection.
    pub connection: C,
    /// Why the pool did not take it.
    pub reason: AddReason,
}

/// See [`AddError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddReason {
    /// There are as many connections as `max_size` allows, those that are being opened included.
    Full,
    /// The pool is closed.
    Closed,
    /// The process was forked, and the pool is its [parent's](crate::Pool#forks).
    Forked,
}

impl fmt::Display for AddReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the pool has as many connections as max_size allows",
            Self::Closed => "the pool is closed",
            Self::Forked => FORKED,
        })
    }
}

impl<C> fmt::Debug for AddError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<C> fmt::Display for AddError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<C> Error for AddError<C> {}
