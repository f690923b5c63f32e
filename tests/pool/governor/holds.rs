//! What holds others up, and for how long.

use super::*;
use caliburn::GetError;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

#[test]
fn a_connect_that_hangs_holds_others_for_half_a_second_and_no_longer() {
    let (governor, hand) = timeless(1);
    let hangs = Occupant::new(&governor);
    let fake = Fake::new();
    let (builder, _) = by_hand(&fake, &governor);
    let other = builder.max_size(1).min_size(1).build().unwrap();
    other.maintain();
    hand.advance(Duration::from_millis(499));
    other.maintain();
    assert_eq!((other.stats().size, governor.stats().waiting), (0, 1));
    hand.advance(Duration::from_millis(1));
    other.maintain();
    assert_eq!((other.stats().size, other.stats().connects_held), (1, 1));
    assert_eq!((governor.stats().connecting, governor.stats().taking_long), (1, 1));
    drop(hangs);
}

/// Nothing happens but that time passes, and the housekeeper looks.
#[test]
fn a_pool_is_called_as_soon_as_the_connect_before_it_takes_long() {
    let governor = ConnectGovernor::builder().max_concurrent(1).build().unwrap();
    let hangs = Occupant::new(&governor);
    let (fake, begun) = (Fake::new(), Instant::now());
    let builder = Pool::builder(fake.clone()).max_size(2).min_size(2);
    let pool = builder.connect_governor(&governor).build().unwrap();
    pool.ready(PLENTY).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500) + ROOM, "{:?}", begun.elapsed());
    drop(hangs);
}

#[test]
fn a_pool_that_does_not_come_when_it_is_called_holds_others_for_a_moment_only() {
    let (governor, hand) = timeless(1);
    let hangs = Occupant::new(&governor);
    let fake = Fake::new();
    let [absent, behind] =
        [0; 2].map(|_| by_hand(&fake, &governor).0.max_size(1).min_size(1).build().unwrap());
    assert_eq!(governor.stats().waiting, 2);
    hangs.leave();
    let moment = Duration::from_millis(99);
    for wait in [Duration::ZERO, moment] {
        hand.advance(wait);
        behind.maintain();
        assert_eq!((behind.stats().size, governor.stats().waiting), (0, 1));
    }
    hand.advance(Duration::from_millis(1));
    behind.maintain();
    assert_eq!((behind.stats().size, absent.stats().size), (1, 0));
    absent.maintain();
    assert_eq!(absent.stats().size, 1, "it comes late, and is served");
    assert_at_rest(&governor);
}

#[test]
fn pools_in_a_black_hole_are_served_soon_after_it_and_do_not_storm_the_server() {
    let governor = ConnectGovernor::builder().max_concurrent(2).build().unwrap();
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let begun = Instant::now();
    let pools: Vec<_> = (0..10)
        .map(|_| {
            let builder = Pool::builder_async(AsyncFake(fake.clone()));
            let builder = builder.max_size(2).min_size(1).connect_timeout(6 * PLENTY);
            builder.connect_governor(&governor).build().unwrap()
        })
        .collect();
    eventually("probes go out", || fake.books().attempts.load(SeqCst) >= 6);
    // Two, two more after half a second, and then one in each.
    let least = Duration::from_millis(1_400);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    fake.on_connect(Mode::Ok);
    let begun = Instant::now();
    for pool in &pools {
        let whole = pool.ready(PLENTY);
        assert!(whole.is_ok(), "{:?}, {}, {:?}", governor.stats(), pool.stats(), pool.overruns());
    }
    assert!(begun.elapsed() < 2 * SECOND + ROOM, "{:?}", begun.elapsed());
}

#[test]
fn a_held_probe_of_an_outage_goes_out_as_soon_as_there_is_room() {
    let (governor, _) = timeless(1);
    let fake = Fake::new();
    let (builder, hand) = by_hand(&fake, &governor);
    let pool = builder.max_size(1).build().unwrap();
    fake.on_connect(Mode::Fail);
    let mut get = Box::pin(pool.get_timeout_async(100 * SECOND));
    assert!(poll_once(&mut get).is_pending());
    pool.maintain();
    assert_eq!(pool.stats().connect_failures, 1);
    let occupant = Occupant::new(&governor);
    for _ in 0..10 {
        hand.advance(SECOND);
        pool.maintain();
    }
    assert_eq!((pool.stats().connect_failures, pool.stats().connects_held), (1, 1));
    fake.on_connect(Mode::Ok);
    occupant.leave();
    pool.maintain();
    assert!(poll_once(&mut get).is_ready());
}

