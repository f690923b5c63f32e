//! Checkout and return, by threads and by tasks.

use crate::common::*;
use caliburn::health::PingOnBorrow;
use caliburn::{GetError, Pool, PooledConnection, TryGetError};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

fn pool(fake: &Fake, size: usize) -> Pool<Fake> {
    Pool::builder(fake.clone()).max_size(size).min_size(size).wait_ready(PLENTY).build().unwrap()
}

#[test]
fn a_returned_connection_is_lent_again() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let first = pool.get().unwrap().id;
    for _ in 0..100 {
        assert_eq!(pool.get().unwrap().id, first);
    }
    assert_eq!(fake.books().opened.load(SeqCst), 1);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_pool_grows_on_demand_up_to_its_limit_and_no_further() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).max_size(4).build().unwrap();
    let held: Vec<_> = (0..4).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    eventually("all four are lent", || pool.stats().lent == 4);
    let error = pool.get_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    drop(held);
    assert_settled(&pool, fake.books());
    assert_eq!(fake.books().most_open.load(SeqCst), 4);
}

#[test]
fn try_get_takes_what_is_idle_and_never_waits() {
    let fake = Fake::new();
    let pool = pool(&fake, 2);
    let (a, b) = (pool.try_get().unwrap(), pool.try_get().unwrap());
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
    drop(a);
    let a = pool.try_get().unwrap();
    pool.close();
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Closed);
    drop((a, b));
    eventually("everything is closed", || fake.books().alive() == 0);
}

#[test]
fn a_thread_that_waits_is_served_by_a_return() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let held = pool.get().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(PLENTY).map(|conn| conn.id));
        eventually("it waits", || pool.stats().waiting == 1);
        let id = held.id;
        drop(held);
        assert_eq!(waiter.join().unwrap().unwrap(), id);
    });
    assert_settled(&pool, fake.books());
}

#[test]
fn all_four_combinations_of_driver_and_face_check_out_ping_and_return() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let handle = runtime.handle().clone();
    let fake = Fake::new();
    let blocking =
        Pool::builder(fake.clone()).health(PingOnBorrow::always()).max_size(3).build().unwrap();
    let async_fake = AsyncFake::default();
    let tasks = Pool::builder_async(async_fake.clone())
        .health(PingOnBorrow::always())
        .spawner(move |task| drop(handle.spawn(task)))
        .max_size(3)
        .build()
        .unwrap();
    for _ in 0..20 {
        assert!(!blocking.get_timeout(PLENTY).unwrap().broken);
        assert!(!tasks.get_timeout(PLENTY).unwrap().broken);
        runtime.block_on(async {
            assert!(!blocking.get_timeout_async(PLENTY).await.unwrap().broken);
            assert!(!tasks.get_timeout_async(PLENTY).await.unwrap().broken);
        });
    }
    assert!(fake.books().pings.load(SeqCst) >= 39);
    assert!(async_fake.0.books().pings.load(SeqCst) >= 39);
    assert_settled(&blocking, fake.books());
    assert_settled(&tasks, async_fake.0.books());
}

#[test]
fn an_async_driver_needs_no_runtime() {
    let fake = AsyncFake::default();
    let pool = Pool::builder_async(fake.clone()).max_size(2).build().unwrap();
    assert!(!pool.get_timeout(PLENTY).unwrap().broken);
    assert_settled(&pool, fake.0.books());
}

#[test]
fn a_deadline_of_a_task_is_kept_without_a_runtimes_timer() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let held = pool.get().unwrap();
    // No timer is enabled here.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let begun = std::time::Instant::now();
    let error = runtime.block_on(pool.get_timeout_async(Duration::from_millis(100))).unwrap_err();
    let took = begun.elapsed();
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    assert!(took >= Duration::from_millis(100), "too early: {took:?}");
    assert!(took < Duration::from_secs(5), "too late: {took:?}");
    drop(held);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_timed_out_error_tells_what_the_pool_looked_like_and_why_it_does_not_grow() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).max_size(2).min_size(1).wait_ready(PLENTY).build().unwrap();
    fake.on_connect(Mode::Fail);
    let held = pool.get().unwrap();
    let error = pool.get_timeout(Duration::from_millis(60)).unwrap_err();
    let GetError::TimedOut { counts, cause, .. } = &error else { panic!("{error}") };
    assert_eq!(counts.lent, 1);
    assert!(cause.is_some());
    let source = std::error::Error::source(&error).expect("the manager's error");
    assert_eq!(source.to_string(), "refused");
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
    drop(held);
}

#[test]
fn a_guard_is_two_words_and_may_be_sent_and_outlive_its_pool() {
    fn is_send_and_static<T: Send + 'static>(_: &T) {}
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let held = pool.get().unwrap();
    is_send_and_static(&held);
    assert_eq!(size_of_val(&held), 2 * size_of::<usize>());
    drop(pool);
    let id = std::thread::spawn(move || held.id).join().unwrap();
    assert_eq!(id, 0);
    eventually("the last connection is closed", || fake.books().alive() == 0);
}

#[test]
fn a_detached_connection_leaves_room_for_another() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let taken = PooledConnection::detach(pool.get().unwrap());
    let next = pool.get_timeout(PLENTY).unwrap();
    assert_ne!(taken.id, next.id);
    drop((taken, next));
    assert_eq!(pool.stats().detached, 1);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_discarded_or_broken_connection_is_replaced() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let first = pool.get().unwrap();
    let id = first.id;
    PooledConnection::discard(first);
    let mut second = pool.get_timeout(PLENTY).unwrap();
    assert_ne!(second.id, id);
    second.broken = true;
    drop(second);
    assert_eq!(pool.get_timeout(PLENTY).unwrap().id, 2);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_suspected_connection_is_pinged_before_its_next_loan() {
    let fake = Fake::new();
    let pool = pool(&fake, 1);
    let mut conn = pool.get().unwrap();
    PooledConnection::suspect(&mut conn);
    drop(conn);
    assert_eq!(fake.books().pings.load(SeqCst), 0);
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 1);
}

#[test]
fn holders_are_known_by_place_while_they_hold() {
    let fake = Fake::new();
    let pool = pool(&fake, 2);
    assert!(pool.holders().is_empty());
    let held = pool.get().unwrap();
    let line = line!() - 1;
    let holders = pool.holders();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].location.line(), line);
    drop(held);
    assert!(pool.holders().is_empty());
}

#[test]
fn a_full_waiting_room_refuses_at_once() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .max_size(1)
        .min_size(1)
        .max_waiters(1)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let held = pool.get().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(PLENTY).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        let error = pool.get_timeout(PLENTY).unwrap_err();
        assert!(matches!(error, GetError::TooManyWaiters { .. }), "{error}");
        drop(held);
        waiter.join().unwrap().unwrap();
    });
    assert_eq!(pool.stats().refusals, 1);
    assert_settled(&pool, fake.books());
}
