//! What concerns a pool and its reserve: to close, invalidate, switch, change, await and maintain.

use crate::common::*;
use crate::reserve::{reserve_of, serves_at_once};
use caliburn::error::{Problem, TryGetError};
use caliburn::health::PeriodicSweep;
use caliburn::observe::EventKind;
use caliburn::{BuildError, GetError, ManagerError, Pool, PooledConnection, Settings};
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn to_close_the_pool_closes_the_reserve_and_fails_those_that_wait_for_either() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder.reserved(1));
    let reserve = reserve_of(&pool).clone();
    let held = (pool.get().unwrap(), reserve.get().unwrap());
    let (mut first, mut second) = (Box::pin(pool.get_async()), Box::pin(reserve.get_async()));
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    let (mut closed, mut reserve_closed) =
        (Box::pin(pool.until_closed()), Box::pin(reserve.until_closed()));
    assert!(poll_once(&mut closed).is_pending() && poll_once(&mut reserve_closed).is_pending());
    pool.close();
    assert!(matches!(poll_once(&mut first), Poll::Ready(Err(GetError::Closed))));
    assert!(matches!(poll_once(&mut second), Poll::Ready(Err(GetError::Closed))));
    assert!(poll_once(&mut closed).is_ready() && poll_once(&mut reserve_closed).is_ready());
    assert!(pool.is_closed() && reserve.is_closed());
    assert_eq!(reserve.try_get().unwrap_err(), TryGetError::Closed);
    drop(held);
    eventually("all are closed", || fake.books().alive() == 0);
}

#[test]
fn the_report_of_a_close_is_of_both() {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(2).min_size(2).reserved(2);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let reserve = reserve_of(&pool).clone();
    let (held, reserved) = (pool.get().unwrap(), reserve.get().unwrap());
    let report = pool.close_within(Duration::from_millis(20));
    assert_eq!((report.still_lent, report.holders.len()), (2, 2), "{report}");
    drop(held);
    let report = pool.close_within(Duration::from_millis(20));
    assert_eq!((report.still_lent, report.holders.len()), (1, 1), "{report}");
    let line = report.holders[0].location.line();
    assert!(report.to_string().contains(&format!(".rs:{line}:")), "{report}");
    drop(reserved);
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete() && report.closes == 4, "{report}");
    assert_eq!(fake.books().alive(), 0);
}

#[test]
fn a_close_that_hangs_in_the_reserve_is_unfinished_in_the_report() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).reserved(1).wait_ready(PLENTY).build().unwrap();
    fake.on_close(Mode::Hang);
    let report = pool.close_within(Duration::from_millis(20));
    assert!(!report.is_complete() && report.unfinished == 1, "{report}");
    assert_eq!(report.overruns.len(), 1, "{report}");
    fake.open_gate();
    assert!(pool.close_within(PLENTY).is_complete());
}

#[test]
fn a_task_that_closes_waits_for_the_reserve_within_one_limit() {
    let harness = harness::Harness::new(1, |builder| builder.min_size(1).reserved(1));
    let pool = &harness.pool;
    harness.until("both are open", || harness.fake.books().alive() == 2);
    let held = reserve_of(pool).try_get().unwrap();
    let mut close = Box::pin(pool.close_within_async(SECOND));
    assert!(poll_once(&mut close).is_pending());
    harness.until("the pool's own is closed", || harness.fake.books().alive() == 1);
    assert!(poll_once(&mut close).is_pending());
    harness.advance(2 * SECOND);
    let Poll::Ready(report) = poll_once(&mut close) else { panic!("past its limit") };
    assert_eq!((report.still_lent, report.holders.len()), (1, 1), "{report}");
    drop((close, held));
    let mut close = Box::pin(pool.close_within_async(SECOND));
    let mut report = None;
    harness.until("it is over", || match poll_once(&mut close) {
        Poll::Ready(found) => report.replace(found).is_none(),
        Poll::Pending => false,
    });
    assert!(report.unwrap().is_complete());
    assert_eq!(harness.fake.books().alive(), 0);
}

