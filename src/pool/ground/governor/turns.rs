//! So many turns per second: a pure state machine.
//!
//! One moment is kept: when the next turn would be due if none had been saved up (the generic cell
//! rate algorithm; ITU-T I.371, annex A). A turn taken moves it on by the time between two, one
//! given back moves it back, and no timer is needed to fill anything up.

use crate::clock::Tick;
use std::time::Duration;

/// So long that no process sees the end of it, and twice as long can be told.
const NEVER: u64 = u64::MAX / 4;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    /// Nanoseconds between two turns. Zero: there is no limit.
    interval: u64,
    /// How much too early a turn may be taken, because others were saved up.
    allowance: u64,
    next: u64,
}

impl Turns {
    /// `burst` turns may be saved up, one at least.
    pub(super) fn new(per_second: Option<f64>, burst: usize) -> Self {
        let interval = per_second.map_or(0, |per_second| {
            let interval = Duration::try_from_secs_f64(per_second.recip());
            let nanos = |interval: Duration| u64::try_from(interval.as_nanos()).unwrap_or(NEVER);
            interval.map_or(NEVER, nanos)
        });
        let more = u64::try_from(burst.saturating_sub(1)).unwrap_or(NEVER);
        // Beyond what can be told, the next one comes as good as never.
        let interval = interval.min(NEVER / more.saturating_add(1));
        Self { interval, allowance: interval * more, next: 0 }
    }

    /// Another pace from now on. Turns that were taken count towards it, though no more than make
    /// the next one due within its interval: it limits what comes, and is no penalty for what was.
    pub(super) fn pace(&mut self, per_second: Option<f64>, burst: usize, now: Tick) -> Measure {
        let before = std::mem::replace(self, Self::new(per_second, burst));
        let measure = Measure { now, from: before.interval, to: self.interval };
        let most = now.0.saturating_add(self.allowance).saturating_add(self.interval);
        self.next = measure.of(Tick(before.next)).0.min(most);
        measure
    }

    /// When there will be a turn.
    pub(super) fn next(&self) -> Tick {
        Tick(self.next.saturating_sub(self.allowance))
    }

    /// Takes a turn, if there is one.
    pub(super) fn take(&mut self, now: Tick) -> bool {
        let is_due = self.next() <= now;
        if is_due {
            self.take_anyway(now);
        }
        is_due
    }

    /// Takes a turn, which those to come lack if there is none.
    pub(super) fn take_anyway(&mut self, now: Tick) {
        if self.interval > 0 {
            self.next = self.next.max(now.0).saturating_add(self.interval);
        }
    }

    /// Until when a turn that is taken now is owed. Once it has been made up for, nothing is left
    /// of it to be given back: those that were used meanwhile did without.
    pub(super) fn owed(&self, now: Tick) -> Tick {
        Tick(now.0.saturating_add(self.interval))
    }

    /// A turn that is `owed` until then was not used.
    pub(super) fn give_back(&mut self, owed: Tick, now: Tick) {
        if now < owed {
            self.next = self.next.saturating_sub(self.interval);
        }
    }
}

/// How to tell in the intervals of one pace what was told in those of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    now: Tick,
    from: u64,
    to: u64,
}

impl Measure {
    /// A moment until which something is owed. Where there was no limit, nothing was.
    pub(super) fn of(&self, moment: Tick) -> Tick {
        let left = u128::from(moment.0.saturating_sub(self.now.0)) * u128::from(self.to);
        match left.checked_div(u128::from(self.from)) {
            Some(left) => Tick(self.now.0.saturating_add(u64::try_from(left).unwrap_or(NEVER))),
            None => self.now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn turns_come_one_by_one_and_no_more_are_saved_up_than_may_be() {
        let mut turns = Turns::new(Some(10.0), 3);
        let start = Tick(50 * SECOND);
        assert_eq!((0..5).filter(|_| turns.take(start)).count(), 3);
        assert_eq!(turns.next(), Tick(start.0 + SECOND / 10));
        assert!(!turns.take(Tick(start.0 + SECOND / 10 - 1)));
        assert!(turns.take(Tick(start.0 + SECOND / 10)));
        let later = Tick(start.0 + 100 * SECOND);
        assert_eq!((0..5).filter(|_| turns.take(later)).count(), 3);
    }

    #[test]
    fn what_was_taken_counts_towards_another_pace_and_what_was_saved_up_is_kept() {
        let start = Tick(50 * SECOND);
        let due_in = |turns: &Turns| turns.next().0.saturating_sub(start.0);
        let mut turns = Turns::new(Some(1.0), 1);
        assert!(turns.take(start));
        turns.pace(Some(4.0), 1, start);
        assert_eq!(due_in(&turns), SECOND / 4);
        turns.pace(Some(0.5), 1, start);
        assert_eq!(due_in(&turns), 2 * SECOND);
        turns.pace(Some(0.5), 2, start);
        assert_eq!((0..9).filter(|_| turns.take(start)).count(), 1);
        turns.pace(None, 1, start);
        assert!((0..9).all(|_| turns.take(start)));
        turns.pace(Some(1.0), 3, start);
        assert_eq!((0..9).filter(|_| turns.take(start)).count(), 3);
        for rate in [f64::MIN_POSITIVE, 1e300, 1e-300, f64::MAX, 1e-9, 1.0] {
            for burst in [1, usize::MAX] {
                turns.pace(Some(rate), burst, start);
            }
        }
    }

    #[test]
    fn rates_beyond_all_bounds_overflow_nowhere() {
        for (per_second, burst) in [(1e-300, 1), (f64::MIN_POSITIVE, 2), (1e-9, 20)] {
            let mut turns = Turns::new(Some(per_second), burst);
            let taken = (0..100).filter(|n| turns.take(Tick(SECOND * (n + 1))));
            assert_eq!(taken.count(), burst, "{per_second}");
            (0..3).for_each(|_| turns.give_back(turns.owed(Tick(SECOND)), Tick(SECOND)));
        }
        for burst in [1, 2, usize::MAX] {
            let mut turns = Turns::new(Some(1e300), burst);
            assert!((0..100).all(|_| turns.take(Tick(SECOND))));
            turns.give_back(turns.owed(Tick(SECOND)), Tick(SECOND));
        }
        let mut unlimited = Turns::new(None, 1);
        assert!((0..1_000).all(|_| unlimited.take(Tick(SECOND))));
    }

    proptest! {
        #[test]
        fn in_no_interval_are_more_turns_used_than_its_length_and_the_burst_allow(
            steps in prop::collection::vec((0..200u64, 0..4u8), 1..200),
            per_second in 1..500u32,
            burst in 1..20usize,
        ) {
            let mut turns = Turns::new(Some(per_second.into()), burst);
            let (mut now, mut used, mut unused) = (SECOND, Vec::new(), Vec::new());
            for (millis, kind) in steps {
                now += millis * SECOND / 1_000;
                if turns.take(Tick(now)) {
                    if kind < 2 { unused.push(now) } else { used.push(now) }
                }
                if kind == 1 {
                    let back = |at| turns.give_back(turns.owed(Tick(at)), Tick(now));
                    unused.pop().into_iter().for_each(back);
                }
            }
            for (n, from) in used.iter().enumerate() {
                for (m, to) in used.iter().enumerate().skip(n) {
                    let span = (to - from) as f64 / SECOND as f64;
                    let most = span * f64::from(per_second) + burst as f64 + 1e-3;
                    prop_assert!((m - n + 1) as f64 <= most, "{} in {span} s", m - n + 1);
                }
            }
        }
    }
}
