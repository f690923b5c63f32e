use super::*;
use proptest::prelude::*;

const LIMIT: Duration = Duration::from_secs(10);
const MILLI: Duration = Duration::from_millis(1);
const START: Tick = Tick(1_000_000_000);

/// A line whose pools are called by their numbers.
fn line(max_concurrent: usize, per_second: Option<f64>) -> Line<u64> {
    Line::new(&Limits { max_concurrent, per_second, burst: Some(1) })
}

impl Line<u64> {
    fn asks(&mut self, pool: u64, now: Tick) -> Answer {
        self.ask(pool, LIMIT, now, || pool)
    }

    #[track_caller]
    fn gets(&mut self, pool: u64, now: Tick) -> u64 {
        match self.asks(pool, now) {
            Answer::Granted(place) => place,
            held => panic!("{held:?}"),
        }
    }
}

#[test]
fn a_freed_place_goes_round_and_a_pool_that_has_had_one_goes_to_the_end() {
    let mut line = line(1, None);
    let mut taken = line.gets(1, START);
    assert_eq!(line.asks(1, START), Answer::Held(Some(0)));
    assert_eq!(line.asks(2, START), Answer::Held(Some(1)));
    assert_eq!(line.asks(3, START), Answer::Held(Some(2)));
    assert_eq!(line.asks(2, START), Answer::Held(None));
    for turn in [1, 2, 3, 1, 2, 3] {
        line.end(taken, true, START);
        assert_eq!(line.settle(START), [turn]);
        let others = [1, 2, 3].into_iter().filter(|pool| *pool != turn);
        others.for_each(|pool| assert_eq!(line.asks(pool, START), Answer::Held(None)));
        taken = line.gets(turn, START);
        assert_eq!(line.asks(turn, START), Answer::Held(Some(2)));
    }
}

#[test]
fn a_pool_that_leaves_when_it_is_its_turn_passes_the_turn_on() {
    let mut line = line(1, Some(2.5));
    let taken = line.gets(1, START);
    let later = START + Duration::from_millis(400);
    (2..5).for_each(|pool| _ = line.asks(pool, later));
    assert_eq!(line.leave(3, later), Some(3));
    line.end(taken, true, later);
    assert_eq!(line.settle(later), [2]);
    assert_eq!(line.leave(2, later), None);
    assert_eq!(line.settle(later), [4], "neither the place nor the turn is lost");
    line.gets(4, later);
}

#[test]
fn a_pool_that_does_not_come_loses_the_offer_to_the_next() {
    let mut line = line(1, Some(2.5));
    let taken = line.gets(1, START);
    let later = START + Duration::from_millis(400);
    (2..4).for_each(|pool| _ = line.asks(pool, later));
    line.end(taken, true, later);
    assert_eq!(line.settle(later), [2]);
    assert_eq!(line.next_look(later), later + LAPSE);
    assert!(line.settle(later + (LAPSE - MILLI)).is_empty());
    assert_eq!(line.settle(later + LAPSE), [3]);
    assert_eq!(line.asks(2, later + LAPSE), Answer::Held(Some(0)));
}

#[test]
fn connects_that_take_long_make_room_for_as_many_and_then_for_one_at_a_time() {
    let mut line = line(2, None);
    let granted = |line: &mut Line<u64>, now| {
        (0..10).filter(|n| matches!(line.asks(*n, now), Answer::Granted(_))).count()
    };
    let free = |line: &mut Line<u64>, now| {
        line.settle(now);
        let granted = granted(line, now);
        (0..10).for_each(|pool| _ = line.leave(pool, now));
        granted
    };
    let at = |n: u32| START + TAKING_LONG * n;
    let before = |n: u32| START + (TAKING_LONG * n - MILLI);
    assert_eq!(free(&mut line, at(0)), 2);
    assert_eq!(free(&mut line, before(1)), 0);
    assert_eq!(free(&mut line, at(1)), 2);
    for n in 2..6 {
        assert_eq!(free(&mut line, at(n)), 1, "a probe");
        assert_eq!(free(&mut line, before(n + 1)), 0);
    }
    // The last has succeeded: those before it are lost.
    line.succeeded(8, MILLI);
    line.end(8, true, at(6));
    assert_eq!(free(&mut line, at(6)), 2);
}

