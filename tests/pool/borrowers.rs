//! Who holds what, and borrowers that wait for each other.

use crate::common::*;
use caliburn::error::GetManyError;
use caliburn::observe::EventKind;
use caliburn::stats::Borrower;
use caliburn::{GetError, Pool, PooledConnection};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

#[test]
fn a_label_holds_for_one_loan_and_is_cut() {
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| builder);
    let mut conn = pool.get().unwrap();
    assert_eq!(pool.holders()[0].label, None);
    PooledConnection::set_label(&mut conn, "monthly report");
    assert!(pool.holders()[0].to_string().ends_with("(\"monthly report\")"));
    PooledConnection::set_label(&mut conn, &"é".repeat(1 << 19));
    assert_eq!(pool.holders()[0].label.as_deref().map(str::len), Some(256));
    PooledConnection::set_label(&mut conn, &format!("x{}", "é".repeat(1 << 19)));
    assert_eq!(pool.holders()[0].label.as_deref().map(str::len), Some(255));
    drop(conn);
    let _conn = pool.get().unwrap();
    assert_eq!(pool.holders()[0].label, None);
}

#[test]
fn a_leak_is_told_with_its_label_and_its_thread() {
    let builder = |builder: caliburn::Builder<Fake>| {
        builder.identify_borrowers().record_events(64).leak_threshold(Some(PLENTY))
    };
    let (pool, clock) = full_manual(&Fake::new(), 1, builder);
    let mut conn = pool.get().unwrap();
    PooledConnection::set_label(&mut conn, "forgetful");
    clock.advance(2 * PLENTY);
    pool.maintain();
    clock.advance(2 * PLENTY);
    pool.maintain();
    let told: Vec<_> = pool.recent_events().iter().map(ToString::to_string).collect();
    let leak = told.iter().find(|line| line.contains("held for too long")).unwrap();
    assert!(leak.contains("forgetful") && leak.contains("thread borrowers::a_leak"), "{leak}");
}

#[test]
fn a_holder_is_known_by_its_thread_or_its_task() {
    let builder = Pool::builder(Fake::new()).max_size(3).identify_borrowers();
    let pool = builder.build().unwrap();
    for _ in 0..3 {
        let conn = pool.get().unwrap();
        let me = thread::current();
        let Some(Borrower::Thread(id, name)) = pool.holders()[0].borrower.clone() else { panic!() };
        assert_eq!((id, name.as_deref()), (me.id(), me.name()));
        assert!(pool.holders()[0].to_string().contains("thread borrowers::a_holder"));
        drop(conn);
    }
    drop(pool.try_get().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pool = &pool;
    runtime.block_on(async {
        let of_no_task = pool.get_async().await.unwrap();
        assert_eq!(pool.holders()[0].borrower, None);
        drop(of_no_task);
        let pool = pool.clone();
        let task = async move {
            let _conn = pool.get_async().await.unwrap();
            let id = tokio::task::id().to_string();
            assert_eq!(pool.holders()[0].borrower, Some(Borrower::Task(id.into())));
        };
        tokio::spawn(task).await.unwrap();
    });
}

#[test]
fn of_threads_that_wait_for_each_other_the_last_is_told_and_the_others_go_on() {
    for size in [1, 4] {
        let builder = Pool::builder(Fake::new()).max_size(size).record_events(64);
        let pool = builder.identify_borrowers().build().unwrap();
        let (all_hold, deadlocks) = (Barrier::new(size), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..size {
                scope.spawn(|| {
                    let first = pool.get().unwrap();
                    all_hold.wait();
                    match pool.get() {
                        Ok(second) => drop(second),
                        Err(error @ GetError::Deadlock { .. }) => {
                            assert!(error.to_string().contains("tests/pool/borrowers.rs"));
                            deadlocks.fetch_add(1, SeqCst);
                        }
                        Err(error) => panic!("{error}"),
                    }
                    drop(first);
                });
            }
        });
        // Those that go on may come to wait for each other once more.
        assert!((1..=size).contains(&deadlocks.load(SeqCst)), "{deadlocks:?}");
        assert_eq!(pool.stats().nested_gets, size as u64);
        let is_nested = |kind: &EventKind| matches!(kind, EventKind::NestedGet { .. });
        assert_eq!(
            pool.recent_events().iter().filter(|event| is_nested(&event.kind)).count(),
            size
        );
        assert!(pool.health().is_ok());
    }
}

#[test]
fn of_tasks_that_wait_for_each_other_the_last_is_told_and_the_others_go_on() {
    let builder = Pool::builder_async(AsyncFake(Fake::new())).max_size(3);
    let pool = builder.identify_borrowers().build().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let all_hold = std::sync::Arc::new(tokio::sync::Barrier::new(3));
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let (pool, all_hold) = (pool.clone(), all_hold.clone());
                tokio::spawn(async move {
                    let first = pool.get_async().await.unwrap();
                    all_hold.wait().await;
                    let second = pool.get_async().await;
                    drop(first);
                    matches!(second, Err(GetError::Deadlock { .. }))
                })
            })
            .collect();
        let mut deadlocks = 0;
        for task in tasks {
            deadlocks += usize::from(task.await.unwrap());
        }
        assert!((1..=3).contains(&deadlocks), "{deadlocks}");
    });
}

