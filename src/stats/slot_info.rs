//! What can be seen of one slot from outside.

use super::ledger::{Call, Holder};
use std::fmt;
use std::time::Duration;

/// One slot of a pool, as [`Pool::slots`](crate::Pool::slots) saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotInfo {
    /// What the slot is doing.
    pub state: SlotState,
    /// How long it has been idle or lent, or the call has been running. `None` for the other
    /// states.
    pub since: Option<Duration>,
    /// How long ago the slot's connection was opened; `None` if it has none. A connection that is
    /// being closed is there until that is done.
    pub age: Option<Duration>,
    /// How often the slot was lent, by all the connections that it has had.
    pub checkouts: u64,
}

/// What a slot is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotState {
    /// Its connection is free to be lent.
    Idle,
    /// A borrower holds its connection.
    Lent(Holder),
    /// A connection is being opened in it, or is queued to be opened.
    Opening,
    /// Its connection is being pinged, reset or closed.
    Maintenance(Call),
    /// A call for it has outlived its limit: see [`Pool::overruns`](crate::Pool::overruns).
    Quarantined(Call),
    /// Its connection is between two of these states: it is being judged, is queued for a call, or
    /// was handed to a waiter that has not taken it yet.
    InTransit,
    /// Empty: a connection may be opened in it.
    Vacant,
    /// Out of use because of a lowered limit, or because the pool is closed.
    Retired,
}

impl SlotState {
    /// Returns the state as a word, for a label or a field; [`Pool::slots`](crate::Pool::slots)
    /// has [an example](crate::Pool::slots).
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lent(_) => "lent",
            Self::Opening => "opening",
            Self::Maintenance(_) => "maintenance",
            Self::Quarantined(_) => "quarantined",
            Self::InTransit => "in_transit",
            Self::Vacant => "vacant",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Lent(holder) => write!(f, "lent to {}", holder.location),
            Self::Opening => f.write_str("opening"),
            Self::Maintenance(call) => write!(f, "in a {call}"),
            Self::Quarantined(call) => write!(f, "in a {call} that has outlived its limit"),
            Self::InTransit => f.write_str("in transit"),
            Self::Vacant => f.write_str("vacant"),
            Self::Retired => f.write_str("retired"),
        }
    }
}
