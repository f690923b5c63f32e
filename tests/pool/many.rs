//! Several connections at once, or none; and the end of a pool as a future.

use crate::common::*;
use caliburn::error::GetManyError;
use caliburn::observe::{EventKind, WaitOutcome};
use caliburn::{GetError, Pool};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn several_connections_come_at_once_or_none_does() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 3, |builder| builder);
    assert_eq!(pool.get_many(0, SECOND).unwrap().len(), 0);
    let all = pool.get_many(3, SECOND).unwrap();
    let mut ids: Vec<_> = all.iter().map(|conn| conn.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
    drop(all);
    let held = pool.get().unwrap();
    let mut gathering = Box::pin(pool.get_many_async(3, SECOND));
    assert!(poll_once(&mut gathering).is_pending());
    drop(held);
    let Poll::Ready(Ok(all)) = poll_once(&mut gathering) else { panic!("they are all there") };
    assert_eq!(all.len(), 3);
    drop(all);
    assert_settled(&pool, fake.books());
}

#[test]
fn more_than_there_may_be_are_refused_at_once() {
    let (pool, _) = full_manual(&Fake::new(), 3, |builder| builder);
    let error = pool.get_many(4, PLENTY).unwrap_err();
    assert!(matches!(error, GetManyError::TooMany { wanted: 4, max_size: 3 }), "{error}");
    assert!(pool.get_many(usize::MAX, PLENTY).is_err());
    assert_eq!(pool.stats().checkouts, 0);
}

#[test]
fn what_was_gathered_in_vain_goes_back() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 3, |builder| builder);
    let held = pool.get().unwrap();
    let mut gathering = Box::pin(pool.get_many_async(3, SECOND));
    assert!(poll_once(&mut gathering).is_pending());
    assert_eq!(pool.stats().idle, 0);
    clock.advance(2 * SECOND);
    pool.maintain();
    let Poll::Ready(Err(error)) = poll_once(&mut gathering) else { panic!("time is up") };
    assert!(
        error.to_string().starts_with("2 of 3 connections were gathered; timed out"),
        "{error}"
    );
    assert_eq!(pool.stats().idle, 2);
    // Cancelled.
    let mut gathering = Box::pin(pool.get_many_async(3, SECOND));
    assert!(poll_once(&mut gathering).is_pending());
    drop(gathering);
    assert_eq!(pool.stats().idle, 2);
    pool.close();
    let error = pool.get_many(2, SECOND).unwrap_err();
    assert!(matches!(error, GetManyError::Get { error: GetError::Closed, .. }), "{error}");
    drop(held);
    eventually("all are closed", || fake.books().alive() == 0);
}

#[test]
fn threads_that_gather_time_out_together_and_leave_nothing_behind() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(3).min_size(3).build().unwrap();
    pool.ready(PLENTY).unwrap();
    let held = pool.get().unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| pool.get_many(3, Duration::from_millis(20)).unwrap_err());
        }
    });
    drop(held);
    drop(pool.get_many(3, PLENTY).unwrap());
    assert_settled(&pool, fake.books());
}

#[test]
fn calls_are_served_in_the_order_in_which_they_came() {
    let (pool, _) = full_manual(&Fake::new(), 4, |builder| builder);
    let held = pool.get().unwrap();
    // Less would do for the second, but the first comes first.
    let mut first = Box::pin(pool.get_many_async(4, SECOND));
    let mut second = Box::pin(pool.get_many_async(1, SECOND));
    let mut third = Box::pin(pool.get_many_async(1, SECOND));
    assert!(poll_once(&mut first).is_pending());
    assert!(poll_once(&mut second).is_pending() && poll_once(&mut third).is_pending());
    drop(second);
    drop(held);
    assert!(poll_once(&mut third).is_pending());
    assert!(poll_once(&mut first).is_ready());
    assert!(poll_once(&mut third).is_ready());
}

#[test]
fn a_waiter_that_gathers_one_by_one_is_not_overtaken() {
    let (pool, _) = full_manual(&Fake::new(), 2, |builder| builder);
    let held = pool.get_many(2, SECOND).unwrap();
    let mut both = Box::pin(pool.get_many_async(2, SECOND));
    let mut one = Box::pin(pool.get_async());
    assert!(poll_once(&mut both).is_pending() && poll_once(&mut one).is_pending());
    drop(held);
    assert!(poll_once(&mut one).is_pending());
    assert!(poll_once(&mut both).is_ready());
    drop(both);
    assert!(poll_once(&mut one).is_ready());
}

#[test]
fn of_those_that_gather_under_load_none_waits_for_ever() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(4).min_size(4).build().unwrap();
    let (is_over, gathered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _end = Ends(&is_over);
        for wanted in [2, 3, 4, 4] {
            let (pool, gathered, is_over) = (&pool, &gathered, &is_over);
            scope.spawn(move || {
                for _ in 0..100 {
                    assert_eq!(pool.get_many(wanted, PLENTY).unwrap().len(), wanted);
                    gathered.fetch_add(1, SeqCst);
                }
                if gathered.load(SeqCst) == 400 {
                    is_over.store(true, SeqCst);
                }
            });
        }
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    drop(pool.get().unwrap());
                }
            });
        }
    });
    assert_settled(&pool, fake.books());
}

