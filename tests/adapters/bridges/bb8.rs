//! Managers written for bb8, taken as they are.
#![cfg(all(feature = "r2d2", feature = "bb8", feature = "deadpool"))]

use super::checks::*;
use super::managers::*;
use crate::common::{Conn, Fake, Mode, PLENTY, assert_settled, eventually};
use caliburn::adapters::bridges::Bb8Manager;
use caliburn::health::PingOnBorrow;
use caliburn::{ErrorClass, EvictionCause, GetError, ManagerError, Pool};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn a_bb8_manager_serves_threads_and_tasks() {
    let fake = Fake::new();
    let pool = Pool::builder_async(over_bb8(&fake)).max_size(2).build().unwrap();
    serve_threads_and_tasks(pool, &fake);
}

#[test]
fn is_valid_of_a_bb8_manager_is_the_ping() {
    let fake = Fake::new();
    let builder = Pool::builder_async(over_bb8(&fake)).max_size(1);
    never_lend_what_is_not_valid(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn a_connection_that_bb8_would_call_broken_is_replaced() {
    let fake = Fake::new();
    let pool = Pool::builder_async(over_bb8(&fake)).max_size(1).build().unwrap();
    replace_what_has_broken(pool, &fake);
}

#[test]
fn a_bb8_manager_told_how_to_reset_lends_no_open_transaction() {
    let fake = Fake::new();
    let manager = resetting_bb8(&fake);
    roll_back_what_is_dirty(Pool::builder_async(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn all_errors_of_a_bb8_manager_may_pass_and_keep_their_sources() {
    let fake = Fake::new();
    wait_in_vain(Pool::builder_async(over_bb8(&fake)).build().unwrap(), &fake);
}

#[test]
fn errors_of_a_bb8_manager_that_are_said_to_be_permanent_are_told_at_once() {
    let fake = Fake::new();
    let manager = over_bb8(&fake).classify_with(classify);
    fail_at_once(Pool::builder_async(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn panics_of_a_bb8_manager_cost_no_slot() {
    let fake = Fake::new();
    let builder = Pool::builder_async(resetting_bb8(&fake)).max_size(2);
    survive_panics(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn a_bb8_manager_goes_with_its_pool() {
    let fake = Fake::new();
    let manager = over_bb8(&fake);
    let alive = Arc::clone(&manager.manager().alive);
    let_the_manager_go(Pool::builder_async(manager).max_size(2).build().unwrap(), &fake, &alive);
}

#[test]
fn a_customizer_for_bb8_sees_each_connection_before_it_is_lent() {
    let (fake, customizer) = (Fake::new(), Customizer::default());
    let customs = Arc::clone(&customizer.0);
    let manager = over_bb8(&fake).customize(Box::new(customizer));
    let pool = Pool::builder_async(manager).max_size(2).build().unwrap();
    customize_each_connection(&pool, &customs, &fake);
}

#[test]
fn a_connect_of_a_bb8_manager_that_hangs_is_dropped_at_its_limit() {
    let fake = Fake::new();
    let builder = Pool::builder_async(over_bb8(&fake)).max_size(1);
    let pool = builder.connect_timeout(SHORT / 4).build().unwrap();
    fake.on_connect(Mode::Hang);
    in_vain(&pool, |error| {
        let GetError::TimedOut { cause, .. } = error else { panic!("{error}") };
        matches!(cause.as_deref(), Some(ManagerError::TimedOut))
    });
    eventually("its slot is free again", || pool.overruns().is_empty());
    fake.on_connect(Mode::Ok);
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
}

/// Borrows on a task that is gone in the middle of `is_valid`, then borrows again: which
/// connection?
fn cancel_midway(manager: Bb8Manager<Old>, fake: &Fake) -> (Pool<Bb8Manager<Old>>, bool) {
    let builder = Pool::builder_async(manager).max_size(1);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    let before = pool.get().unwrap().id;
    fake.on_ping(Mode::Hang);
    {
        let mut borrowing = pin!(pool.get_async());
        while fake.books().pings.load(SeqCst) < 1 {
            assert!(crate::common::poll_once(&mut borrowing.as_mut()).is_pending());
        }
        // Into the driver's wait for the answer.
        assert!(crate::common::poll_once(&mut borrowing.as_mut()).is_pending());
    }
    fake.on_ping(Mode::Ok);
    let is_same = pool.get().unwrap().id == before;
    assert_settled(&pool, fake.books());
    (pool, is_same)
}

#[test]
fn is_valid_of_a_bb8_manager_dropped_midway_costs_the_connection() {
    let fake = Fake::new();
    let (pool, is_same) = cancel_midway(over_bb8(&fake), &fake);
    assert!(!is_same, "lent with half an answer on its way");
    assert_eq!(evicted(&pool, EvictionCause::PingCancelled), 1);
}

#[test]
fn is_valid_of_a_bb8_manager_vouched_for_may_be_dropped_midway() {
    let fake = Fake::new();
    let (pool, is_same) = cancel_midway(over_bb8(&fake).pings_are_cancel_safe(), &fake);
    assert!(is_same);
    assert_eq!(pool.stats().evictions.total(), 0);
}

#[test]
fn is_valid_and_resets_of_a_bb8_manager_that_hang_are_dropped_at_their_limits() {
    let fake = Fake::new();
    let pool = Pool::builder_async(resetting_bb8(&fake))
        .max_size(1)
        .ping_timeout(SHORT / 4)
        .reset_timeout(SHORT / 4)
        .health(PingOnBorrow::always())
        .build()
        .unwrap();
    let first = pool.get().unwrap().id;
    fake.on_ping(Mode::Hang);
    in_vain(&pool, |_| evicted(&pool, EvictionCause::PingFailed) > 0);
    fake.on_ping(Mode::Ok);
    let mut conn = pool.get().unwrap();
    let second = conn.id;
    assert!(second > first);
    fake.on_reset(Mode::Hang);
    conn.dirty = true;
    drop(conn);
    assert!(pool.get().unwrap().id > second);
    assert_eq!(evicted(&pool, EvictionCause::ResetFailed), 1);
    assert_settled(&pool, fake.books());
    assert!(pool.overruns().is_empty());
}

/// As bb8 allows: an error that is no error.
struct Sullen;

impl bb8::ManageConnection for Sullen {
    type Connection = Conn;
    type Error = &'static str;

    async fn connect(&self) -> Result<Conn, &'static str> {
        Err("not today")
    }

    async fn is_valid(&self, _: &mut Conn) -> Result<(), &'static str> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Conn) -> bool {
        false
    }
}

#[test]
fn a_bb8_manager_whose_error_is_none_is_taken_all_the_same() {
    let manager = Bb8Manager::with_plain_errors(Sullen).classify_with(|error| {
        assert_eq!(*error, "not today");
        ErrorClass::Permanent
    });
    let pool = Pool::builder_async(manager).build().unwrap();
    let error = pool.get_timeout(PLENTY).err().unwrap();
    assert!(matches!(error, GetError::Connect { .. }), "{error:#}");
    assert!(format!("{error:#}").contains("not today"), "{error:#}");
}
