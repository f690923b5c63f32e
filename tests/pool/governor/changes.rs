//! Limits that are changed while connects are held.

use super::*;
use caliburn::error::Problem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A pool of `size` that is maintained by hand, and what it has open after it was.
fn sized(fake: &Fake, governor: &ConnectGovernor, size: usize) -> (Pool<Fake>, MockClock) {
    let (builder, hand) = by_hand(fake, governor);
    let builder = builder.max_size(size).min_size(size).connect_concurrency(size);
    (builder.build().unwrap(), hand)
}

fn size_of(pool: &Pool<Fake>) -> usize {
    pool.maintain();
    pool.stats().size
}

#[test]
fn a_raised_limit_calls_those_that_are_held_at_once() {
    let governor = ConnectGovernor::builder().max_concurrent(1).build().unwrap();
    let server = Arc::new(Server::default());
    let pools = [0, 1, 2].map(|number| guest(&server, number, 1, Some(&governor)));
    eventually("one is there", || server.came().len() == 1);
    eventually("the others are held", || governor.stats().waiting == 2);
    governor.change(|limits| limits.max_concurrent(3)).unwrap();
    eventually("all are there", || server.came().len() == 3);
    server.let_in(usize::MAX);
    pools.iter().for_each(|pool| pool.ready(PLENTY).unwrap());
    assert_free(&governor);
}

#[test]
fn below_a_lowered_limit_the_next_connect_begins_and_not_before() {
    let (governor, _) = timeless(3);
    let mut occupants: Vec<_> = (0..3).map(|_| Occupant::new(&governor)).collect();
    governor.change(|limits| limits.max_concurrent(1)).unwrap();
    assert_eq!(governor.stats().connecting, 3, "what is under way goes on");
    let fake = Fake::new();
    let (pool, _) = sized(&fake, &governor, 1);
    for _ in 0..3 {
        assert_eq!(size_of(&pool), 0);
        occupants.pop().unwrap().leave();
    }
    assert_eq!(size_of(&pool), 1);
}

#[test]
fn a_changed_rate_counts_what_was_begun_before() {
    let (clock, hand) = Clock::mock();
    let governor = ConnectGovernor::builder().per_second(0.001).clock(clock).build().unwrap();
    let fake = Fake::new();
    let (pool, _) = sized(&fake, &governor, 40);
    assert_eq!(size_of(&pool), 1, "the next would come in a thousand seconds");
    governor.change(|limits| limits.per_second(2)).unwrap();
    assert_eq!(size_of(&pool), 1, "the one that was begun is one of these two");
    hand.advance(SECOND / 2);
    assert_eq!(size_of(&pool), 2);
    governor.change(|limits| limits.burst(4)).unwrap();
    assert_eq!(size_of(&pool), 5, "one of the four was begun");
    governor.change(|limits| limits.per_second(20)).unwrap();
    assert_eq!(size_of(&pool), 5);
    hand.advance(SECOND / 4);
    assert_eq!(size_of(&pool), 5 + 4, "no more than the burst are saved up");
    governor.change(|limits| limits.per_second(1)).unwrap();
    hand.advance(SECOND);
    assert_eq!(size_of(&pool), 5 + 4 + 1);
}

/// Unless it is said, the burst is a tenth of the rate, also of a changed one.
#[test]
fn a_burst_that_was_not_chosen_follows_the_rate() {
    let (clock, _hand) = Clock::mock();
    let governor = ConnectGovernor::builder().per_second(30).clock(clock.clone()).build().unwrap();
    governor.change(|limits| limits.per_second(60)).unwrap();
    let fake = Fake::new();
    let (pool, _) = sized(&fake, &governor, 10);
    assert_eq!(size_of(&pool), 6);
    governor.change(|_| ConnectGovernor::builder().clock(clock)).unwrap();
    assert_eq!(size_of(&pool), 10, "no limit is left");
    let said = format!("{governor:?}");
    assert!(said.contains("per_second: None") && said.contains("burst: 1"), "{said}");
}

