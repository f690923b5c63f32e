//! How fast connections are handed to waiters: a pure state machine.
//!
//! While a line stands, every connection that comes back is handed on. So the time for which a
//! connection is out, for each that is handed over, is the *hold time*: what a loan takes, with the
//! way back and the way to the next borrower. It is the quotient of two sums, of connections times
//! the time for which the line stood, and of hand-overs: so it does not matter whether these come
//! evenly or in bunches. With it, any number of connections has a rate.
//!
//! | event | the machine |
//! |---|---|
//! | hand-overs, with as many connections all the time | adds to both sums |
//! | the sums hold more than a second, or than 64 hand-overs | shrinks both, to no less than 16 |
//! | all is to be forgotten | knows nothing, until there were four hand-overs again |

use std::time::Duration;

/// From fewer hand-overs nothing is known.
const LEAST: u64 = 4;

/// The past weighs as much as this many hand-overs.
const MEMORY: (f64, f64) = (16.0, 64.0);

/// And, between the two, as this much time.
const RECENT: f64 = 1e9;

/// See the [module](self). Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Throughput {
    /// Hand-overs since all was forgotten.
    seen: u64,
    handed: f64,
    /// For how long the line stood, and the same times the connections that were open.
    stood: f64,
    out: f64,
}

impl Throughput {
    /// So many connections were `handed` over while a line `stood`, out of `open` ones.
    pub(crate) fn note(&mut self, handed: u64, stood: Duration, open: usize) {
        let time = stood.as_nanos() as f64;
        self.seen = self.seen.saturating_add(handed);
        self.handed += handed as f64;
        self.stood += time;
        self.out += time * open.max(1) as f64;
        let (least, most) = MEMORY;
        if self.handed > least {
            // A clock that stands still makes this infinite.
            let recent = (self.handed * RECENT / self.stood).clamp(least, most);
            let share = (recent / self.handed).min(1.0);
            self.handed *= share;
            self.stood *= share;
            self.out *= share;
        }
    }

    /// For how long a connection is out for each that is handed over, if that is known: more than
    /// zero.
    pub(crate) fn hold(&self) -> Option<Duration> {
        let nanos = (self.out / self.handed) as u64;
        (self.seen >= LEAST && self.out > 0.0).then(|| Duration::from_nanos(nanos.max(1)))
    }

    /// The same if it is known well enough to be remembered for long.
    pub(crate) fn firm_hold(&self) -> Option<Duration> {
        self.hold().filter(|_| self.seen >= MEMORY.0 as u64)
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn near(hold: Option<Duration>, expected: Duration) -> bool {
        hold.is_some_and(|hold| hold.abs_diff(expected) * 10 <= expected)
    }

    #[test]
    fn nothing_is_known_before_four_hand_overs_or_while_the_clock_stands_still() {
        let mut throughput = Throughput::default();
        throughput.note(3, us(300), 1);
        assert_eq!(throughput.hold(), None);
        throughput.note(1, us(100), 1);
        assert_eq!(throughput.hold(), Some(us(100)));
        let mut still = Throughput::default();
        (0..1_000).for_each(|_| still.note(100, Duration::ZERO, 5));
        assert_eq!(still.hold(), None);
        still.note(0, us(10), 5);
        assert!(still.hold().is_some());
    }

    #[test]
    fn bunches_and_single_hand_overs_of_the_same_loans_come_to_the_same() {
        let (mut evenly, mut bunched) = (Throughput::default(), Throughput::default());
        for _ in 0..20 {
            (0..8).for_each(|_| evenly.note(1, us(250), 8));
            bunched.note(1, us(2_000), 8);
            (0..7).for_each(|_| bunched.note(1, Duration::ZERO, 8));
        }
        assert!(near(evenly.hold(), us(2_000)) && near(bunched.hold(), us(2_000)));
    }

    #[test]
    fn it_heals() {
        let mut throughput = Throughput::default();
        throughput.note(1_000_000, us(1_000_000), 1);
        assert_eq!(throughput.hold(), Some(us(1)));
        (0..40).for_each(|_| throughput.note(1, us(2_000_000), 1));
        assert!(near(throughput.hold(), us(2_000_000)), "{throughput:?}");
        (0..1_200).for_each(|_| throughput.note(1, us(1), 1));
        assert!(throughput.hold().unwrap() < us(5), "{throughput:?}");
        throughput.forget();
        assert_eq!(throughput.hold(), None);
    }

    proptest! {
        #[test]
        fn whatever_is_noted_the_hold_time_lies_between_the_shortest_and_the_longest(
            notes in prop::collection::vec((0..2_000_000u64, any::<u64>(), any::<u16>()), 1..60),
        ) {
            let mut throughput = Throughput::default();
            for (handed, nanos, open) in notes {
                throughput.note(handed, Duration::from_nanos(nanos), open.into());
                prop_assert!(throughput.handed.is_finite() && throughput.out.is_finite());
                prop_assert!(throughput.hold().is_none_or(|hold| !hold.is_zero()));
            }
        }

        #[test]
        fn loans_that_all_take_as_long_teach_just_that(
            hold in 1..10_000_000u64,
            open in 1..100u64,
            windows in prop::collection::vec(1..50u64, 4..60),
        ) {
            let mut throughput = Throughput::default();
            for handed in windows {
                let stood = Duration::from_nanos(hold * 1_000 * handed / open);
                throughput.note(handed, stood, open as usize);
            }
            prop_assert!(near(throughput.hold(), us(hold)));
        }
    }
}