#[test]
fn the_last_handle_of_the_pool_takes_the_reserve_with_it() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder.reserved(1));
    let (other, reserve) = (pool.clone(), reserve_of(&pool).clone());
    drop(pool);
    serves_at_once(&reserve);
    drop(other);
    assert!(reserve.is_closed());
    assert!(matches!(reserve.get(), Err(GetError::Closed)));
    drop(reserve);
    eventually("all is gone", || fake.is_alone() && fake.books().alive() == 0);
}

#[test]
fn a_reserve_that_is_dropped_or_closed_alone_leaves_the_pool_open() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder.reserved(1));
    drop(reserve_of(&pool).clone());
    serves_at_once(reserve_of(&pool));
    assert!(reserve_of(&pool).close_within(PLENTY).is_complete());
    assert!(reserve_of(&pool).is_closed() && !pool.is_closed());
    drop(pool.get().unwrap());
    pool.change(|settings| settings.max_waiters = 1).unwrap();
    assert_eq!(pool.invalidate(SECOND), 0);
    pool.maintain();
    drop(pool.get().unwrap());
    pool.ready(SECOND).unwrap();
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
}

#[test]
fn to_invalidate_replaces_what_is_in_the_reserve_too() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 2, |builder| builder.reserved(2));
    let held = [pool.get().unwrap(), reserve_of(&pool).get().unwrap()];
    clock.advance(SECOND);
    assert_eq!(pool.invalidate(SECOND), 2);
    drop(held);
    pool.maintain();
    for part in [&pool, reserve_of(&pool)] {
        let both: Vec<_> = (0..2).map(|_| part.get().unwrap()).collect();
        assert!(both.iter().all(|conn| conn.id >= 4), "an old one was lent");
    }
    assert_eq!(reserve_of(&pool).invalidate(SECOND), 0);
    assert_eq!(pool.stats().evictions.total(), 2, "the reserve's own does not concern the pool");
    assert_eq!(reserve_of(&pool).stats().evictions.total(), 4);
}

#[test]
fn threads_and_tasks_wait_for_both_to_be_replaced_within_one_limit() {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(1).min_size(1).reserved(1);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    assert_eq!(pool.invalidate(PLENTY), 0);
    assert!(reserve_of(&pool).get().unwrap().id >= 2);

    let harness = harness::Harness::new(1, |builder| builder.min_size(1).reserved(1));
    harness.until("both are open", || harness.fake.books().alive() == 2);
    let held = reserve_of(&harness.pool).try_get().unwrap();
    let mut invalidate = Box::pin(harness.pool.invalidate_async(SECOND));
    assert!(poll_once(&mut invalidate).is_pending());
    harness.settle();
    assert!(poll_once(&mut invalidate).is_pending(), "one is held");
    harness.advance(2 * SECOND);
    assert_eq!(poll_once(&mut invalidate), Poll::Ready(1));
    drop(held);
}

#[test]
fn one_trial_switches_the_manager_of_both() {
    let (old, new) = (Fake::new(), Fake::new());
    let (pool, _) = full_manual(&old, 2, |builder| builder.reserved(2).record_events(64));
    let held = [pool.get().unwrap(), reserve_of(&pool).get().unwrap()];
    assert_eq!(pool.switch_manager(new.clone(), SECOND).unwrap(), 2);
    assert_eq!((old.books().alive(), new.books().alive()), (2, 2));
    assert_eq!(new.books().attempts.load(SeqCst), 3, "one to try, and one for each idle one");
    drop(held);
    pool.maintain();
    assert_eq!((old.books().alive(), new.books().alive()), (0, 4));
    for part in [&pool, reserve_of(&pool)] {
        assert!(std::ptr::eq(part.manager().books(), new.books()));
        use_each(part, 2);
    }
    let events = pool.recent_events();
    let switches = events.iter().filter(|event| matches!(event.kind, EventKind::ManagerSwitched));
    assert_eq!(switches.map(|event| event.is_reserved).collect::<Vec<_>>(), [false, true]);
    drop(events);
    assert!(old.is_alone(), "the old manager is gone");
}

