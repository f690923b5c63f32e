//! What the Python pool Nimue promises, held against this pool: one test for each of its own.
//!
//! Where Nimue's documentation and its code differ the documentation counts. Two differences are
//! meant: callers never connect here, so a connection that must be opened is waited for, and
//! surplus above a lowered limit leaves at once instead of at the next sweep.

use crate::common::*;
use caliburn::health::{HealthStrategy, PeriodicSweep, PingOnBorrow};
use caliburn::{
    BlockingManager, BuildError, Builder, Clock, Deadline, EvictionCause, GetError, Manager,
    MockClock, Pool, PooledConnection, TryGetError, error::Problem,
};
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

/// Size, used and free, as Nimue counts them.
fn counts<M: Manager>(pool: &Pool<M>) -> (usize, usize, usize) {
    let stats = pool.stats();
    (stats.size, stats.lent, stats.idle)
}

/// Gets a connection, doing itself what the background would do meanwhile.
fn get<M: Manager>(pool: &Pool<M>) -> PooledConnection<M> {
    let mut future = pin!(pool.get_async());
    for _ in 0..4 {
        if let Poll::Ready(result) = poll_once(&mut future) {
            return result.expect("a connection");
        }
        pool.maintain();
    }
    panic!("not served: {pool:?}");
}

/// The same, with a limit that runs out after a few rounds.
fn get_in_vain<M: Manager>(pool: &Pool<M>, hand: &MockClock) -> GetError<M::Error> {
    let mut future = pin!(pool.get_timeout_async(10 * MOMENT));
    for _ in 0..20 {
        if let Poll::Ready(result) = poll_once(&mut future) {
            return result.err().expect("no connection");
        }
        pool.maintain();
        hand.advance(MOMENT);
    }
    panic!("it never ended: {pool:?}");
}

fn problems<M: Manager>(builder: Builder<M>) -> Vec<Problem> {
    match builder.build() {
        Err(BuildError::Config(error)) => error.problems().to_vec(),
        Err(error) => panic!("not a matter of configuration: {error}"),
        Ok(pool) => panic!("built: {pool:?}"),
    }
}

/// `testGetters`
#[test]
fn the_settings_and_the_manager_can_be_read_back() {
    let fake = Fake::new();
    let (builder, hand) = manual_maintenance(&fake);
    let pool = builder.like_nimue().min_size(3).max_size(7).build().unwrap();
    let settings = pool.settings();
    assert_eq!((settings.min_size, settings.max_size), (3, 7));
    assert_eq!(settings.idle_timeout, Some(300 * SECOND));
    assert!(std::ptr::eq(pool.manager().books(), fake.books()));
    hand.advance(59 * SECOND);
    pool.maintain();
    assert_eq!(pool.stats().sweeps, 0);
    hand.advance(SECOND);
    pool.maintain();
    assert_eq!(pool.stats().sweeps, 1, "a minute between sweeps");
}

/// `testSetterValidation`. (A minimum of -1 is no number here.)
#[test]
fn a_setter_refuses_what_contradicts_the_other_settings() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(2).max_size(10).capacity(20).build().unwrap();
    let before = pool.settings();
    assert!(pool.change(|settings| settings.min_size = 11).is_err(), "above the maximum");
    assert!(pool.change(|settings| settings.max_size = 0).is_err(), "none at all");
    assert!(pool.change(|settings| settings.max_size = 1).is_err(), "below the minimum");
    assert_eq!(pool.settings(), before);
    assert_settled(&pool, fake.books());
}

/// `testInitialSizeMin`
#[test]
fn the_pool_starts_with_its_minimum_unless_told_otherwise() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(3).max_size(10).build().unwrap();
    assert_eq!(counts(&pool), (3, 0, 3));
    assert_settled(&pool, fake.books());
}

/// `testInitialSizeInit`
#[test]
fn the_pool_starts_with_its_initial_size_if_one_is_given() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(3).initial_size(5).max_size(10).build().unwrap();
    assert_eq!(counts(&pool), (5, 0, 5));
    assert_settled(&pool, fake.books());
}

/// `testMaxSize`
#[test]
fn simultaneous_gets_grow_the_pool_from_its_minimum_to_its_maximum() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).min_size(2).max_size(4).wait_ready(PLENTY).build().unwrap();
    assert_eq!(pool.stats().size, 2);
    let held: Vec<_> = (0..4).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    eventually("all four are lent", || counts(&pool) == (4, 4, 0));
    drop(held);
    eventually("all four are back", || {
        counts(&pool) == (4, 0, 4) && pool.stats().waiter_nodes == 0
    });
    assert_settled(&pool, fake.books());
    assert_eq!(fake.books().most_open.load(SeqCst), 4);
}

