//! A pool that lends nothing for a while.

use crate::common::*;
use caliburn::error::TryGetError;
use caliburn::health::PeriodicSweep;
use caliburn::stats::PoolHealth;
use caliburn::{Fairness, GetError, Pool, PooledConnection};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_paused_pool_lends_nothing_and_then_serves_those_that_wait_in_order() {
    for fairness in [Fairness::Fifo, Fairness::BoundedBarging(SECOND)] {
        let fake = Fake::new();
        let (pool, _) = full_manual(&fake, 2, |builder| builder.fairness(fairness));
        pool.pause();
        assert!(pool.is_paused() && pool.stats().is_paused);
        assert_eq!(pool.try_get().unwrap_err(), TryGetError::Paused);
        let mut gets: Vec<_> = (0..3).map(|_| Box::pin(pool.get_async())).collect();
        assert!(gets.iter_mut().all(|get| poll_once(get).is_pending()));
        pool.maintain();
        assert_eq!((pool.stats().idle, pool.stats().waiting), (2, 3));
        pool.resume();
        let served: Vec<_> = gets.iter_mut().map(poll_once).collect();
        assert!(matches!(&served[..], [Poll::Ready(Ok(_)), Poll::Ready(Ok(_)), Poll::Pending]));
        drop(served);
        assert!(matches!(poll_once(&mut gets[2]), Poll::Ready(Ok(_))));
        drop(gets);
        use_each(&pool, 2);
        assert_settled(&pool, fake.books());
    }
}

#[test]
fn what_is_returned_during_a_pause_stays_until_it_is_over() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder);
    let held = pool.get().unwrap();
    let mut waiting = Box::pin(pool.get_async());
    assert!(poll_once(&mut waiting).is_pending());
    pool.pause();
    drop(held);
    assert!(poll_once(&mut waiting).is_pending());
    assert_eq!(pool.stats().idle, 1);
    pool.resume();
    assert!(poll_once(&mut waiting).is_ready());
    drop(waiting);
    // Nobody waits, so the way back is the short one again.
    drop(pool.try_get().unwrap());
    assert_settled(&pool, fake.books());
}

#[test]
fn to_pause_twice_or_to_resume_what_is_not_paused_does_nothing() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder.record_events(16));
    pool.resume();
    pool.pause();
    pool.pause();
    pool.resume();
    pool.resume();
    drop(pool.try_get().unwrap());
    let words: Vec<_> = pool.recent_events().iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(words.iter().filter(|word| **word == "paused").count(), 1);
    assert_eq!(words.iter().filter(|word| **word == "resumed").count(), 1);
}

#[test]
fn the_error_says_that_the_pool_is_paused_and_so_does_its_health() {
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| builder);
    pool.pause();
    assert!(matches!(pool.health(), PoolHealth::Paused) && !pool.health().is_serving());
    let error = pool.get_timeout(Duration::ZERO).unwrap_err();
    assert!(error.to_string().ends_with("the pool is paused"), "{error}");
    pool.resume();
    assert!(pool.health().is_ok());
}

#[test]
fn a_limit_of_zero_closes_everything_and_lends_nothing_until_it_is_raised() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 3, |builder| builder);
    let held = pool.get().unwrap();
    let zero = |settings: &mut caliburn::Settings| {
        (settings.max_size, settings.min_size) = (0, 0);
    };
    pool.change(zero).unwrap();
    pool.maintain();
    assert_eq!(fake.books().alive(), 1);
    drop(held);
    pool.maintain();
    assert_eq!(fake.books().alive(), 0);
    assert!(matches!(pool.health(), PoolHealth::Paused));
    let error = pool.get_timeout(Duration::ZERO).unwrap_err();
    assert!(error.to_string().ends_with("max_size is 0"), "{error}");
    let mut waiting = Box::pin(pool.get_async());
    assert!(poll_once(&mut waiting).is_pending());
    pool.change(|settings| settings.max_size = 2).unwrap();
    pool.maintain();
    assert!(matches!(poll_once(&mut waiting), Poll::Ready(Ok(_))));
    drop(waiting);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_paused_pool_can_be_closed() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 2, |builder| builder);
    pool.pause();
    let mut waiting = Box::pin(pool.get_async());
    assert!(poll_once(&mut waiting).is_pending());
    pool.close();
    assert!(matches!(poll_once(&mut waiting), Poll::Ready(Err(GetError::Closed))));
    pool.resume();
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Closed);
    assert!(pool.close_within(PLENTY).is_complete());
    assert_eq!(fake.books().alive(), 0);
}