#[test]
fn a_trial_that_fails_leaves_both_as_they_are() {
    let (old, new) = (Fake::new(), Fake::new());
    let (pool, _) = full_manual(&old, 1, |builder| builder.reserved(1));
    new.on_connect(Mode::Fail);
    assert!(pool.switch_manager(new.clone(), SECOND).is_err());
    for part in [&pool, reserve_of(&pool)] {
        assert!(std::ptr::eq(part.manager().books(), old.books()));
        assert_eq!(part.stats().evictions.total(), 0);
    }
    assert_eq!(new.books().attempts.load(SeqCst), 1);
    assert!(new.is_alone());
}

#[test]
fn of_two_switches_at_once_the_pool_and_its_reserve_keep_the_same() {
    let pool = Pool::builder(Fake::new()).max_size(1).min_size(1).reserved(1).build().unwrap();
    for _ in 0..20 {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| pool.switch_manager(Fake::new(), PLENTY).unwrap());
            }
        });
        let (own, reserved) = (pool.manager(), reserve_of(&pool).manager());
        assert!(std::ptr::eq(own.books(), reserved.books()));
        // What the other manager opened is gone.
        let alive = || own.books().alive();
        eventually("two are open", || {
            alive() == 2 && pool.stats().size + reserve_of(&pool).stats().size == 2
        });
    }
}

#[test]
fn the_reserve_follows_the_settings_of_the_pool_but_keeps_its_sizes() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 4, |builder| builder.reserved(2));
    let sizes = |pool: &Pool<Fake>| {
        let settings: Settings = pool.settings();
        (settings.max_size, settings.min_size, settings.min_idle)
    };
    let change = |settings: &mut Settings| {
        (settings.max_size, settings.min_size, settings.min_idle) = (3, 1, 1);
        (settings.checkout_timeout, settings.max_waiters) = (SECOND, 7);
    };
    pool.change(change).unwrap();
    let own = reserve_of(&pool).settings();
    assert_eq!((own.checkout_timeout, own.max_waiters), (SECOND, 7));
    assert_eq!(sizes(reserve_of(&pool)), (2, 2, 0));
    // Its sizes are its own to change, and stay so.
    reserve_of(&pool).change(|own| (own.max_size, own.min_size) = (1, 1)).unwrap();
    pool.maintain();
    assert_eq!(reserve_of(&pool).stats().size, 1);
    let mut settings = Settings::default();
    settings.max_size = 2;
    pool.set(settings).unwrap();
    assert_eq!((sizes(&pool), sizes(reserve_of(&pool))), ((2, 0, 0), (1, 1, 0)));
    assert_eq!(reserve_of(&pool).settings().max_waiters, usize::MAX);
    let error = reserve_of(&pool).change(|own| own.max_size = 3).unwrap_err();
    assert!(matches!(error.problems(), [Problem::Above { limit: 2, .. }]), "{error}");
    // What the pool does not take, the reserve does not either.
    assert!(pool.change(|settings| settings.ping_timeout = Duration::ZERO).is_err());
    assert_eq!(reserve_of(&pool).settings().ping_timeout, pool.settings().ping_timeout);
}

#[test]
fn a_limit_of_zero_closes_the_pools_own_connections_alone() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 2, |builder| builder.reserved(1));
    pool.change(|settings| (settings.max_size, settings.min_size) = (0, 0)).unwrap();
    pool.maintain();
    assert_eq!(fake.books().alive(), 1);
    serves_at_once(reserve_of(&pool));
}

#[test]
fn of_two_changes_at_once_the_pool_and_its_reserve_keep_the_same() {
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| builder.reserved(1));
    for _ in 0..200 {
        thread::scope(|scope| {
            for seconds in [1, 2] {
                let (pool, limit) = (&pool, seconds * SECOND);
                let change = move |settings: &mut Settings| settings.checkout_timeout = limit;
                scope.spawn(move || pool.change(change).unwrap());
            }
        });
        let limits = [&pool, reserve_of(&pool)].map(|part| part.settings().checkout_timeout);
        assert_eq!(limits[0], limits[1]);
    }
}

