//! Nothing that a session is set to changes what the pool's own statements do, and nothing that a
//! borrower leaves open reaches the next one, against MariaDB itself.
#![cfg(all(feature = "mysql", feature = "mysql_async"))]

use crate::common::my::*;
use crate::common::servers::mariadb::{DATABASE, MariaDb, USER};
use caliburn::adapters::mysql::MysqlManager;
use caliburn::{EvictionCause, Pool, PooledConnection};
use std::any::TypeId;
use std::time::Duration;

harnesses! {
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    transactions_that_chain_or_release_lose_no_write
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    no_setting_of_a_session_keeps_the_pool_from_tidying_up
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_session_that_speaks_in_wide_characters_is_closed
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    what_is_left_open_beside_a_transaction_is_closed
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_distributed_transaction_costs_its_connection
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    each_borrower_begins_in_the_first_database
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_session_that_was_given_to_another_user_is_closed
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_database_that_was_dropped_and_made_anew_is_the_one_of_the_next_borrower
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_lock_on_all_tables_is_given_up_however_it_was_taken
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    each_loan_begins_as_the_server_has_sessions_begin
    #[ignore = "needs MariaDB (mariadbd, mariadb-install-db)"]
    a_response_timeout_without_end_is_none
}

const INSERT: &str = "INSERT INTO song VALUES (1)";

fn count(server: &MariaDb) -> usize {
    server.ask(&format!("SELECT COUNT(*) FROM {DATABASE}.song")).parse().unwrap()
}

async fn get<A: Adapter>(pool: &Pool<A>) -> PooledConnection<A> {
    A::get(pool).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A write of a borrower's that was told that it was done is there for others at once.
async fn writes_are_done<A: Adapter>(server: &MariaDb, pool: &Pool<A>, what: &str) {
    let before = count(server);
    let mut conn = get::<A>(pool).await;
    A::ask(&mut conn, INSERT).await.unwrap();
    assert_eq!(count(server), before + 1, "{what}: written into a transaction");
    if is_kept::<A>(what) {
        A::transact(&mut conn, INSERT, false).await.unwrap();
        A::ask(&mut conn, INSERT).await.unwrap();
        A::transact(&mut conn, INSERT, true).await.unwrap();
        A::ask(&mut conn, INSERT).await.unwrap();
        drop(conn);
    } else {
        drop(conn);
        for commits in [true, false, true, true] {
            // The server hangs up after a transaction, and that may not be heard of yet.
            while A::transact(&mut *get::<A>(pool).await, INSERT, commits).await.is_err() {}
        }
    }
    whole(pool).await;
    assert_eq!(count(server), before + 4, "{what}: lost");
}

/// The driver for tasks ends transactions itself, and so as the session is set to.
fn is_kept<A: Adapter>(what: &str) -> bool {
    TypeId::of::<A>() == TypeId::of::<MysqlManager>() || !what.contains("RELEASE")
}

async fn leave_open<A: Adapter>(pool: &Pool<A>, setting: &str) {
    let mut conn = get::<A>(pool).await;
    A::ask(&mut conn, setting).await.unwrap();
    A::ask(&mut conn, "START TRANSACTION").await.unwrap();
    A::ask(&mut conn, INSERT).await.unwrap();
}

async fn transactions_that_chain_or_release_lose_no_write<A: Adapter>() {
    for kind in ["CHAIN", "RELEASE"] {
        let server = MariaDb::start(&[&format!("--completion-type={kind}")]);
        let pool = alone::<A>(&server);
        writes_are_done(&server, &pool, &format!("{kind} for all")).await;
        leave_open(&pool, "SET @mine = 1").await;
        writes_are_done(&server, &pool, &format!("{kind} for all, after a reset")).await;
        close(&pool);

        let server = MariaDb::start(&[]);
        let pool = alone::<A>(&server);
        leave_open(&pool, &format!("SET completion_type = '{kind}'")).await;
        writes_are_done(&server, &pool, &format!("{kind} by a borrower")).await;
        // A plain statement of a borrower's does what the session is set to.
        let before = count(&server);
        let mut conn = get::<A>(&pool).await;
        for sql in ["BEGIN", INSERT, "COMMIT"] {
            A::ask(&mut conn, sql).await.unwrap();
        }
        drop(conn);
        writes_are_done(&server, &pool, &format!("{kind} and a plain COMMIT")).await;
        assert_eq!(count(&server), before + 5);
        close(&pool);
    }
}

async fn no_setting_of_a_session_keeps_the_pool_from_tidying_up<A: Adapter>() {
    let server = MariaDb::start(&[]);
    for setting in [
        "SET sql_mode = 'ANSI_QUOTES'",
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "SET sql_mode = 'ORACLE,ANSI_QUOTES,IGNORE_SPACE,PIPES_AS_CONCAT'",
        "SET character_set_client = gbk",
        "SET character_set_client = sjis, character_set_connection = utf32",
        "SET NAMES big5",
        "SET character_set_results = NULL",
        "SET collation_connection = utf16_bin",
        "SET autocommit = 0",
        "SET sql_select_limit = 0",
        "SET sql_safe_updates = 1",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET max_statement_time = 1",
        "SET max_session_mem_used = 8192000",
        "SET sql_auto_is_null = 1, sql_big_selects = 0, max_join_size = 1",
        "SET STATEMENT sql_select_limit = 0 FOR SELECT 1",
        "SET SESSION query_cache_type = 0",
        "SET div_precision_increment = 0, group_concat_max_len = 4",
    ] {
        server.ask(&format!("DROP TABLE IF EXISTS {DATABASE}.song"));
        server.ask(&format!("CREATE TABLE {DATABASE}.song (id INT NOT NULL)"));
        let pool = A::builder(A::manager(&server.url())).max_size(1).build().unwrap();
        leave_open(&pool, setting).await;
        let mut conn = get::<A>(&pool).await;
        A::ask(&mut conn, INSERT).await.unwrap();
        assert_eq!(count(&server), 1, "{setting}");
        drop(conn);
        whole(&pool).await;
        let stats = pool.stats();
        assert_eq!((stats.connects, stats.resets), (1, 1), "{setting}: {stats}");
        close(&pool);
    }
}

/// The drivers cannot read what the server says in such a session.
async fn a_session_that_speaks_in_wide_characters_is_closed<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    for setting in ["SET character_set_results = utf16", "SET character_set_results = utf32"] {
        leave_open(&pool, setting).await;
        writes_are_done(&server, &pool, setting).await;
    }
    let stats = pool.stats();
    assert_eq!((stats.connects, stats.evictions.by(EvictionCause::ResetFailed)), (3, 2), "{stats}");
    close(&pool);
}

