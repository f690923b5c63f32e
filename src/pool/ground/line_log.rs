//! When the line of waiters stood, and how many it was served: what [`Throughput`] learns from.
//!
//! The first waiter of a line notes when that begins, and each that is served notes when: one look
//! and one store on a line that counts waits anyway. The number of hand-overs is read off a counter
//! of the pool's, now and then, by a thread that wants to know ([`take`](LineLog::take)). A line
//! ends with the hand-over to its last waiter, so nobody need note its end.
//!
//! What is not loan time is left out: the log is *broken* by a pause, an outage, and a gap between
//! two hand-overs that is much longer than a loan takes. It goes on with the first hand-over
//! afterwards.
//!
//! Threads note at the same time and may overwrite each other's; that shifts a hand-over from one
//! look to the next.
//!
//! [`Throughput`]: super::throughput::Throughput

use crate::clock::Tick;
use crate::sync::Relaxed;
use std::time::Duration;

/// A gap counts as one if it is longer than this, and than `MANY` times what a loan takes.
const GAP: Duration = Duration::from_millis(100);
const MANY: u32 = 4;

/// Time without a line makes up for this part of it with one.
const OFTEN: u64 = 8;

/// More is not remembered, in nanoseconds.
const MOST_LATELY: u64 = 1_000_000_000;

/// As long as it is not known what a loan takes, longer ones than this are gaps.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// See the [module](self). Moments are in nanoseconds. On cache lines of its own: those that need
/// not wait read nothing here.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct LineLog {
    /// Since when there is a line, but for short breaks.
    began: Relaxed<u64>,
    /// Since when hand-overs are counted, and the counter as it was then.
    since: Relaxed<u64>,
    base: Relaxed<u64>,
    /// When the last waiter was served, or the line began.
    last: Relaxed<u64>,
    /// Of lines that have ended and were not taken yet.
    handed: Relaxed<u64>,
    stood: Relaxed<u64>,
    /// The longest time between two hand-overs that is no gap.
    longest: Relaxed<u64>,
    /// When the log was broken; zero: it is not.
    broken: Relaxed<u64>,
    /// For how long lines have stood lately, without the one that stands.
    lately: Relaxed<u64>,
    /// A waiter has left unserved since this was last [forgotten](Self::forget_in_vain).
    in_vain: Relaxed<bool>,
}

/// What a look at the log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many were handed over while a line stood for so long.
    Served(u64, Duration),
    /// What was known does not hold any more.
    Broken,
}

impl LineLog {
    pub(crate) fn new() -> Self {
        Self {
            began: Relaxed::<u64>::new(0),
            since: Relaxed::<u64>::new(0),
            base: Relaxed::<u64>::new(0),
            last: Relaxed::<u64>::new(0),
            handed: Relaxed::<u64>::new(0),
            stood: Relaxed::<u64>::new(0),
            longest: Relaxed::<u64>::new(LONGEST_GAP.as_nanos() as u64),
            broken: Relaxed::<u64>::new(0),
            lately: Relaxed::<u64>::new(0),
            in_vain: Relaxed::<bool>::new(false),
        }
    }

    /// A waiter comes, and none was in line. If none was for so many nanoseconds, that is a new
    /// line. So many were `served` before.
    #[inline]
    pub(crate) fn begin(&self, now: Tick, served: u64, quiet: u64) {
        let gap = now.0.saturating_sub(self.last.get());
        if gap >= quiet {
            let stood = self.last.get().saturating_sub(self.began.get());
            let lately = self.lately.get().saturating_add(stood).min(MOST_LATELY);
            self.lately.set(lately.saturating_sub(gap / OFTEN));
            self.began.set(now.0);
        }
        if self.broken.get() == 0 {
            let (handed, stood) = self.counted(served);
            self.handed.set(self.handed.get() + handed);
            self.stood.set(self.stood.get() + stood);
        }
        self.since.set(now.0);
        self.base.set(served);
        self.last.set(now.0);
    }

    /// A waiter has been served.
    #[inline]
    pub(crate) fn note(&self, now: Tick) {
        if now.0.saturating_sub(self.last.get()) > self.longest.get() {
            self.break_off(now);
        }
        self.last.set(now.0);
    }

    /// From now until the next hand-over nothing is counted, and what was known is not true any
    /// more.
    #[cold]
    #[inline(never)]
    pub(crate) fn break_off(&self, now: Tick) {
        self.broken.set(now.0.max(1));
        let longest = self.longest.get().saturating_mul(2).min(LONGEST_GAP.as_nanos() as u64);
        self.longest.set(longest);
    }

    /// A waiter has left unserved.
    pub(crate) fn note_in_vain(&self) {
        self.in_vain.set(true);
    }

    /// Something was done about it.
    pub(crate) fn forget_in_vain(&self) {
        if self.in_vain.get() {
            self.in_vain.set(false);
        }
    }

    /// Whether lines are seldom, and none has waited in vain: they have stood for less than an
    /// eighth of the time, or for no more than so many nanoseconds beyond that.
    pub(crate) fn is_seldom(&self, beyond: u64) -> bool {
        !self.in_vain.get() && self.lately.get() < beyond
    }

    /// Since when there is a line, if there is one.
    pub(crate) fn began(&self) -> Tick {
        Tick(self.began.get())
    }