/// Nobody asks and nothing ends: the housekeeper comes when the changed rate has a turn.
#[test]
fn pools_that_are_held_by_a_rate_of_next_to_nothing_are_called_when_it_is_raised() {
    let governor = ConnectGovernor::builder().per_second(1e-9).build().unwrap();
    let server = Arc::new(Server::default());
    server.let_in(usize::MAX);
    let pools = [0, 1].map(|number| guest(&server, number, 2, Some(&governor)));
    eventually("both are held", || governor.stats().waiting == 2 && server.came().len() == 1);
    governor.change(|limits| limits.per_second(100)).unwrap();
    pools.iter().for_each(|pool| pool.ready(PLENTY).unwrap());
    assert_free(&governor);
}

#[test]
fn a_change_that_makes_no_sense_changes_nothing() {
    let (governor, hand) = timeless(2);
    let before = format!("{governor:?}");
    let error = governor
        .change(|limits| limits.max_concurrent(0).per_second(f64::NAN).burst(0))
        .unwrap_err();
    let expected = "a number greater than zero";
    let rate = Problem::Invalid { setting: "per_second".into(), expected };
    let problems = [Problem::Zero("max_concurrent"), Problem::Zero("burst"), rate];
    assert_eq!(error.problems(), problems);
    let error = governor.change(|limits| limits.max_concurrent(5).clock(Clock::real()));
    assert_eq!(error.unwrap_err().problems(), [Problem::Differs("clock")]);
    let unwound = catch_unwind(AssertUnwindSafe(|| governor.change(|_| panic!("a mistake"))));
    unwound.unwrap_err();
    assert_eq!(format!("{governor:?}"), before);
    let _occupants = [0; 2].map(|_| Occupant::new(&governor));
    let fake = Fake::new();
    let (pool, _) = sized(&fake, &governor, 1);
    assert_eq!((size_of(&pool), governor.stats().waiting), (0, 1));
    governor.change(|limits| limits).unwrap();
    assert_eq!(size_of(&pool), 0);
    drop(hand);
}

#[test]
fn a_governor_that_no_pool_has_yet_is_changed_as_well() {
    let (governor, _) = timeless(1);
    governor.change(|limits| limits.max_concurrent(2)).unwrap();
    assert_eq!(governor.stats().granted, 0, "now it is there");
    governor.change(|limits| limits.max_concurrent(3)).unwrap();
    let _occupants = [0; 3].map(|_| Occupant::new(&governor));
    assert_eq!(governor.stats().connecting, 3);
}

/// An operator's change must not fail the next pool of a program that names what it always named.
#[test]
fn a_key_is_asked_for_by_the_limits_that_its_governor_was_built_with() {
    let key = "changed";
    let shared = || ConnectGovernor::builder().max_concurrent(3).per_second(30).shared(key);
    let governor = shared().unwrap();
    governor.change(|limits| limits.max_concurrent(1)).unwrap();
    assert!(format!("{:?}", shared().unwrap()).contains("max_concurrent: 1,"));
    let same = ConnectGovernor::builder().max_concurrent(3).per_second(30).burst(3).shared(key);
    same.unwrap();
    let other = ConnectGovernor::builder().max_concurrent(1).per_second(30).shared(key);
    assert_eq!(other.unwrap_err().problems(), [Problem::Differs("max_concurrent")]);
}

/// Those that are made at once: one of them is the last, and the line has what it says.
#[test]
fn of_changes_at_once_the_last_is_in_force_everywhere() {
    let governor = ConnectGovernor::builder().build().unwrap();
    let server = Arc::new(Server::default());
    let pools: Vec<_> = (0..4).map(|number| guest(&server, number, 8, Some(&governor))).collect();
    std::thread::scope(|scope| {
        for most in 1..=4 {
            let governor = governor.clone();
            scope.spawn(move || {
                for _ in 0..200 {
                    governor.change(|limits| limits.max_concurrent(most)).unwrap();
                }
            });
        }
        (0..16).for_each(|_| server.let_in(1));
    });
    server.let_in(usize::MAX);
    pools.iter().for_each(|pool| pool.ready(PLENTY).unwrap());
    assert_at_rest(&governor);
    let most =
        (1..=4).find(|most| format!("{governor:?}").contains(&format!("max_concurrent: {most},")));
    let shut = Arc::new(Server::default());
    let held: Vec<_> = (0..5).map(|number| guest(&shut, number, 1, Some(&governor))).collect();
    let most = most.unwrap();
    let all = || (shut.came().len(), governor.stats().waiting);
    eventually("as many as may have come", || all() == (most, 5 - most));
    shut.let_in(usize::MAX);
    held.iter().for_each(|pool| pool.ready(PLENTY).unwrap());
}