#[test]
fn one_that_holds_a_connection_may_wait_for_those_that_do_not_wait() {
    let builder = Pool::builder(Fake::new()).max_size(2).identify_borrowers();
    let pool = builder.build().unwrap();
    thread::scope(|scope| {
        let other = pool.get().unwrap();
        let nested = scope.spawn(|| {
            let first = pool.get().unwrap();
            drop(pool.get().unwrap());
            drop(first);
        });
        eventually("it waits", || pool.stats().nested_gets == 1);
        drop(other);
        nested.join().unwrap();
    });
}

#[test]
fn one_that_was_refused_does_not_wait() {
    let builder = Pool::builder(Fake::new()).max_size(2).max_waiters(1).identify_borrowers();
    let pool = builder.build().unwrap();
    let (held, all_hold) = (pool.get().unwrap(), &Barrier::new(2));
    thread::scope(|scope| {
        let (pool, (done, is_done)) = (&pool, std::sync::mpsc::channel::<()>());
        scope.spawn(move || {
            let first = pool.get().unwrap();
            all_hold.wait();
            is_done.recv().unwrap();
            // Alone, as the other waits for nothing.
            let error = pool.get_timeout(std::time::Duration::from_millis(20)).unwrap_err();
            assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
            drop(first);
        });
        all_hold.wait();
        let mut in_line = Box::pin(pool.get_async());
        assert!(poll_once(&mut in_line).is_pending());
        assert!(matches!(pool.get(), Err(GetError::TooManyWaiters { .. })));
        drop(in_line);
        done.send(()).unwrap();
    });
    drop(held);
}

#[test]
fn borrowers_that_are_served_in_turn_are_in_no_circle() {
    let builder = Pool::builder(Fake::new()).max_size(3).min_size(3).identify_borrowers();
    let pool = builder.build().unwrap();
    pool.ready(PLENTY).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let _first = pool.get().unwrap();
                (0..20_000).for_each(|_| drop(pool.get().unwrap()));
            });
        }
    });
}

fn is_deadlock<E>(error: &GetManyError<E>) -> bool {
    matches!(error, GetManyError::Get { error: GetError::Deadlock { .. }, .. })
}

/// Two connections: one is gathered by a thread, the other held by this one, which does `next` and
/// then gives it back.
fn beside_one_that_gathers(next: impl FnOnce(&Pool<Fake>)) -> Pool<Fake> {
    let builder = Pool::builder(Fake::new()).max_size(2).min_size(2).identify_borrowers();
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let held = pool.get().unwrap();
    thread::scope(|scope| {
        let gathering = scope.spawn(|| pool.get_many(2, PLENTY).map(drop));
        eventually("it has gathered one", || pool.stats().lent == 2 && pool.stats().waiting == 1);
        next(&pool);
        drop(held);
        gathering.join().unwrap().unwrap();
    });
    pool
}

#[test]
fn one_that_waits_for_another_that_gathers_is_told() {
    let pool = beside_one_that_gathers(|pool| {
        let error = pool.get_timeout(PLENTY).unwrap_err();
        assert!(matches!(error, GetError::Deadlock { .. }), "{error}");
    });
    assert_eq!(pool.stats().nested_gets, 1, "the one that gathers held none when it began");
}

/// Three connections: the one that gathers three comes to hold two, while the third is held by a
/// thread that waits behind it.
#[test]
fn one_that_gathers_is_told_if_what_it_gathers_closes_the_circle() {
    let builder = Pool::builder(Fake::new()).max_size(3).min_size(3).identify_borrowers();
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let held = [pool.get().unwrap(), pool.get().unwrap()];
    let all_hold = &Barrier::new(2);
    thread::scope(|scope| {
        let pool = &pool;
        let (go, is_told) = std::sync::mpsc::channel::<()>();
        let nested = scope.spawn(move || {
            let first = pool.get().unwrap();
            all_hold.wait();
            is_told.recv().unwrap();
            drop(pool.get_timeout(PLENTY).unwrap());
            drop(first);
        });
        all_hold.wait();
        let gathering = scope.spawn(|| pool.get_many(3, PLENTY).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        go.send(()).unwrap();
        eventually("both wait", || pool.stats().waiting == 2);
        drop(held);
        let error = gathering.join().unwrap().unwrap_err();
        assert!(is_deadlock(&error), "{error}");
        assert!(error.to_string().starts_with("2 of 3"), "{error}");
        nested.join().unwrap();
    });
}

#[test]
fn one_that_holds_a_connection_and_waits_for_its_turn_is_told() {
    beside_one_that_gathers(|pool| {
        let error = pool.get_many(1, PLENTY).unwrap_err();
        assert!(is_deadlock(&error), "{error}");
    });
}

#[test]
fn one_that_gathers_all_while_it_holds_one_waits_for_itself() {
    let builder = Pool::builder(Fake::new()).max_size(2).min_size(2).identify_borrowers();
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let held = pool.get().unwrap();
    let error = pool.get_many(2, PLENTY).unwrap_err();
    assert!(is_deadlock(&error), "{error}");
    drop(held);
    drop(pool.get_many(2, PLENTY).unwrap());
}

/// Whoever is about to have all that it wants waits for nothing any more.
#[test]
fn those_that_gather_and_are_served_in_turn_are_in_no_circle() {
    let builder = Pool::builder(Fake::new()).max_size(4).min_size(4).identify_borrowers();
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _first = pool.get().unwrap();
            (0..10_000).for_each(|_| drop(pool.get().unwrap()));
        });
        for _ in 0..2 {
            scope.spawn(|| (0..10_000).for_each(|_| drop(pool.get_many(3, PLENTY).unwrap())));
        }
    });
}
