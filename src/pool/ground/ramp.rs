//! How many connects for borrowers may be in flight at once: a pure state machine.
//!
//! | event | the ramp |
//! |---|---|
//! | a connect succeeded, and borrowers still wait | doubles, up to the limit |
//! | a connect succeeded, and no borrower waits | begins anew, with one |
//! | a connect failed | begins anew |
//! | those in flight take long | lets one more begin beside them |
//!
//! So a spike that returning connections can serve does not inflate the pool.

use std::time::Duration;

/// A connect that takes longer than this no longer keeps others from being begun.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ramp(usize);

impl Default for Ramp {
    fn default() -> Self {
        Self::new()
    }
}

impl Ramp {
    pub(crate) const fn new() -> Self {
        Self(1)
    }

    /// How many may be in flight.
    pub(crate) fn width(self) -> usize {
        self.0
    }

    /// A connect has succeeded.
    pub(crate) fn succeeded(&mut self, still_waiting: bool, limit: usize) {
        self.0 = if still_waiting { self.0.saturating_mul(2).min(limit).max(1) } else { 1 };
    }

    /// A connect has failed, or as good as failed.
    pub(crate) fn failed(&mut self) {
        self.0 = 1;
    }

    /// Borrowers wait, `in_flight` connects are under way, and the last was begun `since` ago.
    pub(crate) fn waited(&mut self, in_flight: usize, since: Duration, limit: usize) {
        if in_flight > 0 && since >= PATIENCE {
            self.0 = self.0.max(in_flight.saturating_add(1).min(limit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ramp_doubles_while_borrowers_wait_and_begins_anew_when_none_does() {
        let mut ramp = Ramp::new();
        let mut widths = Vec::new();
        for still_waiting in [true, true, true, false, true] {
            ramp.succeeded(still_waiting, 5);
            widths.push(ramp.width());
        }
        assert_eq!(widths, [2, 4, 5, 1, 2]);
        ramp.failed();
        assert_eq!(ramp.width(), 1);
    }

    #[test]
    fn connects_that_take_long_keep_no_more_than_themselves_from_being_begun() {
        let mut ramp = Ramp::new();
        ramp.waited(1, PATIENCE - Duration::from_nanos(1), 8);
        assert_eq!(ramp.width(), 1);
        ramp.waited(1, PATIENCE, 8);
        assert_eq!(ramp.width(), 2);
        ramp.waited(7, PATIENCE, 4);
        assert_eq!(ramp.width(), 4);
        ramp.waited(0, PATIENCE, 4);
        assert_eq!(ramp.width(), 4);
    }

    proptest! {
        #[test]
        fn a_ramp_is_never_zero_nor_above_the_limit_and_one_failure_undoes_it(
            events in prop::collection::vec((0..4u8, 0..20usize, 0..600u64), 0..60),
            limit in 1..16usize,
        ) {
            let mut ramp = Ramp::new();
            for (event, in_flight, millis) in events {
                let before = ramp;
                match event {
                    0 => ramp.succeeded(true, limit),
                    1 => ramp.succeeded(false, limit),
                    2 => ramp.failed(),
                    _ => ramp.waited(in_flight, Duration::from_millis(millis), limit),
                }
                prop_assert!((1..=limit).contains(&ramp.width()));
                match event {
                    0 => prop_assert!(ramp.width() <= 2 * before.width()),
                    1 | 2 => prop_assert_eq!(ramp, Ramp::new()),
                    _ => prop_assert!(ramp.width() >= before.width()),
                }
            }
        }
    }
}
