//! Another manager for a pool that goes on serving.

use crate::common::*;
use crate::invalidate::{runtime, soak_replacing};
use caliburn::error::SwitchError;
use caliburn::stats::Call;
use caliburn::{
    AsyncManager, BlockingManager, Deadline, EvictionCause, Face, Manager, ManagerError, Pool,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_the_old_manager_opened_is_replaced_by_what_the_new_one_opens() {
    let (old, new) = (Fake::new(), Fake::new());
    let (pool, _) = full_manual(&old, 4, |builder| builder);
    let held = pool.get().unwrap();
    assert_eq!(pool.switch_manager(new.clone(), SECOND).unwrap(), 1);
    assert_eq!((old.books().alive(), new.books().alive()), (1, 3));
    assert!(std::ptr::eq(pool.manager().books(), new.books()));
    drop(held);
    pool.maintain();
    assert_eq!((old.books().alive(), new.books().alive()), (0, 4));
    assert_eq!(pool.stats().evictions.by(EvictionCause::Invalidated), 4);
    assert!(new.books().most_open.load(SeqCst) <= 5, "one more than fit, to try");
    assert_settled(&pool, new.books());
}

#[test]
fn the_trial_is_put_in_service_if_there_is_room() {
    let (old, new) = (Fake::new(), Fake::new());
    let (pool, _) = full_manual(&old, 2, |builder| builder.max_size(4).capacity(4));
    assert_eq!(pool.switch_manager(new.clone(), SECOND).unwrap(), 0);
    assert_eq!((old.books().alive(), new.books().alive()), (0, 2));
    assert_eq!(new.books().dropped.load(SeqCst), 0, "the trial was closed");
    assert_settled(&pool, new.books());
}

#[test]
fn a_manager_that_cannot_connect_changes_nothing() {
    let old = Fake::new();
    let (pool, _) = full_manual(&old, 2, |builder| builder);
    for (mode, text) in [
        (Mode::Fail, "refused"),
        (Mode::FailForGood, "wrong password"),
        (Mode::Panic, "the fake panics"),
    ] {
        expect_panics();
        let new = Fake::new();
        new.on_connect(mode);
        let error = pool.switch_manager(new.clone(), SECOND).unwrap_err();
        assert!(format!("{error:#}").contains(text), "{error:#}");
        assert!(matches!(error, SwitchError::Connect(_)));
        assert!(new.is_alone(), "the manager is gone");
        assert!(pool.health().is_ok());
    }
    use_each(&pool, 2);
    assert_eq!((pool.stats().evictions.total(), pool.stats().connect_failures), (0, 3));
    assert_settled(&pool, old.books());
}

#[test]
fn a_trial_that_hangs_ends_with_the_timeout_and_what_it_opens_later_is_closed() {
    let (old, new) = (Fake::new(), Fake::new());
    let pool = Pool::builder(old.clone()).max_size(1).min_size(1).build().unwrap();
    new.on_connect(Mode::Hang);
    let error = pool.switch_manager(new.clone(), Duration::from_millis(10)).unwrap_err();
    assert!(matches!(error, SwitchError::Connect(ManagerError::Pending)), "{error:#}");
    new.open_gate();
    eventually("it is closed", || new.books().dropped.load(SeqCst) == 1);
    eventually("the manager is gone", || new.is_alone());
    drop(pool.get().unwrap());
    assert!(std::ptr::eq(pool.manager().books(), old.books()));
}

#[test]
fn a_future_that_is_dropped_during_the_trial_changes_nothing() {
    let (old, new) = (Fake::new(), Fake::new());
    let harness = harness::Harness::of(old.clone(), 1, |builder| builder.min_size(1));
    harness.until("it is open", || harness.pool.stats().idle == 1);
    let mut switch = Box::pin(harness.pool.switch_manager_async(AsyncFake(new.clone()), SECOND));
    assert!(poll_once(&mut switch).is_pending());
    harness.until("it is tried", || new.books().opened.load(SeqCst) == 1);
    drop(switch);
    harness.until("it is closed", || new.books().alive() == 0);
    assert_eq!(old.books().alive(), 1);
    assert_eq!(harness.pool.stats().evictions.total(), 0);
}

#[test]
fn a_wrong_password_is_healed_by_a_switch() {
    let (old, new) = (Fake::new(), Fake::new());
    old.on_connect(Mode::FailForGood);
    let pool = Pool::builder(old.clone()).max_size(1).build().unwrap();
    assert!(pool.get().is_err());
    assert_eq!(pool.switch_manager(new, PLENTY).unwrap(), 0);
    drop(pool.get().unwrap());
    assert!(pool.health().is_ok());
}

#[test]
fn a_closed_pool_keeps_its_manager() {
    let (old, new) = (Fake::new(), Fake::new());
    let (pool, _) = full_manual(&old, 1, |builder| builder);
    pool.close();
    assert!(matches!(pool.switch_manager(new.clone(), SECOND), Err(SwitchError::Closed)));
    assert!(new.is_alone());
}

#[test]
fn a_connection_is_looked_after_by_the_manager_that_opened_it() {
    let (old, new) = (Fake::new(), Fake::new());
    let (pool, _) = full_manual(&old, 1, |builder| builder);
    let mut held = pool.get().unwrap();
    held.dirty = true;
    assert_eq!(pool.switch_manager(new.clone(), Duration::ZERO).unwrap(), 1);
    // So says the old manager only.
    old.hear_of_all();
    drop(held);
    pool.maintain();
    assert_eq!(pool.stats().evictions.by(EvictionCause::Broken), 1);
    assert_eq!((old.books().resets.load(SeqCst), new.books().resets.load(SeqCst)), (0, 0));
    drop(pool.get().unwrap());
    assert!(old.is_alone(), "the old manager has gone with its last connection");
}

#[test]
fn a_connect_that_was_begun_with_the_old_manager_is_not_lent() {
    let (old, new) = (Fake::new(), Fake::new());
    old.on_connect(Mode::Hang);
    let pool = Pool::builder(old.clone()).max_size(2).min_size(1).build().unwrap();
    eventually("it is being opened", || old.books().attempts.load(SeqCst) == 1);
    assert_eq!(pool.switch_manager(new.clone(), Duration::from_millis(1)).unwrap(), 0);
    old.open_gate();
    eventually("it has come and gone", || old.books().dropped.load(SeqCst) == 1);
    drop(pool.get().unwrap());
    eventually("the new one alone is open", || pool.stats().size == new.books().alive());
}

#[test]
fn two_that_switch_at_once_leave_connections_of_one_manager() {
    let old = Fake::new();
    let pool = Pool::builder(old.clone()).max_size(4).min_size(4).build().unwrap();
    pool.ready(PLENTY).unwrap();
    for _ in 0..20 {
        let fakes = [(); 3].map(|()| Fake::new());
        thread::scope(|scope| {
            for fake in &fakes {
                scope.spawn(|| pool.switch_manager(fake.clone(), PLENTY).unwrap());
            }
        });
        let current = pool.manager();
        let winner = fakes.iter().find(|fake| std::ptr::eq(fake.books(), current.books())).unwrap();
        eventually("the winner's alone are open", || {
            winner.books().alive() == 4
                && fakes.iter().map(|fake| fake.books().alive()).sum::<usize>() == 4
        });
        assert_settled(&pool, winner.books());
    }
    assert_eq!(old.books().alive(), 0);
}

/// Opens connections of one version after some milliseconds.
struct Versioned(u64);

impl Manager for Versioned {
    type Connection = u64;
    type Error = FakeError;
}

impl BlockingManager for Versioned {
    fn connect(&self, _: &Deadline) -> Result<u64, FakeError> {
        thread::sleep(Duration::from_millis(5));
        Ok(self.0)
    }

    fn ping(&self, _: &mut u64, _: &Deadline) -> Result<(), FakeError> {
        Ok(())
    }
}

impl AsyncManager for Versioned {
    async fn connect(&self, _: &Deadline) -> Result<u64, FakeError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(self.0)
    }

    async fn ping(&self, _: &mut u64, _: &Deadline) -> Result<(), FakeError> {
        Ok(())
    }
}

