//! Strategies judge, the pool acts; all under a clock that the test turns.

use crate::common::*;
use caliburn::health::{
    AgeEviction, ConnectionInfo, EvictionCause, HealthStrategy, Occasions, PeriodicSweep,
    PingAfterFailure, PingOnBorrow, Validity, Verdict,
};
use caliburn::{Clock, Pool, PooledConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn evicted(pool: &Pool<Fake>, cause: EvictionCause) -> u64 {
    pool.stats().evictions.by(cause)
}

#[test]
fn ping_on_borrow_pings_only_what_has_been_silent_for_longer_than_its_window() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 1, |b| b.health(PingOnBorrow::default()));
    drop(pool.get().unwrap());
    hand.advance(Duration::from_millis(499));
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 0);
    hand.advance(Duration::from_millis(500));
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 1);
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 1, "it was used a moment ago");
}

#[test]
fn a_borrower_gets_another_connection_when_the_ping_of_the_first_fails() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 2, |b| b.health(PingOnBorrow::default()));
    hand.advance(SECOND);
    let healthy = pool.get().unwrap();
    fake.kill_all();
    // One is held and survives; the other is dead, and there is room for none. So the hand must
    // help.
    std::thread::scope(|scope| {
        let borrower = scope.spawn(|| pool.get_timeout(PLENTY).map(|conn| conn.id));
        eventually("it waits", || pool.stats().waiting == 1);
        pool.maintain();
        assert_eq!(borrower.join().unwrap().unwrap(), 2);
    });
    drop(healthy);
    assert_eq!(evicted(&pool, EvictionCause::PingFailed), 1);
    pool.maintain();
    assert_settled(&pool, fake.books());
}

#[test]
fn a_sweep_pings_the_idle_and_replaces_the_dead() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 4, |b| b.health(PeriodicSweep::every(60 * SECOND)));
    fake.kill_all();
    hand.advance(59 * SECOND);
    pool.maintain();
    assert_eq!(fake.books().pings.load(SeqCst), 0, "too early");
    hand.advance(SECOND);
    pool.maintain();
    assert_eq!(fake.books().pings.load(SeqCst), 4);
    assert_eq!(evicted(&pool, EvictionCause::PingFailed), 4);
    assert_eq!(pool.stats().idle, 4, "the dead are replaced");
    assert_eq!(pool.get().unwrap().id, 4);
    assert_eq!(pool.stats().sweeps, 1);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_sweep_leaves_lent_connections_and_the_idle_clock_alone() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 2, |b| {
        b.min_size(0)
            .initial_size(2)
            .idle_timeout(Some(90 * SECOND))
            .health(PeriodicSweep::default())
    });
    let held = pool.get().unwrap();
    hand.advance(60 * SECOND);
    pool.maintain();
    assert_eq!(fake.books().pings.load(SeqCst), 1, "the idle one");
    hand.advance(60 * SECOND);
    pool.maintain();
    // A ping is no use: the idle one has been idle for 120 s.
    assert_eq!(evicted(&pool, EvictionCause::IdleTimeout), 1);
    drop(held);
    assert_settled(&pool, fake.books());
}

#[test]
fn connections_are_evicted_by_age_whether_idle_or_in_use() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 2, |b| {
        b.health(AgeEviction::unlimited().max_lifetime(100 * SECOND).jitter(0.0))
    });
    let held = pool.get().unwrap();
    hand.advance(100 * SECOND);
    pool.maintain();
    assert_eq!(evicted(&pool, EvictionCause::MaxLifetime), 1, "the idle one");
    drop(held);
    pool.maintain();
    assert_eq!(evicted(&pool, EvictionCause::MaxLifetime), 2, "the other on its return");
    assert_eq!(pool.stats().idle, 2);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_hundred_connections_born_together_do_not_die_together() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 100, |b| {
        b.maintenance_concurrency(100)
            .connect_concurrency(100)
            .health(AgeEviction::unlimited().max_lifetime(1000 * SECOND).jitter(0.5))
    });
    let mut before = 0;
    let windows: Vec<_> = (0..10)
        .map(|window| {
            hand.advance(if window == 0 { 550 * SECOND } else { 50 * SECOND });
            pool.sweep();
            let died = evicted(&pool, EvictionCause::MaxLifetime) - before;
            before += died;
            died
        })
        .collect();
    assert_eq!(before, 100, "all are due by now: {windows:?}");
    // Ten each on average; far from a hundred at once even by bad luck.
    assert!(windows.iter().all(|died| *died < 40), "{windows:?}");
    assert_settled(&pool, fake.books());
}

