//! What a borrower needs of an endpoint.

use crate::role::Role;
use std::fmt;

/// Which endpoints may serve a borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// The primary: for writes, and for reads that must see the last write.
    Primary,
    /// A replica that does not lag too much; never the primary.
    Replica,
    /// A replica; the primary if none can serve.
    PreferReplica,
    /// Any endpoint, also one whose role is not known; a replica only if it does not lag too much.
    Any,
}

impl Target {
    pub(super) const ALL: [Self; 4] =
        [Self::Primary, Self::Replica, Self::PreferReplica, Self::Any];

    /// Whether an endpoint of that role could serve.
    pub(super) fn takes(self, role: Role) -> bool {
        match self {
            Self::Primary => role == Role::Primary,
            Self::Replica => role == Role::Replica,
            Self::PreferReplica => role != Role::Unknown,
            Self::Any => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "the primary",
            Self::Replica => "a replica",
            Self::PreferReplica => "a replica or the primary",
            Self::Any => "any endpoint",
        })
    }
}