#[test]
fn under_load_no_get_fails_and_none_lends_what_an_older_manager_opened() {
    let builder = Pool::builder(Versioned(0)).max_size(8).min_size(8);
    let pool = builder.maintenance_concurrency(2).wait_ready(PLENTY).build().unwrap();
    let (is_over, oldest) = (AtomicBool::new(false), AtomicU64::new(0));
    let loans = AtomicUsize::new(0);
    thread::scope(|scope| {
        let _end = Ends(&is_over);
        for _ in 0..16 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    let oldest = oldest.load(SeqCst);
                    let conn = pool.get().unwrap();
                    assert!(*conn >= oldest, "{} was lent after {oldest}", *conn);
                    loans.fetch_add(1, SeqCst);
                    thread::yield_now();
                }
            });
        }
        for version in 1..=10 {
            assert_eq!(pool.switch_manager(Versioned(version), PLENTY).unwrap(), 0);
            oldest.store(version, SeqCst);
        }
        is_over.store(true, SeqCst);
    });
    assert!(loans.load(SeqCst) > 0);
    assert_eq!(Arc::strong_count(&pool.manager()), 10, "eight connections', the pool's, and this");
}

#[test]
#[ignore = "takes a minute"]
fn soak_each_second_the_manager_is_switched_and_nine_tenths_are_in_service() {
    let runtime = runtime();
    let handle = runtime.handle().clone();
    let builder = Pool::builder_async(Versioned(0)).max_size(32).min_size(32);
    let builder = builder.spawner(move |task| _ = handle.spawn(task));
    let pool = builder.maintenance_concurrency(3).wait_ready(PLENTY).build().unwrap();
    soak_replacing(&runtime, &pool, |turn| {
        assert_eq!(pool.switch_manager(Versioned(turn + 1), PLENTY).unwrap(), 0);
        turn + 1
    });
}