#[test]
fn a_connection_is_lent_no_more_often_than_it_may_be() {
    let fake = Fake::new();
    let (pool, _hand) = full_manual(&fake, 1, |b| b.health(AgeEviction::unlimited().max_uses(3)));
    for id in 0..3 {
        for _ in 0..3 {
            assert_eq!(pool.get().unwrap().id, id);
        }
        pool.maintain();
    }
    assert_eq!(evicted(&pool, EvictionCause::MaxUses), 3);
}

#[test]
fn an_aged_connection_is_replaced_before_it_is_closed_where_there_is_room() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 3, |b| {
        b.min_size(2).health(AgeEviction::unlimited().max_lifetime(100 * SECOND).jitter(0.0))
    });
    hand.advance(96 * SECOND);
    fake.on_connect(Mode::Fail);
    pool.maintain();
    assert_eq!(pool.stats().size, 2, "before its end: no replacement, no eviction");
    fake.on_connect(Mode::Ok);
    hand.advance(2 * SECOND);
    for _ in 0..3 {
        pool.sweep();
    }
    assert_eq!(evicted(&pool, EvictionCause::MaxLifetime), 2);
    assert_eq!(fake.books().most_open.load(SeqCst), 3, "one more at a time");
    assert_settled(&pool, fake.books());
}

#[test]
fn after_one_dead_connection_the_older_ones_are_pinged_and_the_younger_are_not() {
    let fake = Fake::new();
    let (pool, _hand) = full_manual(&fake, 4, |b| b.health(PingAfterFailure));
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 0, "no failure, no ping");
    fake.kill_all();
    let mut unlucky = pool.get().unwrap();
    unlucky.broken = true;
    drop(unlucky);
    std::thread::scope(|scope| {
        // The three others are found dead by their pings, not by their borrower.
        let borrower = scope.spawn(|| pool.get_timeout(PLENTY).map(|conn| conn.id));
        eventually("a fresh one is needed", || pool.stats().waiting == 1);
        pool.maintain();
        assert!(borrower.join().unwrap().unwrap() >= 4);
    });
    pool.maintain();
    assert_eq!(fake.books().pings.load(SeqCst), 3);
    for _ in 0..4 {
        drop(pool.get().unwrap());
    }
    assert_eq!(fake.books().pings.load(SeqCst), 3, "the fresh ones are not pinged");
    assert_settled(&pool, fake.books());
}

#[test]
fn the_worst_verdict_of_a_tuple_wins_and_boxes_work_too() {
    let info = ConnectionInfo::made_up(3600 * SECOND).with_idle(SECOND).with_uses(7);
    let age = AgeEviction::unlimited().max_uses(7);
    assert_eq!(PingOnBorrow::default().on_borrow(&info), Verdict::Ping);
    assert_eq!(PingAfterFailure.on_borrow(&info), Verdict::Keep);
    let both = (PingOnBorrow::default(), PingAfterFailure, age);
    assert_eq!(both.on_borrow(&info), Verdict::Evict(EvictionCause::MaxUses));
    assert_eq!((PingAfterFailure, PingOnBorrow::default()).on_borrow(&info), Verdict::Ping);
    let boxed: Box<dyn HealthStrategy> = Box::new(both);
    assert_eq!(boxed.on_borrow(&info), Verdict::Evict(EvictionCause::MaxUses));
    assert_eq!(boxed.occasions(), Occasions::ALL);
    assert_eq!(().occasions(), Occasions::NONE);
    let sweeps =
        (PeriodicSweep::every(60 * SECOND), PeriodicSweep::every(10 * SECOND), PingAfterFailure);
    assert_eq!(sweeps.sweep_interval(), Some(10 * SECOND));
}

#[test]
fn a_ping_verdict_on_return_is_acted_upon_at_the_next_loan() {
    struct PingNext;
    impl HealthStrategy for PingNext {
        fn on_return(&self, _: &ConnectionInfo) -> Verdict {
            Verdict::Ping
        }
        fn occasions(&self) -> Occasions {
            Occasions::RETURN
        }
    }
    let fake = Fake::new();
    let (pool, _hand) = full_manual(&fake, 1, |b| b.health(PingNext));
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 0);
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 1);
}

#[test]
fn try_get_does_not_lend_what_must_be_pinged_but_has_it_pinged() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 1, |b| b.health(PingOnBorrow::default()));
    hand.advance(SECOND);
    assert!(pool.try_get().is_err());
    pool.maintain();
    assert_eq!(fake.books().pings.load(SeqCst), 1);
    assert!(pool.try_get().is_ok());
}

