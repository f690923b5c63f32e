//! A place ends once, whatever becomes of the connect, the task or the pool.

use super::*;
use caliburn::observe::EventKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_connect_that_is_no_longer_needed_gives_its_turn_back() {
    let (clock, _hand) = Clock::mock();
    let governor = ConnectGovernor::builder().per_second(1).clock(clock).build().unwrap();
    let fake = Fake::new();
    let [one, other] = [0; 2].map(|_| by_hand(&fake, &governor).0.max_size(2).build().unwrap());
    let mut get = Box::pin(one.get_timeout_async(SECOND));
    assert!(poll_once(&mut get).is_pending());
    assert_eq!(governor.stats().connecting, 1);
    drop(get);
    one.maintain();
    assert_eq!((one.stats().connects_skipped, fake.books().attempts.load(SeqCst)), (1, 0));
    let mut get = Box::pin(other.get_timeout_async(SECOND));
    assert!(poll_once(&mut get).is_pending());
    other.maintain();
    drop(poll_once(&mut get));
    assert_eq!((other.stats().connects, other.stats().connects_held), (1, 0));
    // That turn was used.
    let mut get = Box::pin(one.get_timeout_async(SECOND));
    assert!(poll_once(&mut get).is_pending());
    assert_eq!(one.stats().connects_held, 1);
}

#[test]
fn a_pool_that_closes_before_its_connect_begins_gives_the_turn_back() {
    let (clock, _hand) = Clock::mock();
    let governor = ConnectGovernor::builder().per_second(1).clock(clock).build().unwrap();
    let fake = Fake::new();
    let pool = by_hand(&fake, &governor).0.max_size(1).min_size(1).build().unwrap();
    assert_eq!(governor.stats().connecting, 1);
    pool.close();
    assert_eq!(fake.books().attempts.load(SeqCst), 0);
    assert_free(&governor);
}

#[test]
fn a_pool_without_a_slot_asks_for_nothing() {
    let (governor, _) = timeless(1);
    let fake = Fake::new();
    let pool = by_hand(&fake, &governor).0.max_size(1).build().unwrap();
    let held = {
        let mut get = Box::pin(pool.get_timeout_async(SECOND));
        assert!(poll_once(&mut get).is_pending());
        pool.maintain();
        match poll_once(&mut get) {
            std::task::Poll::Ready(held) => held.unwrap(),
            std::task::Poll::Pending => panic!("not served"),
        }
    };
    let occupant = Occupant::new(&governor);
    let mut get = Box::pin(pool.get_timeout_async(SECOND));
    assert!(poll_once(&mut get).is_pending());
    pool.maintain();
    assert_eq!((governor.stats().waiting, pool.stats().connects_held), (0, 0));
    drop(held);
    assert!(poll_once(&mut get).is_ready());
    drop(occupant);
}

#[test]
fn whatever_comes_of_a_connect_its_place_is_free_afterwards() {
    expect_panics();
    for mode in [Mode::Ok, Mode::Fail, Mode::FailForGood, Mode::Panic] {
        let (governor, _) = timeless(1);
        let fake = Fake::new();
        fake.on_connect(mode);
        let pool = Pool::builder(fake.clone()).max_size(1).connect_governor(&governor);
        let pool = pool.build().unwrap();
        let _ = pool.get_timeout(Duration::from_millis(20));
        eventually("it was tried", || fake.books().attempts.load(SeqCst) > 0);
        drop(pool);
        assert_free(&governor);
    }
}

#[test]
fn a_connect_that_reaches_its_limit_gives_its_place_back() {
    let (governor, _) = timeless(1);
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let builder = Pool::builder_async(AsyncFake(fake.clone())).max_size(1);
    let builder = builder.connect_timeout(Duration::from_millis(10));
    let pool = builder.connect_governor(&governor).build().unwrap();
    pool.get_timeout(Duration::from_millis(10)).unwrap_err();
    eventually("it is given up", || pool.stats().connect_failures > 0);
    fake.on_connect(Mode::Ok);
    assert_free(&governor);
}

#[test]
fn a_runtime_that_drops_its_tasks_gives_their_places_back() {
    let (governor, _) = timeless(1);
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let harness = harness::Harness::of(fake.clone(), 1, |builder| {
        builder.min_size(1).connect_governor(&governor)
    });
    harness.until("it connects", || harness.attempts() == 1);
    assert_eq!(governor.stats().connecting, 1);
    harness.pool.close();
    harness.tasks.lock().unwrap().clear();
    // A thread of the pool's goes on with the call, up to its limit.
    harness.advance(20 * SECOND);
    harness.until("what is left is given up", || governor.stats().connecting == 0);
    assert_free(&governor);
}