#[test]
fn one_that_identifies_itself_does_not_wait_for_itself() {
    let builder = Pool::builder(Fake::new()).max_size(2).min_size(2).identify_borrowers();
    let pool = builder.build().unwrap();
    drop(pool.get_many(2, PLENTY).unwrap());
    let held = pool.get().unwrap();
    let error = thread::scope(|scope| {
        let other = pool.get().unwrap();
        let error = scope.spawn(|| pool.get_many(2, Duration::from_millis(10)).unwrap_err());
        let error = error.join().unwrap();
        drop(other);
        error
    });
    assert!(matches!(error, GetManyError::Get { error: GetError::TimedOut { .. }, .. }), "{error}");
    drop(held);
    drop(pool.get_many(2, PLENTY).unwrap());
    assert_eq!(pool.stats().nested_gets, 0);
}

#[test]
fn the_end_of_a_pool_is_a_future() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder);
    let mut closed = Box::pin(pool.until_closed());
    assert!(poll_once(&mut closed).is_pending());
    let handle = pool.clone();
    drop(pool);
    assert!(poll_once(&mut closed).is_pending());
    drop(handle);
    assert!(poll_once(&mut closed).is_ready());
    drop(closed);
    eventually("all is gone", || fake.is_alone());
}

#[test]
fn who_waits_for_its_turn_hears_of_a_close() {
    let (pool, _) = full_manual(&Fake::new(), 2, |builder| builder);
    let _held = pool.get().unwrap();
    let mut first = Box::pin(pool.get_many_async(2, PLENTY));
    assert!(poll_once(&mut first).is_pending());
    let mut second = Box::pin(pool.get_many_async(2, PLENTY));
    assert!(poll_once(&mut second).is_pending());
    pool.close();
    let Poll::Ready(Err(error)) = poll_once(&mut second) else { panic!("it waits on") };
    assert!(matches!(error, GetManyError::Get { error: GetError::Closed, .. }), "{error}");
    let error = pool.get_many(1, PLENTY).unwrap_err();
    assert!(matches!(error, GetManyError::Get { error: GetError::Closed, .. }), "{error}");
}

#[test]
fn a_call_takes_one_place_among_those_that_wait() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(3).max_waiters(2).build().unwrap();
    drop(pool.get_many(3, PLENTY).unwrap());
    let held = pool.get().unwrap();
    let mut gets: Vec<_> = (0..3).map(|_| Box::pin(pool.get_many_async(3, PLENTY))).collect();
    let outcomes: Vec<_> = gets.iter_mut().map(poll_once).collect();
    assert!(outcomes[0].is_pending() && outcomes[1].is_pending());
    let Poll::Ready(Err(error)) = &outcomes[2] else { panic!("the line is full") };
    assert!(error.to_string().contains("max_waiters"), "{error}");
    assert!(matches!(pool.get(), Err(GetError::TooManyWaiters { .. })));
    assert_eq!((pool.stats().waiting, pool.stats().refusals), (2, 2));
    gets.pop();
    gets.pop();
    let mut one = Box::pin(pool.get_async());
    assert!(poll_once(&mut one).is_pending());
    assert_eq!(pool.stats().waiting, 2);
    drop(one);
    drop((outcomes, gets, held));
    assert_settled(&pool, fake.books());
}

#[test]
fn futures_of_the_end_that_are_dropped_leave_no_waker_behind() {
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| builder);
    let bell = std::sync::Arc::<Bell>::default();
    let waker = std::task::Waker::from(bell.clone());
    for _ in 0..1_000 {
        let mut closed = Box::pin(pool.until_closed());
        let mut context = std::task::Context::from_waker(&waker);
        assert!(std::future::Future::poll(closed.as_mut(), &mut context).is_pending());
    }
    assert_eq!(std::sync::Arc::strong_count(&bell), 2);
}

#[test]
fn the_figures_of_a_closed_pool_add_up() {
    for _ in 0..200 {
        let pool = Pool::builder(Fake::new()).max_size(8).min_size(8).build().unwrap();
        pool.ready(PLENTY).unwrap();
        assert!(pool.close_within(PLENTY).is_complete());
        let stats = pool.stats();
        assert_eq!((stats.size, stats.maintenance, stats.retired), (0, 0, 8), "{stats}");
    }
}

/// The outcomes of waits, as observers were told.
fn outcomes(pool: &Pool<Fake>) -> Vec<WaitOutcome> {
    let events = pool.recent_events();
    let outcome = |kind: &EventKind| match kind {
        EventKind::WaitEnded { outcome, .. } => Some(*outcome),
        _ => None,
    };
    events.iter().filter_map(|event| outcome(&event.kind)).collect()
}