#[test]
fn a_dirty_connection_is_reset_before_it_is_lent_again() {
    let fake = Fake::new();
    let (pool, _hand) = full_manual(&fake, 1, |b| b);
    let mut conn = pool.get().unwrap();
    conn.dirty = true;
    drop(conn);
    assert!(pool.try_get().is_err(), "not before it is reset");
    assert_eq!(pool.stats().maintenance, 1);
    pool.maintain();
    assert!(!pool.try_get().unwrap().dirty);
    assert_eq!(fake.books().resets.load(SeqCst), 1);
    fake.on_reset(Mode::Fail);
    pool.get().unwrap().dirty = true;
    pool.maintain();
    assert_eq!(evicted(&pool, EvictionCause::ResetFailed), 1);
    assert_settled(&pool, fake.books());
}

#[test]
fn maintenance_never_has_more_connections_out_of_service_than_it_may() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .max_size(8)
        .min_size(8)
        .maintenance_concurrency(2)
        .health(PeriodicSweep::every(Duration::from_millis(30)))
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    fake.on_ping(Mode::Hang);
    eventually("a sweep has begun", || pool.stats().maintenance == 2);
    // The others are there for borrowers as long as the pings hang.
    let held: Vec<_> = (0..6).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    assert_eq!(pool.stats().maintenance, 2);
    fake.on_ping(Mode::Ok);
    fake.open_gate();
    drop(held);
    eventually("all have been pinged", || fake.books().pings.load(SeqCst) >= 8);
}

#[test]
fn nimues_own_behaviour_is_one_call() {
    let (clock, hand) = Clock::mock();
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .like_nimue()
        .initial_size(20)
        .clock(clock)
        .manual_maintenance()
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    hand.advance(SECOND);
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 1, "pinged at every checkout");
    hand.advance(60 * SECOND);
    pool.maintain();
    assert_eq!(fake.books().pings.load(SeqCst), 21, "and by the sweep");
    hand.advance(241 * SECOND);
    pool.maintain();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.idle), (10, 10), "idle for longer than 300 s");
    assert_settled(&pool, fake.books());
}

/// Keeps everything for a validity, and counts how often it is asked.
struct ValidFor(Validity, Arc<AtomicUsize>);

impl HealthStrategy for ValidFor {
    fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
        self.1.fetch_add(1, SeqCst);
        Verdict::Keep
    }

    fn valid_for(&self, _: &ConnectionInfo) -> Validity {
        self.0
    }

    fn occasions(&self) -> Occasions {
        Occasions::BORROW
    }
}

/// How often such a strategy was asked in the course of ten loans, one each second.
fn asked_in_ten_loans(validity: Validity) -> usize {
    let (fake, asked) = (Fake::new(), Arc::new(AtomicUsize::new(0)));
    let (pool, hand) = full_manual(&fake, 1, |b| b.health(ValidFor(validity, asked.clone())));
    for _ in 0..10 {
        drop(pool.get().unwrap());
        hand.advance(SECOND);
    }
    asked.load(SeqCst)
}

#[test]
fn a_strategy_is_not_asked_again_before_its_validity_is_over() {
    assert_eq!(asked_in_ten_loans(Validity::NONE), 10);
    assert_eq!(asked_in_ten_loans(Validity::UNLIMITED), 1);
    assert_eq!(asked_in_ten_loans(Validity::uses(5)), 2);
    assert_eq!(asked_in_ten_loans(Validity::time(5 * SECOND)), 2);
    assert_eq!(asked_in_ten_loans(Validity::uses(1).min(Validity::time(5 * SECOND))), 10);
}

#[test]
fn a_validity_ends_when_another_connection_is_found_dead_and_when_a_borrower_suspects_it() {
    let (fake, asked) = (Fake::new(), Arc::new(AtomicUsize::new(0)));
    let strategy = ValidFor(Validity::UNLIMITED, asked.clone());
    let (pool, _hand) = full_manual(&fake, 2, |b| b.health(strategy));
    let (mut first, mut second) = (pool.get().unwrap(), pool.get().unwrap());
    assert_eq!(asked.load(SeqCst), 2);
    PooledConnection::suspect(&mut second);
    drop(second);
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 1, "it was suspect");
    drop(pool.get().unwrap());
    let before = asked.load(SeqCst);
    first.broken = true;
    drop(first);
    drop(pool.get().unwrap());
    assert_eq!(asked.load(SeqCst), before + 1, "the generation has risen");
}

#[test]
fn a_connection_lent_while_another_was_found_dead_is_suspect_when_it_comes_back() {
    let fake = Fake::new();
    let (pool, _hand) =
        full_manual(&fake, 2, |b| b.health((PingAfterFailure, AgeEviction::default())));
    drop((pool.get().unwrap(), pool.get().unwrap()));
    let (mut dead, other) = (pool.get().unwrap(), pool.get().unwrap());
    dead.broken = true;
    drop(dead);
    drop(other);
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 1);
    drop(pool.get().unwrap());
    assert_eq!(fake.books().pings.load(SeqCst), 1, "it has answered");
}