async fn what_is_left_open_beside_a_transaction_is_closed<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    for setting in [
        "LOCK TABLES song READ",
        "LOCK TABLES song WRITE",
        "SET TRANSACTION READ ONLY",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "CALL beginning()",
    ] {
        let mut conn = get::<A>(&pool).await;
        A::ask(&mut conn, setting).await.unwrap();
        drop(conn);
        writes_are_done(&server, &pool, setting).await;
        server.ask(&format!("SET lock_wait_timeout = 0; INSERT INTO {DATABASE}.song VALUES (2)"));
    }
    assert_eq!(pool.stats().connects, 1);
    close(&pool);
}

async fn a_distributed_transaction_costs_its_connection<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let pool = alone::<A>(&server);
    let mut conn = get::<A>(&pool).await;
    A::ask(&mut conn, "XA START 'mine'").await.unwrap();
    A::ask(&mut conn, INSERT).await.unwrap();
    drop(conn);
    writes_are_done(&server, &pool, "XA").await;
    let stats = pool.stats();
    assert_eq!((stats.connects, stats.evictions.by(EvictionCause::ResetFailed)), (2, 1), "{stats}");
    assert_eq!(count(&server), 4);
    close(&pool);
}

async fn each_borrower_begins_in_the_first_database<A: Adapter>() {
    let server = MariaDb::start(&[]);
    server.ask(&format!("CREATE DATABASE other; GRANT ALL ON other.* TO {USER}@'%'"));
    let unnamed = server.url().replace(&format!("/{DATABASE}"), "");
    for (url, renews, first) in [
        (server.url(), false, Some(DATABASE)),
        (server.url(), true, Some(DATABASE)),
        (unnamed, true, None),
    ] {
        let mut manager = A::manager(&url);
        if renews {
            manager = manager.renewing();
        }
        let pool = A::builder(manager).max_size(1).build().unwrap();
        for _ in 0..3 {
            let mut conn = get::<A>(&pool).await;
            let found = A::ask(&mut conn, "SELECT IFNULL(DATABASE(), '')").await.unwrap();
            assert_eq!(found.as_deref(), Some(first.unwrap_or_default()), "{url} {renews}");
            A::ask(&mut conn, "USE other").await.unwrap();
            drop(conn);
            whole(&pool).await;
        }
        assert_eq!(pool.stats().connects, 1, "{url} {renews}");
        close(&pool);
    }
}

