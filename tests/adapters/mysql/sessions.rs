//! What a loan from a pool of MySQL connections leaves to the next one, against MariaDB itself.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::PLENTY;
use crate::common::eventually;
use crate::common::my::*;
use crate::common::servers::mariadb::MariaDb;
use caliburn::adapters::mysql::{AsyncMysqlManager, MysqlManager};
use caliburn::{GetError, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_transaction_left_open_is_rolled_back_however_it_was_begun
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    usual_statements_cost_no_reset
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    what_a_borrower_changed_in_its_session_is_gone_if_sessions_are_reset
}

async fn a_transaction_left_open_is_rolled_back_however_it_was_begun<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    let insert = "INSERT INTO song VALUES (1)";
    let mut borrowers = 0;
    let mut check = async |what: &str| {
        borrowers += 1;
        let mut conn = A::get(&pool).await.unwrap();
        let state =
            "SELECT CONCAT(@@in_transaction, @@autocommit + 0, (SELECT COUNT(*) FROM song))";
        assert_eq!(A::ask(&mut conn, state).await.unwrap().as_deref(), Some("010"), "{what}");
        drop(conn);
        let stats = pool.stats();
        assert_eq!((stats.connects, stats.resets), (1, borrowers), "{what}: {stats}");
    };
    for (begin, by_statement) in [
        ("START TRANSACTION", false),
        ("BEGIN", true),
        ("SET autocommit = 0", false),
        ("CALL beginning()", false),
        ("CALL beginning()", true),
        ("SELECT 1; START TRANSACTION", false),
        ("/*! START TRANSACTION */", false),
    ] {
        let mut conn = A::get(&pool).await.unwrap();
        match by_statement {
            true => A::execute(&mut conn, begin).await.unwrap(),
            false => drop(A::ask(&mut conn, begin).await.unwrap()),
        }
        A::ask(&mut conn, insert).await.unwrap();
        drop(conn);
        check(begin).await;
    }
    let mut conn = A::get(&pool).await.unwrap();
    A::ask_driver(&mut conn, "START TRANSACTION").await.unwrap();
    A::ask_driver(&mut conn, insert).await.unwrap();
    drop(conn);
    check("by the driver's connection").await;

    let mut conn = A::get(&pool).await.unwrap();
    A::abandon_transaction(&mut conn).await;
    drop(conn);
    check("by the driver's transaction").await;

    let mut conn = A::get(&pool).await.unwrap();
    A::ask(&mut conn, "START TRANSACTION").await.unwrap();
    A::ask(&mut conn, insert).await.unwrap();
    let error = A::ask(&mut conn, "SELECT nonsense").await.unwrap_err();
    assert_eq!(A::server_code(&error), Some(1054), "{error}");
    drop(conn);
    check("with an error in the end").await;
    close(&pool);
}

async fn usual_statements_cost_no_reset<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    for sql in [
        "SELECT 1",
        "INSERT INTO song VALUES (1), (2), (3)",
        " update song set id = 4 where id = 3;",
        "SELECT * FROM song",
        "SHOW TABLES",
        "DELETE FROM song LIMIT 1",
    ] {
        for _ in 0..2 {
            let mut conn = A::get(&pool).await.unwrap();
            A::ask(&mut conn, sql).await.unwrap();
            drop(conn);
            let mut conn = A::get(&pool).await.unwrap();
            A::execute(&mut conn, sql.trim_end_matches(';')).await.unwrap();
            drop(conn);
        }
        let stats = pool.stats();
        assert_eq!((stats.connects, stats.resets), (1, 0), "{sql}: {stats}");
    }
    close(&pool);
}

/// The driver for tasks shows the text of a prepared statement to nobody.
#[tokio::test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
async fn a_prepared_statement_that_shows_what_it_is_costs_a_task_no_reset() {
    use mysql_async::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let pool = alone::<AsyncMysqlManager>(&server);
    for (sql, params, is_usual) in [
        ("SELECT * FROM song WHERE id = ?", vec![7], true),
        ("DELETE FROM song WHERE id = ?", vec![7], true),
        ("INSERT INTO song SELECT id FROM song WHERE id = ?", vec![7], true),
        ("SELECT * FROM song", vec![], true),
        ("UPDATE song SET id = 8 WHERE id = 7", vec![], true),
        ("INSERT INTO song VALUES (1)", vec![], true),
        ("DELETE FROM song WHERE id = 7", vec![], false),
        ("CALL beginning()", vec![], false),
        ("DO 1", vec![], false),
        ("SET TRANSACTION READ ONLY", vec![], false),
    ] {
        let before = pool.stats().resets;
        let mut conn = pool.get_async().await.unwrap();
        conn.exec_drop(sql, params).await.unwrap();
        drop(conn);
        drop(pool.get_async().await.unwrap());
        assert_eq!(pool.stats().resets - before, u64::from(!is_usual), "{sql}");
    }
    assert_eq!(pool.stats().connects, 1);
    close(&pool);
}

async fn what_a_borrower_changed_in_its_session_is_gone_if_sessions_are_reset<A: Adapter>() {
    let server = MariaDb::start(&[]);
    for is_reset in [false, true] {
        let mut manager = A::manager(&server.url());
        if is_reset {
            manager = A::renewing(manager);
        }
        let pool = A::builder(manager).max_size(1).build().unwrap();
        let state = "SELECT CONCAT(COALESCE(@mine, 'nothing'), @@character_set_client, DATABASE())";
        let mut conn = A::get(&pool).await.unwrap();
        let fresh = A::ask(&mut conn, state).await.unwrap();
        A::ask(&mut conn, "SET @mine = 'something'").await.unwrap();
        let changed = A::ask(&mut conn, state).await.unwrap();
        assert_ne!(fresh, changed);
        drop(conn);
        let mut conn = A::get(&pool).await.unwrap();
        let found = A::ask(&mut conn, state).await.unwrap();
        assert_eq!(found, if is_reset { fresh } else { changed });
        drop(conn);
        assert_eq!(pool.stats().connects, 1);
        close(&pool);
    }
}

#[test]
#[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
fn each_connection_of_a_thread_passes_through_the_hook_once() {
    use mysql::prelude::Queryable;
    let server = MariaDb::start(&[]);
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let pool = Pool::builder(MysqlManager::from_url(&server.url()).unwrap())
        .after_connect(move |conn, _| {
            seen.fetch_add(1, SeqCst);
            Ok(conn.query_drop("SET SESSION wait_timeout = 77, autocommit = 0")?)
        })
        .max_size(2)
        .build()
        .unwrap();
    for _ in 0..3 {
        for mut conn in [pool.get().unwrap(), pool.get().unwrap()] {
            let found: Option<(u32, u32)> =
                conn.query_first("SELECT @@wait_timeout, @@autocommit").unwrap();
            assert_eq!(found, Some((77, 0)));
            conn.query_drop("SET autocommit = 1").unwrap();
        }
    }
    eventually("all are back", || pool.stats().idle == 2);
    assert_eq!(calls.load(SeqCst), 2);
    close(&pool);

    let manager = MysqlManager::from_url(&server.url()).unwrap();
    let pool = Pool::builder(manager)
        .after_connect(|conn, _| Ok(conn.query_drop("SET no_such_thing = 1")?))
        .build()
        .unwrap();
    let error = pool.get_timeout(PLENTY).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
}
