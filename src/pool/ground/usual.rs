//! How long a ping usually takes, so that one that takes much longer is seen.

use crate::sync::Relaxed;
use std::time::Duration;

/// So many times the usual is slow.
const SLOW: u64 = 8;

/// However quick the others are, what takes no longer than `SLOW` times this is not slow.
const LEAST: u64 = 1_250_000;

/// A running average of how long pings take, in nanoseconds.
///
/// Slow ones hardly move it, so that one connection does not pass for all; but they do move it, so
/// that if all have become slow, that is the usual after some tens of pings. Threads that note
/// pings at the same time may overwrite each other's.
#[derive(Debug)]
pub(crate) struct UsualPing(Relaxed<u64>);

impl UsualPing {
    pub(crate) fn new() -> Self {
        Self(Relaxed::<u64>::new(LEAST))
    }

    /// Notes how long a ping `took`, and returns whether that is unusually long.
    pub(crate) fn is_slow(&self, took: Duration) -> bool {
        let took = took.as_nanos().try_into().unwrap_or(u64::MAX);
        let before = self.0.get();
        let is_slow = took > before.saturating_mul(SLOW);
        let after = if is_slow {
            before.saturating_add(before / 8)
        } else {
            (before - before / 8).saturating_add(took / 8).max(LEAST)
        };
        if after != before {
            self.0.set(after);
        }
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn what_takes_a_thousand_times_as_long_as_nine_others_is_slow_each_time() {
        let usual = UsualPing::new();
        for _ in 0..1_000 {
            assert!(usual.is_slow(1_000 * MILLI));
            assert!((0..9).all(|_| !usual.is_slow(MILLI)));
        }
    }

    #[test]
    fn nothing_is_slow_within_ten_milliseconds() {
        let usual = UsualPing::new();
        assert!((0..1_000).all(|_| !usual.is_slow(MILLI / 1_000)));
        assert!(!usual.is_slow(10 * MILLI));
    }

    #[test]
    fn what_all_take_is_usual_after_some_tens_of_pings() {
        let usual = UsualPing::new();
        let slow = (0..100).filter(|_| usual.is_slow(200 * MILLI)).count();
        assert!((1..50).contains(&slow), "{slow}");
        assert!(!usual.is_slow(200 * MILLI));
    }
}
