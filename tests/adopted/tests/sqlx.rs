//! sqlx's connections to a real PostgreSQL server.

use caliburn::adapters::sqlx::{self as adapter, SqlxManager};
use caliburn::health::PingOnBorrow;
use caliburn::{ErrorClass, EvictionCause, GetError, Manager as _, PooledConnection};
use caliburn_adopted::{of_one_thread, of_threads};
use caliburn_testing::servers::postgres::{Postgres as Server, SUPERUSER};
use caliburn_testing::{PLENTY, eventually};
use sqlx::{Connection as _, Executor as _, Postgres};
use std::error::Error;
use std::time::{Duration, Instant};
use tokio::time::timeout;

type Pool = adapter::Pool<Postgres>;

fn url(server: &Server) -> String {
    format!("postgres://{SUPERUSER}@127.0.0.1:{}/postgres?application_name=adopted", server.port)
}

fn manager(server: &Server) -> SqlxManager<Postgres> {
    SqlxManager::from_url(&url(server)).unwrap()
}

fn pool_of_one(server: &Server) -> Pool {
    caliburn::Pool::builder_async(manager(server)).max_size(1).build().unwrap()
}

async fn number(conn: &mut sqlx::PgConnection) -> i32 {
    sqlx::query_scalar("SELECT 7").fetch_one(conn).await.unwrap()
}

async fn count(pool: &Pool) -> i64 {
    let mut conn = pool.get_async().await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM song").fetch_one(&mut *conn).await.unwrap()
}

