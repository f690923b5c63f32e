//! How fast a class's queue is. When it is too slow for all, some waiters are [shed](super::shed),
//! so that the others are served in time.
//!
//! Controlled delay (K. Nichols et al., RFC 8289) as request queues have it (Elixir's DBConnection;
//! B. Maurer, "Fail at Scale", ACM Queue 2015). A wait is *late* if it is longer than the target. A
//! burst makes some waits late and passes; if each slot of a whole interval went to a late waiter,
//! the queue is *slow*. While it is slow, late waiters are shed when a slot is there, before it is
//! handed to one that is not late; the newest may be first, as it has the most time left, and then
//! only its own wait tells whether the queue is slow still. The queue is no longer slow once it is
//! empty, or no slot has met a late waiter for an interval.
//!
//! Only hand-overs tell how fast it is. If there was none for two intervals, as in an outage or a
//! pause, nothing is known, and the next one is the first again.

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

/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    speed: Speed,
    /// When the last slot was there for a waiter.
    seen: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Speed {
    /// The last slot went to one that was not late, or there was none for long.
    #[default]
    Swift,
    /// Since then each went to one that was late.
    Lagging(u64),
    /// It is slow; the last slot that met a late waiter did so then.
    Slow(u64),
}

impl Flow {
    pub(super) fn is_slow(self) -> bool {
        matches!(self.speed, Speed::Slow(_))
    }

    /// A slot is there for a waiter, which `is_late` or not.
    pub(super) fn observe(&mut self, is_late: bool, now: u64, interval: u64) {
        use Speed::{Lagging, Slow, Swift};
        let within = |since: u64| now.saturating_sub(since) < interval;
        let is_known = now.saturating_sub(self.seen) / 2 < interval;
        let speed = if is_known { self.speed } else { Swift };
        self.seen = now;
        self.speed = match (speed, is_late) {
            (Swift, true) => Lagging(now),
            (Lagging(since), true) if within(since) => Lagging(since),
            (Lagging(_) | Slow(_), true) => Slow(now),
            (Slow(last), false) if within(last) => Slow(last),
            (_, false) => Swift,
        };
    }
}