async fn a_session_that_was_given_to_another_user_is_closed<A: Adapter>() {
    let server = MariaDb::start(&[]);
    server.ask("CREATE USER other@'%'");
    for renews in [false, true] {
        let mut manager = A::manager(&server.url());
        if renews {
            manager = manager.renewing();
        }
        let pool = A::builder(manager).max_size(1).build().unwrap();
        drop(get::<A>(&pool).await);
        let mut conn = get::<A>(&pool).await;
        A::become_another(&mut conn, "other").await.unwrap();
        drop(conn);
        let mut conn = get::<A>(&pool).await;
        let user = A::ask(&mut conn, "SELECT SUBSTRING_INDEX(USER(), '@', 1)").await.unwrap();
        assert_eq!(user.as_deref(), Some(USER));
        drop(conn);
        close(&pool);
    }
}

async fn a_database_that_was_dropped_and_made_anew_is_the_one_of_the_next_borrower<A: Adapter>() {
    let server = MariaDb::start(&[]);
    server.ask(&format!("GRANT ALL ON *.* TO {USER}@'%'"));
    let pool = A::builder(A::manager(&server.url())).max_size(1).build().unwrap();
    for is_executed in [false, true] {
        for sql in [
            "CREATE OR REPLACE DATABASE songs",
            "CREATE OR REPLACE SCHEMA songs",
            "DROP DATABASE songs",
            "DROP\x0bDATABASE songs",
            "DROP/* it */SCHEMA IF EXISTS songs",
        ] {
            let mut conn = get::<A>(&pool).await;
            match is_executed {
                true => A::execute(&mut conn, sql).await.unwrap(),
                false => drop(A::ask(&mut conn, sql).await.unwrap()),
            }
            server.ask(&format!("CREATE DATABASE IF NOT EXISTS {DATABASE}"));
            drop(conn);
            let mut conn = get::<A>(&pool).await;
            let found = A::ask(&mut conn, "SELECT IFNULL(DATABASE(), '')").await.unwrap();
            assert_eq!(found.as_deref(), Some(DATABASE), "{sql}, executed: {is_executed}");
        }
    }
    close(&pool);
}

async fn a_lock_on_all_tables_is_given_up_however_it_was_taken<A: Adapter>() {
    let server = MariaDb::start(&[]);
    server.ask(&format!("GRANT RELOAD ON *.* TO {USER}@'%'"));
    let pool = alone::<A>(&server);
    for is_executed in [false, true] {
        for sql in ["FLUSH TABLES WITH READ LOCK", "LOCK TABLES song READ"] {
            let mut conn = get::<A>(&pool).await;
            match is_executed {
                true => A::execute(&mut conn, sql).await.unwrap(),
                false => drop(A::ask(&mut conn, sql).await.unwrap()),
            }
            drop(conn);
            let held = get::<A>(&pool).await;
            server
                .ask(&format!("SET lock_wait_timeout = 0; INSERT INTO {DATABASE}.song VALUES (2)"));
            drop(held);
        }
    }
    close(&pool);
}

async fn each_loan_begins_as_the_server_has_sessions_begin<A: Adapter>() {
    let begins = "SET autocommit = 0, sql_mode = 'ANSI', @mine = 1";
    let server = MariaDb::start(&[&format!("--init-connect={begins}")]);
    // With all that it would ask, the driver asks nothing.
    let told = match TypeId::of::<A>() == TypeId::of::<MysqlManager>() {
        true => "?max_allowed_packet=1000000",
        false => "?max_allowed_packet=1000000&wait_timeout=1000",
    };
    for options in ["", told] {
        for renews in [false, true] {
            let mut manager = A::manager(&(server.url() + options));
            if renews {
                manager = manager.renewing();
            }
            let pool = A::builder(manager).max_size(1).build().unwrap();
            for n in 0..4 {
                let mut conn = get::<A>(&pool).await;
                let state =
                    "SELECT CONCAT_WS(' ', @@autocommit + 0, @@sql_mode LIKE '%ANSI%', @mine)";
                let found = A::ask(&mut conn, state).await.unwrap();
                assert_eq!(found.as_deref(), Some("0 1 1"), "{options} {renews}, loan {n}");
                A::ask(&mut conn, "SET @other = 1").await.unwrap();
            }
            close(&pool);
        }
    }
}

async fn a_response_timeout_without_end_is_none<A: Adapter>() {
    let server = MariaDb::start(&[]);
    let manager = A::manager(&server.url()).answering_within(Duration::MAX);
    let pool = A::builder(manager).max_size(1).build().unwrap();
    for n in 0..2 {
        let mut conn = get::<A>(&pool).await;
        echo::<A>(&mut conn, n).await.unwrap();
        A::execute(&mut conn, "SELECT 1").await.unwrap();
        A::transact(&mut conn, "SELECT 1", true).await.unwrap();
        A::ask(&mut conn, "SET @mine = 1").await.unwrap();
    }
    assert_eq!(pool.stats().connects, 1);
    close(&pool);
}
