//! Code that is run on each connection, and what is kept beside it.

use crate::common::*;
use caliburn::health::{EvictionCause, PeriodicSweep, PingOnBorrow};
use caliburn::{
    Builder, GetError, HookError, ManagerError, Metadata, Pool, PooledConnection, TryGetError,
};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What hooks did, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

type Blocking = dyn Fn(&mut Conn, &mut Metadata<'_>) -> Result<(), HookError> + Send + Sync;

impl Diary {
    fn hook(&self, entry: &'static str) -> Box<Blocking> {
        let this = self.clone();
        Box::new(move |conn, metadata| {
            let uses = metadata.info().uses();
            this.0.lock().unwrap().push(format!("{entry} {} after {uses}", conn.id));
            Ok(())
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn evicted<M: caliburn::Manager>(pool: &Pool<M>, cause: EvictionCause) -> u64 {
    pool.stats().evictions.by(cause)
}

#[test]
fn hooks_run_in_order_once_for_each_connection_loan_and_return() {
    let (fake, diary) = (Fake::new(), Diary::default());
    let (pool, _hand) = full_manual(&fake, 1, |b| {
        b.after_connect(diary.hook("opened"))
            .after_connect(diary.hook("opened, too"))
            .before_acquire(diary.hook("lent"))
            .before_acquire(diary.hook("lent, too"))
            .on_return(diary.hook("returned"))
            .on_return(diary.hook("returned, too"))
    });
    assert_eq!(diary.take(), ["opened 0 after 0", "opened, too 0 after 0"]);
    for uses in 1..3 {
        let conn = pool.get().unwrap();
        let before = uses - 1;
        let expected = [format!("lent 0 after {before}"), format!("lent, too 0 after {before}")];
        assert_eq!(diary.take(), expected);
        drop(conn);
        assert_eq!(diary.take(), [""; 0], "not on the returning thread");
        pool.maintain();
        let expected =
            [format!("returned 0 after {uses}"), format!("returned, too 0 after {uses}")];
        assert_eq!(diary.take(), expected);
    }
    let stats = pool.stats();
    assert_eq!((stats.pings, stats.resets), (0, 0), "none was due");
    assert_settled(&pool, fake.books());
}

#[test]
fn hooks_are_run_by_both_faces_and_by_workers() {
    let (fake, diary) = (Fake::new(), Diary::default());
    let pool = Pool::builder(fake.clone())
        .max_size(1)
        .before_acquire(diary.hook("lent"))
        .on_return(diary.hook("returned"))
        .build()
        .unwrap();
    drop(pool.get().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    drop(runtime.block_on(pool.get_async()).unwrap());
    eventually("all are run", || diary.0.lock().unwrap().len() == 4);
    let expected = ["lent 0 after 0", "returned 0 after 1", "lent 0 after 1", "returned 0 after 2"];
    assert_eq!(diary.take(), expected);
    assert_settled(&pool, fake.books());
}

#[test]
fn hooks_that_are_futures_see_the_connection() {
    let (fake, sum) = (Fake::new(), Arc::new(AtomicUsize::new(0)));
    let count = |by: u64| {
        let sum = Arc::clone(&sum);
        move |conn: &mut Conn| {
            conn.value += by;
            sum.fetch_add(by as usize, SeqCst);
        }
    };
    let (opened, lent, returned) = (count(1), count(10), count(100));
    let pool = Pool::builder_async(AsyncFake(fake.clone()))
        .max_size(1)
        .after_connect_async(move |conn, _| {
            opened(conn);
            Box::pin(async {
                yield_once().await;
                Ok(())
            })
        })
        .before_acquire_async(move |conn, _| {
            lent(conn);
            Box::pin(async {
                yield_once().await;
                Ok(())
            })
        })
        .on_return_async(move |conn, mut metadata| {
            returned(conn);
            Box::pin(async move {
                yield_once().await;
                *metadata.data().get_or_insert_with(|| 0_u64) += conn.value;
                Ok(())
            })
        })
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let conn = runtime.block_on(pool.get_async()).unwrap();
    assert_eq!(conn.value, 11);
    drop(conn);
    eventually("it is back", || pool.stats().idle == 1);
    let conn = pool.get().unwrap();
    assert_eq!(conn.value, 121);
    assert_eq!(PooledConnection::data(&conn).get::<u64>(), Some(&111));
    drop(conn);
    eventually("it is back", || sum.load(SeqCst) == 221);
    assert_settled(&pool, fake.books());
}

#[test]
fn what_is_kept_beside_a_connection_lives_as_long_as_it_does() {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    let (fake, alive) = (Fake::new(), Arc::new(AtomicUsize::new(0)));
    let made = Arc::clone(&alive);
    let (pool, _hand) = full_manual(&fake, 2, |b| {
        b.after_connect(move |conn, metadata| {
            made.fetch_add(1, SeqCst);
            metadata.data().insert(Alive(Arc::clone(&made)));
            metadata.data().insert(conn.id);
            Ok(())
        })
    });
    let (one, mut other) = (pool.get().unwrap(), pool.get().unwrap());
    for conn in [&one, &other] {
        assert_eq!(PooledConnection::data(conn).get::<u64>(), Some(&conn.id));
    }
    PooledConnection::data_mut(&mut other).insert("mine");
    drop(other);
    let other = pool.get().unwrap();
    assert_eq!(PooledConnection::data(&other).get::<&str>(), Some(&"mine"));
    PooledConnection::discard(one);
    pool.maintain();
    assert_eq!(PooledConnection::detach(other).id, 1);
    pool.maintain();
    let (_one, _other) = (pool.get().unwrap(), pool.get().unwrap());
    assert_eq!(alive.load(SeqCst), 2);
}

fn failing<E: Into<HookError>>(
    error: impl Fn() -> E + Send + Sync + 'static,
) -> impl Fn(&mut Conn, &mut Metadata<'_>) -> Result<(), HookError> + Send + Sync {
    move |_, _| Err(error().into())
}

fn pool_of(fake: &Fake, more: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> Pool<Fake> {
    more(Pool::builder(fake.clone()).max_size(1)).build().unwrap()
}

#[test]
fn a_hook_that_fails_on_a_new_connection_is_a_failed_connect_with_its_cause() {
    let fake = Fake::new();
    let pool = pool_of(&fake, |b| b.fail_fast(true).after_connect(failing(|| "no such role")));
    let error = pool.get_timeout(PLENTY).unwrap_err();
    let GetError::Connect { cause, .. } = &error else { panic!("{error}") };
    assert!(matches!(&**cause, ManagerError::Hook(_)), "{cause:?}");
    assert!(format!("{error:#}").contains("a hook failed: no such role"), "{error:#}");
    let root = error.source().and_then(Error::source).unwrap();
    assert_eq!(root.to_string(), "no such role");
    eventually("it is closed", || fake.books().alive() == 0);
    assert_eq!(pool.stats().connects, 0);
    assert!(pool.stats().connect_failures > 0);
}

#[test]
fn a_drivers_own_error_from_a_hook_is_classified() {
    let fake = Fake::new();
    let pool = pool_of(&fake, |b| b.after_connect(failing(|| FakeError::WrongPassword)));
    let error = pool.get_timeout(PLENTY).unwrap_err();
    let GetError::Connect { cause, .. } = &error else { panic!("{error}") };
    assert!(matches!(**cause, ManagerError::Failed(FakeError::WrongPassword)), "{cause:?}");
}

#[test]
fn a_hook_that_panics_fails() {
    expect_panics();
    let fake = Fake::new();
    let panics = |_: &mut Conn, _: &mut Metadata<'_>| panic!("a hook panics");
    let pool = pool_of(&fake, |b| b.fail_fast(true).after_connect(panics));
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(format!("{error:#}").contains("a hook panics"), "{error:#}");
    eventually("it is closed", || fake.books().alive() == 0);
}

#[test]
fn a_borrower_gets_another_connection_when_the_hooks_fail_on_the_first() {
    let fake = Fake::new();
    let not_the_first = |conn: &mut Conn, _: &mut Metadata<'_>| match conn.id {
        0 => Err("not this one".into()),
        _ => Ok(()),
    };
    let pool = pool_of(&fake, |b| b.before_acquire(not_the_first));
    assert_eq!(pool.get_timeout(PLENTY).unwrap().id, 1);
    assert_eq!(evicted(&pool, EvictionCause::HookFailed), 1);
    assert_eq!(pool.stats().ping_failures, 0);
    assert_settled(&pool, fake.books());
}

#[test]
fn a_hook_that_always_fails_before_a_loan_is_named_when_time_is_up() {
    let fake = Fake::new();
    let pool = pool_of(&fake, |b| b.before_acquire(failing(|| "never")));
    let error = pool.get_timeout(Duration::from_millis(300)).unwrap_err();
    assert!(format!("{error:#}").contains("a hook failed: never"), "{error:#}");
    let attempts = fake.books().attempts.load(SeqCst);
    assert!(attempts < 30, "connects are paced: {attempts} in 300 ms");
}

#[test]
fn a_hook_that_fails_on_return_evicts_the_connection() {
    let fake = Fake::new();
    let (pool, _hand) = full_manual(&fake, 1, |b| b.on_return(failing(|| "worn out")));
    drop(pool.get().unwrap());
    pool.maintain();
    assert_eq!(evicted(&pool, EvictionCause::HookFailed), 1);
    assert_eq!(pool.get().unwrap().id, 1);
}

#[test]
fn hooks_of_new_connections_are_run_again_when_a_reset_renews_the_session() {
    for renews in [false, true] {
        let (fake, diary) = (Fake::new(), Diary::default());
        if renews {
            fake.resets_renew_sessions();
        }
        let (pool, _hand) = full_manual(&fake, 1, |b| {
            b.after_connect(diary.hook("opened")).on_return(diary.hook("returned"))
        });
        diary.take();
        pool.get().unwrap().dirty = true;
        pool.maintain();
        let expected: &[&str] = match renews {
            true => &["opened 0 after 1", "returned 0 after 1"],
            false => &["returned 0 after 1"],
        };
        assert_eq!(diary.take(), expected);
        drop(pool.get().unwrap());
        pool.maintain();
        assert_eq!(diary.take(), ["returned 0 after 2"], "nothing was reset");
        assert_eq!((pool.stats().resets, fake.books().resets.load(SeqCst)), (1, 1));
    }
}

#[test]
fn what_hooks_that_accompany_a_loan_leave_open_is_reset_before_it() {
    let fake = Fake::new();
    let soil = |conn: &mut Conn, _: &mut Metadata<'_>| {
        conn.dirty = true;
        Ok(())
    };
    let resets = || fake.books().resets.load(SeqCst);
    let (pool, _hand) = full_manual(&fake, 1, |b| b.on_return(soil));
    drop(pool.get().unwrap());
    pool.maintain();
    assert_eq!((resets(), pool.get().unwrap().dirty), (1, false));
    let (pool, _hand) = full_manual(&fake, 1, |b| b.before_acquire(soil));
    let conn = pool.get().unwrap();
    assert_eq!((resets(), conn.dirty), (2, false));
    drop(conn);
    assert_eq!(resets(), 2, "nothing was left of the loan");
    fake.on_reset(Mode::Fail);
    assert!(pool.get_timeout(Duration::ZERO).is_err(), "it is not lent as it is");
}

#[test]
fn what_hooks_of_tasks_leave_open_is_reset_before_the_loan() {
    let fake = Fake::new();
    let pool = Pool::builder_async(AsyncFake(fake.clone()))
        .max_size(1)
        .before_acquire_async(|conn, _| {
            conn.dirty = true;
            Box::pin(async { Ok(()) })
        })
        .on_return_async(|conn, _| {
            conn.dirty = true;
            Box::pin(async { Ok(()) })
        })
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(!runtime.block_on(pool.get_async()).unwrap().dirty);
    eventually("it is back", || pool.stats().idle == 1);
    assert!(!pool.get().unwrap().dirty);
    eventually("it is back", || pool.stats().idle == 1);
    assert_eq!(fake.books().resets.load(SeqCst), 4);
}

#[test]
fn pings_of_a_sweep_prepare_nothing_and_a_ping_for_a_loan_does() {
    let (fake, diary) = (Fake::new(), Diary::default());
    let second = Duration::from_secs(1);
    let (pool, hand) = full_manual(&fake, 1, |b| {
        b.health((
            PingOnBorrow::skip_if_used_within(90 * second),
            PeriodicSweep::every(60 * second),
        ))
        .before_acquire(diary.hook("lent"))
    });
    drop(pool.get().unwrap());
    diary.take();
    hand.advance(60 * second);
    pool.maintain();
    pool.maintain();
    assert_eq!(fake.books().pings.load(SeqCst), 1);
    assert_eq!(diary.take(), [""; 0]);
    fake.books().pings.store(0, SeqCst);
    hand.advance(100 * second);
    drop(pool.get().unwrap());
    assert_eq!((fake.books().pings.load(SeqCst), diary.take().len()), (1, 1));
}

#[test]
fn a_caller_that_will_not_wait_gets_what_a_worker_has_prepared() {
    let (fake, diary) = (Fake::new(), Diary::default());
    let (pool, hand) = full_manual(&fake, 1, |b| b.before_acquire(diary.hook("lent")));
    for loan in 0..3 {
        assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
        pool.maintain();
        drop(pool.try_get().unwrap());
        assert_eq!(diary.take(), [format!("lent 0 after {loan}")]);
    }
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty, "once for each loan");
    pool.maintain();
    hand.advance(Duration::from_secs(2));
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty, "that is too long ago");
}

#[test]
fn a_hook_that_hangs_keeps_no_borrower_and_its_slot_comes_back() {
    let (fake, is_open) = (Fake::new(), Arc::new(AtomicBool::new(false)));
    let gate = Arc::clone(&is_open);
    let hang = move |_: &mut Conn, _: &mut Metadata<'_>| {
        while !gate.load(SeqCst) {
            std::thread::yield_now();
        }
        Ok(())
    };
    let pool = pool_of(&fake, |b| b.after_connect(hang).connect_timeout(Duration::from_millis(50)));
    assert!(pool.get_timeout(Duration::from_millis(200)).is_err());
    is_open.store(true, SeqCst);
    drop(pool.get_timeout(PLENTY).unwrap());
    assert_settled(&pool, fake.books());
}

#[test]
fn hooks_may_use_the_pool_they_belong_to() {
    let fake = Fake::new();
    let pool = Arc::new(Mutex::new(None::<Pool<Fake>>));
    let seen = Arc::new(AtomicUsize::new(0));
    let look = {
        let (pool, seen) = (Arc::clone(&pool), Arc::clone(&seen));
        move |_: &mut Conn, _: &mut Metadata<'_>| {
            if let Some(pool) = &*pool.lock().unwrap() {
                pool.maintain();
                pool.sweep();
                let _ = (pool.stats(), pool.holders(), pool.try_get());
                seen.fetch_add(1, SeqCst);
            }
            Ok(())
        }
    };
    let built = Pool::builder(fake.clone())
        .max_size(2)
        .after_connect(look.clone())
        .before_acquire(look.clone())
        .on_return(look)
        .build()
        .unwrap();
    *pool.lock().unwrap() = Some(built.clone());
    drop(built.get_timeout(PLENTY).unwrap());
    eventually("all are run", || seen.load(SeqCst) >= 3);
    // A pool that its own hook holds would never be dropped.
    pool.lock().unwrap().take();
}

#[test]
fn a_connection_whose_hook_was_given_up_half_way_is_not_lent_again() {
    let (fake, has_begun) = (Fake::new(), Arc::new(AtomicBool::new(false)));
    // Of a ping it would not matter.
    fake.pings_are_cancel_safe();
    let begin = Arc::clone(&has_begun);
    let pool = Pool::builder_async(AsyncFake(fake.clone()))
        .max_size(1)
        .before_acquire_async(move |conn, _| {
            let hangs = conn.id == 0;
            begin.store(true, SeqCst);
            Box::pin(async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok(())
            })
        })
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut get = Box::pin(pool.get_async());
        while !has_begun.load(SeqCst) {
            assert!(poll_once(&mut get).is_pending());
            tokio::task::yield_now().await;
        }
        drop(get);
    });
    assert_eq!(pool.get_timeout(PLENTY).unwrap().id, 1);
    assert_eq!(evicted(&pool, EvictionCause::PingCancelled), 1);
    assert_settled(&pool, fake.books());
}
