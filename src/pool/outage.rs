//! What is known of the server, and what follows from it for the next connect.
//!
//! | state | when | connects |
//! |---|---|---|
//! | up | the last attempt succeeded | as demand and limits allow |
//! | down | it failed, or those in flight take long and none has succeeded lately | none before `retry_at`, then one |
//! | in doubt | connects succeed, but what they open is dead | the same, until a fresh connection answers, or two seconds pass |
//!
//! While the server is down one *probe* at a time goes out. Who begins it moves `retry_at` on first, so that
//! there is one; it need not come back before the next may go, or a black hole would hold the pool for as long
//! as its longest connect. Most probes get less time than other connects, so that those that hang do not
//! take up all slots. A failure of the last connect begun moves `retry_at` on by the back-off (doubled each
//! time, capped, jittered); a success clears everything, unless in doubt.

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
pub(crate) const TAKING_LONG: Duration = Duration::from_millis(500);
/// A probe gets so much time, or so many times what a connect usually takes, if that is more.
const SHORT_PROBE: Duration = Duration::from_secs(1);
const GENEROUS: u32 = 4;
/// One probe in so many gets all the time that the settings give a connect: the server may have become slow.
const FULL_PROBE: u32 = 4;
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
    probes: AtomicU32,
    /// When a connect was last begun.
    begun_at: AtomicU64,
    /// When one last succeeded, when that one was begun, and how long they take at most.
    succeeded_at: AtomicU64,
    proven_since: AtomicU64,
    usual: AtomicU64,
    /// When a connection was last found dead before it was ever lent.
    rejected_at: AtomicU64,
    /// Until then a connect that succeeds is no proof that the server works.
    doubt_until: AtomicU64,
}

/// Leave to begin a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    /// How long it may take.
    pub(crate) limit: Duration,
    /// The `retry_at` that a probe has set.
    probe: Option<Tick>,
}

impl Permit {
    pub(crate) fn is_probe(self) -> bool {
        self.probe.is_some()
    }
}

/// A wait of this length, less some jitter.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 - JITTER * super::shared::random_share())
}

fn back_off(failures: u32) -> Duration {
    (FIRST_BACK_OFF * (1 << failures.min(16))).min(MAX_BACK_OFF)
}

// O11 throughout: these figures steer; no memory is reached through them.
impl Outage {
    /// When the next attempt may be made.
    pub(crate) fn retry_at(&self) -> Tick {
        Tick(self.retry_at.load(Ordering::Relaxed)) // O11
    }

