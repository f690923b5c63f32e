//! What is known of the server, and what follows from it for the next connect: a pure state machine.
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
//!
//! `chance` is evenly distributed from 0 to 1, drawn by the caller.

use crate::clock::Tick;
use std::time::Duration;

/// The wait after the first failure, doubled with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
/// The longest wait, before jitter: with a connect it stays within a second, and within two attempts a second.
const MAX_BACK_OFF: Duration = Duration::from_millis(950);
/// The jitter takes away up to this share.
const JITTER: f64 = 0.4;
/// Connects that are in flight for longer tell that something is wrong.
pub(crate) const TAKING_LONG: Duration = Duration::from_millis(500);
/// A probe gets this much time, or `GENEROUS` times what a connect usually takes, if that is more.
const SHORT_PROBE: Duration = Duration::from_secs(1);
const GENEROUS: u32 = 4;
/// One probe in this many gets all the time that the settings give a connect: the server may have become slow.
const FULL_PROBE: u32 = 4;
/// After a fresh connection was found dead, a connect proves nothing for this long.
const DOUBT: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    /// Attempts that failed since the last that succeeded.
    failures: u32,
    /// Not before this moment.
    retry_at: Tick,
    /// The last failure will not pass by itself.
    permanent: bool,
    probes: u32,
    /// When a connect was last begun.
    begun_at: Tick,
    /// When one last succeeded, when that one was begun, and how long they take at most.
    succeeded_at: Tick,
    proven_since: Tick,
    usual: Duration,
    /// When a connection was last found dead before it was ever lent.
    rejected_at: Option<Tick>,
    /// Until then a connect that succeeds is no proof that the server works.
    doubt_until: Option<Tick>,
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
fn jittered(wait: Duration, chance: f64) -> Duration {
    wait.mul_f64(1.0 - JITTER * chance)
}

fn back_off(failures: u32) -> Duration {
    (FIRST_BACK_OFF * (1 << failures.min(16))).min(MAX_BACK_OFF)
}

impl Backoff {
    /// When the next attempt may be made.
    pub(crate) fn retry_at(&self) -> Tick {
        self.retry_at
    }

