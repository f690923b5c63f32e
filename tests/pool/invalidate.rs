//! Connections that are to go though nothing is wrong with them.

use crate::common::*;
use caliburn::{BlockingManager, Deadline, EvictionCause, Manager, Pool, PooledConnection};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_was_open_is_replaced_and_what_is_held_goes_when_it_comes_back() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 4, |builder| builder);
    let held = pool.get().unwrap();
    clock.advance(SECOND);
    assert_eq!(pool.invalidate(SECOND), 1);
    let newer = held.id;
    drop(held);
    pool.maintain();
    let all: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    assert!(all.iter().all(|conn| conn.id > newer && conn.id >= 4), "an old one was lent");
    assert_eq!(pool.stats().evictions.by(EvictionCause::Invalidated), 4);
    drop(all);
    clock.advance(SECOND);
    pool.maintain();
    assert_eq!(pool.stats().evictions.total(), 4, "what is new stays");
    assert_settled(&pool, fake.books());
}

#[test]
fn a_connection_that_is_invalid_goes_before_its_replacement_only_where_there_is_no_room() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 4, |builder| builder.max_size(5).capacity(5));
    clock.advance(SECOND);
    assert_eq!(pool.invalidate(SECOND), 0);
    assert_eq!((fake.books().alive(), fake.books().most_open.load(SeqCst)), (4, 5));
    assert_settled(&pool, fake.books());
}

#[test]
fn to_invalidate_in_no_time_lends_nothing_old_from_then_on() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 3, |builder| builder);
    clock.advance(SECOND);
    fake.on_connect(Mode::Fail);
    assert_eq!(pool.invalidate(Duration::ZERO), 0);
    assert!(pool.try_get().is_err(), "an old one was lent");
    fake.on_connect(Mode::Ok);
    clock.advance(SECOND);
    pool.maintain();
    assert!(pool.get().unwrap().id >= 3);
    pool.close();
    assert_eq!(pool.invalidate(SECOND), 0);
}

#[test]
fn no_get_fails_however_often_all_is_invalidated_meanwhile() {
    let pool = Pool::builder(Fake::new()).max_size(1).build().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Ends(&is_over);
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                pool.invalidate(Duration::ZERO);
            }
        });
        let served = (0..1_000).map(|_| pool.get_timeout(PLENTY).map(drop));
        let failed = served.filter_map(Result::err).next();
        is_over.store(true, SeqCst);
        assert!(failed.is_none(), "{}", failed.unwrap());
    });
}

#[test]
fn a_connect_that_was_begun_before_is_as_old_as_what_was_open() {
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let pool = Pool::builder(fake.clone()).max_size(1).min_size(1).build().unwrap();
    eventually("it is being opened", || fake.books().attempts.load(SeqCst) == 1);
    thread::scope(|scope| {
        let invalidated = scope.spawn(|| pool.invalidate(PLENTY));
        eventually("it waits", || !invalidated.is_finished());
        fake.on_connect(Mode::Ok);
        fake.open_gate();
        assert_eq!(invalidated.join().unwrap(), 0);
    });
    assert!(pool.get().unwrap().id >= 1, "it was opened with what held before");
    assert_eq!(pool.stats().evictions.by(EvictionCause::Invalidated), 1);
}

#[test]
fn under_load_no_get_fails_and_none_lends_what_is_older() {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(8).min_size(8);
    let pool = builder.maintenance_concurrency(2).wait_ready(PLENTY).build().unwrap();
    let (is_over, oldest) = (AtomicBool::new(false), AtomicU64::new(0));
    let (loans, fewest) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    thread::scope(|scope| {
        let _end = Ends(&is_over);
        for _ in 0..16 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    let oldest = oldest.load(SeqCst);
                    let conn = pool.get().unwrap();
                    assert!(conn.id >= oldest, "{} was lent after {oldest}", conn.id);
                    loans.fetch_add(1, SeqCst);
                    thread::yield_now();
                }
            });
        }
        for _ in 0..20 {
            let newest = fake.books().opened.load(SeqCst) as u64;
            assert_eq!(pool.invalidate(PLENTY), 0);
            oldest.store(newest, SeqCst);
            fewest.fetch_min(pool.stats().size, SeqCst);
        }
        let begun = Instant::now();
        while loans.load(SeqCst) < 1_000 {
            assert!(begun.elapsed() < PLENTY);
            thread::yield_now();
        }
        is_over.store(true, SeqCst);
    });
    // Of eight, some may be on their way when the next call comes.
    assert!(pool.stats().evictions.by(EvictionCause::Invalidated) >= 20 * 4);
    // Where threads pause with a connection in their hands, others come home late.
    assert!(cfg!(caliburn_pauses) || fewest.load(SeqCst) >= 4, "{fewest:?}");
    assert_settled(&pool, fake.books());
}