    /// The last attempt failed, or is in doubt.
    pub(crate) fn is_failing(&self) -> bool {
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

    /// What becomes of a connect begun at `begun` says nothing of the server: a later one has succeeded.
    pub(crate) fn is_old_news(&self, begun: Tick) -> bool {
        begun.0 < self.proven_since.load(Ordering::Relaxed) // O11
    }

    /// How long the last connect has been under way.
    pub(crate) fn since_begun(&self, now: Tick) -> Duration {
        now.since(Tick(self.begun_at.load(Ordering::Relaxed))) // O11
    }

    /// Leave for one more connect, which may take up to `limit`, beside so many that are in flight.
    pub(crate) fn permit(&self, now: Tick, in_flight: usize, limit: Duration) -> Option<Permit> {
        let seen = self.retry_at();
        if now < seen {
            return None;
        }
        let all_take_long = in_flight > 0 && self.since_begun(now) >= TAKING_LONG;
        let succeeded_at = Tick(self.succeeded_at.load(Ordering::Relaxed)); // O11
        let is_stuck = all_take_long && now.since(succeeded_at) >= TAKING_LONG;
        if !self.is_failing() && !is_stuck {
            Some(Permit { limit, probe: None })
        } else if in_flight == 0 || all_take_long {
            self.begin_probe(seen, now, limit)
        } else {
            None
        }
    }

    /// Lays claim to the probe, unless another has it.
    fn begin_probe(&self, seen: Tick, now: Tick, limit: Duration) -> Option<Permit> {
        let next = now + jittered(MAX_BACK_OFF);
        self.retry_at
            .compare_exchange(seen.0, next.0, Ordering::Relaxed, Ordering::Relaxed) // O11
            .ok()?;
        let number = self.probes.load(Ordering::Relaxed); // O11
        let usual = Duration::from_nanos(self.usual.load(Ordering::Relaxed)); // O11
        let short = usual.saturating_mul(GENEROUS).max(SHORT_PROBE);
        let is_full = number % FULL_PROBE == FULL_PROBE - 1;
        Some(Permit { limit: if is_full { limit } else { limit.min(short) }, probe: Some(next) })
    }

    /// The connect was given up before it said anything of the server: if it was a probe, another may go out.
    pub(crate) fn call_off(&self, permit: Permit, now: Tick) {
        if let Some(next) = permit.probe {
            let _ = self.retry_at.compare_exchange(
                next.0,
                now.0,
                Ordering::Relaxed, // O11
                Ordering::Relaxed, // O11
            );
        }
    }

    /// A connect is begun.
    pub(crate) fn begun(&self, permit: Permit, now: Tick) {
        self.probes.fetch_add(u32::from(permit.is_probe()), Ordering::Relaxed); // O11
        self.begun_at.fetch_max(now.0, Ordering::Relaxed); // O11
    }

    /// A connect that was begun at `begun` has succeeded.
    pub(crate) fn succeeded(&self, begun: Tick, now: Tick) {
        self.succeeded_at.fetch_max(now.0, Ordering::Relaxed); // O11
        self.proven_since.fetch_max(begun.0, Ordering::Relaxed); // O11
        let usual = self.usual.load(Ordering::Relaxed); // O11
        let took = now.since(begun).as_nanos() as u64;
        self.usual.store(took.max(usual - usual / 8), Ordering::Relaxed); // O11
        self.permanent.store(false, Ordering::Relaxed); // O11
        let doubt_until = Tick(self.doubt_until.load(Ordering::Relaxed)); // O11
        if now >= doubt_until {
            self.clear();
        } else {
            let wait = jittered(back_off(self.failures.load(Ordering::Relaxed))); // O11
            self.retry_at.store((now + wait).0, Ordering::Relaxed); // O11
        }
    }

    /// A connection born at `born` has answered a ping.
    pub(crate) fn answered(&self, born: Tick) {
        // O11: nothing is written in good times.
        if self.doubt_until.load(Ordering::Relaxed) != 0
            && born.0 > self.rejected_at.load(Ordering::Relaxed)
        // O11
        {
            self.clear();
        }
    }

    fn clear(&self) {
        self.failures.store(0, Ordering::Relaxed); // O11
        self.retry_at.store(0, Ordering::Relaxed); // O11
        self.permanent.store(false, Ordering::Relaxed); // O11
        self.doubt_until.store(0, Ordering::Relaxed); // O11
    }

    /// A connect that was begun at `begun` has failed. When to try again is for the last one begun to say.
    pub(crate) fn failed(&self, begun: Tick, now: Tick, permanent: bool) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed); // O11
        let wait = if permanent { MAX_BACK_OFF } else { back_off(failures) };
        let last = Tick(self.begun_at.load(Ordering::Relaxed)); // O11
        if permanent || begun >= last {
            self.permanent.store(permanent, Ordering::Relaxed); // O11
            self.retry_at.store((now + jittered(wait)).0, Ordering::Relaxed); // O11
        }
    }

    /// The ping, begun at `begun`, of a connection born at `born` has failed before it was ever lent. If it was
    /// fresh, and others were found so before it came, that is as bad as a connect that failed. True if so.
    pub(crate) fn rejected(&self, born: Tick, begun: Tick, now: Tick) -> bool {
        let before = Tick(self.rejected_at.swap(now.0, Ordering::Relaxed)); // O11
        let is_stillborn = before != Tick::default() && born > before && begun.since(born) < DOUBT;
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

    const LIMIT: Duration = Duration::from_secs(10);

    fn is_free(outage: &Outage, now: Tick) -> bool {
        outage.permit(now, 3, LIMIT).is_some_and(|permit| !permit.is_probe())
    }

    /// When probes go out in half a minute if `end` says what becomes of each.
    fn probes(mut end: impl FnMut(&Outage, Tick)) -> Vec<Tick> {
        let outage = Outage::default();
        outage.failed(START, START, false);
        let (mut now, mut probes) = (START, Vec::new());
        while now < START + Duration::from_secs(30) {
            now = now + Duration::from_millis(1);
            if let Some(permit) = outage.permit(now, 0, LIMIT) {
                outage.begun(permit, now);
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
    fn hanging_probes_go_out_every_second_and_hold_few_slots_of_which_one_in_four_for_long() {
        let outage = Outage::default();
        let (mut now, mut hanging, mut sent) = (START, Vec::new(), Vec::new());
        outage.failed(START, START, false);
        for _ in 0..60_000 {
            now = now + Duration::from_millis(1);
            hanging.retain(|(begun, until): &(Tick, Tick)| {
                if *until <= now {
                    outage.failed(*begun, now, false);
                }
                *until > now
            });
            if let Some(permit) = outage.permit(now, hanging.len(), LIMIT) {
                outage.begun(permit, now);
                hanging.push((now, now + permit.limit));
                sent.push((now, permit.limit));
            }
            assert!(hanging.len() <= 6, "{} slots", hanging.len());
        }
        let gaps: Vec<_> = sent.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
        assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(1)), "{gaps:?}");
        assert!(sent.len() <= 120, "{} in a minute", sent.len());
        let full = sent.iter().filter(|(_, limit)| *limit == LIMIT).count();
        assert!((sent.len() / 4 - 1..=sent.len() / 4 + 1).contains(&full), "{full} full ones");
    }

    #[test]
    fn one_probe_goes_out_for_however_many_want_to_send_it_and_called_off_another() {
        let outage = Outage::default();
        outage.failed(START, START, false);
        let now = START + Duration::from_secs(1);
        let probe = outage.permit(now, 0, LIMIT).unwrap();
        assert!(probe.is_probe());
        assert_eq!(outage.permit(now, 0, LIMIT), None);
        outage.call_off(probe, now);
        assert!(outage.permit(now, 0, LIMIT).is_some());
    }

    #[test]
    fn a_slow_server_has_more_time_for_probes() {
        let outage = Outage::default();
        let took = Duration::from_millis(500);
        outage.succeeded(START, START + took);
        outage.failed(START, START, false);
        let probe = outage.permit(START + Duration::from_secs(1), 0, LIMIT).unwrap();
        assert_eq!(probe.limit, 4 * took);
    }

    #[test]
    fn a_success_ends_the_outage_unless_fresh_connections_are_found_dead() {
        let outage = Outage::default();
        outage.failed(START, START, false);
        outage.succeeded(START, START);
        assert!(is_free(&outage, START));
        assert!(!outage.rejected(START, START, START), "one of an old batch");
        assert!(!outage.rejected(START, START, START), "another");
        let later = START + Duration::from_millis(1);
        assert!(outage.rejected(later, later, later), "opened since");
        outage.succeeded(later, later);
        assert!(!is_free(&outage, later));
        outage.answered(START);
        assert!(!is_free(&outage, later), "that is an old one");
        outage.answered(later + Duration::from_millis(1));
        assert!(is_free(&outage, later));
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
