//! One pool and one runtime after another, with real servers: as a pool in a `static` meets it when
//! each test brings a runtime of its own.
#![cfg(all(
    unix,
    feature = "postgres",
    feature = "tokio-postgres",
    feature = "mysql_async",
    feature = "redis-tokio"
))]

use crate::common::PLENTY;
use crate::common::servers::{mariadb, postgres, redis};
use caliburn::adapters::mysql::AsyncMysqlManager;
use caliburn::adapters::postgres::AsyncPostgresManager;
use caliburn::adapters::redis::AsyncRedisManager;
use caliburn::{AsyncManager, GetError, Pool};
use mysql_async::prelude::Queryable;
use std::fmt::Debug;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const QUERIES: usize = 100;

/// Generous beside what a connect takes on a busy machine, and far below any limit of a pool.
const A_CONNECT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
enum Kind {
    OneThread,
    Threads,
}

fn runtime(kind: Kind) -> Runtime {
    match kind {
        Kind::OneThread => Builder::new_current_thread().enable_all().build().unwrap(),
        Kind::Threads => {
            Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
        }
    }
}

/// What becomes of a runtime when the next one comes.
#[derive(Clone, Copy, Debug)]
enum End {
    Dropped,
    /// It is kept, and nothing drives it if it has no threads.
    Kept,
}

/// Makes a pool, and queries it from one runtime after another.
fn serve_each<M: AsyncManager>(pool: impl Fn() -> Pool<M>, query: impl AsyncFn(&mut M::Connection))
where
    M::Error: Debug,
{
    for end in [End::Dropped, End::Kept] {
        for kinds in [
            [Kind::OneThread; 3],
            [Kind::Threads; 3],
            [Kind::OneThread, Kind::Threads, Kind::OneThread],
        ] {
            let pool = pool();
            let mut kept = Vec::new();
            for kind in kinds {
                let runtime = runtime(kind);
                let longest = runtime.block_on(async {
                    let mut longest = Duration::ZERO;
                    for _ in 0..QUERIES {
                        let begun = Instant::now();
                        let mut conn = pool.get_async().await.unwrap();
                        longest = longest.max(begun.elapsed());
                        tokio::time::timeout(PLENTY, query(&mut conn)).await.unwrap();
                    }
                    longest
                });
                assert!(longest < A_CONNECT, "{end:?}, {kinds:?}: waited for {longest:?}");
                match end {
                    End::Kept => kept.push(runtime),
                    End::Dropped => drop(runtime),
                }
            }
            let report = pool.close_within(PLENTY);
            assert!(report.is_complete(), "{end:?}, {kinds:?}: {report}");
        }
    }
}

/// Threads that know of no runtime borrow, and query in one of their own.
fn serve_threads<M: AsyncManager>(pool: Pool<M>, query: impl AsyncFn(&mut M::Connection))
where
    M::Error: Debug,
{
    let mut conn = pool.get().unwrap();
    runtime(Kind::OneThread).block_on(async {
        tokio::time::timeout(PLENTY, query(&mut conn)).await.unwrap();
    });
    drop(conn);
    assert!(pool.close_within(PLENTY).is_complete());
}

