//! Managers written for deadpool, taken as they are.
#![cfg(all(feature = "r2d2", feature = "bb8", feature = "deadpool"))]

use super::checks::*;
use super::managers::*;
use crate::common::{Conn, Fake, Mode, PLENTY, assert_settled, eventually};
use caliburn::adapters::bridges::{BridgeError, DeadpoolManager};
use caliburn::health::PingOnBorrow;
use caliburn::{EvictionCause, GetError, ManagerError, Pool, PooledConnection};
use deadpool::managed::{self, Metrics, RecycleResult};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn a_deadpool_manager_serves_threads_and_tasks() {
    let fake = Fake::new();
    let pool = Pool::builder_async(over_deadpool(&fake)).max_size(2).build().unwrap();
    serve_threads_and_tasks(pool, &fake);
}

#[test]
fn recycle_is_the_ping() {
    let fake = Fake::new();
    let manager = over_deadpool(&fake).recycle_before_loans_only();
    let builder = Pool::builder_async(manager).max_size(1);
    never_lend_what_is_not_valid(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn recycle_is_the_reset_and_costs_no_borrower_anything() {
    let fake = Fake::new();
    let pool = Pool::builder_async(over_deadpool(&fake)).max_size(1).build().unwrap();
    let mut conn = pool.get().unwrap();
    let id = conn.id;
    conn.dirty = true;
    drop(conn);
    let conn = pool.get().unwrap();
    assert!((conn.id, conn.dirty) == (id, false), "{}", conn.id);
    assert_eq!((fake.books().resets.load(SeqCst), pool.stats().pings), (1, 0));
    drop(conn);

    pool.get().unwrap().broken = true;
    assert_ne!(pool.get().unwrap().id, id);
    assert_eq!(evicted(&pool, EvictionCause::ResetFailed), 1);
    fake.on_ping(Mode::Fail);
    drop(pool.get().unwrap());
    // The connection before may still have been on its way when pings began to fail.
    eventually("it is not recycled", || evicted(&pool, EvictionCause::ResetFailed) >= 2);
    fake.on_ping(Mode::Ok);
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
}

#[test]
fn recycle_is_left_to_the_strategy_if_asked_for() {
    let fake = Fake::new();
    let manager = over_deadpool(&fake).recycle_before_loans_only();
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    pool.get().unwrap().dirty = true;
    assert!(pool.get().unwrap().dirty);
    assert_eq!((pool.stats().resets, fake.books().pings.load(SeqCst)), (0, 0));
}

#[test]
fn a_recycle_that_waits_for_nothing_is_called_before_each_loan() {
    let manager = DeadpoolManager::new(Prompt).recycle_waits_for_nothing();
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    for loans in 1..=5 {
        assert_eq!(**pool.get_timeout(PLENTY).unwrap(), Life { recycled: loans, is_over: false });
    }
    pool.get_timeout(PLENTY).unwrap().is_over = true;
    assert_eq!(pool.get_timeout(PLENTY).unwrap().recycled, 1, "lent though it is known to be dead");
    let stats = pool.stats();
    assert_eq!((stats.connects, stats.resets, stats.pings), (2, 0, 0), "{stats}");
}

#[test]
fn a_recycle_that_waits_against_its_word_costs_the_connection() {
    let fake = Fake::new();
    let manager = over_deadpool(&fake).recycle_waits_for_nothing();
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    // It yields once before it answers.
    assert!(pool.get_timeout(SHORT).is_err());
    assert!(evicted(&pool, EvictionCause::Broken) > 0);
}

/// What tokio lets a task do in one turn must not run out for a manager that asks tokio.
#[test]
fn a_recycle_that_waits_for_nothing_keeps_its_word_in_a_task_that_never_pauses() {
    let manager = DeadpoolManager::new(Locked::default()).recycle_waits_for_nothing();
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on({
        let pool = pool.clone();
        // A task of its own: what is blocked on has no turns.
        let borrow = async move {
            for _ in 0..1000 {
                drop(pool.get_async().await.unwrap());
            }
        };
        async { tokio::spawn(borrow).await.unwrap() }
    });
    assert_eq!(pool.stats().connects, 1);
}

/// Its `recycle` takes a lock that nothing else wants.
#[derive(Default)]
struct Locked(tokio::sync::Mutex<()>);

impl managed::Manager for Locked {
    type Type = ();
    type Error = std::io::Error;

    async fn create(&self) -> std::io::Result<()> {
        Ok(())
    }

    async fn recycle(&self, (): &mut (), _: &Metrics) -> RecycleResult<std::io::Error> {
        drop(self.0.lock().await);
        Ok(())
    }
}

/// Knows without asking what lives.
struct Prompt;

#[derive(Debug, Default, PartialEq)]
struct Life {
    recycled: usize,
    is_over: bool,
}

impl managed::Manager for Prompt {
    type Type = Life;
    type Error = std::io::Error;

    async fn create(&self) -> std::io::Result<Life> {
        Ok(Life::default())
    }

    async fn recycle(&self, life: &mut Life, metrics: &Metrics) -> RecycleResult<std::io::Error> {
        assert_eq!(life.recycled, metrics.recycle_count);
        life.recycled += 1;
        if life.is_over { Err(managed::RecycleError::message("over")) } else { Ok(()) }
    }
}

#[test]
fn all_errors_of_a_deadpool_manager_may_pass_and_keep_their_sources() {
    let fake = Fake::new();
    wait_in_vain(Pool::builder_async(over_deadpool(&fake)).build().unwrap(), &fake);
}

#[test]
fn errors_of_a_deadpool_manager_that_are_said_to_be_permanent_are_told_at_once() {
    let fake = Fake::new();
    let manager = over_deadpool(&fake).classify_with(classify);
    fail_at_once(Pool::builder_async(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn a_deadpool_manager_goes_with_its_pool() {
    let fake = Fake::new();
    let manager = over_deadpool(&fake);
    let alive = Arc::clone(&manager.manager().alive);
    let_the_manager_go(Pool::builder_async(manager).max_size(2).build().unwrap(), &fake, &alive);
}

#[test]
fn a_create_that_hangs_is_dropped_at_its_limit() {
    let fake = Fake::new();
    let builder = Pool::builder_async(over_deadpool(&fake)).max_size(1);
    let pool = builder.connect_timeout(SHORT / 4).build().unwrap();
    fake.on_connect(Mode::Hang);
    in_vain(&pool, |error| {
        let GetError::TimedOut { cause, .. } = error else { panic!("{error}") };
        matches!(cause.as_deref(), Some(ManagerError::TimedOut))
    });
    fake.on_connect(Mode::Ok);
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
}

#[test]
fn a_recycle_that_hangs_after_a_loan_is_dropped_at_its_limit() {
    let fake = Fake::new();
    let builder = Pool::builder_async(over_deadpool(&fake)).max_size(1);
    let pool = builder.reset_timeout(SHORT / 4).build().unwrap();
    let conn = pool.get().unwrap();
    let first = conn.id;
    fake.on_ping(Mode::Hang);
    drop(conn);
    eventually("it is given up", || evicted(&pool, EvictionCause::ResetFailed) == 1);
    fake.on_ping(Mode::Ok);
    assert!(pool.get().unwrap().id > first);
    assert_settled(&pool, fake.books());
}

/// Closed, broken, discarded or taken out: the manager hears of it once.
#[test]
fn each_connection_that_leaves_the_pool_is_detached_from_its_manager_once() {
    let fake = Fake::new();
    let manager = over_deadpool(&fake);
    let (detached, alive) = (manager.manager().detached.clone(), manager.manager().alive.clone());
    let left = || detached.load(SeqCst);
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    pool.get().unwrap().broken = true;
    eventually("the broken one has left", || left() == 1);
    PooledConnection::discard(pool.get().unwrap());
    eventually("the discarded one has left", || left() == 2);
    let taken = PooledConnection::detach(pool.get().unwrap());
    assert_eq!(left(), 2);
    let taken: Conn = taken.into_inner();
    assert_eq!(left(), 3);
    drop(pool.get().unwrap());
    assert!(pool.close_within(PLENTY).is_complete());
    eventually("the last one has left", || left() == 4);
    drop((pool, taken));
    eventually("the manager is gone", || Arc::strong_count(&alive) == 1);
    assert_eq!(left(), 4);
}

/// Its errors are texts, and it is content with nothing.
struct Sullen;

impl managed::Manager for Sullen {
    type Type = Conn;
    type Error = String;

    async fn create(&self) -> Result<Conn, String> {
        Err("not \"today\"".to_owned())
    }

    async fn recycle(&self, _: &mut Conn, _: &Metrics) -> RecycleResult<String> {
        Ok(())
    }
}

#[test]
fn a_deadpool_manager_whose_errors_are_texts_is_taken_all_the_same() {
    let builder = Pool::builder_async(DeadpoolManager::with_plain_errors(Sullen));
    let pool = builder.fail_fast(true).build().unwrap();
    let error = pool.get_timeout(PLENTY).err().unwrap();
    assert!(format!("{error:#}").contains("not \"today\""), "{error:#}");
    let GetError::Connect { cause, .. } = error else { panic!("{error}") };
    let ManagerError::Failed(error) = &*cause else { panic!("{cause}") };
    let error: &BridgeError<String> = error;
    assert_eq!(error.inspect(String::len), Some(11));
    assert!(error.driver().is_none(), "it is no error");
}