/// `testIdleCleanup`
#[test]
fn a_sweep_closes_what_was_idle_for_too_long_down_to_the_minimum() {
    let fake = Fake::new();
    let (builder, hand) = manual_maintenance(&fake);
    let pool = builder.min_size(2).max_size(4).idle_timeout(Some(Duration::ZERO)).build().unwrap();
    let held: Vec<_> = (0..4).map(|_| get(&pool)).collect();
    assert_eq!(counts(&pool), (4, 4, 0));
    drop(held);
    pool.sweep();
    assert_eq!(counts(&pool), (4, 0, 4), "idle for no longer than the limit");
    hand.advance(MOMENT);
    pool.sweep();
    assert_eq!(counts(&pool), (2, 0, 2));
    assert_eq!(pool.stats().evictions.by(EvictionCause::IdleTimeout), 2);
    assert_settled(&pool, fake.books());
}

/// `testOverMax`, the first of that name
#[test]
fn idle_connections_above_a_lowered_maximum_are_closed() {
    let fake = Fake::new();
    let (builder, hand) = manual_maintenance(&fake);
    let pool = builder.min_size(2).max_size(10).idle_timeout(None).build().unwrap();
    let held: Vec<_> = (0..10).map(|_| get(&pool)).collect();
    drop(held);
    assert_eq!(counts(&pool), (10, 0, 10));
    pool.change(|settings| settings.max_size = 4).unwrap();
    pool.sweep();
    assert_eq!(counts(&pool), (4, 0, 4));
    assert_eq!(pool.stats().evictions.by(EvictionCause::Surplus), 6);
    assert_settled(&pool, fake.books());
    pool.change(|settings| settings.idle_timeout = Some(Duration::ZERO)).unwrap();
    hand.advance(MOMENT);
    pool.sweep();
    assert_eq!(counts(&pool), (2, 0, 2));
    assert_settled(&pool, fake.books());
}

/// `testOverMax`, the second of that name
#[test]
fn lent_connections_above_a_lowered_maximum_are_left_alone_until_they_return() {
    let fake = Fake::new();
    let (builder, hand) = manual_maintenance(&fake);
    let pool = builder.min_size(2).max_size(10).idle_timeout(None).build().unwrap();
    let held: Vec<_> = (0..10).map(|_| get(&pool)).collect();
    pool.change(|settings| settings.max_size = 4).unwrap();
    pool.sweep();
    assert_eq!(counts(&pool), (10, 10, 0));
    pool.change(|settings| settings.idle_timeout = Some(Duration::ZERO)).unwrap();
    hand.advance(MOMENT);
    pool.sweep();
    assert_eq!(counts(&pool), (10, 10, 0));
    assert!(held.iter().all(|conn| !conn.broken));
    drop(held);
    pool.maintain();
    assert_eq!(counts(&pool), (4, 0, 4));
    assert_settled(&pool, fake.books());
}

/// `testDefaults`
#[test]
fn one_call_sets_all_of_nimues_defaults() {
    let fake = Fake::new();
    let (builder, hand) = manual_maintenance(&fake);
    let pool = builder.like_nimue().build().unwrap();
    let settings = pool.settings();
    assert_eq!((settings.min_size, settings.max_size), (10, 20));
    assert_eq!(settings.idle_timeout, Some(300 * SECOND));
    assert_eq!(settings.checkout_timeout, Duration::MAX);
    assert_eq!(PeriodicSweep::default().sweep_interval(), Some(60 * SECOND));
    assert_eq!(counts(&pool), (10, 0, 10), "the minimum is what it starts with");
    hand.advance(SECOND);
    drop(get(&pool));
    assert_eq!(pool.stats().pings, 1, "a ping before every loan");
    assert_settled(&pool, fake.books());
}

