//! Faults of runtimes: a pool whose spawner leads to a runtime that is busy closing, not driven, or
//! gone, or whose spawner panics.

use crate::common::*;
use caliburn::health::{PeriodicSweep, PingOnBorrow};
use caliburn::{AsyncManager, Builder, Deadline, GetError, Manager, Pool, PooledConnection};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder as RuntimeBuilder, Handle, Runtime};

fn runtime() -> Runtime {
    expect_panics();
    RuntimeBuilder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

// A driver that cannot do anything outside its runtime.

#[derive(Debug, Default)]
struct Record {
    resets: AtomicUsize,
    goodbyes: AtomicUsize,
    /// Calls that were made outside the runtime.
    astray: Mutex<Vec<&'static str>>,
}

#[derive(Clone, Default)]
struct Native(AsyncFake, Arc<Record>);

impl Native {
    /// Waits for one of tokio's timers, which panics where no runtime is.
    async fn wait_for_a_timer(&self, call: &'static str) {
        if Handle::try_current().is_err() {
            self.1.astray.lock().unwrap().push(call);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Manager for Native {
    type Connection = Conn;
    type Error = FakeError;

    fn needs_reset(&self, conn: &mut Conn) -> bool {
        conn.dirty
    }
}

impl AsyncManager for Native {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        self.wait_for_a_timer("connect").await;
        self.0.connect(deadline).await
    }

    async fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.wait_for_a_timer("ping").await;
        self.0.ping(conn, deadline).await
    }

    async fn reset(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.wait_for_a_timer("reset").await;
        self.1.resets.fetch_add(1, SeqCst);
        self.0.reset(conn, deadline).await
    }

    async fn close(&self, conn: Conn, _: &Deadline) {
        self.wait_for_a_timer("goodbye").await;
        self.1.goodbyes.fetch_add(1, SeqCst);
        drop(conn);
    }
}

/// Ways to close a pool while its connections are out. What is returned is kept until they are
/// back.
type Closing = fn(Pool<Native>) -> Option<Pool<Native>>;

const CLOSINGS: [(&str, Closing); 3] = [
    ("closed", |pool| {
        pool.close();
        Some(pool)
    }),
    ("closed with a limit that passes", |pool| {
        let report = pool.close_within(Duration::ZERO);
        assert_eq!(report.still_lent, 4);
        Some(pool)
    }),
    ("dropped", |pool| {
        drop(pool);
        None
    }),
];

/// Gives four connections back, each a few of the housekeeper's visits after the one before.
fn return_late(spoil: fn(&mut Conn), give_back: fn(PooledConnection<Native>)) {
    let (runtime, witness) = (runtime(), Witness::default());
    for (closing, close) in CLOSINGS {
        let native = Native::default();
        let handle = runtime.handle().clone();
        let pool = Pool::builder_async(native.clone())
            .max_size(4)
            .min_size(4)
            .spawner(move |task| drop(handle.spawn(task)))
            .wait_ready(ENOUGH)
            .build()
            .unwrap();
        let guards: Vec<_> = (0..4).map(|_| pool.try_get().unwrap()).collect();
        let pool = close(pool);
        for mut guard in guards {
            spoil(&mut guard);
            give_back(guard);
            pool.iter().for_each(Pool::maintain);
            witness.wait_for_a_round();
        }
        let books = native.0.0.books();
        soon("all connections are closed", || books.alive() == 0);
        let Record { goodbyes, astray, .. } = &*native.1;
        let astray = astray.lock().unwrap();
        assert!(astray.is_empty(), "{closing}: outside the runtime: {astray:?}");
        assert_eq!(goodbyes.load(SeqCst), 4, "{closing}: goodbyes that were said");
        if let Some(pool) = pool {
            let report = pool.close_within(ENOUGH);
            assert!(report.is_complete() && report.closes == 4, "{closing}: {report}");
        }
    }
}

#[test]
fn goodbyes_are_said_in_the_runtime_however_late_connections_return_to_a_closed_pool() {
    return_late(|_| (), drop);
}

#[test]
fn resets_are_done_in_the_runtime_however_late_connections_return_to_a_closed_pool() {
    return_late(|conn| conn.dirty = true, drop);
}

#[test]
fn discarded_connections_of_a_closed_pool_are_closed_in_the_runtime_however_late_they_come() {
    return_late(|_| (), PooledConnection::discard);
}

#[test]
fn goodbyes_are_said_in_the_runtime_when_connections_return_on_its_own_threads() {
    return_late(|_| (), |guard| runtime().block_on(async { drop(guard) }));
}

// A pool whose spawner leads nowhere.

#[derive(Clone, Copy, Debug)]
enum Place {
    /// A runtime of one thread, which does something else.
    NotDriven,
    /// A runtime that is gone.
    Gone,
    /// Where this runs, which on the housekeeper's thread is no runtime at all.
    Here,
}

struct Stranded {
    fake: AsyncFake,
    pool: Pool<AsyncFake>,
    _runtime: Option<Runtime>,
}

/// How long a call may take in these pools.
const LIMIT: Duration = Duration::from_millis(200);

/// With one connection open of two.
fn stranded(place: Place, more: fn(Builder<AsyncFake>) -> Builder<AsyncFake>) -> Stranded {
    let fake = AsyncFake::default();
    let runtime = match place {
        Place::Here => runtime(),
        _ => RuntimeBuilder::new_current_thread().enable_all().build().unwrap(),
    };
    let builder = more(Pool::builder_async(fake.clone()).max_size(2).min_size(1));
    let builder = builder.connect_timeout(LIMIT).reset_timeout(LIMIT);
    let builder = builder.ping_timeout(LIMIT).close_timeout(LIMIT);
    let handle = runtime.handle().clone();
    let builder = match place {
        Place::Here => builder.spawner(|task| drop(tokio::spawn(task))),
        _ => builder.spawner(move |task| drop(handle.spawn(task))),
    };
    let pool = runtime.block_on(async {
        let pool = builder.build().unwrap();
        pool.ready_async(ENOUGH).await.unwrap();
        pool
    });
    let runtime = if let Place::Gone = place { None } else { Some(runtime) };
    Stranded { fake, pool, _runtime: runtime }
}

/// Many times as long as any call may take.
const MUCH: Duration = Duration::from_secs(3);

impl Stranded {
    fn is_soon(&self, is_so: impl Fn(&Pool<AsyncFake>, &Books) -> bool) -> bool {
        is_soon(MUCH, || is_so(&self.pool, self.fake.0.books()))
    }

    /// Served, or told at once why not.
    fn is_answered(&self) -> bool {
        let begun = Instant::now();
        match self.pool.get_timeout(MUCH) {
            Ok(conn) => !conn.dirty && !conn.broken,
            Err(GetError::Connect { .. }) => begun.elapsed() < 5 * LIMIT,
            Err(_) => false,
        }
    }
}

fn pinging(builder: Builder<AsyncFake>) -> Builder<AsyncFake> {
    let sweep = PeriodicSweep::every(Duration::from_secs(3_600));
    builder.health((PingOnBorrow::always(), sweep))
}

/// What must come to an end though the runtime does nothing for it.
fn what_is_left_undone(place: Place) -> Vec<&'static str> {
    type Trial = fn(&Stranded) -> bool;
    let trials: [(&str, Trial); 10] = [
        ("a connect for a thread", |on| {
            let _held = on.pool.try_get().unwrap();
            on.is_answered()
        }),
        ("a connect for a task elsewhere", |on| {
            let _held = on.pool.try_get().unwrap();
            let got = drive(MUCH, on.pool.get_timeout_async(MUCH));
            matches!(got, Some(Ok(_) | Err(GetError::Connect { .. })))
        }),
        ("a reset", |on| {
            on.pool.try_get().unwrap().dirty = true;
            on.is_answered() && on.is_soon(|pool, _| pool.stats().maintenance == 0)
        }),
        ("a ping for a borrower", |on| {
            let pool = &on.pool;
            PooledConnection::suspect(&mut pool.try_get().unwrap());
            on.is_answered()
        }),
        ("a ping of the sweep", |on| {
            on.pool.sweep();
            on.is_soon(|pool, _| pool.stats().maintenance == 0 && pool.stats().idle > 0)
        }),
        ("closing what was discarded", |on| {
            PooledConnection::discard(on.pool.try_get().unwrap());
            on.is_soon(|_, books| books.dropped.load(SeqCst) == 1) && on.is_answered()
        }),
        ("dropping what is broken", |on| {
            on.pool.try_get().unwrap().broken = true;
            on.is_soon(|_, books| books.dropped.load(SeqCst) == 1) && on.is_answered()
        }),
        ("close_within", |on| on.pool.close_within(MUCH).is_complete()),
        ("close_within_async elsewhere", |on| {
            let report = drive(2 * MUCH, on.pool.close_within_async(MUCH));
            report.is_some_and(|report| report.is_complete())
        }),
        ("close, and a return after it", |on| {
            let guard = on.pool.try_get().unwrap();
            on.pool.close();
            drop(guard);
            on.is_soon(|_, books| books.alive() == 0)
        }),
    ];
    let run = |(what, trial): &(&'static str, Trial)| {
        let on_sweep = what.contains("sweep");
        let on = stranded(place, if on_sweep { pinging } else { |builder| builder });
        let is_done = trial(&on);
        (!is_done).then_some(*what)
    };
    std::thread::scope(|scope| {
        let trials = trials.each_ref().map(|trial| scope.spawn(move || run(trial)));
        trials.into_iter().filter_map(|trial| trial.join().unwrap()).collect()
    })
}

#[test]
fn a_runtime_that_nobody_drives_keeps_no_work_for_longer_than_its_limit() {
    assert_eq!(what_is_left_undone(Place::NotDriven), Vec::<&str>::new(), "is never done");
}

#[test]
fn a_runtime_that_is_gone_leaves_no_work_undone() {
    assert_eq!(what_is_left_undone(Place::Gone), Vec::<&str>::new(), "is never done");
}

#[test]
fn a_spawner_that_panics_on_the_housekeepers_thread_leaves_no_work_undone() {
    assert_eq!(what_is_left_undone(Place::Here), Vec::<&str>::new(), "is never done");
}

/// As it was found: three connections idle, and the defaults but for the limit of a close.
#[test]
fn close_within_ends_outside_a_runtime_of_one_thread_that_is_alive_and_not_driven() {
    let runtime = RuntimeBuilder::new_current_thread().enable_all().build().unwrap();
    let (fake, handle) = (AsyncFake::default(), runtime.handle().clone());
    let pool = Pool::builder_async(fake.clone()).max_size(3).min_size(3).close_timeout(LIMIT);
    let pool = pool.spawner(move |task| drop(handle.spawn(task))).build().unwrap();
    runtime.block_on(pool.ready_async(ENOUGH)).unwrap();
    let report = pool.close_within(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    assert_eq!(fake.0.books().alive(), 0);
    drop(runtime);
}

// A spawner that panics.

#[test]
fn a_pool_whose_spawner_needs_a_runtime_serves_and_is_swept_outside_of_any() {
    expect_panics();
    let fake = AsyncFake::default();
    let pool = Pool::builder_async(fake.clone())
        .max_size(2)
        .spawner(|task| drop(tokio::spawn(task)))
        .health(PeriodicSweep::every(Duration::from_millis(5)))
        .build()
        .unwrap();
    let served = pool.get_timeout(MUCH).map(drop);
    assert!(served.is_ok(), "{}", served.unwrap_err());
    soon("it is swept", || fake.0.books().pings.load(SeqCst) > 2);
    pool.change(|settings| settings.min_size = 2).unwrap();
    soon("it grows", || pool.stats().size == 2);
    assert!(pool.close_within(ENOUGH).is_complete());
}

/// The code of the guide, used as the guide means it.
#[test]
fn a_pool_whose_spawner_needs_a_runtime_serves_the_tasks_of_that_runtime() {
    let runtime = runtime();
    runtime.block_on(async {
        let pool = Pool::builder_async(AsyncFake::default())
            .max_size(2)
            .min_size(1)
            .spawner(|task| drop(tokio::spawn(task)))
            .build()
            .unwrap();
        for n in 0..20 {
            let mut conn = pool.get_timeout_async(MUCH).await.unwrap_or_else(|error| {
                panic!("loan {n}: {error}");
            });
            assert!(!conn.dirty, "reset before it is lent again");
            (conn.dirty, conn.broken) = (n % 2 == 0, n % 5 == 0);
        }
        let report = pool.close_within_async(MUCH).await;
        assert!(report.is_complete(), "{report}");
    });
}

/// Each task is offered once and then done by others: what is offered again and again is never
/// done.
#[test]
fn a_spawner_that_panics_is_not_asked_again_and_again_for_the_same_work() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, witness) = (calls.clone(), Witness::default());
    let pool = Pool::builder_async(AsyncFake::default())
        .max_size(1)
        .min_size(1)
        .spawner(move |_| {
            counted.fetch_add(1, SeqCst);
            panic_on_purpose();
        })
        .build()
        .unwrap();
    (0..20).for_each(|_| witness.wait_for_a_round());
    assert!(calls.load(SeqCst) <= 4, "{} calls for one connect", calls.load(SeqCst));
    assert_eq!(pool.stats().idle, 1, "and it is not even done");
}

/// The manager does what it can, and is not to blame.
#[test]
fn an_error_names_the_spawner_if_it_is_the_spawner_that_fails() {
    let pool = Pool::builder_async(Native::default()).max_size(1);
    let pool = pool.spawner(|_| panic_on_purpose()).build().unwrap();
    let error = pool.get_timeout(Duration::from_millis(300)).map(drop).unwrap_err();
    assert!(format!("{error:#}").contains("spawner"), "{error:#}");
    let Err(error) = pool.ready(Duration::ZERO).and_then(|()| {
        pool.change(|settings| settings.min_size = 1).unwrap();
        pool.ready(Duration::from_millis(300))
    }) else {
        panic!("nothing can be opened");
    };
    assert!(format!("{error:#}").contains("spawner"), "{error:#}");
}
