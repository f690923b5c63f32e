//! Within one loan no answer of MySQL's belongs to a call that was dropped, against MariaDB itself.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::my::*;
use crate::common::servers::mariadb::MariaDb;
use caliburn::Pool;
use caliburn::adapters::mysql::{AsyncMysqlConnection, AsyncMysqlManager, mysql_async};
use mysql_async::prelude::Queryable;
use mysql_async::{Result, TxOpts};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Polls the call so many times, and drops it. The server has a while to answer in between.
async fn polled<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..polls {
        let once = poll_fn(|context| Poll::Ready(call.as_mut().poll(context)));
        if let Poll::Ready(outcome) = once.await {
            return Some(outcome);
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    None
}

fn tasks(server: &MariaDb) -> Pool<AsyncMysqlManager> {
    alone(server)
}

/// Each question has its own answer, or none. Whether all have one.
async fn has_own_answers(conn: &mut AsyncMysqlConnection, what: &str) -> bool {
    let mut are_answered = true;
    for number in 7_000_u64..7_003 {
        let answer: Result<Option<u64>> = conn.query_first(format!("SELECT {number}")).await;
        match answer {
            Ok(answer) => assert_eq!(answer, Some(number), "{what}: another one's answer"),
            Err(_) => are_answered = false,
        }
    }
    are_answered
}

/// The next borrower, too.
async fn next_has_own_answers(pool: &Pool<AsyncMysqlManager>, what: &str) {
    let mut conn = pool.get_async().await.unwrap();
    assert!(has_own_answers(&mut conn, what).await, "{what}: the next loan");
}

#[derive(Clone, Copy, Debug)]
enum Dropped {
    QueryIter,
    ExecIter,
    /// Of which a row was read.
    Rows,
    Query,
    Several,
    Refused,
    RefusedAndBatch,
    Begin,
    InTransaction,
    Commit,
    Rollback,
    ByTheDriver,
    ByTheDriverAfterRows,
}

const DROPPED: [Dropped; 13] = [
    Dropped::QueryIter,
    Dropped::ExecIter,
    Dropped::Rows,
    Dropped::Query,
    Dropped::Several,
    Dropped::Refused,
    Dropped::RefusedAndBatch,
    Dropped::Begin,
    Dropped::InTransaction,
    Dropped::Commit,
    Dropped::Rollback,
    Dropped::ByTheDriver,
    Dropped::ByTheDriverAfterRows,
];

impl Dropped {
    async fn be_done(self, conn: &mut AsyncMysqlConnection, polls: usize) {
        const ROWS: &str = "SELECT 1 UNION SELECT 2";
        const INSERT: &str = "INSERT INTO song VALUES (-3)";
        match self {
            Self::QueryIter => drop(polled(polls, conn.query_iter(ROWS)).await),
            Self::ExecIter => drop(polled(polls, conn.exec_iter(ROWS, ())).await),
            Self::Rows => {
                let mut rows = conn.query_iter("SELECT 1 UNION SELECT 2; SELECT 3").await.unwrap();
                let _ = polled(polls, rows.next()).await;
                let _ = polled(polls, rows.next()).await;
            }
            Self::Query => drop(polled(polls, conn.query_drop(ROWS)).await),
            Self::Several => {
                let _ = polled(polls, conn.query_drop("SELECT 11; SELECT 12; SELECT 13")).await;
                let answer = polled(polls, conn.query_first::<u64, _>("SELECT 4")).await;
                assert!(!matches!(answer, Some(Ok(answer)) if answer != Some(4)), "{answer:?}");
            }
            Self::Refused => drop(polled(polls, conn.query_drop("SELEC")).await),
            Self::RefusedAndBatch => {
                let _ = polled(polls, conn.query_drop("SELEC")).await;
                let batch = conn.exec_batch("INSERT INTO song VALUES (?)", (0..3).map(|n| (n,)));
                let _ = polled(1, batch).await;
            }
            Self::Begin => drop(polled(polls, conn.start_transaction(TxOpts::default())).await),
            Self::InTransaction => {
                if let Ok(mut open) = conn.start_transaction(TxOpts::default()).await {
                    let _ = polled(polls, open.query_drop(INSERT)).await;
                }
            }
            Self::Commit => {
                let open = conn.start_transaction(TxOpts::default()).await.unwrap();
                let _ = polled(polls, open.commit()).await;
            }
            Self::Rollback => {
                let open = conn.start_transaction(TxOpts::default()).await.unwrap();
                let _ = polled(polls, open.rollback()).await;
            }
            Self::ByTheDriver => drop(polled(polls, (**conn).query_drop(ROWS)).await),
            Self::ByTheDriverAfterRows => {
                drop((**conn).query_iter("SELECT 1; SELECT 2").await.unwrap());
                let _ = polled(polls, (**conn).query_drop("SELECT 5")).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn after_a_call_that_was_dropped_the_same_loan_is_given_its_own_answers_or_none() {
    let server = MariaDb::start(&[]);
    let pool = tasks(&server);
    for dropped in DROPPED {
        for polls in 1..7 {
            let what = format!("{dropped:?} after {polls} polls");
            let mut conn = pool.get_async().await.unwrap();
            dropped.be_done(&mut conn, polls).await;
            has_own_answers(&mut conn, &what).await;
            drop(conn);
            next_has_own_answers(&pool, &what).await;
        }
    }
    close(&pool);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn rows_that_are_begun_after_a_call_that_was_dropped_are_their_own() {
    let server = MariaDb::start(&[]);
    let pool = tasks(&server);
    for dropped in DROPPED {
        for is_executed in [false, true] {
            let mut conn = pool.get_async().await.unwrap();
            dropped.be_done(&mut conn, 1).await;
            let rows: Result<Vec<u64>> = if is_executed {
                match conn.exec_iter("SELECT 7000", ()).await {
                    Ok(rows) => rows.collect_and_drop().await,
                    Err(error) => Err(error),
                }
            } else {
                match conn.query_iter("SELECT 7000").await {
                    Ok(rows) => rows.collect_and_drop().await,
                    Err(error) => Err(error),
                }
            };
            if let Ok(rows) = rows {
                assert_eq!(rows, [7_000], "{dropped:?}, executed: {is_executed}");
            }
            drop(conn);
            next_has_own_answers(&pool, &format!("{dropped:?}")).await;
        }
    }
    close(&pool);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn the_end_of_a_transaction_is_told_by_its_own_answer_or_fails() {
    let server = MariaDb::start(&[]);
    let pool = tasks(&server);
    server.ask("CREATE TABLE songs.one (id INT PRIMARY KEY)");
    for sql in [
        "INSERT INTO one VALUES (2)",
        "INSERT INTO one VALUES (1)",
        "SELECT id FROM one",
        "SELECT SLEEP(0.2)",
    ] {
        for commits in [true, false] {
            for polls in [1, 2] {
                server.ask("DELETE FROM songs.one; INSERT INTO songs.one VALUES (1)");
                let what = format!("{sql} after {polls} polls, commits: {commits}");
                let mut conn = pool.get_async().await.unwrap();
                let mut open = conn.start_transaction(TxOpts::default()).await.unwrap();
                let done = polled(polls, open.query_drop(sql)).await.is_some();
                let end = if commits { open.commit().await } else { open.rollback().await };
                if end.is_ok() {
                    assert!(done || has_own_answers(&mut conn, &what).await, "{what}");
                    let is_there = server.ask("SELECT COUNT(*) FROM songs.one WHERE id = 2");
                    if sql.ends_with("(2)") {
                        assert_eq!(is_there == "1", commits, "{what}");
                    }
                } else {
                    has_own_answers(&mut conn, &what).await;
                }
                drop(conn);
                next_has_own_answers(&pool, &what).await;
            }
        }
    }
    close(&pool);
}