/// `testParamValidation`. (An idle timeout of -1 is no duration here.)
#[test]
fn contradictory_settings_are_refused_at_the_start_and_later() {
    let fake = Fake::new();
    let base = || manual_maintenance(&fake).0.min_size(5).max_size(10);
    let above = |setting, value, bound, limit| Problem::Above { setting, value, bound, limit };
    let below = Problem::Below { setting: "initial_size", value: 4, bound: "min_size", limit: 5 };
    assert_eq!(problems(base().initial_size(4)), [below]);
    assert_eq!(problems(base().initial_size(11)), [above("initial_size", 11, "max_size", 10)]);
    assert_eq!(problems(base().min_size(11)), [above("min_size", 11, "max_size", 10)]);
    assert_eq!(problems(base().max_size(4)), [above("min_size", 5, "max_size", 4)]);
    assert!(problems(base().max_size(0)).contains(&Problem::Zero("max_size")));
    let zero = Some(Duration::ZERO);
    assert_eq!(problems(base().sweep_interval(zero)), [Problem::Zero("sweep_interval")]);
    assert_eq!(fake.books().attempts.load(SeqCst), 0, "checked before anything is opened");

    let pool = base().capacity(20).build().unwrap();
    let held: Vec<_> = (0..10).map(|_| get(&pool)).collect();
    assert!(pool.change(|settings| settings.min_size = 12).is_err());
    pool.change(|settings| settings.max_size = 20).unwrap();
    pool.change(|settings| settings.min_size = 12).unwrap();
    let before = pool.settings();
    assert!(pool.change(|settings| settings.max_size = 2).is_err());
    assert!(pool.change(|settings| settings.sweep_interval = zero).is_err());
    assert_eq!(pool.settings(), before);
    assert_eq!((before.min_size, before.max_size), (12, 20));
    drop(held);
    pool.maintain();
    assert_eq!(counts(&pool), (12, 0, 12));
    assert_settled(&pool, fake.books());
}

/// `testGetConnection`
#[test]
fn a_get_yields_a_guard_that_stands_for_the_connection() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(1).build().unwrap();
    let mut guard: PooledConnection<Fake> = pool.get().unwrap();
    guard.value = 7;
    let conn: &Conn = &guard;
    assert_eq!((conn.id, conn.value), (0, 7));
    drop(guard);
    assert_settled(&pool, fake.books());
}

/// `testGetAtFreeZeroBlocking`
#[test]
fn a_thread_that_finds_none_free_gets_a_new_one_while_there_is_room() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(1).max_size(5).build().unwrap();
    assert_eq!(counts(&pool), (1, 0, 1));
    let first = pool.get().unwrap();
    assert_eq!(counts(&pool), (1, 1, 0));
    let second = std::thread::scope(|scope| {
        let borrower = scope.spawn(|| pool.get_timeout(PLENTY).unwrap());
        eventually("it stands in line", || pool.stats().waiter_nodes == 1);
        eventually("it is served", || {
            pool.maintain();
            borrower.is_finished()
        });
        borrower.join().unwrap()
    });
    assert_eq!(counts(&pool), (2, 2, 0));
    assert_ne!(first.id, second.id);
    drop((first, second));
    assert_settled(&pool, fake.books());
}

/// `testGetAtFreeZeroNonBlocking`: there is a limit instead, as callers do not connect themselves.
#[test]
fn a_get_with_a_limit_gets_a_new_one_and_a_try_leaves_one_for_the_next() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(1).max_size(5).build().unwrap();
    assert_eq!(counts(&pool), (1, 0, 1));
    let first = pool.try_get().unwrap();
    assert_eq!(counts(&pool), (1, 1, 0));
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
    assert_eq!(counts(&pool), (1, 1, 0));
    pool.maintain();
    assert_eq!(counts(&pool), (2, 1, 1));
    let second = pool.try_get().unwrap();
    let mut third = pin!(pool.get_timeout_async(SECOND));
    assert!(poll_once(&mut third).is_pending());
    pool.maintain();
    let Poll::Ready(third) = poll_once(&mut third) else { panic!("not served: {pool:?}") };
    assert_eq!(counts(&pool), (3, 3, 0));
    drop((first, second, third));
    assert_settled(&pool, fake.books());
}

/// `testGetAtFreeZeroBlockingBadHealthcheck`
#[test]
fn new_connections_that_fail_their_check_are_replaced_until_the_limit_and_none_leaks() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .min_size(1)
        .max_size(5)
        .health(PingOnBorrow::always())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    use_each(&pool, 2);
    let first = pool.get_timeout(PLENTY).unwrap();
    fake.on_ping(Mode::Fail);
    let error = pool.get_timeout(Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    // One may have been on its way when the time was up: it lies idle, to be checked before a loan.
    eventually("the bad ones are gone", || {
        let stats = pool.stats();
        let alive = fake.books().alive();
        let busy = stats.opening + stats.maintenance;
        busy == 0 && stats.size == alive && stats.lent == 1
    });
    assert!(pool.stats().evictions.by(EvictionCause::PingFailed) > 0);
    fake.on_ping(Mode::Ok);
    drop(pool.get_timeout(PLENTY).unwrap());
    drop(first);
    eventually("all are back", || {
        let stats = pool.stats();
        let slots = stats.idle + stats.vacant;
        stats.idle == fake.books().alive() && slots == stats.capacity && stats.waiter_nodes == 0
    });
}

