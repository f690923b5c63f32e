//! How many waiters will still be in line when connects that are begun now are over: a pure
//! function of what is known.
//!
//! The connections that are open serve waiters meanwhile. So of a burst that they can serve within
//! the time of a connect none is left, and a connect would find no waiter. The forecast knows of no
//! arrivals to come, and where these refill the line it says too few. Hence it only ever lowers
//! what the [ramp](super::ramp) allows while the line is young, that is, has not stood for as long
//! as a connect takes. From then on it can only raise it: where many will be left, connects need
//! not wait for each other. A line is not young either if lines stand often, as another connection
//! would find waiters then, if not in this line, then in the next; or if a waiter has left unserved
//! and nothing was done about it.

use std::time::Duration;

/// See the [module](self). `None`: that is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forecast {
    /// For how long a connection is out for each that is handed to a waiter.
    pub(crate) hold: Option<Duration>,
    /// How long a connect usually takes.
    pub(crate) connect: Option<Duration>,
    /// Connections that are open.
    pub(crate) open: usize,
    /// The line has not stood for as long as a connect takes.
    pub(crate) is_young: bool,
}

impl Forecast {
    /// How many of so many that wait now will still do so.
    pub(crate) fn left(self, waiting: usize) -> Option<usize> {
        let (hold, connect) = (self.hold?.as_nanos(), self.connect?.as_nanos());
        let served = connect.saturating_mul(self.open as u128) / hold.max(1);
        Some(waiting.saturating_sub(served.try_into().unwrap_or(usize::MAX)))
    }

    /// How many connects for them may be in flight, if the `ramp` allows so many.
    pub(crate) fn width(self, waiting: usize, ramp: usize) -> usize {
        match self.left(waiting) {
            None => ramp,
            Some(left) if self.is_young => ramp.min(left),
            Some(left) => ramp.max(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Five connections, loans of 2 ms, connects of 20 ms: 50 are served meanwhile.
    const KNOWN: Forecast =
        Forecast { hold: Some(ms(2)), connect: Some(ms(20)), open: 5, is_young: true };

    #[test]
    fn a_burst_that_is_served_before_a_connect_is_over_asks_for_none() {
        assert_eq!(KNOWN.width(45, 1), 0);
        assert_eq!(KNOWN.width(50, 4), 0);
        assert_eq!(KNOWN.width(53, 4), 3);
        assert_eq!(KNOWN.width(90, 4), 4);
    }

    #[test]
    fn a_line_that_has_outlived_a_connect_is_never_held_back() {
        let old = Forecast { is_young: false, ..KNOWN };
        assert_eq!((old.width(45, 1), old.width(45, 4)), (1, 4));
        assert_eq!((old.width(90, 1), old.width(90, 64)), (40, 64));
    }

    #[test]
    fn where_nothing_is_known_or_nothing_is_open_the_ramp_decides() {
        for (hold, connect) in [(None, Some(ms(1))), (Some(ms(1)), None), (None, None)] {
            for is_young in [false, true] {
                let unknown = Forecast { hold, connect, open: 5, is_young };
                assert_eq!(unknown.width(50, 2), 2);
            }
        }
        let empty = Forecast { open: 0, ..KNOWN };
        assert_eq!(empty.width(50, 2), 2);
    }

    proptest! {
        #[test]
        fn no_figures_overflow_and_more_waiters_never_make_it_less(
            hold: u64, connect: u64, open: usize, is_young: bool, waiting: usize, ramp: usize,
        ) {
            let (hold, connect) = (Duration::from_nanos(hold), Duration::from_nanos(connect));
            let known = Forecast { hold: Some(hold), connect: Some(connect), open, is_young };
            let width = known.width(waiting, ramp);
            prop_assert!(known.width(waiting.saturating_add(1), ramp) >= width);
            let is_bounded = if is_young { width <= ramp } else { width >= ramp };
            prop_assert!(is_bounded);
        }
    }
}