    /// The last attempt failed, or is in doubt.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// The last failure will not pass by itself.
    pub(crate) fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// A fresh connection was found dead, and none has answered since.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt_until.is_some()
    }

    /// What becomes of a connect that was begun earlier says nothing of the server: a later one has succeeded.
    pub(crate) fn proven_since(&self) -> Tick {
        self.proven_since
    }

    /// How long the last connect has been under way.
    pub(crate) fn since_begun(&self, now: Tick) -> Duration {
        now.since(self.begun_at)
    }

    /// Leave for one more connect, which may take up to `limit`, beside `in_flight` others.
    pub(crate) fn permit(
        &mut self,
        now: Tick,
        in_flight: usize,
        limit: Duration,
        chance: f64,
    ) -> Option<Permit> {
        if now < self.retry_at {
            return None;
        }
        let all_take_long = in_flight > 0 && self.since_begun(now) >= TAKING_LONG;
        let is_stuck = all_take_long && now.since(self.succeeded_at) >= TAKING_LONG;
        if !self.is_failing() && !is_stuck {
            Some(Permit { limit, probe: None })
        } else if in_flight == 0 || all_take_long {
            Some(self.probe(now, limit, chance))
        } else {
            None
        }
    }

    fn probe(&mut self, now: Tick, limit: Duration, chance: f64) -> Permit {
        self.retry_at = now + jittered(MAX_BACK_OFF, chance);
        let short = self.usual.saturating_mul(GENEROUS).max(SHORT_PROBE);
        let is_full = self.probes % FULL_PROBE == FULL_PROBE - 1;
        let limit = if is_full { limit } else { limit.min(short) };
        Permit { limit, probe: Some(self.retry_at) }
    }

    /// The connect was given up before it said anything of the server: if it was a probe, another may go out.
    pub(crate) fn call_off(&mut self, permit: Permit, now: Tick) {
        if permit.probe == Some(self.retry_at) {
            self.retry_at = now;
        }
    }

    /// A connect is begun.
    pub(crate) fn begun(&mut self, permit: Permit, now: Tick) {
        self.probes = self.probes.wrapping_add(u32::from(permit.is_probe()));
        self.begun_at = self.begun_at.max(now);
    }

    /// A connect that was begun at `begun` has succeeded.
    pub(crate) fn succeeded(&mut self, begun: Tick, now: Tick, chance: f64) {
        self.succeeded_at = self.succeeded_at.max(now);
        self.proven_since = self.proven_since.max(begun);
        self.usual = now.since(begun).max(self.usual - self.usual / 8);
        self.permanent = false;
        if self.doubt_until.is_some_and(|until| now < until) {
            self.retry_at = now + jittered(back_off(self.failures), chance);
        } else {
            self.clear();
        }
    }

    /// A connection born at `born` has answered a ping.
    pub(crate) fn answered(&mut self, born: Tick) {
        if self.is_in_doubt() && self.rejected_at.is_none_or(|rejected| born > rejected) {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.failures = 0;
        self.retry_at = Tick::default();
        self.permanent = false;
        self.doubt_until = None;
    }

    /// A connect that was begun at `begun` has failed. When to try again is for the last one begun to say.
    pub(crate) fn failed(&mut self, begun: Tick, now: Tick, permanent: bool, chance: f64) {
        let wait = if permanent { MAX_BACK_OFF } else { back_off(self.failures) };
        self.failures = self.failures.saturating_add(1);
        if permanent || begun >= self.begun_at {
            self.permanent = permanent;
            self.retry_at = now + jittered(wait, chance);
        }
    }

    /// The ping, begun at `begun`, of a connection born at `born` has failed before it was ever lent. If it was
    /// fresh, and others were found so before it came, that is as bad as a connect that failed. True if so.
    pub(crate) fn rejected(&mut self, born: Tick, begun: Tick, now: Tick, chance: f64) -> bool {
        let before = self.rejected_at.replace(now);
        let is_stillborn = before.is_some_and(|before| born > before) && begun.since(born) < DOUBT;
        if is_stillborn {
            self.doubt_until = Some(now + DOUBT);
            self.failed(now, now, false, chance);
        }
        is_stillborn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Tick = Tick(1_000_000_000);

    const LIMIT: Duration = Duration::from_secs(10);

    /// The worst of jitters: none.
    const NO_JITTER: f64 = 0.0;

    fn is_free(backoff: &mut Backoff, now: Tick) -> bool {
        backoff.permit(now, 3, LIMIT, NO_JITTER).is_some_and(|permit| !permit.is_probe())
    }

    /// From none to all of the jitter.
    const CHANCES: [f64; 3] = [NO_JITTER, 0.5, 1.0];

    /// When probes go out in half a minute if each fails at once.
    fn probes(chance: f64) -> Vec<Tick> {
        let mut backoff = Backoff::default();
        backoff.failed(START, START, false, chance);
        let (mut now, mut probes) = (START, Vec::new());
        while now < START + Duration::from_secs(30) {
            now = now + Duration::from_millis(1);
            if let Some(permit) = backoff.permit(now, 0, LIMIT, chance) {
                backoff.begun(permit, now);
                probes.push(now);
                backoff.failed(now, now, false, chance);
            }
        }
        probes
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_but_at_least_once_a_second() {
        for probes in CHANCES.map(probes) {
            let gaps: Vec<_> = probes.windows(2).map(|pair| pair[1].since(pair[0])).collect();
            assert!(gaps[0] < Duration::from_millis(25), "{gaps:?}");
            assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(1)), "{gaps:?}");
            let steady = &gaps[8..];
            assert!(steady.iter().all(|gap| *gap > Duration::from_millis(500)), "{gaps:?}");
        }
    }

    #[test]
    fn hanging_probes_go_out_every_second_and_hold_few_slots_of_which_one_in_four_for_long() {
        CHANCES.into_iter().for_each(hanging_probes);
    }

    fn hanging_probes(chance: f64) {
        let mut backoff = Backoff::default();
        let (mut now, mut hanging, mut sent) = (START, Vec::new(), Vec::new());
        backoff.failed(START, START, false, chance);
        for _ in 0..60_000 {
            now = now + Duration::from_millis(1);
            hanging.retain(|(begun, until): &(Tick, Tick)| {
                if *until <= now {
                    backoff.failed(*begun, now, false, chance);
                }
                *until > now
            });
            if let Some(permit) = backoff.permit(now, hanging.len(), LIMIT, chance) {
                backoff.begun(permit, now);
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
        let mut backoff = Backoff::default();
        backoff.failed(START, START, false, NO_JITTER);
        let now = START + Duration::from_secs(1);
        let probe = backoff.permit(now, 0, LIMIT, NO_JITTER).unwrap();
        assert!(probe.is_probe());
        assert_eq!(backoff.permit(now, 0, LIMIT, NO_JITTER), None);
        backoff.call_off(probe, now);
        assert!(backoff.permit(now, 0, LIMIT, NO_JITTER).is_some());
    }

    #[test]
    fn a_slow_server_has_more_time_for_probes() {
        let mut backoff = Backoff::default();
        let took = Duration::from_millis(500);
        backoff.succeeded(START, START + took, NO_JITTER);
        backoff.failed(START, START, false, NO_JITTER);
        let probe = backoff.permit(START + Duration::from_secs(1), 0, LIMIT, NO_JITTER).unwrap();
        assert_eq!(probe.limit, 4 * took);
    }

    #[test]
    fn a_success_ends_the_backoff_unless_fresh_connections_are_found_dead() {
        let mut backoff = Backoff::default();
        backoff.failed(START, START, false, NO_JITTER);
        backoff.succeeded(START, START, NO_JITTER);
        assert!(is_free(&mut backoff, START));
        assert!(!backoff.rejected(START, START, START, NO_JITTER), "one of an old batch");
        assert!(!backoff.rejected(START, START, START, NO_JITTER), "another");
        let later = START + Duration::from_millis(1);
        assert!(backoff.rejected(later, later, later, NO_JITTER), "opened since");
        backoff.succeeded(later, later, NO_JITTER);
        assert!(!is_free(&mut backoff, later));
        backoff.answered(START);
        assert!(!is_free(&mut backoff, later), "that is an old one");
        backoff.answered(later + Duration::from_millis(1));
        assert!(is_free(&mut backoff, later));
    }

    #[test]
    fn what_becomes_of_a_connect_is_no_news_once_a_later_one_succeeded() {
        let mut backoff = Backoff::default();
        let later = START + Duration::from_secs(1);
        backoff.succeeded(later, later, NO_JITTER);
        assert!(START < backoff.proven_since());
        assert!(later >= backoff.proven_since());
    }

    #[test]
    fn a_permanent_failure_is_retried_no_more_than_twice_a_second_from_the_start() {
        let mut backoff = Backoff::default();
        backoff.failed(START, START, true, NO_JITTER);
        assert!(backoff.retry_at().since(START) > Duration::from_millis(500));
        assert!(backoff.is_permanent());
        assert_eq!(backoff.permit(START, 0, LIMIT, NO_JITTER), None);
        let at = backoff.retry_at();
        assert!(backoff.permit(at, 0, LIMIT, NO_JITTER).is_some_and(Permit::is_probe));
    }

    /// One thing that can happen to a pool's connects.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Begin,
        CallOff,
        Succeed,
        Fail { permanent: bool },
        Reject,
        Answer,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Begin),
            1 => Just(Event::CallOff),
            2 => Just(Event::Succeed),
            3 => any::<bool>().prop_map(|permanent| Event::Fail { permanent }),
            1 => Just(Event::Reject),
            1 => Just(Event::Answer),
        ]
    }

    proptest! {
        /// Whatever happens, the next attempt is never further away than a second (promise P7), no connect goes
        /// out before its time, one probe at most goes out per waiting time, and a success ends it all.
        #[test]
        fn the_next_attempt_is_never_more_than_a_second_away(
            events in prop::collection::vec((event(), 0..1_500u64, 0.0..1.0f64), 1..120),
        ) {
            let mut backoff = Backoff::default();
            let (mut now, mut in_flight) = (START, Vec::new());
            for (event, millis, chance) in events {
                now = now + Duration::from_millis(millis);
                match event {
                    Event::Begin => {
                        let due = now >= backoff.retry_at();
                        let permit = backoff.permit(now, in_flight.len(), LIMIT, chance);
                        if let Some(permit) = permit {
                            prop_assert!(due);
                            prop_assert!(permit.limit <= LIMIT && !permit.limit.is_zero());
                            prop_assert!(permit.is_probe() || !backoff.is_failing());
                            if permit.is_probe() {
                                let another = backoff.permit(now, 0, LIMIT, chance);
                                prop_assert_eq!(another, None);
                            }
                            backoff.begun(permit, now);
                            in_flight.push((now, permit));
                        } else if due && in_flight.is_empty() {
                            prop_assert!(false, "nothing in flight, and no leave");
                        }
                    }
                    Event::CallOff => {
                        if let Some((_, permit)) = in_flight.pop() {
                            backoff.call_off(permit, now);
                        }
                    }
                    Event::Succeed => {
                        if let Some((begun, _)) = in_flight.pop() {
                            let in_doubt = backoff.is_in_doubt();
                            backoff.succeeded(begun, now, chance);
                            prop_assert!(!backoff.is_permanent());
                            prop_assert!(in_doubt || !backoff.is_failing());
                            prop_assert!(backoff.proven_since() >= begun);
                        }
                    }
                    Event::Fail { permanent } => {
                        if let Some((begun, _)) = in_flight.pop() {
                            backoff.failed(begun, now, permanent, chance);
                            prop_assert!(backoff.is_failing());
                        }
                    }
                    Event::Reject => _ = backoff.rejected(now, now, now, chance),
                    Event::Answer => {
                        backoff.answered(now + Duration::from_nanos(1));
                        prop_assert!(!backoff.is_in_doubt());
                    }
                }
                let wait = backoff.retry_at().since(now);
                prop_assert!(wait < Duration::from_secs(1), "{wait:?} after {event:?}");
            }
        }
    }
}