/// `testGetAtFreeZeroNonBlockingBadHealthcheck`
#[test]
fn a_get_with_a_limit_ends_when_every_new_connection_fails_its_check() {
    let fake = Fake::new();
    let (builder, hand) = manual_maintenance(&fake);
    let pool = builder.min_size(1).max_size(5).health(PingOnBorrow::always()).build().unwrap();
    let first = get(&pool);
    drop(get(&pool));
    fake.on_ping(Mode::Fail);
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
    pool.maintain();
    let error = get_in_vain(&pool, &hand);
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    pool.maintain();
    assert_eq!(counts(&pool), (1, 1, 0));
    assert!(fake.books().opened.load(SeqCst) > 2, "it tried more than one");
    drop(first);
    assert_settled(&pool, fake.books());
}

/// `testGetAtMaxZeroTimeout`
#[test]
fn the_figures_follow_each_get_and_a_limit_of_zero_is_over_at_once() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(1).max_size(5).build().unwrap();
    let mut held = Vec::new();
    for n in 1..=5 {
        held.push(get(&pool));
        assert_eq!(counts(&pool), (n, n, 0));
    }
    let error = pool.get_timeout(Duration::ZERO).unwrap_err();
    assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
    assert_eq!(counts(&pool), (5, 5, 0));
    drop(held);
    assert_settled(&pool, fake.books());
}

/// `testGetAtMaxNonZeroTimeout`
#[test]
fn a_get_at_the_maximum_fails_when_its_limit_is_over_and_not_before() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).min_size(5).max_size(5).wait_ready(PLENTY).build().unwrap();
    let held: Vec<_> = (0..5).map(|_| pool.get().unwrap()).collect();
    let limit = Duration::from_millis(250);
    let begun = std::time::Instant::now();
    let error = pool.get_timeout(limit).unwrap_err();
    let took = begun.elapsed();
    // Two clocks are compared: they may differ a little.
    assert!(took >= limit.mul_f64(0.9), "too early: {took:?}");
    let GetError::TimedOut { waited, counts, .. } = error else { panic!("{error}") };
    assert!(waited >= limit, "{waited:?}");
    assert_eq!((counts.lent, counts.idle), (5, 0));
    drop(held);
    assert_settled(&pool, fake.books());
}

/// `testGetAtMaxZeroTimeoutNonBlocking`
#[test]
fn a_try_at_the_maximum_comes_back_empty() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(5).max_size(5).build().unwrap();
    let held: Vec<_> = (0..5).map(|_| pool.try_get().unwrap()).collect();
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
    drop(held);
    assert_settled(&pool, fake.books());
}

/// `testGetConnectionThreaded`
#[test]
fn the_sixth_thread_gets_what_the_first_of_five_gives_back() {
    let fake = Fake::new();
    let pool =
        Pool::builder(fake.clone()).min_size(1).max_size(5).wait_ready(PLENTY).build().unwrap();
    let held: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..5).map(|_| scope.spawn(|| pool.get_timeout(PLENTY).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    eventually("all five are lent", || counts(&pool) == (5, 5, 0));
    let mut held = held.into_iter();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(pool.get_timeout(PLENTY).unwrap()).unwrap());
        eventually("the sixth waits", || pool.stats().waiting == 1);
        assert!(receiver.try_recv().is_err());
        let first = held.next().unwrap();
        let id = first.id;
        drop(first);
        assert_eq!(receiver.recv_timeout(PLENTY).unwrap().id, id);
    });
    drop(held);
    eventually("all five are back", || {
        counts(&pool) == (5, 0, 5) && pool.stats().waiter_nodes == 0
    });
    assert_settled(&pool, fake.books());
}

/// `testClose`
#[test]
fn a_return_restores_the_number_of_free_connections() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(2).max_size(4).build().unwrap();
    assert_eq!(counts(&pool), (2, 0, 2));
    let held = get(&pool);
    assert_eq!(counts(&pool), (2, 1, 1));
    drop(held);
    assert_eq!(counts(&pool), (2, 0, 2));
    assert_settled(&pool, fake.books());
}

/// `testCloseWithClosedPool`
#[test]
fn a_connection_outlives_the_close_of_its_pool_and_is_closed_on_its_return() {
    let fake = Fake::new();
    let (builder, _hand) = manual_maintenance(&fake);
    let pool = builder.min_size(2).max_size(4).build().unwrap();
    let mut held = get(&pool);
    pool.close();
    assert!(pool.is_closed());
    assert!(matches!(pool.get(), Err(GetError::Closed)));
    assert_eq!(fake.books().alive(), 1, "what was idle is closed");
    held.value = 3;
    assert_eq!(held.value, 3);
    drop(held);
    eventually("it is closed", || fake.books().alive() == 0);
    pool.close();
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.closes, 2);
}

