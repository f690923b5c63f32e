//! Threads and runtimes that go: those of the pool end with it, and the pool does not mind the end
//! of others.

use crate::common::*;
use caliburn::health::PeriodicSweep;
use caliburn::{Pool, PooledConnection};
use std::cell::RefCell;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};

// The pool's own threads

/// The names of this process's threads that belong to pools; the system keeps fifteen letters of
/// each.
#[cfg(target_os = "linux")]
pub(crate) fn threads_of_pools() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/proc/self/task")
        .unwrap()
        // A thread may end while we look.
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| name.starts_with("caliburn"))
        .collect();
    names.sort();
    names
}

#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn assert_no_thread_is_left() {
    let mut left = Vec::new();
    eventually("the threads of pools end", || {
        left = threads_of_pools();
        left.is_empty()
    });
}

/// r2d2 #99, HikariCP #29: threads live on for half a minute after their pool. Here workers go when
/// they have nothing to do, and the housekeeper with the last pool.
#[cfg(target_os = "linux")]
#[test]
fn row_36_the_threads_end_soon_after_the_last_pool() {
    let _alone = crate::alone();
    let test = "row_36_the_threads_end_soon_after_the_last_pool";
    in_child(test, 3 * PLENTY, || {
        let fake = Fake::new();
        for _ in 0..10 {
            assert_no_thread_is_left();
            let pools = [1, 4].map(|size| {
                let sweep = PeriodicSweep::every(Duration::from_millis(5));
                Pool::builder(fake.clone())
                    .max_size(size)
                    .min_size(size)
                    .health(sweep)
                    .wait_ready(PLENTY)
                    .build()
                    .unwrap()
            });
            eventually("both are swept", || pools.iter().all(|pool| pool.stats().sweeps >= 1));
            let [first, last] = pools;
            drop(first);
            drop(last.get_timeout(PLENTY).unwrap());
            // A thread bears its parent's name until it takes its own.
            eventually("one housekeeper for all pools", || {
                threads_of_pools().iter().filter(|name| name.contains("house")).count() == 1
            });
            let begun = std::time::Instant::now();
            drop(last);
            assert_no_thread_is_left();
            // Generous: it takes some 70 ms.
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
        assert_eq!(fake.books().alive(), 0);
    });
}

/// sqlx #2375, mssql-driver #190, qorb PR77: a pool that is dropped never closes its connections,
/// as its own housekeeper keeps it alive.
#[cfg(target_os = "linux")]
#[test]
fn row_37_two_thousand_pools_dropped_without_a_close_leave_no_connection_and_no_thread() {
    let _alone = crate::alone();
    let test =
        "row_37_two_thousand_pools_dropped_without_a_close_leave_no_connection_and_no_thread";
    in_child(test, 3 * PLENTY, || {
        let fake = Fake::new();
        let mut most_threads = 0;
        for n in 0..2000 {
            let pool = Pool::builder(fake.clone()).max_size(2).min_size(1).build().unwrap();
            match n % 4 {
                // Dropped while it connects, while it is idle, while it is lent, and from behind
                // another handle.
                0 => {}
                1 => pool.ready(PLENTY).unwrap(),
                2 => {
                    let guard = pool.get_timeout(PLENTY).unwrap();
                    drop(pool);
                    drop(guard);
                }
                _ => drop(pool.clone().get_timeout(PLENTY).unwrap()),
            }
            if n % 100 == 0 {
                most_threads = most_threads.max(threads_of_pools().len());
            }
        }
        eventually("every connection is closed", || fake.books().alive() == 0);
        assert_no_thread_is_left();
        assert_eq!(fake.books().alive(), 0, "and none came later");
        assert!(most_threads < 100, "threads pile up: {most_threads}");
    });
}

// Guards without a runtime

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

/// Where a pool's workers run: it can be moved from one runtime to another.
#[derive(Clone)]
struct Spawner(Arc<Mutex<Handle>>);

impl Spawner {
    fn into(runtime: &Runtime) -> Self {
        Self(Arc::new(Mutex::new(runtime.handle().clone())))
    }

    fn move_to(&self, runtime: &Runtime) {
        *self.0.lock().unwrap() = runtime.handle().clone();
    }

    fn pool(&self, fake: &AsyncFake, size: usize) -> Pool<AsyncFake> {
        let handle = self.0.clone();
        Pool::builder_async(fake.clone())
            .spawner(move |task| drop(handle.lock().unwrap().spawn(task)))
            .max_size(size)
            .min_size(size)
            .wait_ready(PLENTY)
            .build()
            .unwrap()
    }
}

/// sqlx #1396: a guard dropped where no runtime is takes its permit along, as its return is a task.
/// Here the slot is back when `drop` returns, wherever that is.
#[test]
fn row_41_a_guard_comes_home_from_a_plain_thread_from_another_runtime_and_from_a_dead_one() {
    let _alone = crate::alone();
    let first = runtime();
    let fake = AsyncFake::default();
    let spawner = Spawner::into(&first);
    let pool = spawner.pool(&fake, 1);
    let get = || first.block_on(pool.get_async()).unwrap();
    let is_back = |place: &str| {
        assert_eq!(pool.stats().idle, 1, "dropped {place}");
        assert_settled(&pool, fake.0.books());
    };

    let guard = get();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    is_back("on a plain thread");

    let other = runtime();
    let guard = get();
    other.block_on(async { other.spawn(async move { drop(guard) }).await.unwrap() });
    is_back("in another runtime");

    let guard = get();
    other.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    drop(other);
    is_back("by another runtime as it went");

    let guard = get();
    drop(first);
    drop(guard);
    is_back("after its own runtime had gone");
    // The spawner leads nowhere now, and what is idle can still be had.
    for _ in 0..3 {
        drop(pool.get_timeout(PLENTY).unwrap());
        is_back("when its spawner led into a dead runtime");
    }
    assert_eq!(fake.0.books().opened.load(SeqCst), 1, "the same connection all the time");
}

/// sqlx #1389. What needs a worker waits for a living runtime and is not lost in a dead one.
#[test]
fn row_41_a_pool_whose_runtime_went_under_load_serves_again_on_the_next_one() {
    let _alone = crate::alone();
    let fake = AsyncFake::default();
    let mut current = runtime();
    let spawner = Spawner::into(&current);
    let pool = spawner.pool(&fake, 4);
    let served = Arc::new(AtomicUsize::new(0));
    let load = |on: &Runtime| {
        for n in 0..16 {
            let (pool, served) = (pool.clone(), served.clone());
            on.spawn(async move {
                loop {
                    let mut conn = pool.get_timeout_async(PLENTY).await.unwrap();
                    tokio::task::yield_now().await;
                    // Resets, closes and connects are under way at any moment.
                    conn.dirty = n % 3 == 0;
                    conn.broken = n % 5 == 0;
                    served.fetch_add(1, SeqCst);
                }
            });
        }
    };
    for _ in 0..20 {
        load(&current);
        let before = served.load(SeqCst);
        eventually("the pool serves", || served.load(SeqCst) >= before + 200);
        let next = runtime();
        // Gone with all tasks of the load and of the pool, wherever they are.
        drop(current);
        current = next;
        spawner.move_to(&current);
    }
    eventually("all is open", || pool.stats().idle == 4);
    assert_settled(&pool, fake.0.books());
    assert!(fake.0.books().most_open.load(SeqCst) <= 4);
}

// Dropped where everything else is being dropped too

/// deadpool #460, Rocket #2375: a drop at shutdown panics, or aborts by a second panic.
#[test]
fn row_42_a_runtime_that_goes_takes_pool_guards_and_waiters_along_without_a_panic() {
    let _alone = crate::alone();
    let unexpected = unexpected_panics();
    for _ in 0..50 {
        let runtime = runtime();
        let fake = AsyncFake::default();
        let pool = Spawner::into(&runtime).pool(&fake, 3);
        let ready = Arc::new(AtomicUsize::new(0));
        for n in 0..6 {
            let (pool, ready) = (pool.clone(), ready.clone());
            runtime.spawn(async move {
                if n < 4 {
                    // The last of these waits in line for ever.
                    ready.fetch_add(1, SeqCst);
                    let mut held = pool.get_timeout_async(Duration::MAX).await.unwrap();
                    held.dirty = n % 2 == 0;
                    pending::<()>().await;
                }
                ready.fetch_add(1, SeqCst);
                // The task's handle is one of those that keep the pool open.
                let _pool = pool;
                pending::<()>().await;
            });
        }
        eventually("they hold, wait and idle", || {
            ready.load(SeqCst) == 6 && pool.stats().lent == 3 && pool.stats().waiting == 1
        });
        drop(pool);
        drop(runtime);
        eventually("every connection is closed", || fake.0.books().alive() == 0);
    }
    assert_eq!(unexpected_panics(), unexpected);
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All that a program may hold of a pool: the last handle, a guard, and somebody in line.
struct Belongings {
    _guard: PooledConnection<AsyncFake>,
    _waiting: Waiting,
    _pool: Pool<AsyncFake>,
    is_dropped: Arc<AtomicBool>,
}

impl Drop for Belongings {
    fn drop(&mut self) {
        self.is_dropped.store(true, SeqCst);
    }
}

impl Belongings {
    fn new(fake: &AsyncFake, is_dropped: &Arc<AtomicBool>) -> Self {
        let pool = Pool::builder_async(fake.clone()).max_size(1).build().unwrap();
        let mut guard = pool.get_timeout(PLENTY).unwrap();
        guard.dirty = true;
        let other = pool.clone();
        let mut waiting: Waiting = Box::pin(async move { drop(other.get_async().await) });
        assert!(poll_once(&mut waiting).is_pending());
        let is_dropped = is_dropped.clone();
        Self { _guard: guard, _waiting: waiting, _pool: pool, is_dropped }
    }
}

thread_local! {
    static KEPT: RefCell<Option<Belongings>> = const { RefCell::new(None) };
}

/// mysql_async #88: the same in the destructors of a thread's own variables, and while a panic
/// unwinds.
#[test]
fn row_42_pool_guard_and_waiter_dropped_by_a_panic_or_with_their_thread_do_no_harm() {
    let _alone = crate::alone();
    let unexpected = unexpected_panics();
    let fake = AsyncFake::default();
    for n in 0..100 {
        let is_dropped = Arc::new(AtomicBool::new(false));
        let belongings = Belongings::new(&fake, &is_dropped);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if n % 3 == 0 {
                    // Registered before whatever the pool keeps on this thread, and so dropped
                    // after it.
                    KEPT.with_borrow(|kept| assert!(kept.is_none()));
                    drop(belongings._pool.get_timeout(Duration::from_millis(1)));
                }
                if n % 3 < 2 {
                    KEPT.set(Some(belongings));
                } else {
                    let panic = catch_unwind(AssertUnwindSafe(|| {
                        let _belongings = belongings;
                        panic!("on purpose");
                    }));
                    assert!(panic.is_err());
                }
            });
        });
        eventually("all is dropped", || is_dropped.load(SeqCst));
    }
    eventually("every connection is closed", || fake.0.books().alive() == 0);
    assert_eq!(unexpected_panics(), unexpected);
}