#[test]
fn grants_that_lapse_during_a_pause_wait_for_its_end() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 1, |builder| builder);
    let held = pool.get().unwrap();
    let (mut first, mut second) = (Box::pin(pool.get_async()), Box::pin(pool.get_async()));
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    drop(held);
    pool.pause();
    clock.advance(SECOND);
    pool.maintain();
    assert!(poll_once(&mut second).is_pending(), "what lapsed was handed on");
    assert_eq!(pool.stats().idle, 1);
    pool.resume();
    assert!(poll_once(&mut first).is_ready() || poll_once(&mut second).is_ready());
}

/// A second passes, all wait, none fails; afterwards all are served at once.
#[test]
fn under_load_a_pause_fails_no_get_and_lends_nothing_until_it_is_over() {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(8).min_size(8);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    // Pauses begun and ended: an odd number during one.
    let (is_over, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    let loans = AtomicU64::new(0);
    thread::scope(|scope| {
        let _end = Ends(&is_over);
        for _ in 0..16 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    let came = turns.load(SeqCst);
                    let conn = pool.get().unwrap();
                    assert!(came % 2 == 0 || turns.load(SeqCst) > came, "lent during the pause");
                    loans.fetch_add(1, SeqCst);
                    thread::yield_now();
                    drop(conn);
                }
            });
        }
        for _ in 0..20 {
            let before = loans.load(SeqCst);
            eventually("it is busy", || loans.load(SeqCst) > before + 100);
            pool.pause();
            turns.fetch_add(1, SeqCst);
            eventually("all wait", || pool.stats().waiting == 16 && pool.stats().idle == 8);
            let during = loans.load(SeqCst);
            thread::yield_now();
            assert_eq!(loans.load(SeqCst), during);
            turns.fetch_add(1, SeqCst);
            pool.resume();
        }
        is_over.store(true, SeqCst);
    });
    assert_settled(&pool, fake.books());
}

#[test]
fn after_a_pause_of_a_second_all_are_served_soon() {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(8).min_size(8);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    pool.pause();
    thread::scope(|scope| {
        let gets: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    drop(pool.get().unwrap());
                    Instant::now()
                })
            })
            .collect();
        eventually("all wait", || pool.stats().waiting == 64);
        let resumed = Instant::now();
        pool.resume();
        let last = gets.into_iter().map(|get| get.join().unwrap()).max().unwrap();
        let took = last.saturating_duration_since(resumed);
        println!("all 64 were served {took:.1?} after the pause");
        assert!(took < PLENTY);
    });
    drop(pool.get().map(PooledConnection::discard));
}

#[test]
fn during_a_pause_no_get_hears_of_a_server_that_is_down() {
    let fake = Fake::new();
    let (builder, clock) = manual_maintenance(&fake);
    let pool = builder.max_size(1).fail_fast(true).build().unwrap();
    fake.on_connect(Mode::FailForGood);
    let mut before = Box::pin(pool.get_async());
    assert!(poll_once(&mut before).is_pending());
    pool.pause();
    pool.maintain();
    let mut during = Box::pin(pool.get_async());
    assert!(poll_once(&mut before).is_pending() && poll_once(&mut during).is_pending());
    fake.on_connect(Mode::Ok);
    pool.resume();
    clock.advance(2 * SECOND);
    pool.maintain();
    assert!(matches!(poll_once(&mut before), Poll::Ready(Ok(_))));
}

#[test]
fn a_waker_may_pause_and_resume_the_pool_that_fires_it() {
    struct Again(Pool<Fake>);
    impl std::task::Wake for Again {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.pause();
            self.0.resume();
        }
    }
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| builder);
    let waker = std::sync::Arc::new(Again(pool.clone())).into();
    pool.pause();
    let mut waiting = Box::pin(pool.get_async());
    let mut context = std::task::Context::from_waker(&waker);
    assert!(std::future::Future::poll(waiting.as_mut(), &mut context).is_pending());
    pool.resume();
    assert!(!pool.is_paused() && poll_once(&mut waiting).is_ready());
}