/// A thread that drives the runtime of the connections waits for one.
fn refuse_the_driving_thread<M: AsyncManager>(pool: impl Fn() -> Pool<M>)
where
    M::Error: Debug,
{
    let runtime = runtime(Kind::OneThread);
    let (pool, waited) = runtime.block_on(async {
        let (pool, begun) = (pool(), Instant::now());
        let error = pool.get().map(drop).unwrap_err();
        assert!(matches!(error, GetError::WrongThread { .. }), "{error}");
        assert!(error.to_string().contains("get_async"), "{error}");
        (pool, begun.elapsed())
    });
    assert!(waited < A_CONNECT, "{waited:?}");
    // Beside it a thread may.
    let borrower = pool.clone();
    let borrowed = runtime.block_on(async {
        tokio::task::spawn_blocking(move || borrower.get().map(drop)).await.unwrap()
    });
    borrowed.unwrap();
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_postgres_pool_serves_one_runtime_after_another() {
    let server = postgres::Postgres::start(&[]);
    let pool = || {
        let manager = AsyncPostgresManager::new(server.dsn().parse().unwrap());
        Pool::builder_async(manager).max_size(4).build().unwrap()
    };
    let query = async |client: &mut <AsyncPostgresManager as caliburn::Manager>::Connection| {
        let row = client.query_one("SELECT 7", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 7);
    };
    serve_each(pool, query);
    serve_threads(pool(), query);
    refuse_the_driving_thread(pool);
}

#[test]
#[ignore = "needs MariaDB"]
fn a_mysql_pool_serves_one_runtime_after_another() {
    let server = mariadb::MariaDb::start(&[]);
    let url = server.url();
    let pool = || {
        let manager = AsyncMysqlManager::from_url(&url).unwrap();
        Pool::builder_async(manager).max_size(4).build().unwrap()
    };
    let query = async |conn: &mut <AsyncMysqlManager as caliburn::Manager>::Connection| {
        assert_eq!(conn.query_first::<u8, _>("SELECT 7").await.unwrap(), Some(7));
    };
    serve_each(pool, query);
    serve_threads(pool(), query);
    refuse_the_driving_thread(pool);
}

#[test]
#[ignore = "needs Redis"]
fn a_redis_pool_serves_one_runtime_after_another() {
    let server = redis::Redis::start(&[]);
    let pool = || {
        let manager = AsyncRedisManager::new(server.url()).unwrap();
        Pool::builder_async(manager).max_size(4).build().unwrap()
    };
    let query = async |conn: &mut <AsyncRedisManager as caliburn::Manager>::Connection| {
        let echoed: String = ::redis::cmd("ECHO").arg("7").query_async(conn).await.unwrap();
        assert_eq!(echoed, "7");
    };
    serve_each(pool, query);
    serve_threads(pool(), query);
    refuse_the_driving_thread(pool);
}

fn to_postgres(server: &postgres::Postgres, size: usize) -> Pool<AsyncPostgresManager> {
    let manager = AsyncPostgresManager::new(server.dsn().parse().unwrap());
    Pool::builder_async(manager).max_size(size).build().unwrap()
}

/// A runtime of one thread for each thread, as in some web servers, and one pool for all.
#[test]
#[ignore = "needs PostgreSQL"]
fn runtimes_that_share_a_pool_lose_no_connections() {
    const RUNTIMES: usize = 4;
    let server = postgres::Postgres::start(&[]);
    for (tasks, pause) in [(4, 1), (2, 30)] {
        let pool = to_postgres(&server, 8);
        let (all_there, done) = (Barrier::new(RUNTIMES), AtomicUsize::new(0));
        let borrow = async |end: Instant| {
            while Instant::now() < end {
                let client = pool.get_async().await.unwrap();
                let query = client.simple_query("SELECT 1");
                drop(tokio::time::timeout(PLENTY, query).await.unwrap().unwrap());
                drop(client);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        };
        let serve = || {
            all_there.wait();
            let end = Instant::now() + Duration::from_secs(2);
            let borrowers = (0..tasks).map(|_| borrow(end));
            runtime(Kind::OneThread).block_on(async {
                futures_util::future::join_all(borrowers).await;
                done.fetch_add(1, SeqCst);
                // What lives here may be lent there.
                while done.load(SeqCst) < RUNTIMES {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        };
        thread::scope(|scope| {
            for _ in 0..RUNTIMES {
                scope.spawn(serve);
            }
        });
        let stats = pool.stats();
        assert!(stats.connects <= 10, "{tasks}, {pause}: {stats}");
    }
}

/// Borrowed there, and left idle there.
fn left_in<M: AsyncManager>(pool: &Pool<M>, count: usize) -> Runtime
where
    M::Error: Debug,
{
    let runtime = runtime(Kind::OneThread);
    runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(pool.get_async().await.unwrap());
        }
    });
    runtime
}

#[test]
#[ignore = "needs PostgreSQL"]
fn one_that_does_not_wait_does_not_wait_for_a_runtime_either() {
    let server = postgres::Postgres::start(&[]);
    let pool = to_postgres(&server, 8);
    let _still = left_in(&pool, 8);
    let tries: Vec<_> = (0..100)
        .map(|_| {
            let begun = Instant::now();
            assert!(pool.try_get().is_err(), "nothing drives it");
            begun.elapsed()
        })
        .collect();
    let quickest = tries.iter().min().unwrap();
    assert!(*quickest < Duration::from_millis(1), "{quickest:?}");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn resets_and_closes_do_not_wait_for_a_runtime_that_stands_still() {
    let server = postgres::Postgres::start(&[]);
    let pool = to_postgres(&server, 4);
    let still = runtime(Kind::OneThread);
    let mut held: Vec<_> = still.block_on(async {
        let mut all = Vec::new();
        for _ in 0..4 {
            let client = pool.get_async().await.unwrap();
            client.batch_execute("BEGIN").await.unwrap();
            all.push(client);
        }
        all
    });
    let begun = Instant::now();
    held.truncate(2);
    drop(pool.get_timeout(PLENTY).unwrap());
    drop(held);
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete(), "{report}");
    assert!(begun.elapsed() < 2 * A_CONNECT, "{:?}", begun.elapsed());
}

/// To have entered a runtime is not to drive it.
#[test]
#[ignore = "needs PostgreSQL"]
fn a_runtime_that_was_entered_and_is_not_driven_is_not_waited_for() {
    let server = postgres::Postgres::start(&[]);
    let still = runtime(Kind::OneThread);
    let begun = Instant::now();
    let entered = still.enter();
    drop(to_postgres(&server, 1).get_timeout(PLENTY).unwrap());
    drop(entered);
    let pool = to_postgres(&server, 1);
    drop(still.handle().block_on(pool.get_async()).unwrap());
    assert!(begun.elapsed() < 2 * A_CONNECT, "{:?}", begun.elapsed());
}