/// Of several that switch at once the last one's connections alone are lent once all have returned.
#[test]
fn after_switches_at_once_nothing_is_lent_that_another_manager_opened() {
    struct At(u64);
    impl Manager for At {
        type Connection = u64;
        type Error = FakeError;
    }
    impl BlockingManager for At {
        fn connect(&self, _: &Deadline) -> Result<u64, FakeError> {
            Ok(self.0)
        }
        fn ping(&self, _: &mut u64, _: &Deadline) -> Result<(), FakeError> {
            Ok(())
        }
    }
    let pool = Pool::builder(At(0)).max_size(4).build().unwrap();
    for round in 1..=300 {
        thread::scope(|scope| {
            for nth in 0..3 {
                let pool = &pool;
                scope.spawn(move || pool.switch_manager(At(3 * round + nth), PLENTY).unwrap());
            }
        });
        let current = pool.manager().0;
        let all: Vec<_> = (0..4).map(|_| *pool.get().unwrap()).collect();
        assert_eq!(all, [current; 4], "round {round}");
    }
}

#[test]
fn a_failure_of_the_old_manager_says_nothing_about_the_new_one() {
    let (old, new) = (Fake::new(), Fake::new());
    old.on_connect(Mode::Hang);
    let pool = Pool::builder(old.clone()).max_size(2).connect_concurrency(2).build().unwrap();
    thread::scope(|scope| {
        new.on_connect(Mode::Hang);
        let switched = scope.spawn(|| pool.switch_manager(new.clone(), PLENTY));
        eventually("it is tried", || new.books().attempts.load(SeqCst) == 1);
        let served = scope.spawn(|| pool.get().map(drop));
        eventually("it is being opened", || old.books().attempts.load(SeqCst) == 1);
        new.open_gate();
        eventually("it is switched", || std::ptr::eq(pool.manager().books(), new.books()));
        // It is only then that the new one has proven itself.
        eventually("its connection is there", || pool.stats().size == 1);
        old.on_connect(Mode::FailForGood);
        old.fail_what_hangs();
        served.join().unwrap().unwrap();
        switched.join().unwrap().unwrap();
    });
    drop(pool.get().unwrap());
    assert!(pool.health().is_ok());
}

/// A pool that is full, and another thread that switches it to `new`, which hangs in its connect.
fn while_a_trial_hangs(pool: &Pool<Fake>, new: &Fake, look: impl FnOnce()) {
    new.on_connect(Mode::Hang);
    thread::scope(|scope| {
        let switched = scope.spawn(|| pool.switch_manager(new.clone(), PLENTY));
        eventually("it is tried", || new.books().attempts.load(SeqCst) == 1);
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
        new.open_gate();
        let _ = switched.join().unwrap();
        looked.unwrap();
    });
}

#[test]
fn a_trial_that_hangs_counts_as_opening_and_as_unfinished() {
    let (old, new) = (Fake::new(), Fake::new());
    let builder = Pool::builder(old.clone()).max_size(2).min_size(2);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    while_a_trial_hangs(&pool, &new, || {
        let stats = pool.stats();
        assert_eq!((stats.opening, stats.idle, stats.size, stats.quarantined), (1, 2, 2, 0));
        assert!(pool.overruns().is_empty() && pool.health().is_ok());
        let report = pool.close_within(Duration::from_millis(10));
        assert!(!report.is_complete(), "{report}");
        assert_eq!((report.unfinished, report.still_lent), (1, 0));
    });
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    assert_eq!((new.books().alive(), new.books().opened.load(SeqCst)), (0, 1));
    assert_eq!((pool.stats().opening, pool.stats().maintenance), (0, 0));
}