#[test]
fn the_pool_is_ready_when_its_reserve_is() {
    let fake = Fake::new();
    fake.on_connect(Mode::Hang);
    let pool = Pool::builder(fake.clone()).max_size(4).min_size(1).reserved(2).build().unwrap();
    let error = pool.ready(Duration::from_millis(20)).unwrap_err();
    assert_eq!((error.open, error.wanted), (0, 3), "{error}");
    let mut ready = Box::pin(pool.ready_async(PLENTY));
    assert!(poll_once(&mut ready).is_pending());
    fake.open_gate();
    eventually("it is ready", || match poll_once(&mut ready) {
        Poll::Ready(outcome) => outcome.is_ok(),
        Poll::Pending => false,
    });
    assert_eq!((pool.stats().size, reserve_of(&pool).stats().size), (1, 2));
}

#[test]
fn a_pool_whose_reserve_cannot_connect_is_not_ready() {
    let fake = Fake::new();
    fake.on_connect(Mode::FailForGood);
    // The pool itself needs no connection.
    let (builder, _) = manual_maintenance(&fake);
    let Err(BuildError::NotReady(error)) = builder.max_size(4).reserved(2).build() else {
        panic!("it is ready")
    };
    assert_eq!((error.open, error.wanted, error.is_closed), (0, 2, false));
    let cause = error.cause.unwrap();
    assert!(matches!(*cause, ManagerError::Failed(FakeError::WrongPassword)), "{cause}");
    drop(cause);
    eventually("all is gone", || fake.is_alone());
}

// Upkeep

#[test]
fn to_maintain_or_to_sweep_the_pool_does_so_to_the_reserve() {
    let fake = Fake::new();
    let strategy = PeriodicSweep::every(SECOND);
    let (pool, clock) = full_manual(&fake, 1, |builder| builder.reserved(2).health(strategy));
    let pings = || fake.books().pings.load(SeqCst);
    clock.advance(2 * SECOND);
    pool.maintain();
    assert_eq!(pings(), 3);
    clock.advance(SECOND / 2);
    pool.sweep();
    assert_eq!(pings(), 6);
    reserve_of(&pool).sweep();
    assert_eq!(pings(), 8, "the reserve's own is its own");
    // Those that have died are replaced.
    fake.kill_all();
    clock.advance(SECOND);
    pool.sweep();
    clock.advance(SECOND);
    pool.maintain();
    assert_eq!((fake.books().alive(), fake.books().opened.load(SeqCst)), (3, 6));
    use_each(reserve_of(&pool), 2);
}

#[test]
fn the_limits_of_tasks_that_wait_for_the_reserve_are_kept_by_maintenance_of_the_pool() {
    let fake = Fake::new();
    let (pool, clock) = full_manual(&fake, 1, |builder| builder.reserved(1));
    let held = reserve_of(&pool).get().unwrap();
    let mut get = Box::pin(reserve_of(&pool).get_timeout_async(SECOND));
    assert!(poll_once(&mut get).is_pending());
    clock.advance(2 * SECOND);
    pool.maintain();
    assert!(matches!(poll_once(&mut get), Poll::Ready(Err(GetError::TimedOut { .. }))));
    drop(held);
}

#[test]
fn after_an_outage_the_reserve_comes_back_by_itself() {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(2).reserved(1);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    fake.on_connect(Mode::Fail);
    PooledConnection::discard(reserve_of(&pool).get().unwrap());
    eventually("it is down", || !reserve_of(&pool).health().is_serving());
    assert!(pool.health().is_ok(), "the pool itself has met no failure");
    fake.on_connect(Mode::Ok);
    drop(reserve_of(&pool).get_timeout(PLENTY).unwrap());
    eventually("it is well", || reserve_of(&pool).health().is_ok());
}
