//! deadpool's managers for PostgreSQL and Redis, with real servers.

use caliburn::adapters::bridges::DeadpoolManager;
use caliburn::health::PingOnBorrow;
use caliburn::{EvictionCause, Pool};
use caliburn_adopted::{of_one_thread, of_threads};
use caliburn_testing::servers::postgres::{Postgres, SUPERUSER};
use caliburn_testing::servers::redis::Redis;
use caliburn_testing::{PLENTY, eventually};
use deadpool_postgres::tokio_postgres::{Config, NoTls};
use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod};
use deadpool_redis::redis::{AsyncCommands as _, cmd};
use std::time::Duration;
use tokio::time::timeout;

fn over_postgres(server: &Postgres, recycling_method: RecyclingMethod) -> DeadpoolManager<Manager> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(server.port).user(SUPERUSER).dbname("postgres");
    config.application_name("adopted");
    let recycling = ManagerConfig { recycling_method };
    DeadpoolManager::new(Manager::from_config(config, NoTls, recycling))
}

#[test]
fn postgres_serves_one_runtime_after_another_with_its_statement_cache() {
    let server = Postgres::start(&[]);
    let manager = over_postgres(&server, RecyclingMethod::Fast);
    let pool = Pool::builder_async(manager).max_size(2).build().unwrap();
    for make in [of_one_thread, of_threads, of_one_thread] {
        make().block_on(async {
            for _ in 0..100 {
                let conn = pool.get_async().await.unwrap();
                let statement = conn.prepare_cached("SELECT 7").await.unwrap();
                let row = conn.query_one(&statement, &[]).await.unwrap();
                assert_eq!(row.get::<_, i32>(0), 7);
                assert_eq!(conn.statement_cache.size(), 1);
            }
        });
    }
    assert_eq!(pool.stats().timeouts, 0);
    assert!(pool.close_within(PLENTY).is_complete());
    eventually("no session is left", || server.sessions("adopted") == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_recycling_method_cleans_after_each_loan_whatever_the_strategy() {
    let server = Postgres::start(&[]);
    let manager = over_postgres(&server, RecyclingMethod::Clean);
    let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
    let conn = pool.get_async().await.unwrap();
    conn.batch_execute("SET search_path = pg_catalog; CREATE TEMP TABLE t (); LISTEN c")
        .await
        .unwrap();
    drop(conn);
    let mut conn = pool.get_async().await.unwrap();
    let path = conn.query_one("SHOW search_path", &[]).await.unwrap();
    assert!(path.get::<_, String>(0).contains("public"));
    let transaction = conn.transaction().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((pool.stats().connects, pool.stats().pings), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_dropped_midway_and_a_restart_cost_no_later_borrower_a_query() {
    let mut server = Postgres::start(&[]);
    let manager = over_postgres(&server, RecyclingMethod::Verified);
    let builder = Pool::builder_async(manager).max_size(2);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    let conn = pool.get_async().await.unwrap();
    let slow = conn.query_one("SELECT pg_sleep(0.1)", &[]);
    assert!(timeout(Duration::from_millis(5), slow).await.is_err());
    drop(conn);
    for restarts in [false, true] {
        if restarts {
            server.restart();
            // What has answered within a tenth of a second is not pinged.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        for _ in 0..4 {
            let conn = pool.get_async().await.unwrap();
            let row = conn.query_one("SELECT 7", &[]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), 7);
        }
    }
    assert!(pool.stats().evictions.by(EvictionCause::PingFailed) > 0);
}

/// With the default strategy: the driver has heard of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_driver_knows_to_be_dead_is_not_lent() {
    let mut server = Postgres::start(&[]);
    let manager = over_postgres(&server, RecyclingMethod::Fast).recycle_waits_for_nothing();
    let pool = Pool::builder_async(manager).max_size(4).build().unwrap();
    let mut conns = Vec::new();
    for _ in 0..4 {
        conns.push(pool.get_async().await.unwrap());
    }
    drop(conns);
    server.restart();
    eventually("the driver's tasks have heard of it", || {
        let mut closed = 0;
        pool.evict_where(|conn, _| {
            closed += usize::from(conn.is_closed());
            false
        });
        closed == 4
    });
    for _ in 0..8 {
        let conn = pool.get_async().await.unwrap();
        let row = conn.query_one("SELECT 7", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 7);
    }
    let stats = pool.stats();
    assert_eq!((stats.evictions.by(EvictionCause::Broken), stats.resets), (4, 0), "{stats}");
}

#[test]
fn redis_serves_one_runtime_after_another() {
    let server = Redis::start(&[]);
    let manager = DeadpoolManager::new(deadpool_redis::Manager::new(server.url()).unwrap());
    let pool = Pool::builder_async(manager).max_size(2).build().unwrap();
    for make in [of_one_thread, of_threads, of_one_thread] {
        make().block_on(async {
            for round in 0..100_u32 {
                let mut conn = pool.get_async().await.unwrap();
                // Methods are found as ever; a generic parameter wants one asterisk more.
                let () = conn.set("round", round).await.unwrap();
                let got: u32 = cmd("GET").arg("round").query_async(&mut **conn).await.unwrap();
                assert_eq!(got, round);
            }
        });
    }
    assert_eq!(pool.stats().timeouts, 0);
}
