//! What is known of the server, and what follows from it for the next connect.
//!
//! | state | when | connects |
//! |---|---|---|
//! | up | the last attempt succeeded | as demand and limits allow |
//! | down | it failed, or those in flight take long and none has succeeded lately | none before `retry_at`, then one |
//!
//! While the server is down one *probe* at a time goes out. Who begins it moves `retry_at` on first, so that
//! there is one; it need not come back before the next may go, or a black hole would hold the pool for as long
//! as its longest connect. A failure moves `retry_at` on by the back-off (doubled each time, capped,
//! jittered), a success clears everything.

use crate::clock::Tick;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The wait after the first failure, doubled with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
/// The longest wait, before jitter: with a connect it stays within a second, and within two attempts a second.
const MAX_BACK_OFF: Duration = Duration::from_millis(950);
/// The jitter takes away up to so much.
const JITTER: f64 = 0.4;
/// Connects that are in flight for longer tell that something is wrong.
const TAKING_LONG: Duration = Duration::from_millis(500);
/// After a fresh connection was found dead, a connect proves nothing for so long.
const DOUBT: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Attempts that failed since the last that succeeded.
    failures: AtomicU32,
    /// Not before this moment.
    retry_at: AtomicU64,
    /// The last failure will not pass by itself.
    permanent: AtomicBool,
    /// When a connect was last begun.
    begun_at: AtomicU64,
    /// When one last succeeded, and when that one was begun.
    succeeded_at: AtomicU64,
    proven_since: AtomicU64,
    /// When a connection was last found unfit before it was ever lent.
    rejected_at: AtomicU64,
    /// Until then a connect that succeeds is no proof that the server works.
    doubt_until: AtomicU64,
}

/// Whether one more connect may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// As far as the limits allow.
    Free,
    /// A single one, whatever is in flight, for whoever [begins](Outage::begin_probe) it.
    Probe {
        /// What `retry_at` was.
        seen: Tick,
    },
    /// Not now.
    None,
}

/// A wait of this length, less some jitter.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 - JITTER * super::shared::random_share())
}

// O11 throughout: these figures steer; no memory is reached through them.
impl Outage {
    /// When the next attempt may be made.
    pub(crate) fn retry_at(&self) -> Tick {
        Tick(self.retry_at.load(Ordering::Relaxed)) // O11
    }

    fn is_failing(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0 // O11
    }

    /// The last failure will not pass by itself.
    pub(crate) fn is_permanent(&self) -> bool {
        self.permanent.load(Ordering::Relaxed) // O11
    }

    /// The last attempt failed, for good or also for the impatient, and it is too early for another.
    pub(crate) fn is_hopeless(&self, now: Tick, fail_fast: bool) -> bool {
        (self.is_permanent() || fail_fast && self.is_failing()) && now < self.retry_at()
    }

    /// Connects that were begun before the last one which succeeded are lost, as far as others care.
    pub(crate) fn lost_before(&self) -> Tick {
        Tick(self.proven_since.load(Ordering::Relaxed)) // O11
    }

    /// Connects begun before that moment take long.
    pub(crate) fn long_before(now: Tick) -> Tick {
        Tick(now.0.saturating_sub(TAKING_LONG.as_nanos() as u64))
    }

    /// How long the last connect has been under way.
    pub(crate) fn since_begun(&self, now: Tick) -> Duration {
        now.since(Tick(self.begun_at.load(Ordering::Relaxed))) // O11
    }

    /// Whether one more connect may be begun beside so many in flight.
    pub(crate) fn leave(&self, now: Tick, in_flight: usize) -> Leave {
        let seen = self.retry_at();
        if now < seen {
            return Leave::None;
        }
        let all_take_long = in_flight > 0 && self.since_begun(now) >= TAKING_LONG;
        let succeeded_at = Tick(self.succeeded_at.load(Ordering::Relaxed)); // O11
        let is_stuck = all_take_long && now.since(succeeded_at) >= TAKING_LONG;
        if !self.is_failing() && !is_stuck {
            Leave::Free
        } else if in_flight == 0 || all_take_long {
            Leave::Probe { seen }
        } else {
            Leave::None
        }
    }

    /// Lays claim to the probe. False: another has it.
    pub(crate) fn begin_probe(&self, seen: Tick, now: Tick) -> bool {
        let next = now + jittered(MAX_BACK_OFF);
        self.retry_at
            .compare_exchange(seen.0, next.0, Ordering::Relaxed, Ordering::Relaxed) // O11
            .is_ok()
    }

    /// A connect was given up before it was begun: another may go out in its place.
    pub(crate) fn call_off(&self, now: Tick) {
        // O11
        self.retry_at.fetch_min(now.0, Ordering::Relaxed);
    }

    /// A connect is begun.
    pub(crate) fn begun(&self, now: Tick) {
        self.begun_at.fetch_max(now.0, Ordering::Relaxed); // O11
    }

    /// A connect that was begun at `begun` has succeeded.
    pub(crate) fn succeeded(&self, begun: Tick, now: Tick) {
        self.succeeded_at.fetch_max(now.0, Ordering::Relaxed); // O11
        self.proven_since.fetch_max(begun.0, Ordering::Relaxed); // O11
        let doubt_until = Tick(self.doubt_until.load(Ordering::Relaxed)); // O11
        if now >= doubt_until {
            self.clear();
        }
    }