/// A server that understands some queries and not others, for the checks that are a matter of
/// dialect.
struct Sql {
    dialect: &'static [&'static str],
    check: &'static str,
    autocommit: bool,
    rollbacks: AtomicUsize,
}

const FROM_LESS: &str = "SELECT 1";
const FROM_DUAL: &str = "SELECT 1 FROM DUAL";

#[derive(Default)]
struct Session {
    in_transaction: bool,
}

#[derive(Debug)]
struct SyntaxError(&'static str);

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot understand {:?}", self.0)
    }
}

impl std::error::Error for SyntaxError {}

impl Sql {
    fn new(dialect: &'static [&'static str], check: &'static str) -> Self {
        Self { dialect, check, autocommit: true, rollbacks: AtomicUsize::new(0) }
    }

    fn execute(&self, session: &mut Session, query: &'static str) -> Result<(), SyntaxError> {
        session.in_transaction |= !self.autocommit;
        if self.dialect.contains(&query) { Ok(()) } else { Err(SyntaxError(query)) }
    }

    fn roll_back(&self, session: &mut Session) {
        session.in_transaction = false;
        self.rollbacks.fetch_add(1, SeqCst);
    }
}

impl Manager for Sql {
    type Connection = Session;
    type Error = SyntaxError;

    fn needs_reset(&self, session: &mut Session) -> bool {
        session.in_transaction
    }
}

impl BlockingManager for Sql {
    fn connect(&self, _: &Deadline) -> Result<Session, SyntaxError> {
        Ok(Session::default())
    }

    fn ping(&self, session: &mut Session, _: &Deadline) -> Result<(), SyntaxError> {
        let answer = self.execute(session, self.check);
        self.roll_back(session);
        answer
    }

    fn reset(&self, session: &mut Session, _: &Deadline) -> Result<(), SyntaxError> {
        self.roll_back(session);
        Ok(())
    }
}

/// Whether connections pass the check that the manager makes.
fn passes_its_check(sql: Sql) -> bool {
    let (clock, hand) = Clock::mock();
    let pool = Pool::builder(sql)
        .manual_maintenance()
        .clock(clock)
        .min_size(1)
        .max_size(1)
        .health(PeriodicSweep::default())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    hand.advance(SECOND);
    pool.sweep();
    let stats = pool.stats();
    assert_eq!(stats.pings, 1);
    assert_eq!(stats.evictions.total(), stats.ping_failures);
    assert_eq!(counts(&pool), (1, 0, 1), "what failed is replaced");
    stats.ping_failures == 0
}

/// `testStdHealthcheck`
#[test]
fn a_check_with_the_plain_query_passes_where_the_dialect_allows_it() {
    assert!(passes_its_check(Sql::new(&[FROM_LESS], FROM_LESS)));
    assert!(passes_its_check(Sql::new(&[FROM_LESS, FROM_DUAL], FROM_LESS)));
    assert!(!passes_its_check(Sql::new(&[FROM_DUAL], FROM_LESS)));
}

/// `testOracleHealthcheck`
#[test]
fn a_check_with_a_query_of_another_dialect_fails_without_harm() {
    assert!(passes_its_check(Sql::new(&[FROM_DUAL], FROM_DUAL)));
    assert!(!passes_its_check(Sql::new(&[FROM_LESS], FROM_DUAL)));
}

/// `testRollbackAutocommit`
#[test]
fn a_check_leaves_no_transaction_open_and_a_return_rolls_back_the_borrowers() {
    let sql = Sql { autocommit: false, ..Sql::new(&[FROM_LESS], FROM_LESS) };
    let pool = Pool::builder(sql)
        .manual_maintenance()
        .min_size(1)
        .max_size(1)
        .health(PingOnBorrow::always())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    let rollbacks = || pool.manager().rollbacks.load(SeqCst);
    use_each(&pool, 1);
    let mut session = pool.get().unwrap();
    assert!(!session.in_transaction);
    assert_eq!(rollbacks(), 1, "the check's own");
    pool.manager().execute(&mut session, FROM_LESS).unwrap();
    assert!(session.in_transaction);
    drop(session);
    pool.maintain();
    assert_eq!((rollbacks(), pool.stats().resets), (2, 1));
    assert!(!pool.get().unwrap().in_transaction);
    assert_eq!(pool.stats().evictions.total(), 0);
}