#[test]
fn where_connects_usually_take_long_they_count_for_longer() {
    let mut line = line(1, None);
    let slow = Duration::from_secs(1);
    let place = line.gets(1, START);
    line.succeeded(place, slow);
    line.end(place, true, START + slow);
    let begun = START + slow;
    line.gets(1, begun);
    assert_eq!(line.asks(2, begun), Answer::Held(Some(0)));
    assert_eq!(line.next_look(begun), begun + slow * 4);
    assert!(line.settle(begun + (slow * 4 - MILLI)).is_empty());
    assert_eq!(line.settle(begun + slow * 4), [2]);
}

#[test]
fn one_slow_success_does_not_make_it_patient_with_what_hangs() {
    let mut line = line(1, None);
    for took in [MILLI; 20].into_iter().chain([Duration::from_secs(6); 3]) {
        let place = line.gets(1, START);
        line.succeeded(place, took);
        line.end(place, true, START);
    }
    line.gets(1, START);
    line.asks(2, START);
    assert_eq!(line.next_look(START), START + TAKING_LONG);
}

#[test]
fn a_pool_that_declines_keeps_its_place_in_line() {
    let mut line = line(1, None);
    let taken = line.gets(1, START);
    (2..5).for_each(|pool| _ = line.asks(pool, START));
    assert!(line.decline(3, START));
    line.end(taken, true, START);
    assert_eq!(line.settle(START), [2]);
    assert!(!line.decline(2, START), "what it was offered goes to the next");
    assert_eq!(line.settle(START), [3]);
}

#[test]
fn a_connect_that_is_past_its_own_limit_does_not_count() {
    let mut line = line(1, None);
    assert!(matches!(line.ask(1, MILLI, START, || 1), Answer::Granted(_)));
    line.asks(2, START);
    assert_eq!(line.next_look(START), START + MILLI);
    assert_eq!(line.settle(START + MILLI), [2]);
}

#[test]
fn a_connect_that_was_never_begun_gives_its_turn_back() {
    let mut line = line(9, Some(1.0));
    for _ in 0..5 {
        let place = line.gets(1, START);
        line.end(place, false, START);
        line.end(place, false, START);
    }
    let place = line.gets(1, START);
    line.end(place, true, START);
    assert_eq!(line.asks(1, START), Answer::Held(Some(0)));
    assert_eq!(line.next_look(START), START + Duration::from_secs(1));
}

const RARELY: Limits = Limits { max_concurrent: 9, per_second: Some(1.0), burst: Some(1) };

#[test]
fn a_turn_that_was_not_counted_is_not_given_back_when_there_is_another_rate() {
    for rate in [None, Some(1_000.0)] {
        let mut line = line(9, rate);
        let unused = [1, 2, 3].map(|n| {
            let now = START + n * MILLI;
            line.gets(n.into(), now)
        });
        let now = START + 10 * MILLI;
        line.limit(&RARELY, now);
        line.gets(4, now);
        unused.into_iter().for_each(|place| line.end(place, false, now));
        assert_eq!(line.asks(5, now), Answer::Held(Some(0)), "{rate:?}");
        assert_eq!(line.next_look(now), now + Duration::from_secs(1), "{rate:?}");
    }
}

#[test]
fn a_turn_that_is_owed_is_given_back_at_another_rate_if_it_is_not_used() {
    for was_begun in [false, true] {
        let mut line = line(9, Some(10.0));
        let place = line.gets(1, START);
        let now = START + 50 * MILLI;
        line.limit(&RARELY, now);
        let later = now + 400 * MILLI;
        line.end(place, was_begun, later);
        let is_free = matches!(line.asks(2, later), Answer::Granted(_));
        assert_eq!(is_free, !was_begun, "half of a turn is owed for half a second");
    }
}

