//! Queries that nobody waits for any more end at the server, too, against MariaDB itself.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::PLENTY;
use crate::common::my::*;
use crate::common::servers::mariadb::{MariaDb, USER};
use caliburn::adapters::mysql::{AsyncMysqlManager, MysqlManager};
use caliburn::{Pool, PooledConnection};
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// How many sessions are at work on a query that sleeps.
fn asleep(server: &MariaDb) -> usize {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}' AND \
         info LIKE '%SLEEP%'"
    );
    server.ask(&sql).parse().unwrap()
}

fn counted(server: &MariaDb, what: &str) -> usize {
    let line = server.ask(&format!("SHOW GLOBAL STATUS LIKE '{what}'"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn pool(server: &MariaDb, size: usize) -> Pool<AsyncMysqlManager> {
    let manager = AsyncMysqlManager::from_url(&server.url()).unwrap();
    Pool::builder_async(manager).max_size(size).build().unwrap()
}

/// Begins the query, and drops it when the server is at work on it.
async fn abandon(server: &MariaDb, conn: &mut PooledConnection<AsyncMysqlManager>) {
    let before = asleep(server);
    tokio::select! {
        answer = conn.query_drop("SELECT SLEEP(60)") => panic!("{answer:?}"),
        () = soon("it is at work", || asleep(server) > before) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn rows_that_were_dropped_before_they_came_are_not_looked_for_any_more() {
    let server = MariaDb::start(&[]);
    let pool = pool(&server, 1);
    // In which this server does not look after its client.
    let sql = "SELECT BENCHMARK(1000000000000, 1) /* SLEEP */";
    for is_executed in [false, true] {
        let mut conn = pool.get_timeout_async(PLENTY).await.unwrap();
        let begun = async {
            match is_executed {
                true => drop(conn.exec_iter(sql, ()).await),
                false => drop(conn.query_iter(sql).await),
            }
        };
        tokio::select! {
            () = begun => panic!("it has ended"),
            () = soon("it is at work", || asleep(&server) == 1) => {}
        }
        drop(conn);
        soon("it has ended at the server", || asleep(&server) == 0).await;
    }
    close(&pool);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn queries_that_were_dropped_do_not_pile_up() {
    let server = MariaDb::start(&[]);
    let pool = pool(&server, 1);
    for _ in 0..6 {
        let mut conn = pool.get_timeout_async(PLENTY).await.unwrap();
        abandon(&server, &mut conn).await;
        drop(conn);
        soon("it has ended at the server", || asleep(&server) == 0).await;
        let sessions = server.sessions().len();
        // One of the pool's, and the one that has ended the other.
        assert!(sessions <= 2, "{sessions} sessions");
    }
    assert!(counted(&server, "Com_kill") >= 6);
    let mut conn = pool.get_async().await.unwrap();
    assert_eq!(conn.query_first("SELECT 7").await.unwrap(), Some(7));
    drop(conn);
    close(&pool);
    soon("no session is left", || server.sessions().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn one_connection_ends_many_and_none_that_has_ended_by_itself() {
    let server = MariaDb::start(&[]);
    let pool = pool(&server, 8);
    drop(pool.get_async().await.unwrap());
    let before = counted(&server, "Connections");
    for _ in 0..20 {
        let mut conn = pool.get_timeout_async(PLENTY).await.unwrap();
        let quick = conn.query_drop("SELECT SLEEP(0.02)");
        assert!(tokio::time::timeout(Duration::from_millis(5), quick).await.is_err());
    }
    whole(&pool).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(counted(&server, "Com_kill"), 0);
    let opened = counted(&server, "Connections") - before;
    println!("{opened} connections, {} of the pool's", pool.stats().connects);

    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(pool.get_timeout_async(PLENTY).await.unwrap());
    }
    for conn in &mut held {
        abandon(&server, conn).await;
    }
    drop(held);
    soon("all have ended at the server", || asleep(&server) == 0).await;
    close(&pool);
    soon("no session is left", || server.sessions().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn statements_of_queries_that_were_dropped_do_not_pile_up() {
    let server = MariaDb::start(&[]);
    let pool = pool(&server, 4);
    for n in 0..1_000 {
        let mut conn = pool.get_timeout_async(PLENTY).await.unwrap();
        let sql = format!("SELECT {n} + ?");
        let query = conn.exec_drop(&*sql, (1,));
        tokio::select! {
            biased;
            _ = query => {}
            () = async { for _ in 0..n % 7 { tokio::task::yield_now().await } } => {}
        }
    }
    whole(&pool).await;
    let statements = counted(&server, "Prepared_stmt_count");
    // As many as each connection's cache holds.
    assert!(statements <= 4 * 33, "{statements}");
    close(&pool);
}

#[test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
fn a_query_of_a_thread_that_is_late_ends_at_the_server_too() {
    use mysql::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let manager = MysqlManager::from_url(&server.url()).unwrap();
    let manager = manager.response_timeout(Some(Duration::from_millis(200)));
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    for n in 1..=3 {
        let mut conn = pool.get_timeout(PLENTY).unwrap();
        // In which this server does not look after its client.
        conn.query_drop("SELECT BENCHMARK(1000000000000, 1) /* SLEEP */").unwrap_err();
        drop(conn);
        crate::common::eventually("it has ended at the server", || asleep(&server) == 0);
        assert_eq!(counted(&server, "Com_kill"), n);
        assert!(server.sessions().len() <= 2);
    }
    close(&pool);
    crate::common::eventually("no session is left", || server.sessions().is_empty());
}