#[test]
fn a_call_is_one_wait_with_one_outcome_also_while_it_waits_for_its_turn() {
    let (pool, clock) = full_manual(&Fake::new(), 3, |builder| builder.record_events(64));
    let held = pool.get_many(3, PLENTY).unwrap();
    let mut first = Box::pin(pool.get_many_async(3, SECOND));
    let mut second = Box::pin(pool.get_many_async(1, SECOND));
    assert!(poll_once(&mut first).is_pending());
    assert_eq!((pool.stats().waiting, pool.stats().waits), (1, 1));
    assert!(poll_once(&mut second).is_pending());
    assert_eq!((pool.stats().waiting, pool.stats().waits), (2, 2));
    drop(second);
    assert_eq!((pool.stats().waiting, pool.stats().cancellations), (1, 1));
    clock.advance(SECOND / 2);
    drop(held);
    // Handed over, and not taken yet: none of its parts stands in line any more.
    assert_eq!(pool.stats().waiting, 1);
    drop(poll_once(&mut first));
    let stats = pool.stats();
    assert_eq!((stats.waiting, stats.waits, stats.waits_in_vain), (0, 2, 1));
    assert_eq!(stats.wait_time.count(), 2);
    assert!(stats.wait_time.max() >= SECOND / 3, "{:?}", stats.wait_time.max());
    assert_eq!(outcomes(&pool), [WaitOutcome::Cancelled, WaitOutcome::Served]);
    let began = |kind: &EventKind| matches!(kind, EventKind::WaitBegan { .. });
    assert_eq!(pool.recent_events().iter().filter(|event| began(&event.kind)).count(), 2);
}

#[test]
fn calls_that_wait_in_vain_time_out_once_and_are_not_cancelled() {
    let (pool, clock) = full_manual(&Fake::new(), 3, |builder| builder.record_events(64));
    let held = pool.get().unwrap();
    let mut first = Box::pin(pool.get_many_async(3, SECOND));
    let mut second = Box::pin(pool.get_many_async(3, SECOND));
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    clock.advance(2 * SECOND);
    pool.maintain();
    assert!(matches!(poll_once(&mut second), Poll::Ready(Err(_))));
    assert!(matches!(poll_once(&mut first), Poll::Ready(Err(_))));
    let stats = pool.stats();
    assert_eq!((stats.waits, stats.waits_in_vain, stats.timeouts), (2, 2, 2));
    assert_eq!((stats.cancellations, stats.waiting), (0, 0));
    assert_eq!(outcomes(&pool), [WaitOutcome::TimedOut; 2]);
    drop(held);
}

#[test]
fn threads_that_gather_in_vain_are_one_wait_each() {
    let fake = Fake::new();
    let builder = Pool::builder(fake).max_size(3).min_size(3).record_events(64);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let held = pool.get().unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| pool.get_many(3, Duration::from_millis(20)).unwrap_err());
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.waits, stats.waits_in_vain, stats.timeouts), (2, 2, 2));
    assert_eq!((stats.cancellations, stats.waiting, stats.wait_time.count()), (0, 0, 2));
    pool.close();
    drop(held);
    assert!(pool.get_many(3, PLENTY).is_err());
    assert_eq!(pool.stats().waits, 2, "one that is refused does not wait");
}

#[test]
fn a_call_for_more_than_there_may_still_be_does_not_wait_on() {
    let (pool, _) = full_manual(&Fake::new(), 3, |builder| builder);
    let held = pool.get().unwrap();
    let mut first = Box::pin(pool.get_many_async(3, PLENTY));
    let mut second = Box::pin(pool.get_many_async(3, PLENTY));
    let mut third = Box::pin(pool.get_many_async(2, PLENTY));
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    assert!(poll_once(&mut third).is_pending());
    pool.change(|settings| (settings.min_size, settings.max_size) = (0, 2)).unwrap();
    for get in [&mut second, &mut first] {
        let Poll::Ready(Err(error)) = poll_once(get) else { panic!("it waits for ever") };
        assert!(matches!(error, GetManyError::TooMany { wanted: 3, max_size: 2 }), "{error}");
    }
    pool.maintain();
    assert!(poll_once(&mut third).is_pending());
    drop(held);
    assert!(matches!(poll_once(&mut third), Poll::Ready(Ok(_))));
    assert_eq!((pool.stats().waits, pool.stats().waits_in_vain), (3, 2));
}

#[test]
fn a_thread_that_gathers_more_than_there_may_still_be_does_not_wait_on() {
    let pool = Pool::builder(Fake::new()).max_size(2).min_size(2).build().unwrap();
    let held = pool.get().unwrap();
    thread::scope(|scope| {
        let gathering = scope.spawn(|| pool.get_many(2, PLENTY).unwrap_err());
        eventually("it waits", || pool.stats().waiting == 1);
        pool.change(|settings| (settings.min_size, settings.max_size) = (0, 1)).unwrap();
        let error = gathering.join().unwrap();
        assert!(matches!(error, GetManyError::TooMany { wanted: 2, max_size: 1 }), "{error}");
    });
    drop(held);
}
