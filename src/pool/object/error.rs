//! Why no object could be borrowed.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why no object could be borrowed from an [`ObjectPool`](super::ObjectPool).
///
/// ```
/// use caliburn::{ObjectError, ObjectPool};
///
/// let pool = ObjectPool::builder(1).build_fallible(|| "no number".parse::<u32>()).unwrap();
/// let Err(ObjectError::Make(error)) = pool.get() else { panic!() };
/// assert_eq!(error.to_string(), "invalid digit found in string");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectError<E> {
    /// The pool had room for an object, and the function that makes them returned this error.
    Make(E),
    /// All objects were lent or being made, and none came back in time.
    TimedOut {
        /// How long the borrower waited.
        waited: Duration,
    },
    /// All objects are lent, or other borrowers wait for one.
    Empty,
    /// No object is idle, and some are just being made, for other borrowers.
    BeingMade,
    /// The pool belongs to the parent process: this one was forked after it was built.
    Forked,
}

impl<E> fmt::Display for ObjectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(_) => f.write_str("the object could not be made"),
            Self::TimedOut { waited } => {
                write!(f, "no object came back within {waited:.1?}: all are lent or being made")
            }
            Self::Empty => f.write_str("all objects are lent, or others wait for one"),
            Self::BeingMade => f.write_str("no object is idle: some are just being made"),
            Self::Forked => {
                f.write_str("the pool belongs to the parent process: build pools anew after a fork")
            }
        }
    }
}

impl<E: Error + 'static> Error for ObjectError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Make(error) => Some(error),
            Self::TimedOut { .. } | Self::Empty | Self::BeingMade | Self::Forked => None,
        }
    }
}