    /// From now on a loan takes so long.
    pub(crate) fn expect(&self, hold: Duration) {
        let longest = hold.saturating_mul(MANY).max(GAP).as_nanos();
        self.longest.set(longest.try_into().unwrap_or(u64::MAX));
    }

    /// Takes what was counted since the last time, if so many were `served`; a line `stands` or
    /// not.
    pub(crate) fn take(&self, now: Tick, served: u64, stands: bool) -> Taken {
        let last = self.last.get();
        let is_broken = self.broken.get() > 0;
        if is_broken || stands && now.0.saturating_sub(last) > self.longest.get() {
            if !is_broken {
                self.break_off(now);
            } else if last >= self.broken.get() {
                self.broken.set(0);
                self.restart(served);
            }
            return Taken::Broken;
        }
        let (handed, stood) = self.counted(served);
        let (handed, stood) = (handed + self.handed.replace(0), stood + self.stood.replace(0));
        self.restart(served);
        Taken::Served(handed, Duration::from_nanos(stood))
    }

    /// Counts from the last hand-over on. So many were `served` before.
    pub(crate) fn restart(&self, served: u64) {
        self.since.set(self.last.get());
        self.base.set(served);
        self.handed.set(0);
        self.stood.set(0);
    }

    /// Of the line that stands, or stood last.
    #[inline]
    fn counted(&self, served: u64) -> (u64, u64) {
        let handed = served.saturating_sub(self.base.get());
        let stood = self.last.get().saturating_sub(self.since.get());
        // What was served before the first line began, as far as this log knows, says nothing.
        if handed > 0 && self.since.get() > 0 { (handed, stood) } else { (0, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUIET: u64 = 20_000_000;

    fn at(millis: u64) -> Tick {
        Tick(1_000_000_000 + millis * 1_000_000)
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_line_that_has_ended_counts_up_to_its_last_hand_over() {
        let log = LineLog::new();
        log.begin(at(0), 7, QUIET);
        (1..=5).for_each(|n| log.note(at(2 * n)));
        assert_eq!(log.take(at(500), 12, false), Taken::Served(5, ms(10)));
        assert_eq!(log.take(at(600), 12, false), Taken::Served(0, ms(0)));
    }

    #[test]
    fn lines_that_were_not_looked_at_add_up_without_the_time_between_them() {
        let log = LineLog::new();
        log.begin(at(0), 0, QUIET);
        log.note(at(3));
        log.begin(at(1_000), 1, QUIET);
        log.note(at(1_004));
        log.begin(at(2_000), 2, QUIET);
        assert_eq!(log.take(at(2_001), 2, true), Taken::Served(2, ms(7)));
        log.note(at(2_005));
        assert_eq!(log.take(at(2_006), 3, true), Taken::Served(1, ms(5)));
    }

    #[test]
    fn a_line_that_was_gone_for_a_moment_is_the_same_line() {
        let log = LineLog::new();
        log.begin(at(0), 0, QUIET);
        log.note(at(5));
        log.begin(at(24), 1, QUIET);
        assert_eq!(log.began(), at(0));
        log.note(at(25));
        log.begin(at(45), 2, QUIET);
        assert_eq!(log.began(), at(45));
    }

    #[test]
    fn a_stall_is_no_loan_time_whether_it_is_seen_while_it_lasts_or_afterwards() {
        for is_seen in [false, true] {
            let log = LineLog::new();
            log.expect(ms(2));
            log.begin(at(0), 0, QUIET);
            log.note(at(2));
            if is_seen {
                assert_eq!(log.take(at(150), 1, true), Taken::Broken);
                assert_eq!(log.take(at(2_000), 1, true), Taken::Broken);
            }
            log.note(at(3_000));
            assert_eq!(log.take(at(3_001), 2, true), Taken::Broken);
            log.note(at(3_002));
            assert_eq!(log.take(at(3_003), 3, true), Taken::Served(1, ms(2)));
        }
    }

    #[test]
    fn if_all_loans_take_as_long_as_the_gap_that_is_learnt() {
        let log = LineLog::new();
        log.expect(ms(1));
        log.begin(at(0), 0, QUIET);
        let looks = (1..20).map(|n| {
            log.note(at(1_500 * n));
            log.take(at(1_500 * n), n, true)
        });
        let served = looks.filter(|taken| *taken == Taken::Served(1, ms(1_500))).count();
        assert!(served > 10, "{served}");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_neither_more_than_was_served_nor_longer_than_it_took(
            steps in prop::collection::vec((0..5u8, 0..200u64), 1..80),
        ) {
            let (log, mut now, mut served) = (LineLog::new(), 0, 0);
            let (mut handed, mut stood) = (0, Duration::ZERO);
            for (step, wait) in steps {
                now += wait;
                match step {
                    0 => log.begin(at(now), served, QUIET),
                    1 | 2 => {
                        served += 1;
                        log.note(at(now));
                    }
                    3 => log.expect(ms(wait)),
                    _ => if let Taken::Served(more, time) = log.take(at(now), served, wait > 50) {
                        handed += more;
                        stood += time;
                    },
                }
                prop_assert!(handed <= served && stood <= ms(now));
            }
        }
    }
}
