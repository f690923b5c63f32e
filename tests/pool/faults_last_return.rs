//! Faults of the last return: what is the user's must not be run, or fail, on the thread that gives
//! the last of a pool back.

use crate::common::*;
use caliburn::{BlockingManager, Deadline, HealthStrategy, Manager, Pool, PooledConnection};
use std::cell::Cell;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

thread_local! {
    static IS_RETURNING: Cell<bool> = const { Cell::new(false) };
}

/// Does `what` as something that must not run anything of the user's.
fn returning<T>(what: impl FnOnce() -> T) -> T {
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            IS_RETURNING.set(false);
        }
    }
    IS_RETURNING.set(true);
    let _over = Over;
    what()
}

/// What of the user's was done, and whether on a thread that was returning a connection.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(&'static str, bool)>>>);

impl Diary {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push((what, IS_RETURNING.get()));
    }

    fn has(&self, what: &str) -> bool {
        self.0.lock().unwrap().iter().any(|(noted, _)| *noted == what)
    }

    fn of_returning_threads(&self) -> Vec<&'static str> {
        let diary = self.0.lock().unwrap();
        diary.iter().filter(|(_, is_returning)| *is_returning).map(|(what, _)| *what).collect()
    }
}

/// Something of the user's that notes its end, and may panic at it.
struct Mine {
    what: &'static str,
    diary: Diary,
    panics: bool,
}

impl Drop for Mine {
    fn drop(&mut self) {
        self.diary.note(self.what);
        if self.panics {
            panic_on_purpose();
        }
    }
}

impl HealthStrategy for Mine {}

struct Owner {
    diary: Diary,
    bombs: Bombs,
    _mine: Mine,
}

/// Whose destructors panic.
type Bombs = &'static [&'static str];

impl Manager for Owner {
    type Connection = Mine;
    type Error = Infallible;
}

impl BlockingManager for Owner {
    fn connect(&self, _: &Deadline) -> Result<Mine, Infallible> {
        Ok(mine("connection", &self.diary, self.bombs))
    }

    fn ping(&self, _: &mut Mine, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }

    fn close(&self, connection: Mine, _: &Deadline) {
        self.diary.note("goodbye");
        drop(connection);
    }
}

fn mine(what: &'static str, diary: &Diary, bombs: Bombs) -> Mine {
    Mine { what, diary: diary.clone(), panics: bombs.contains(&what) }
}

fn pool_of_mine(diary: &Diary, bombs: Bombs, by_hand: bool) -> Pool<Owner> {
    let owner = Owner { diary: diary.clone(), bombs, _mine: mine("manager", diary, bombs) };
    let spawner = mine("spawner", diary, bombs);
    let builder = Pool::builder(owner).max_size(1).min_size(1).wait_ready(ENOUGH);
    let builder = builder.health(mine("strategy", diary, bombs));
    // A blocking driver never uses it, but it is there, and goes with the pool.
    let builder = builder.spawner(move |task| {
        let _ = &spawner;
        drop(task);
    });
    let builder = if by_hand { builder.manual_maintenance() } else { builder };
    builder.build().unwrap()
}

const PARTS: [&str; 3] = ["manager", "strategy", "spawner"];

type GiveBack = fn(PooledConnection<Owner>);

/// What a borrower may do with the last thing that is left of a pool.
const WAYS: [(&str, GiveBack); 3] = [
    ("dropped", |guard| returning(|| drop(guard))),
    ("discarded", |guard| returning(|| PooledConnection::discard(guard))),
    ("detached", |guard| {
        let connection = returning(|| PooledConnection::detach(guard));
        let _ = catch_unwind(AssertUnwindSafe(|| drop(connection)));
    }),
];

