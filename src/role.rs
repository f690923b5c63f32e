//! Which part a server plays among several that hold the same data.

use crate::sync::Arc;
use std::fmt;
use std::time::Duration;

/// The part that a server plays among the endpoints of a [`Router`](crate::Router).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows a primary, and serves reads.
    Replica,
    /// It was not asked yet, or cannot tell.
    #[default]
    Unknown,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Unknown => "unknown role",
        })
    }
}

/// What a server says of its role, from [`BlockingManager::role`](crate::BlockingManager::role).
///
/// ```
/// use caliburn::{Role, RoleReport};
/// use std::time::Duration;
///
/// let report = RoleReport::replica(Some(Duration::from_millis(40)));
/// assert_eq!(report.role, Role::Replica);
/// assert_eq!(RoleReport::primary(Some(7)).term, Some(7));
/// assert_eq!(RoleReport::default().role, Role::Unknown);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleReport {
    /// Its role. With [`Role::Unknown`] the endpoint keeps the role that it was declared with.
    pub role: Role,
    /// How far a replica is behind its primary, if it can tell.
    pub lag: Option<Duration>,
    /// The number of the primary's reign, if the database counts them (PostgreSQL's timeline): of
    /// two servers that both say that they are the primary, the higher one is right.
    pub term: Option<u64>,
}

impl RoleReport {
    /// Returns the report of a primary.
    pub fn primary(term: Option<u64>) -> Self {
        Self { role: Role::Primary, lag: None, term }
    }

    /// Returns the report of a replica that is behind its primary by `lag`.
    pub fn replica(lag: Option<Duration>) -> Self {
        Self { role: Role::Replica, lag, term: None }
    }
}

/// Tells a [`Router`](crate::Router) that a server may have changed its role. From
/// [`Manager::tell_doubts`](crate::Manager::tell_doubts).
///
/// ```
/// use caliburn::RoleDoubt;
/// use std::sync::Mutex;
///
/// #[derive(Default)]
/// struct MyManager {
///     doubt: Mutex<Option<RoleDoubt>>,
/// }
///
/// impl MyManager {
///     // In `Manager::tell_doubts`.
///     fn keep(&self, doubt: RoleDoubt) {
///         *self.doubt.lock().unwrap() = Some(doubt);
///     }
///     // Where the driver reports that the server is read-only.
///     fn note_refused_write(&self) {
///         if let Some(doubt) = &*self.doubt.lock().unwrap() {
///             doubt.tell();
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct RoleDoubt(Arc<dyn Fn() + Send + Sync>);

impl RoleDoubt {
    pub(crate) fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Has the server asked for its role at once. Takes no lock and does not block; many calls in a
    /// row are one.
    pub fn tell(&self) {
        (self.0)();
    }
}

impl fmt::Debug for RoleDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleDoubt").finish_non_exhaustive()
    }
}
