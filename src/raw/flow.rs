//! How fast the line is. When it is too slow for all, some waiters are [shed](super::shed), so that
//! the others are served in time.
//!
//! Controlled delay (K. Nichols et al., RFC 8289) as request queues have it (Elixir's DBConnection;
//! B. Maurer, "Fail at Scale", ACM Queue 2015). A wait is *late* if it is longer than the target. A
//! burst makes some waits late and passes; if each slot of a whole interval went to a late waiter,
//! the line is *slow*. While it is slow, late waiters are shed when a slot is there, before it is
//! handed to one that is not late; the newest may be first, as it has the most time left. The line
//! is no longer slow once it is empty, or no slot has met a late waiter for an interval. What is
//! not served, as in an outage, does not count: then nothing tells that the line is slow.

/// When waiters are shed. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shedding {
    /// A wait that is longer is late.
    pub(crate) target: u64,
    /// How long all waits must be late.
    pub(crate) interval: u64,
    /// Whether the newest is served first while the line is slow.
    pub(crate) newest_first: bool,
}

/// How fast the line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The last slot went to one that was not late, or the line was empty.
    Swift,
    /// Since then each went to one that was late.
    Lagging(u64),
    /// It is slow; the last slot that met a late waiter did so then.
    Slow(u64),
}

impl Flow {
    /// A slot is there for a waiter, which `is_late` or not.
    pub(super) fn observe(&mut self, is_late: bool, now: u64, interval: u64) {
        *self = match (*self, is_late) {
            (Self::Swift, true) => Self::Lagging(now),
            (Self::Lagging(since), true) if now.saturating_sub(since) < interval => {
                Self::Lagging(since)
            }
            (Self::Lagging(_) | Self::Slow(_), true) => Self::Slow(now),
            (Self::Slow(last), false) if now.saturating_sub(last) < interval => Self::Slow(last),
            (_, false) => Self::Swift,
        }
    }
}
