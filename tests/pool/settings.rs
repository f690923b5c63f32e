//! Limits that move while the pool runs, and closing.

use crate::common::*;
use caliburn::health::EvictionCause;
use caliburn::{Builder, Clock, GetError, Pool};
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lowered_limit_closes_the_longest_idle_first_and_lent_ones_on_their_return() {
    let (clock, hand) = Clock::mock();
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .max_size(6)
        .min_size(6)
        .clock(clock)
        .manual_maintenance()
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let mut held: Vec<_> = (0..6).map(|_| pool.try_get().unwrap()).collect();
    held.sort_by_key(|conn| conn.id);
    // 5 comes back first, then 4, then 3; 0 to 2 stay out.
    for _ in 0..3 {
        hand.advance(SECOND);
        drop(held.pop());
    }
    pool.change(|settings| (settings.min_size, settings.max_size) = (0, 5)).unwrap();
    pool.maintain();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.lent, stats.idle, stats.retired), (5, 3, 2, 1));
    let mut idle: Vec<_> = (0..2).map(|_| pool.try_get().unwrap()).collect();
    idle.sort_by_key(|conn| conn.id);
    assert_eq!(idle.iter().map(|conn| conn.id).collect::<Vec<_>>(), [3, 4], "5 was idle longest");
    drop(idle);
    pool.change(|settings| settings.max_size = 1).unwrap();
    pool.maintain();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.lent, stats.idle), (3, 3, 0), "what is lent is never touched");
    drop(held.pop());
    drop(held.pop());
    pool.maintain();
    drop(held);
    pool.maintain();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.idle, stats.retired), (1, 1, 5));
    assert_eq!(stats.evictions.by(EvictionCause::Surplus), 5);
    pool.change(|settings| settings.max_size = 6).unwrap();
    pool.change(|settings| settings.min_size = 6).unwrap();
    pool.maintain();
    assert_eq!(pool.stats().size, 6);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_raised_limit_serves_those_who_wait() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(1).capacity(4).build().unwrap();
    let held = pool.get_timeout(PLENTY).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(PLENTY).map(|conn| conn.id));
        eventually("it waits", || pool.stats().waiting == 1);
        pool.change(|settings| settings.max_size = 2).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), 1);
    });
    drop(held);
    assert_settled(&pool, fake.books());
}

#[test]
fn limits_that_move_at_random_under_load_lose_no_slot_and_open_none_too_many() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(8).capacity(16).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1500 {
                    drop(pool.get_timeout(PLENTY).unwrap());
                }
            });
        }
        scope.spawn(|| {
            for n in 0..1500u64 {
                pool.change(|settings| settings.max_size = 1 + (n * 7 % 16) as usize).unwrap();
            }
        });
    });
    pool.change(|settings| settings.max_size = 3).unwrap();
    eventually("the surplus is closed", || {
        pool.maintain();
        pool.stats().size <= 3
    });
    assert_settled(&pool, fake.books());
    assert!(fake.books().most_open.load(SeqCst) <= 16);
    let stats = pool.stats();
    assert_eq!(stats.retired, 13, "{stats:?}");
}

#[test]
fn min_idle_is_kept_ahead_of_demand() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(8).min_idle(2).build().unwrap();
    let mut held = Vec::new();
    for lent in 0..6 {
        eventually("two are free", || pool.stats().idle == 2);
        held.push(pool.try_get().unwrap());
        // Gauges are taken one after the other, and connects go on meanwhile.
        eventually("it is lent", || pool.stats().lent == lent + 1);
    }
    eventually("as many as there can be", || pool.stats().idle == 2);
    drop(held);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_closed_pool_fails_those_who_wait_and_those_who_come_at_once() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).max_size(1).min_size(1).wait_ready(PLENTY).build().unwrap();
    let held = pool.get().unwrap();
    let mut task = Box::pin(pool.get_async());
    assert!(poll_once(&mut task).is_pending());
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| pool.get_timeout(PLENTY).map(drop));
        eventually("both wait", || pool.stats().waiting == 2);
        pool.close();
        assert!(matches!(thread.join().unwrap(), Err(GetError::Closed)));
    });
    assert!(matches!(poll_once(&mut task), Poll::Ready(Err(GetError::Closed))));
    assert!(matches!(pool.get(), Err(GetError::Closed)));
    assert!(pool.is_closed());
    assert_eq!(held.id, 0, "what is lent still works");
    drop(held);
    eventually("it was closed on its return", || fake.books().alive() == 0);
    pool.close();
}

#[test]
fn close_within_waits_for_the_lent_and_tells_who_still_holds_what() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).max_size(3).min_size(3).wait_ready(PLENTY).build().unwrap();
    let held = pool.get().unwrap();
    let line = line!() - 1;
    let report = pool.close_within(Duration::from_millis(30));
    assert_eq!(report.still_lent, 1);
    assert_eq!(report.holders[0].location.line(), line);
    assert!(!report.is_complete() && report.to_string().contains("settings.rs"), "{report}");
    assert_eq!(fake.books().alive(), 1);
    let returner = std::thread::spawn(move || drop(held));
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    assert_eq!(fake.books().alive(), 0, "every destructor has run");
    returner.join().unwrap();
}