#[test]
fn offers_beyond_a_lowered_limit_are_taken_back_the_latest_first() {
    let mut line = line(1, None);
    line.gets(1, START);
    (2..5).for_each(|pool| _ = line.asks(pool, START));
    line.limit(&Limits { max_concurrent: 4, ..Limits::NONE }, START);
    assert_eq!(line.settle(START), [2, 3, 4]);
    line.limit(&Limits { max_concurrent: 2, ..Limits::NONE }, START);
    assert!(line.settle(START).is_empty());
    assert_eq!(line.asks(4, START), Answer::Held(Some(0)), "it comes, and stands there again");
    line.gets(2, START);
}

#[test]
fn after_a_burst_a_lowered_rate_lets_the_next_begin_within_its_own_measure() {
    let often = Limits { max_concurrent: 999, per_second: Some(1_000.0), burst: Some(100) };
    let mut line = Line::new(&often);
    (0..100).for_each(|pool| _ = line.gets(pool, START));
    line.limit(&Limits { per_second: Some(5.0), burst: None, ..often }, START);
    assert_eq!(line.asks(100, START), Answer::Held(Some(0)));
    assert_eq!(line.next_look(START), START + 200 * MILLI);
}

#[test]
fn a_connect_that_is_not_held_counts() {
    let mut line = line(1, Some(1.0));
    line.gets(1, START);
    let trial = line.take_anyway(LIMIT, START);
    assert_eq!(line.tally(START), Tally { taken: 2, long: 0, waiting: 0 });
    line.end(trial, true, START);
    assert_eq!(line.asks(2, START), Answer::Held(Some(0)));
    line.end(1, true, START);
    assert!(line.settle(START + Duration::from_secs(1)).is_empty());
    assert_eq!(line.settle(START + Duration::from_secs(2)), [2]);
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u64),
    Leave(u64),
    End(usize, bool, bool),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..6u64).prop_map(Step::Ask),
        1 => (0..6u64).prop_map(Step::Leave),
        4 => (0..8usize, any::<bool>(), any::<bool>()).prop_map(|(n, b, s)| Step::End(n, b, s)),
        3 => (0..700u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn whatever_happens_the_limits_hold_the_order_is_kept_and_nothing_free_is_left_lying(
        steps in steps(),
        max in 1..4usize,
        per_second in prop::option::of(1..40u32),
    ) {
        let mut line = line(max, per_second.map(f64::from));
        let (mut now, mut taken) = (START, Vec::<(u64, Tick)>::new());
        for step in steps {
            match step {
                Step::Ask(pool) => {
                    let was_ahead: Vec<_> = line.waiting.iter().map(|one| one.pool).collect();
                    let was_offered = line.places.values().any(|one| one.offered_to == Some(pool));
                    if let Answer::Granted(place) = line.asks(pool, now) {
                        prop_assert!(was_offered || was_ahead.is_empty());
                        taken.push((place, now));
                    }
                }
                Step::Leave(pool) => {
                    let _ = line.leave(pool, now);
                    prop_assert!(line.places.values().all(|one| one.offered_to != Some(pool)));
                }
                Step::End(n, was_begun, has_succeeded) if n < taken.len() => {
                    let (place, begun) = taken.swap_remove(n);
                    if was_begun && has_succeeded {
                        line.succeeded(place, now.since(begun));
                    }
                    line.end(place, was_begun, now);
                }
                Step::End(..) => {}
                Step::Wait(millis) => now = now + MILLI * millis as u32,
            }
            let ahead: Vec<_> = line.waiting.iter().map(|one| one.pool).collect();
            let called = line.settle(now);
            prop_assert!(ahead.starts_with(&called));
            prop_assert!(line.settle(now).is_empty(), "settled");
            prop_assert!(line.waiting.is_empty() || !line.has_room(now) || line.turns.next() > now);
            prop_assert!(line.waiting.is_empty() || line.next_look(now) > now);
            prop_assert!(line.waiting.is_empty() || line.next_look(now) < Tick::NEVER);
            prop_assert_eq!(line.tally(now).taken, taken.len());
            // Of those begun within the patience of the least patient no more than the limit.
            let fresh = taken.iter().filter(|(_, at)| now < *at + TAKING_LONG).count();
            prop_assert!(fresh <= max, "{fresh} of {max}");
        }
    }
}