/// Nothing that is opened for those that wait could be lent to them.
#[test]
fn a_paused_pool_opens_nothing_for_those_that_wait_and_keeps_its_minimum() {
    let fake = Fake::new();
    let (builder, _) = manual_maintenance(&fake);
    let pool = builder.max_size(4).min_size(1).build().unwrap();
    assert_eq!(fake.books().alive(), 1);
    // Asked for before the pause, and not begun.
    let mut early = Box::pin(pool.get_async());
    let lent = pool.get().map(drop);
    assert!(lent.is_ok());
    let held = pool.get().unwrap();
    assert!(poll_once(&mut early).is_pending());
    pool.pause();
    pool.maintain();
    assert_eq!((fake.books().attempts.load(SeqCst), pool.stats().connects_skipped), (1, 1));
    let mut gets: Vec<_> = (0..2).map(|_| Box::pin(pool.get_async())).collect();
    assert!(gets.iter_mut().all(|get| poll_once(get).is_pending()));
    assert!(pool.get_timeout(Duration::ZERO).is_err());
    pool.maintain();
    pool.sweep();
    assert_eq!(fake.books().attempts.load(SeqCst), 1, "it grew");
    PooledConnection::discard(held);
    pool.maintain();
    assert_eq!((fake.books().attempts.load(SeqCst), pool.stats().idle), (2, 1), "the minimum");
    pool.resume();
    pool.maintain();
    assert!(matches!(poll_once(&mut early), Poll::Ready(Ok(_))));
    assert!(gets.iter_mut().all(|get| poll_once(get).is_ready()));
    drop((early, gets));
    assert_settled(&pool, fake.books());
}

#[test]
fn the_end_of_a_pause_opens_what_those_that_wait_need() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(3).build().unwrap();
    pool.pause();
    thread::scope(|scope| {
        let gets = [(); 3].map(|()| scope.spawn(|| pool.get_timeout(PLENTY).map(drop)));
        eventually("all wait", || pool.stats().waiting == 3);
        pool.maintain();
        assert_eq!((fake.books().attempts.load(SeqCst), pool.stats().opening), (0, 0));
        pool.resume();
        gets.into_iter().for_each(|get| get.join().unwrap().unwrap());
    });
}

#[test]
fn the_sweep_of_a_paused_pool_pings_and_replaces() {
    let fake = Fake::new();
    let (pool, clock) =
        full_manual(&fake, 2, |builder| builder.health(PeriodicSweep::every(SECOND)));
    pool.pause();
    let mut waiting = Box::pin(pool.get_async());
    assert!(poll_once(&mut waiting).is_pending());
    clock.advance(2 * SECOND);
    pool.sweep();
    assert_eq!((fake.books().pings.load(SeqCst), fake.books().alive()), (2, 2));
    fake.kill_all();
    clock.advance(2 * SECOND);
    pool.sweep();
    for _ in 0..8 {
        clock.advance(SECOND);
        pool.maintain();
    }
    assert_eq!((pool.stats().idle, pool.stats().ping_failures), (2, 2));
    assert!(poll_once(&mut waiting).is_pending());
    assert_eq!(fake.books().alive(), 2);
    // Everything is closed, and a sweep opens nothing.
    pool.change(|settings| (settings.max_size, settings.min_size) = (0, 0)).unwrap();
    pool.sweep();
    clock.advance(2 * SECOND);
    pool.sweep();
    let attempts = fake.books().attempts.load(SeqCst);
    assert_eq!((fake.books().alive(), attempts, pool.stats().waiting), (0, 4, 1));
    // Neither the one nor the other alone lends anything.
    pool.resume();
    pool.maintain();
    assert!(poll_once(&mut waiting).is_pending());
    pool.change(|settings| settings.max_size = 1).unwrap();
    pool.maintain();
    assert!(matches!(poll_once(&mut waiting), Poll::Ready(Ok(_))));
}