fn server_with_songs() -> Server {
    let server = Server::start(&[]);
    server.ask("CREATE TABLE song (title text NOT NULL)");
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_is_an_executor() {
    let server = server_with_songs();
    let pool = pool_of_one(&server);
    let mut conn = pool.get_async().await.unwrap();
    let song = sqlx::query("INSERT INTO song VALUES ($1)").bind("Nimue");
    assert_eq!(song.execute(&mut *conn).await.unwrap().rows_affected(), 1);
    conn.execute("INSERT INTO song VALUES ('Merlin')").await.unwrap();
    let mut transaction = conn.begin().await.unwrap();
    sqlx::query("DELETE FROM song").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let titles = sqlx::query_scalar::<_, String>("SELECT title FROM song");
    assert!(titles.fetch_all(&mut *conn).await.unwrap().is_empty());
    drop(conn);
    let owned: sqlx::PgConnection = PooledConnection::detach(pool.get_async().await.unwrap());
    owned.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_left_open_are_rolled_back_before_the_next_loan() {
    let server = server_with_songs();
    let pool = pool_of_one(&server);
    let insert = "INSERT INTO song VALUES ('Mordred')";
    for how in ["dropped", "forgotten", "nested"] {
        let mut conn = pool.get_async().await.unwrap();
        let mut transaction = conn.begin().await.unwrap();
        transaction.execute(insert).await.unwrap();
        match how {
            "dropped" => drop(transaction),
            "forgotten" => std::mem::forget(transaction),
            _ => {
                let mut nested = transaction.begin().await.unwrap();
                nested.execute(insert).await.unwrap();
                std::mem::forget(nested);
                std::mem::forget(transaction);
            }
        }
        drop(conn);
        let mut conn = pool.get_async().await.unwrap();
        assert!(!conn.is_in_transaction(), "{how}");
        // The server agrees: there is none to give up.
        conn.execute("VACUUM song").await.unwrap();
        drop(conn);
        assert_eq!(count(&pool).await, 0, "{how}");
    }
    assert_eq!(pool.stats().connects, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_dropped_midway_leaves_no_answer_to_the_next_borrower() {
    let server = server_with_songs();
    let pool = pool_of_one(&server);
    for round in 0..20 {
        let mut conn = pool.get_async().await.unwrap();
        let slow = sqlx::query("SELECT pg_sleep(0.02), 1").fetch_all(&mut *conn);
        assert!(timeout(Duration::from_millis(round % 5), slow).await.is_err());
        drop(conn);
        let mut conn = pool.get_async().await.unwrap();
        assert_eq!(number(&mut conn).await, 7);
    }
    // So many rows that most are still on their way.
    let mut conn = pool.get_async().await.unwrap();
    let many = sqlx::query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)");
    assert!(timeout(Duration::from_millis(3), many.fetch_all(&mut *conn)).await.is_err());
    let begun = Instant::now();
    drop(conn);
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    assert_eq!(number(&mut pool.get_async().await.unwrap()).await, 7);
    let stats = pool.stats();
    assert!(stats.connects == 1 && stats.evictions.total() == 0, "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_not_through_within_the_limit_is_replaced() {
    let server = server_with_songs();
    let builder = caliburn::Pool::builder_async(manager(&server)).max_size(1);
    let pool = builder.reset_timeout(Duration::from_millis(50)).build().unwrap();
    let mut conn = pool.get_async().await.unwrap();
    let slow = sqlx::query("SELECT pg_sleep(60)").fetch_all(&mut *conn);
    // By then the server is at it.
    assert!(timeout(Duration::from_secs(1), slow).await.is_err());
    drop(conn);
    let begun = Instant::now();
    assert_eq!(number(&mut pool.get_async().await.unwrap()).await, 7);
    assert!(begun.elapsed() < PLENTY / 2);
    assert_eq!(pool.stats().evictions.by(EvictionCause::ResetFailed), 1);
}

#[test]
fn one_runtime_after_another_is_served_and_threads_are_too() {
    let server = server_with_songs();
    let pool = caliburn::Pool::builder_async(manager(&server)).max_size(2).build().unwrap();
    for make in [of_one_thread, of_threads, of_one_thread] {
        let begun = Instant::now();
        make().block_on(async {
            for _ in 0..100 {
                assert_eq!(number(&mut pool.get_async().await.unwrap()).await, 7);
            }
            // It does not depend on the thread that it blocks.
            drop(pool.get_timeout(PLENTY).unwrap());
        });
        assert!(begun.elapsed() < PLENTY / 2, "{:?}", begun.elapsed());
    }
    drop(pool.get_timeout(PLENTY).unwrap());
    let stats = pool.stats();
    assert!(stats.connects <= 2 && stats.evictions.total() == 0, "{stats}");
    assert!(pool.close_within(PLENTY).is_complete());
    eventually("no session is left", || server.sessions("adopted") == 0);
}

#[test]
fn the_runtime_that_was_chosen_is_where_connections_live_and_is_missed_at_once() {
    let server = server_with_songs();
    let chosen = of_threads();
    let manager = manager(&server).runtime(chosen.handle().clone());
    let pool: Pool = caliburn::Pool::builder_async(manager).max_size(1).build().unwrap();
    of_one_thread().block_on(async {
        assert_eq!(number(&mut pool.get_async().await.unwrap()).await, 7);
    });
    drop(chosen);
    let begun = Instant::now();
    let error = pool.get_timeout(PLENTY).err().unwrap();
    assert!(begun.elapsed() < PLENTY / 2, "{error:#}");
    assert!(matches!(error, GetError::Connect { .. }), "{error:#}");
    assert!(format!("{error:#}").contains("runtime"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_costs_no_borrower_a_query_if_the_strategy_pings() {
    let mut server = server_with_songs();
    let builder = caliburn::Pool::builder_async(manager(&server)).max_size(4);
    let pool = builder.health(PingOnBorrow::always()).build().unwrap();
    let mut conns = Vec::new();
    for _ in 0..4 {
        conns.push(pool.get_async().await.unwrap());
    }
    drop(conns);
    server.restart();
    // What has answered within a tenth of a second is not pinged.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..8 {
        assert_eq!(number(&mut pool.get_async().await.unwrap()).await, 7);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_will_not_pass_is_told_at_once_and_without_the_password() {
    let server = server_with_songs();
    let wrong = url(&server).replace("/postgres?", "/nowhere?").replace('@', ":sesame@");
    let manager: SqlxManager<Postgres> = wrong.parse().unwrap();
    assert!(!format!("{manager:?}").contains("sesame"));
    let pool = caliburn::Pool::builder_async(manager).build().unwrap();
    let error = pool.get_async().await.err().unwrap();
    assert!(matches!(error, GetError::Connect { .. }), "{error:#}");
    let text = format!("{error:#}");
    assert!(text.contains("nowhere") && !text.contains("sesame"), "{text}");
    assert!(error.source().unwrap().is::<sqlx::Error>());

    let down =
        SqlxManager::<Postgres>::from_url("postgres://app:sesame@127.0.0.1:1/songs").unwrap();
    let refused = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
    assert_eq!(down.classify(&refused), ErrorClass::Transient);
    let error = SqlxManager::<Postgres>::from_url("postgres://app:sesame@[/songs").err().unwrap();
    assert!(!error.to_string().contains("sesame"), "{error}");
}
