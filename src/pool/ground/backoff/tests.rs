//! What the back-off comes to, step by step and under random events.

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
    /// Whatever happens, the next attempt is never further away than a second (promise P7), no
    /// connect goes out before its time, one probe at most goes out per waiting time, and a success
    /// ends it all.
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