/// A return makes the pool ready, and tells nobody.
#[test]
fn one_that_waits_until_a_held_pool_is_ready_hears_of_a_return() {
    let (governor, _) = timeless(1);
    let builder = Pool::builder(Fake::new()).max_size(4).min_idle(1);
    let pool = builder.connect_governor(&governor).wait_ready(PLENTY).build().unwrap();
    eventually("nothing is under way", || governor.stats().connecting == 0);
    let occupant = Occupant::new(&governor);
    let held = pool.get().unwrap();
    eventually("the next connect is held", || pool.stats().connects_held > 0);
    let bell = Arc::<Bell>::default();
    let waker = Waker::from(bell.clone());
    let mut ready = pin!(pool.ready_async(2 * PLENTY));
    let mut look = || ready.as_mut().poll(&mut Context::from_waker(&waker));
    // Events that are on their way have it look again.
    while bell.still() {
        assert!(look().is_pending());
    }
    assert!(look().is_pending());
    drop(held);
    eventually("it is told", || bell.has_rung() && matches!(look(), Poll::Ready(Ok(()))));
    drop(occupant);
}

/// Borrowers of a pool whose last connect failed, while the governor holds the next.
fn while_held(mode: Mode, fail_fast: bool) -> (usize, usize) {
    let (governor, _) = timeless(1);
    let fake = Fake::new();
    let (builder, hand) = by_hand(&fake, &governor);
    let pool = builder.max_size(1).fail_fast(fail_fast).build().unwrap();
    fake.on_connect(mode);
    let mut first = Box::pin(pool.get_timeout_async(100 * SECOND));
    assert!(poll_once(&mut first).is_pending());
    pool.maintain();
    assert_eq!(pool.stats().connect_failures, 1);
    let is_told = poll_once(&mut first).is_ready();
    hand.advance(2 * SECOND);
    let occupant = Occupant::new(&governor);
    let mut asks = Box::pin(pool.get_timeout_async(100 * SECOND));
    assert!(poll_once(&mut asks).is_pending(), "the one that asks for the next attempt waits");
    assert_eq!(pool.stats().connects_held, 1);
    let mut later: Vec<_> =
        (0..5).map(|_| Box::pin(pool.get_timeout_async(100 * SECOND))).collect();
    let told = later.iter_mut().filter_map(|get| match poll_once(get) {
        Poll::Ready(Err(GetError::Connect { .. })) => Some(()),
        Poll::Ready(other) => panic!("{other:?}"),
        Poll::Pending => None,
    });
    let told = told.count();
    drop(later);
    occupant.leave();
    pool.maintain();
    assert_eq!(pool.stats().connect_failures, 2, "the attempt is made");
    assert_eq!(poll_once(&mut asks).is_ready(), is_told);
    (usize::from(is_told), told)
}

#[test]
fn what_fails_at_once_does_so_while_the_next_attempt_is_held() {
    assert_eq!(while_held(Mode::FailForGood, false), (1, 5));
    assert_eq!(while_held(Mode::Fail, true), (1, 5));
    assert_eq!(while_held(Mode::Fail, false), (0, 0));
}

#[test]
fn borrowers_of_a_held_pool_that_has_not_failed_wait() {
    let (governor, _) = timeless(1);
    let occupant = Occupant::new(&governor);
    let fake = Fake::new();
    let (builder, _) = by_hand(&fake, &governor);
    let pool = builder.max_size(2).fail_fast(true).build().unwrap();
    let mut gets: Vec<_> = (0..2).map(|_| Box::pin(pool.get_timeout_async(SECOND))).collect();
    assert!(gets.iter_mut().all(|get| poll_once(get).is_pending()));
    occupant.leave();
    pool.maintain();
    assert!(gets.iter_mut().all(|get| poll_once(get).is_ready()));
    assert_at_rest(&governor);
}
