//! Managers written for r2d2, taken as they are.
#![cfg(all(feature = "r2d2", feature = "bb8", feature = "deadpool"))]

use super::checks::*;
use super::managers::*;
use crate::common::{Fake, Mode, PLENTY, assert_settled, eventually};
use caliburn::adapters::bridges::{Bb8Manager, R2d2Manager};
use caliburn::health::PingOnBorrow;
use caliburn::{EvictionCause, GetError, ManagerError, PingOn, Pool, PooledConnection};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

#[test]
fn an_r2d2_manager_serves_threads_and_tasks() {
    let fake = Fake::new();
    let pool = Pool::builder(over_r2d2(&fake)).max_size(2).build().unwrap();
    serve_threads_and_tasks(pool, &fake);
}

#[test]
fn is_valid_of_an_r2d2_manager_is_the_ping() {
    let fake = Fake::new();
    let builder = Pool::builder(over_r2d2(&fake)).max_size(1);
    never_lend_what_is_not_valid(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn a_connection_that_r2d2_would_call_broken_is_replaced() {
    let fake = Fake::new();
    replace_what_has_broken(Pool::builder(over_r2d2(&fake)).max_size(1).build().unwrap(), &fake);
}

#[test]
fn an_r2d2_manager_told_how_to_reset_lends_no_open_transaction() {
    let fake = Fake::new();
    let manager = resetting_r2d2(&fake);
    roll_back_what_is_dirty(Pool::builder(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn an_r2d2_manager_told_nothing_of_resets_lends_connections_as_they_come() {
    let fake = Fake::new();
    let pool = Pool::builder(over_r2d2(&fake)).max_size(1).build().unwrap();
    pool.get().unwrap().dirty = true;
    assert!(pool.get().unwrap().dirty);
    assert_eq!(pool.stats().resets, 0);
}

#[test]
fn all_errors_of_an_r2d2_manager_may_pass_and_keep_their_sources() {
    let fake = Fake::new();
    wait_in_vain(Pool::builder(over_r2d2(&fake)).build().unwrap(), &fake);
}

#[test]
fn errors_of_an_r2d2_manager_that_are_said_to_be_permanent_are_told_at_once() {
    let fake = Fake::new();
    let manager = over_r2d2(&fake).classify_with(classify);
    fail_at_once(Pool::builder(manager).max_size(1).build().unwrap(), &fake);
}

#[test]
fn panics_of_an_r2d2_manager_cost_no_slot() {
    let fake = Fake::new();
    let builder = Pool::builder(resetting_r2d2(&fake)).max_size(2);
    survive_panics(builder.health(PingOnBorrow::always()).build().unwrap(), &fake);
}

#[test]
fn an_r2d2_manager_goes_with_its_pool() {
    let fake = Fake::new();
    let manager = over_r2d2(&fake);
    let alive = Arc::clone(&manager.manager().alive);
    let_the_manager_go(Pool::builder(manager).max_size(2).build().unwrap(), &fake, &alive);
}

#[test]
fn a_slow_connect_of_an_r2d2_manager_is_quarantined_and_keeps_nobody() {
    let fake = Fake::new();
    let builder = Pool::builder(over_r2d2(&fake)).max_size(1);
    let pool = builder.connect_timeout(SHORT / 4).build().unwrap();
    fake.on_connect(Mode::Hang);
    let begun = Instant::now();
    in_vain(&pool, |error| {
        assert!(begun.elapsed() < PLENTY / 2, "kept by the driver");
        let GetError::TimedOut { cause, .. } = error else { panic!("{error}") };
        assert!(matches!(cause.as_deref(), Some(ManagerError::Pending)), "{error}");
        pool.stats().quarantined == 1
    });
    assert_eq!(pool.overruns().len(), 1);

    fake.on_connect(Mode::Ok);
    fake.open_gate();
    drop(pool.get().unwrap());
    assert!(pool.overruns().is_empty());
    assert_settled(&pool, fake.books());
}

#[test]
fn is_valid_of_an_r2d2_manager_that_hangs_keeps_no_borrower_if_workers_ping() {
    let fake = Fake::new();
    let pool = Pool::builder(over_r2d2(&fake))
        .max_size(1)
        .ping_timeout(SHORT / 4)
        .ping_on(PingOn::Worker)
        .health(PingOnBorrow::always())
        .build()
        .unwrap();
    drop(pool.get().unwrap());
    fake.on_ping(Mode::Hang);
    let begun = Instant::now();
    in_vain(&pool, |error| {
        assert!(begun.elapsed() < PLENTY / 2, "kept by the driver");
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
        pool.stats().quarantined == 1
    });
    fake.on_ping(Mode::Ok);
    fake.open_gate();
    drop(pool.get().unwrap());
    assert_eq!(evicted(&pool, EvictionCause::PingFailed), 1, "a late answer is none");
    assert_settled(&pool, fake.books());
}

#[test]
fn a_customizer_for_r2d2_sees_each_connection_come_and_each_sound_one_go() {
    let (fake, customizer) = (Fake::new(), Customizer::default());
    let customs = Arc::clone(&customizer.0);
    let manager = over_r2d2(&fake).customize(Box::new(customizer));
    let pool = Pool::builder(manager).max_size(2).build().unwrap();
    customize_each_connection(&pool, &customs, &fake);

    let released = || customs.released.load(SeqCst);
    let mut broken = pool.get().unwrap();
    broken.broken = true;
    drop(broken);
    eventually("the broken one is gone", || pool.stats().closes == 1);
    assert_eq!(released(), 0, "a goodbye to one that is broken");
    drop(PooledConnection::detach(pool.get().unwrap()));
    assert_eq!(released(), 0, "a detached one is no longer the pool's");

    let discarded = pool.get().unwrap();
    customs.panics.store(true, SeqCst);
    PooledConnection::discard(discarded);
    eventually("the discarded one is released", || released() == 1);
    customs.panics.store(false, SeqCst);
    drop(pool.get().unwrap());
    assert_settled(&pool, fake.books());
    assert!(pool.close_within(PLENTY).is_complete());
    assert_eq!(released(), 2);
    assert_eq!(fake.books().alive(), 0);
}

#[test]
fn neither_bridge_shows_the_manager_it_is_made_of() {
    let fake = Fake::new();
    for text in [format!("{:?}", resetting_r2d2(&fake)), format!("{:#?}", resetting_bb8(&fake))] {
        assert!(!text.contains("sesame") && text.contains("resets: true"), "{text}");
    }
    let pool = Pool::builder(over_r2d2(&fake)).build().unwrap();
    assert!(!format!("{pool:?}").contains("sesame"));
}

#[test]
fn a_manager_is_made_into_a_bridge_and_taken_out_of_it_again() {
    let fake = Fake::new();
    let over_r2d2: R2d2Manager<Old> = Old::new(&fake).into();
    assert_eq!(over_r2d2.manager().password, "sesame");
    let over_bb8 = Bb8Manager::from(over_r2d2.into_manager());
    assert_eq!(over_bb8.manager().password, "sesame");
    assert_eq!(Arc::strong_count(&over_bb8.into_manager().alive), 1);
}
