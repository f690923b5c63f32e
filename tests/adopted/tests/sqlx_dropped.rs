//! Futures of sqlx's connections that are dropped before the server has answered.

use caliburn::Pool;
use caliburn::adapters::sqlx::{SqlxManager, sqlx_core::database::Database};
use caliburn_testing::PLENTY;
use caliburn_testing::servers::mariadb::MariaDb;
use caliburn_testing::servers::postgres::{Postgres as PgServer, SUPERUSER};
use sqlx::{Connection, Executor, MySql, Postgres, Sqlite};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls a future so many times, unless it ends before, and drops it.
async fn poll_times(polls: u32, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let is_over = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready()));
        if is_over.await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// How many songs are inserted that must be there at the end.
async fn insert_after_dropped_begins<DB>(url: &str) -> u32
where
    DB: Database<Connection: 'static>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    const ROUNDS: u32 = 12;
    let pool = || {
        let manager = SqlxManager::<DB>::from_url(url).unwrap();
        Pool::builder_async(manager).max_size(1).build().unwrap()
    };
    pool().get_async().await.unwrap().execute("CREATE TABLE song (title TEXT)").await.unwrap();
    for round in 0..ROUNDS {
        let pool = pool();
        let mut conn = pool.get_async().await.unwrap();
        poll_times(round % 6, conn.begin()).await;
        drop(conn);
        let mut conn = pool.get_async().await.unwrap();
        conn.execute("INSERT INTO song VALUES ('Nimue')").await.unwrap();
        drop(conn);
        assert_eq!(pool.stats().connects, 1, "it was put right, not replaced");
        assert!(pool.close_within_async(PLENTY).await.is_complete());
    }
    ROUNDS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_of_mysql_that_was_dropped_takes_no_later_write_along() {
    let server = MariaDb::start(&[]);
    let inserted = insert_after_dropped_begins::<MySql>(&server.url()).await;
    assert_eq!(server.ask("SELECT COUNT(*) FROM songs.song"), inserted.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_of_postgresql_that_was_dropped_takes_no_later_write_along() {
    let server = PgServer::start(&[]);
    let url = format!("postgres://{SUPERUSER}@127.0.0.1:{}/postgres", server.port);
    let inserted = insert_after_dropped_begins::<Postgres>(&url).await;
    assert_eq!(server.ask("SELECT count(*) FROM song"), inserted.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_of_sqlite_that_was_dropped_takes_no_later_write_along() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("app.db").display());
    let inserted = insert_after_dropped_begins::<Sqlite>(&url).await;
    let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let count = sqlx::query_scalar::<_, u32>("SELECT COUNT(*) FROM song");
    assert_eq!(count.fetch_one(&mut conn).await.unwrap(), inserted);
}
