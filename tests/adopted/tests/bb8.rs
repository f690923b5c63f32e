//! bb8's managers for PostgreSQL and Redis, with real servers.

use bb8_postgres::PostgresConnectionManager;
use bb8_postgres::tokio_postgres::{Client, Config, NoTls};
use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::{AsyncCommands as _, cmd};
use caliburn::adapters::bridges::Bb8Manager;
use caliburn::health::PingOnBorrow;
use caliburn::{EvictionCause, Pool};
use caliburn_adopted::{of_one_thread, of_threads};
use caliburn_testing::servers::postgres::{Postgres, SUPERUSER};
use caliburn_testing::servers::redis::Redis;
use caliburn_testing::{PLENTY, eventually};

fn over_postgres(server: &Postgres) -> Bb8Manager<PostgresConnectionManager<NoTls>> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(server.port).user(SUPERUSER).dbname("postgres");
    config.application_name("adopted");
    Bb8Manager::new(PostgresConnectionManager::new(config, NoTls)).pings_are_cancel_safe()
}

/// Wants the driver's own type.
async fn number(client: &mut Client) -> i32 {
    client.query_one("SELECT 7", &[]).await.unwrap().get(0)
}

#[test]
fn postgres_serves_one_runtime_after_another() {
    let server = Postgres::start(&[]);
    let pool = Pool::builder_async(over_postgres(&server)).max_size(2).build().unwrap();
    for make in [of_one_thread, of_threads, of_one_thread] {
        make().block_on(async {
            for _ in 0..100 {
                let mut conn = pool.get_async().await.unwrap();
                assert_eq!(number(&mut conn).await, 7);
                let transaction = conn.transaction().await.unwrap();
                transaction.commit().await.unwrap();
            }
        });
    }
    assert_eq!(pool.stats().timeouts, 0);
    assert!(pool.close_within(PLENTY).is_complete());
    eventually("no session is left", || server.sessions("adopted") == 0);
}

/// With the default strategy: the driver has heard of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_driver_knows_to_be_dead_is_not_lent() {
    let mut server = Postgres::start(&[]);
    let pool = Pool::builder_async(over_postgres(&server)).max_size(4).build().unwrap();
    let mut conns = Vec::new();
    for _ in 0..4 {
        conns.push(pool.get_async().await.unwrap());
    }
    let clients: Vec<_> = conns.iter().map(|conn| conn.is_closed()).collect();
    assert_eq!(clients, [false; 4]);
    server.restart();
    eventually("the driver hears of it", || conns.iter().all(|conn| conn.is_closed()));
    drop(conns);
    for _ in 0..8 {
        assert_eq!(number(&mut pool.get_async().await.unwrap()).await, 7);
    }
    assert_eq!(pool.stats().evictions.by(EvictionCause::Broken), 4);
}

#[test]
fn redis_serves_one_runtime_after_another() {
    let server = Redis::start(&[]);
    let manager = Bb8Manager::new(RedisConnectionManager::new(server.url()).unwrap());
    let builder = Pool::builder_async(manager).max_size(2);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    for make in [of_one_thread, of_threads, of_one_thread] {
        make().block_on(async {
            for round in 0..100_u32 {
                let mut conn = pool.get_async().await.unwrap();
                let () = conn.set("round", round).await.unwrap();
                let got: u32 = cmd("GET").arg("round").query_async(&mut **conn).await.unwrap();
                assert_eq!(got, round);
            }
        });
    }
    assert_eq!(pool.stats().timeouts, 0);
}