#[test]
fn a_call_that_hangs_keeps_its_place_until_it_returns_though_its_pool_has_gone() {
    let (governor, _) = timeless(2);
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let builder = Pool::builder(fake.clone()).max_size(1).min_size(1);
    let pool = builder.connect_governor(&governor).build().unwrap();
    eventually("it connects", || fake.books().attempts.load(SeqCst) == 1);
    drop(pool);
    assert_eq!(governor.stats().connecting, 1);
    fake.open_gate();
    assert_free(&governor);
}

#[test]
fn a_governor_keeps_no_pool_alive_and_a_pool_keeps_its_governor() {
    let (governor, _) = timeless(1);
    let fake = Fake::new();
    let occupant = Occupant::new(&governor);
    let builder = Pool::builder(fake.clone()).max_size(1).min_size(1);
    let pool = builder.connect_governor(&governor).build().unwrap();
    eventually("it waits", || governor.stats().waiting == 1);
    drop(pool);
    eventually("its manager is gone", || fake.is_alone());
    assert_eq!(governor.stats().waiting, 0);
    drop(occupant);

    let builder = Pool::builder(fake.clone()).max_size(1).wait_ready(PLENTY);
    let pool = builder.connect_governor(&governor).build().unwrap();
    drop(governor);
    drop(pool.get_timeout(PLENTY).unwrap());
}

#[test]
fn a_pool_that_goes_when_it_is_its_turn_passes_it_on() {
    for closes in [false, true] {
        let (governor, _) = timeless(1);
        let occupant = Occupant::new(&governor);
        let fake = Fake::new();
        let next = by_hand(&fake, &governor).0.max_size(1).min_size(1).build().unwrap();
        let builder = Pool::builder(fake.clone()).max_size(1).min_size(1);
        let behind = builder.connect_governor(&governor).build().unwrap();
        eventually("both wait", || governor.stats().waiting == 2);
        occupant.leave();
        // It was called, and is not maintained.
        eventually("one is called", || governor.stats().waiting == 1);
        if closes {
            next.close();
        }
        drop(next);
        behind.ready(PLENTY).unwrap();
        assert_at_rest(&governor);
    }
}

#[test]
fn a_pool_that_needs_no_connection_any_more_declines_when_it_is_called() {
    let (governor, _) = timeless(1);
    let occupant = Occupant::new(&governor);
    let fake = Fake::new();
    let pool = by_hand(&fake, &governor).0.max_size(1).build().unwrap();
    let mut get = Box::pin(pool.get_timeout_async(SECOND));
    assert!(poll_once(&mut get).is_pending());
    drop(get);
    pool.maintain();
    let behind = by_hand(&fake, &governor).0.max_size(1).min_size(1).build().unwrap();
    assert_eq!(governor.stats().waiting, 2, "it may need one when it is called");
    occupant.leave();
    eventually("it is called", || governor.stats().waiting == 1);
    pool.maintain();
    assert_eq!((pool.stats().size, governor.stats().waiting), (0, 0));
    behind.maintain();
    assert_eq!(behind.stats().size, 1);
}

/// Borrowers come again and again, and none waits for as long as the line lasts.
#[test]
fn a_pool_whose_borrowers_have_little_time_has_its_turn() {
    let (governor, _) = timeless(1);
    let occupant = Occupant::new(&governor);
    let fake = Fake::new();
    let pool = by_hand(&fake, &governor).0.max_size(1).build().unwrap();
    let ask = || {
        let mut get = Box::pin(pool.get_timeout_async(SECOND));
        let _ = poll_once(&mut get);
        get
    };
    drop(ask());
    pool.maintain();
    let behind = by_hand(&fake, &governor).0.max_size(1).min_size(1).build().unwrap();
    behind.maintain();
    let again = ask();
    occupant.leave();
    eventually("the first is called", || governor.stats().waiting == 1);
    pool.maintain();
    assert_eq!(pool.stats().size, 1, "it came first");
    drop(again);
}

/// The line is left in order, and the lock free, whatever an observer does.
#[test]
fn an_observer_that_panics_when_it_is_told_harms_no_one() {
    expect_panics();
    let (governor, _) = timeless(1);
    let occupant = Occupant::new(&governor);
    let fake = Fake::new();
    let builder = by_hand(&fake, &governor).0.max_size(1).min_size(1);
    let builder = builder.observer(|event: &caliburn::observe::Event| {
        assert!(!matches!(event.kind, EventKind::ConnectHeld { .. }), "held");
    });
    let pool = builder.build().unwrap();
    let _ = catch_unwind(AssertUnwindSafe(|| pool.maintain()));
    assert_eq!((pool.stats().connects_held, governor.stats().waiting), (1, 1));
    occupant.leave();
    pool.maintain();
    assert_eq!(pool.stats().size, 1);
}