#[test]
fn nothing_of_the_users_is_dropped_on_the_thread_that_returns_the_last_connection() {
    let mut faults = Vec::new();
    for (way, give_back) in WAYS {
        for by_hand in [false, true] {
            let diary = Diary::default();
            let pool = pool_of_mine(&diary, &[], by_hand);
            let guard = pool.get().unwrap();
            drop(pool);
            give_back(guard);
            soon("all is dropped", || PARTS.iter().all(|part| diary.has(part)));
            let dropped = diary.of_returning_threads();
            if !dropped.is_empty() {
                faults.push(format!("{way}, by hand: {by_hand}: {dropped:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "run by a thread that returned a connection: {faults:#?}");
}

/// The pool is closed and can still be maintained by hand: a return must leave the goodbye to that.
#[test]
fn a_connection_that_returns_to_a_closed_pool_by_hand_is_not_closed_on_that_thread() {
    let diary = Diary::default();
    let pool = pool_of_mine(&diary, &[], true);
    let guard = pool.get().unwrap();
    pool.close();
    returning(|| drop(guard));
    pool.maintain();
    soon("it is closed", || diary.has("goodbye") && diary.has("connection"));
    assert_eq!(diary.of_returning_threads(), Vec::<&str>::new(), "run by the returning thread");
    assert_eq!(pool.stats().closes, 1);
}

#[test]
fn a_destructor_that_panics_is_not_felt_by_whoever_returns_the_last_connection() {
    let mut felt = Vec::new();
    for bombs in [&["manager"], &["strategy"], &["spawner"], &["connection"]] as [Bombs; 4] {
        for (way, give_back) in WAYS {
            for by_hand in [false, true] {
                let diary = Diary::default();
                let pool = pool_of_mine(&diary, bombs, by_hand);
                let guard = pool.get().unwrap();
                drop(pool);
                if catch_unwind(AssertUnwindSafe(|| give_back(guard))).is_err() {
                    felt.push(format!("{bombs:?} {way}, by hand: {by_hand}"));
                }
                soon("all is dropped", || PARTS.iter().all(|part| diary.has(part)));
            }
        }
    }
    assert!(felt.is_empty(), "panics that left a return: {felt:#?}");
}

#[test]
fn destructors_that_panic_abort_nothing_when_a_guard_is_dropped_by_a_panic() {
    let test = "destructors_that_panic_abort_nothing_when_a_guard_is_dropped_by_a_panic";
    in_child(test, ENOUGH, || {
        let bombs = &["manager", "strategy", "spawner", "connection"];
        for (_, give_back) in WAYS {
            for by_hand in [false, true] {
                let diary = Diary::default();
                let pool = pool_of_mine(&diary, bombs, by_hand);
                unwind_over(pool.get().unwrap(), pool, give_back);
                soon("all is dropped", || PARTS.iter().all(|part| diary.has(part)));
            }
        }
    });
}

/// Gives `guard` back while a panic unwinds, after the pool is gone.
fn unwind_over(guard: PooledConnection<Owner>, pool: Pool<Owner>, give_back: GiveBack) {
    struct OnUnwind(Option<(PooledConnection<Owner>, GiveBack)>);
    impl Drop for OnUnwind {
        fn drop(&mut self) {
            let (guard, give_back) = self.0.take().unwrap();
            give_back(guard);
        }
    }
    drop(pool);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _on_unwind = OnUnwind(Some((guard, give_back)));
        panic_on_purpose();
    }));
    assert!(unwound.is_err());
}

/// The last handle of a pool is no guard, but goes as guards go.
#[test]
fn destructors_that_panic_abort_nothing_when_the_last_handle_is_dropped_by_a_panic() {
    let test = "destructors_that_panic_abort_nothing_when_the_last_handle_is_dropped_by_a_panic";
    in_child(test, ENOUGH, || {
        let bombs = &["manager", "strategy", "spawner", "connection"];
        for by_hand in [false, true] {
            let diary = Diary::default();
            let pool = pool_of_mine(&diary, bombs, by_hand);
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _pool = pool;
                panic_on_purpose();
            }));
            assert!(unwound.is_err());
            soon("all is dropped", || PARTS.iter().all(|part| diary.has(part)));
        }
    });
}

#[test]
fn no_destructor_that_panics_is_felt_by_whoever_drops_the_last_handle() {
    let mut felt = Vec::new();
    for bombs in [&["manager"], &["strategy"], &["spawner"], &["connection"]] as [Bombs; 4] {
        for by_hand in [false, true] {
            let diary = Diary::default();
            let pool = pool_of_mine(&diary, bombs, by_hand);
            if catch_unwind(AssertUnwindSafe(|| drop(pool))).is_err() {
                felt.push(format!("{bombs:?}, by hand: {by_hand}"));
            }
            soon("all is dropped", || PARTS.iter().all(|part| diary.has(part)));
        }
    }
    assert!(felt.is_empty(), "panics that left a drop: {felt:#?}");
}