#[test]
fn closing_from_a_task_needs_no_timer_of_the_runtime() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).max_size(2).min_size(2).wait_ready(PLENTY).build().unwrap();
    let held = pool.get().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(pool.close_within_async(Duration::from_millis(30)));
    assert_eq!(report.still_lent, 1);
    drop(held);
    let report = runtime.block_on(pool.close_within_async(PLENTY));
    assert!(report.is_complete(), "{report}");
    assert_eq!(fake.books().alive(), 0);
}

#[test]
fn dropping_the_last_handle_closes_the_pool() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).max_size(2).min_size(2).wait_ready(PLENTY).build().unwrap();
    let other = pool.clone();
    drop(pool);
    let held = other.get().unwrap();
    assert!(!other.is_closed());
    drop(other);
    eventually("the idle one is closed", || fake.books().alive() == 1);
    drop(held);
    eventually("and the lent one", || fake.books().alive() == 0);
}

#[test]
fn ten_thousand_pools_made_and_dropped_leave_no_connection() {
    let fake = Fake::new();
    let many = if cfg!(debug_assertions) { 1000 } else { 10_000 };
    for _ in 0..many {
        let pool = Pool::builder(fake.clone()).max_size(2).build().unwrap();
        drop(pool.get_timeout(PLENTY).unwrap());
    }
    eventually("all are closed", || fake.books().alive() == 0);
}

#[test]
fn a_connect_that_hangs_keeps_nobody_from_a_returned_connection() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).max_size(4).min_size(1).wait_ready(PLENTY).build().unwrap();
    fake.on_connect(Mode::Hang);
    let held = pool.get().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(PLENTY).map(|conn| conn.id));
        eventually("a connect hangs", || pool.stats().opening == 1 && pool.stats().waiting == 1);
        drop(held);
        assert_eq!(waiter.join().unwrap().unwrap(), 0);
    });
    fake.open_gate();
    assert_settled(&pool, fake.books());
}

#[test]
fn a_permanent_error_fails_all_who_wait_with_its_cause_and_later_ones_too() {
    let fake = Fake::new();
    fake.on_connect(Mode::FailForGood);
    let pool = Pool::builder(fake.clone()).max_size(4).build().unwrap();
    let begun = Instant::now();
    for _ in 0..3 {
        let error = pool.get_timeout(PLENTY).unwrap_err();
        let GetError::Connect { cause, .. } = &error else { panic!("{error}") };
        assert_eq!(cause.to_string(), "wrong password");
    }
    assert!(begun.elapsed() < PLENTY / 2);
    fake.on_connect(Mode::Ok);
    eventually("it heals when the password is right", || pool.get_timeout(PLENTY).is_ok());
    assert_settled(&pool, fake.books());
}

#[test]
fn an_outage_heals_by_itself() {
    let fake = Fake::new();
    fake.on_connect(Mode::Fail);
    let pool = Pool::builder(fake.clone()).max_size(4).build().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(PLENTY).map(|conn| conn.id));
        eventually("a few attempts fail", || fake.books().attempts.load(SeqCst) >= 4);
        fake.on_connect(Mode::Ok);
        assert_eq!(waiter.join().unwrap().unwrap(), 0);
    });
    assert!(pool.stats().connect_failures >= 4);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_spike_that_returns_can_serve_does_not_inflate_the_pool() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).max_size(50).min_size(5).wait_ready(PLENTY).build().unwrap();
    fake.on_connect(Mode::Hang);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| drop(pool.get_timeout(PLENTY).unwrap()));
        }
    });
    fake.open_gate();
    assert_settled(&pool, fake.books());
    assert!(pool.stats().size <= 6, "{}", pool.stats());
}

#[cfg(feature = "serde")]
#[test]
fn stats_can_be_serialized() {
    let pool =
        Pool::builder(Fake::new()).max_size(2).min_size(1).wait_ready(PLENTY).build().unwrap();
    drop(pool.get().unwrap());
    let json = serde_json::to_value(pool.stats()).unwrap();
    assert_eq!(json["checkouts"], 1);
    assert_eq!(json["capacity"], 2);
    assert_eq!(json["evictions"]["broken"], 0);
    assert_eq!(json["wait_time"]["count"], 0);
}

/// Connects that end on several workers at once must not each make up for what the others bring.
#[test]
fn exactly_as_many_connections_are_opened_at_the_start_as_were_asked_for() {
    type Ask = fn(Builder<Fake>) -> Builder<Fake>;
    let asks: [Ask; 3] = [|b| b.min_size(5), |b| b.min_idle(5), |b| b.initial_size(5)];
    for ask in asks {
        for _ in 0..100 {
            let fake = Fake::new();
            let builder = ask(Pool::builder(fake.clone()).max_size(50));
            let pool = builder.wait_ready(PLENTY).build().unwrap();
            assert_eq!(pool.stats().idle, 5);
            eventually("nothing is under way", || pool.stats().opening == 0);
            assert_eq!(fake.books().opened.load(SeqCst), 5);
        }
    }
}
