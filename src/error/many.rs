//! Errors in borrowing several connections at once.

use super::{GetError, write_causes};
use std::error::Error;
use std::fmt;

/// Why [`Pool::get_many`](crate::Pool::get_many) returned no connections. Those that it had
/// gathered are back in the pool.
#[derive(Debug)]
#[non_exhaustive]
pub enum GetManyError<E> {
    /// More connections were asked for than there may be, now that the call was made or, if
    /// [`max_size`](crate::Settings::max_size) has sunk meanwhile, while it waited.
    TooMany {
        /// How many were asked for.
        wanted: usize,
        /// How many there may be.
        max_size: usize,
    },
    /// One of the connections could not be borrowed.
    Get {
        /// How many were asked for.
        wanted: usize,
        /// How many had been gathered.
        gathered: usize,
        /// Why the next one could not be borrowed.
        error: GetError<E>,
    },
}

impl<E: Error + 'static> fmt::Display for GetManyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { wanted, max_size } => {
                write!(f, "{wanted} connections at once are more than max_size, {max_size}")
            }
            Self::Get { wanted, gathered, error } => {
                write!(f, "{gathered} of {wanted} connections were gathered; {error}")
            }
        }?;
        write_causes(self, f)
    }
}

impl<E: Error + 'static> Error for GetManyError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::TooMany { .. } => None,
            // Its own text is part of this one's.
            Self::Get { error, .. } => error.source(),
        }
    }
}