#[test]
fn the_idle_connections_that_a_predicate_chooses_are_evicted() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 4, |builder| builder);
    let held = pool.get().unwrap();
    clock.advance(SECOND);
    let seen = AtomicUsize::new(0);
    let evicted = pool.evict_where(|conn, info| {
        assert_eq!(info.age(), SECOND);
        seen.fetch_add(1, SeqCst);
        conn.id % 2 == 0
    });
    assert_eq!(seen.load(SeqCst), 3, "what is lent is not looked at");
    assert_eq!(evicted as u64, pool.stats().evictions.by(EvictionCause::Invalidated));
    assert_eq!(fake.books().alive(), 4, "the minimum is opened again");
    drop(held);

    expect_panics();
    let all = || pool.evict_where(|_, _| panic!("{ON_PURPOSE}"));
    assert!(catch_unwind(AssertUnwindSafe(all)).is_err());
    assert_eq!(pool.stats().idle, 4, "a predicate that panics costs nothing");
    PooledConnection::discard(pool.get().unwrap());
    pool.maintain();
    assert_settled(&pool, fake.books());
}

/// Connecting takes some milliseconds.
struct Slow(AtomicU64);

impl Manager for Slow {
    type Connection = u64;
    type Error = FakeError;
}

impl BlockingManager for Slow {
    fn connect(&self, _: &Deadline) -> Result<u64, FakeError> {
        thread::sleep(Duration::from_millis(5));
        Ok(self.0.fetch_add(1, SeqCst))
    }

    fn ping(&self, _: &mut u64, _: &Deadline) -> Result<(), FakeError> {
        Ok(())
    }
}

/// Of two threads, for 64 tasks.
pub(crate) fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_time().build().unwrap()
}

/// For a minute 64 tasks borrow of 32 connections, and each second `replace`, which is told how
/// often it was called before, replaces all; none is lent that is older than its answer. Nine
/// tenths are in service all the time.
pub(crate) fn soak_replacing<M>(runtime: &Runtime, pool: &Pool<M>, replace: impl Fn(u64) -> u64)
where
    M: Manager<Connection = u64>,
{
    let (is_over, oldest, loans) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut in_service = Vec::<usize>::new();
    thread::scope(|scope| {
        let _end = Ends(&is_over);
        scope.spawn(|| {
            runtime.block_on(async {
                let tasks = (0..64).map(|_| async {
                    while !is_over.load(SeqCst) {
                        let oldest = oldest.load(SeqCst);
                        let conn = pool.get_async().await.unwrap();
                        assert!(*conn >= oldest, "{} was lent after {oldest}", *conn);
                        loans.fetch_add(1, SeqCst);
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                });
                futures_util::future::join_all(tasks).await;
            });
        });
        let sampled = scope.spawn(|| {
            let mut sampled = Vec::new();
            while !is_over.load(SeqCst) {
                let stats = pool.stats();
                sampled.push(32 - stats.opening - stats.maintenance - stats.vacant);
                thread::sleep(Duration::from_millis(1));
            }
            sampled
        });
        for turn in 0..60 {
            let begun = Instant::now();
            oldest.store(replace(turn), SeqCst);
            println!("replaced in {:.0?}", begun.elapsed());
            thread::sleep(SECOND.saturating_sub(begun.elapsed()));
        }
        is_over.store(true, SeqCst);
        in_service = sampled.join().unwrap();
    });
    in_service.sort_unstable();
    // The gauges are not of one moment: a slot on its way may be missing twice.
    let (fewest, low) = (in_service[0], in_service[in_service.len() / 100]);
    let median = in_service[in_service.len() / 2];
    println!("{loans:?} loans; in service: {fewest} of 32, 1 % {low}, median {median}");
    assert!(low * 10 >= 32 * 9 - 9, "{low}");
}

#[test]
#[ignore = "takes a minute"]
fn soak_each_second_all_is_replaced_and_nine_tenths_are_in_service() {
    let builder = Pool::builder(Slow(AtomicU64::new(0))).max_size(32).min_size(32);
    let pool = builder.maintenance_concurrency(3).wait_ready(PLENTY).build().unwrap();
    soak_replacing(&runtime(), &pool, |_| {
        // A connect that had begun may have drawn its number afterwards.
        let newest = pool.manager().0.load(SeqCst);
        assert_eq!(pool.invalidate(PLENTY), 0);
        newest
    });
}