#[test]
fn a_trial_that_is_late_is_named_and_takes_nothing_from_the_pool() {
    let (old, new) = (Fake::new(), Fake::new());
    let (builder, clock) = manual_maintenance(&old);
    let builder = builder.max_size(1).min_size(1).idle_timeout(None);
    let pool = builder.connect_timeout(SECOND).build().unwrap();
    new.on_connect(Mode::Hang);
    thread::scope(|scope| {
        let switched = scope.spawn(|| pool.switch_manager(new.clone(), PLENTY));
        eventually("it is tried", || new.books().attempts.load(SeqCst) == 1);
        let before = pool.overruns();
        clock.advance(2 * SECOND);
        let (overruns, stats, health) = (pool.overruns(), pool.stats(), pool.health());
        let is_lent = pool.get().is_ok();
        new.open_gate();
        switched.join().unwrap().unwrap();
        assert_eq!(before, []);
        let [overrun] = &overruns[..] else { panic!("{overruns:?}") };
        assert_eq!((overrun.call, overrun.since), (Some(Call::Connect), 2 * SECOND));
        assert_eq!((stats.opening, stats.quarantined, stats.idle), (0, 1, 1));
        assert!(health.is_serving() && !health.is_ok() && is_lent, "{health}");
    });
    assert!(pool.overruns().is_empty());
    assert_eq!(pool.stats().quarantined, 0);
}

/// There is no room for the trial's connection, so it is closed, which hangs.
#[test]
fn a_trial_whose_goodbye_hangs_counts_as_unfinished() {
    let (old, new) = (Fake::new(), Fake::new());
    let builder = Pool::builder(old.clone()).max_size(1).min_size(1);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let held = pool.get().unwrap();
    new.on_close(Mode::Hang);
    assert_eq!(pool.switch_manager(new.clone(), Duration::from_millis(10)).unwrap(), 1);
    assert_eq!((pool.stats().maintenance, pool.stats().size), (1, 2));
    old.on_close(Mode::Ok);
    drop(held);
    let report = pool.close_within(Duration::from_millis(10));
    let overruns: Vec<_> = report.overruns.iter().map(|overrun| overrun.call).collect();
    new.open_gate();
    assert!(report.unfinished >= 1 && overruns.contains(&Some(Call::Close)), "{report:?}");
    assert!(pool.close_within(PLENTY).is_complete());
    assert_eq!(new.books().alive(), 0);
}

/// Also once the pool has no connection and no handle any more.
#[test]
fn an_async_trial_that_hangs_ends_at_its_limit_in_a_closed_pool() {
    for keeps_handle in [true, false] {
        let runtime = runtime();
        let handle = runtime.handle().clone();
        let new = Fake::new();
        new.on_connect(Mode::Hang);
        let builder = Pool::builder_async(AsyncFake(Fake::new())).max_size(1);
        let builder = builder.spawner(move |task| _ = handle.spawn(task));
        let pool = builder.connect_timeout(Duration::from_millis(50)).build().unwrap();
        {
            let mut switch = Box::pin(pool.switch_manager_async(AsyncFake(new.clone()), PLENTY));
            assert!(poll_once(&mut switch).is_pending());
            eventually("it is tried", || new.books().attempts.load(SeqCst) == 1);
            assert_eq!(pool.stats().opening, 1);
        }
        if keeps_handle {
            let report = pool.close_within(PLENTY);
            assert!(report.is_complete() && new.is_alone(), "{report}");
        }
        drop(pool);
        eventually("the manager is gone", || new.is_alone());
    }
}

/// Needs the thread that would block.
struct AtHome(Fake);

impl Manager for AtHome {
    type Connection = Conn;
    type Error = FakeError;

    fn may_wait_here(&self, face: Face) -> bool {
        face == Face::Async
    }
}

impl AsyncManager for AtHome {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        AsyncManager::connect(&AsyncFake(self.0.clone()), deadline).await
    }

    async fn ping(&self, _: &mut Conn, _: &Deadline) -> Result<(), FakeError> {
        Ok(())
    }
}

#[test]
fn a_thread_that_the_new_manager_needs_is_told_at_once() {
    let (old, new) = (Fake::new(), Fake::new());
    let pool = Pool::builder_async(AtHome(old.clone())).max_size(1).build().unwrap();
    let error = pool.switch_manager(AtHome(new.clone()), PLENTY).unwrap_err();
    assert!(matches!(error, SwitchError::WrongThread), "{error:#}");
    assert!(error.to_string().contains("switch_manager_async"), "{error}");
    assert_eq!(new.books().attempts.load(SeqCst), 0);
    assert!(new.is_alone() && std::ptr::eq(pool.manager().0.books(), old.books()));
    let runtime = runtime();
    let switched = runtime.block_on(pool.switch_manager_async(AtHome(new.clone()), PLENTY));
    assert_eq!(switched.unwrap(), 0);
}