    /// A ping has been answered.
    pub(crate) fn answered(&self) {
        // O11: nothing is written in good times.
        if self.doubt_until.load(Ordering::Relaxed) != 0 {
            self.doubt_until.store(0, Ordering::Relaxed); // O11
            self.clear();
        }
    }

    fn clear(&self) {
        self.failures.store(0, Ordering::Relaxed); // O11
        self.retry_at.store(0, Ordering::Relaxed); // O11
        self.permanent.store(false, Ordering::Relaxed); // O11
    }

    /// What became of a connect begun at `begun` says nothing of the server: a later one has succeeded.
    pub(crate) fn is_old_news(&self, begun: Tick) -> bool {
        begun < self.lost_before()
    }

    /// A connect that was begun at `begun` has failed. When to try again is for the last one begun to say.
    pub(crate) fn failed(&self, begun: Tick, now: Tick, permanent: bool) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16); // O11
        let wait = if permanent {
            MAX_BACK_OFF
        } else {
            (FIRST_BACK_OFF * (1 << failures)).min(MAX_BACK_OFF)
        };
        self.permanent.store(permanent, Ordering::Relaxed); // O11
        let last = Tick(self.begun_at.load(Ordering::Relaxed)); // O11
        if permanent || begun >= last {
            self.retry_at.store((now + jittered(wait)).0, Ordering::Relaxed); // O11
        }
    }

    /// A connection born at `born` was found unfit before it was ever lent. If it is fresh, and others were
    /// found so before it came, that is as bad as a connect that failed. True if so.
    pub(crate) fn rejected(&self, born: Tick, now: Tick) -> bool {
        let before = Tick(self.rejected_at.swap(now.0, Ordering::Relaxed)); // O11
        let is_stillborn = before != Tick::default() && born > before && now.since(born) < DOUBT;
        if is_stillborn {
            self.doubt_until.store((now + DOUBT).0, Ordering::Relaxed); // O11
            self.failed(now, now, false);
        }
        is_stillborn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Tick = Tick(1_000_000_000);

    /// When probes go out if `end` says what becomes of each.
    fn probes(mut end: impl FnMut(&Outage, Tick)) -> Vec<Tick> {
        let outage = Outage::default();
        outage.failed(START, START, false);
        let (mut now, mut probes) = (START, Vec::new());
        while now < START + Duration::from_secs(30) {
            now = now + Duration::from_millis(1);
            if let Leave::Probe { seen } = outage.leave(now, 0)
                && outage.begin_probe(seen, now)
            {
                outage.begun(now);
                probes.push(now);
                end(&outage, now);
            }
        }
        probes
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_but_at_least_once_a_second() {
        let probes = probes(|outage, now| outage.failed(now, now, false));
        let gaps: Vec<_> = probes.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(gaps[0] < Duration::from_millis(25), "{gaps:?}");
        assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(1)), "{gaps:?}");
        let steady = &gaps[8..];
        assert!(steady.iter().all(|gap| *gap > Duration::from_millis(500)), "{gaps:?}");
    }

    #[test]
    fn a_probe_that_hangs_does_not_keep_the_next_one_back() {
        let outage = Outage::default();
        let (mut now, mut in_flight) = (START, 0);
        outage.failed(now, now, false);
        for _ in 0..10_000 {
            now = now + Duration::from_millis(1);
            if let Leave::Probe { seen } = outage.leave(now, in_flight)
                && outage.begin_probe(seen, now)
            {
                outage.begun(now);
                in_flight += 1;
            }
        }
        assert!((10..=20).contains(&in_flight), "{in_flight} probes in ten seconds");
    }

    #[test]
    fn one_probe_goes_out_for_however_many_want_to_send_it() {
        let outage = Outage::default();
        outage.failed(START, START, false);
        let now = START + Duration::from_secs(1);
        let Leave::Probe { seen } = outage.leave(now, 0) else { panic!("it is time") };
        assert!(outage.begin_probe(seen, now));
        assert!(!outage.begin_probe(seen, now));
        assert_eq!(outage.leave(now, 1), Leave::None);
    }

    #[test]
    fn a_success_ends_the_outage_unless_fresh_connections_are_found_dead() {
        let outage = Outage::default();
        outage.failed(START, START, false);
        outage.succeeded(START, START);
        assert_eq!(outage.leave(START, 3), Leave::Free);
        assert!(!outage.rejected(START, START), "one of an old batch");
        assert!(!outage.rejected(START, START), "another");
        let later = START + Duration::from_millis(1);
        assert!(outage.rejected(later, later), "opened since");
        outage.succeeded(later, later);
        assert_ne!(outage.leave(later, 3), Leave::Free);
        outage.answered();
        assert_eq!(outage.leave(later, 3), Leave::Free);
    }

    #[test]
    fn what_becomes_of_a_connect_is_no_news_once_a_later_one_succeeded() {
        let outage = Outage::default();
        let later = START + Duration::from_secs(1);
        outage.succeeded(later, later);
        assert!(outage.is_old_news(START));
        assert!(!outage.is_old_news(later));
    }

    #[test]
    fn a_permanent_failure_is_retried_no_more_than_twice_a_second_from_the_start() {
        let outage = Outage::default();
        outage.failed(START, START, true);
        assert!(outage.retry_at().since(START) > Duration::from_millis(500));
        assert!(outage.is_hopeless(START, false));
        assert!(!outage.is_hopeless(outage.retry_at(), false));
    }
}
