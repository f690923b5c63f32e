//! What a borrower can leave behind in a PostgreSQL session, and what the next one finds of it.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, Pretence, RUNTIME, ask, both, named, single};
use crate::common::servers::postgres::Postgres;
use crate::common::{PLENTY, eventually};
use caliburn::adapters::Reset;
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use postgres::fallible_iterator::FallibleIterator;

/// What is left, how, and a question whose answer tells. The first ones end with the loan in any
/// mode.
const LEFT: [(&str, &str, &str); 14] = [
    (
        "a transaction",
        "BEGIN; SET LOCAL caliburn.mark = 'x'",
        "SELECT coalesce(current_setting('caliburn.mark', true), '')",
    ),
    ("a failed transaction", "BEGIN; SELECT 1/0", "SELECT 1"),
    ("a subscription", "LISTEN tide", "SELECT count(*) FROM pg_listening_channels()"),
    ("a setting", "SET work_mem = '128kB'", "SHOW work_mem"),
    (
        "a setting of its own",
        "SET caliburn.mine = 'x'",
        "SELECT coalesce(current_setting('caliburn.mine', true), '')",
    ),
    ("a role", "SET ROLE nobody", "SELECT current_user"),
    ("a user", "SET SESSION AUTHORIZATION nobody", "SELECT session_user"),
    (
        "read-only transactions",
        "SET default_transaction_read_only = on",
        "SHOW transaction_read_only",
    ),
    ("a search path", "SET search_path = evil, pg_catalog", "SHOW search_path"),
    (
        "strings of another kind",
        "SET standard_conforming_strings = off",
        "SHOW standard_conforming_strings",
    ),
    (
        "a temporary table",
        "CREATE TEMP TABLE mine AS SELECT 1",
        "SELECT count(*) FROM pg_class WHERE relname = 'mine'",
    ),
    (
        "a lock",
        "SELECT pg_advisory_lock(7)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
    ),
    (
        "a cursor",
        "BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "SELECT count(*) FROM pg_cursors WHERE name = 'mine'",
    ),
    (
        "a statement of SQL's",
        "PREPARE mine AS SELECT 1",
        "SELECT count(*) FROM pg_prepared_statements WHERE from_sql",
    ),
];
/// Of these.
const ENDS_WITH_A_LOAN: usize = 3;

fn prepared_server() -> Postgres {
    let server = Postgres::start(&[]);
    server.ask("CREATE ROLE nobody");
    // What the pool calls may be called otherwise by then.
    server.ask("CREATE SCHEMA evil");
    server.ask("GRANT USAGE ON SCHEMA evil TO PUBLIC");
    server.ask("CREATE FUNCTION evil.pg_advisory_unlock_all() RETURNS VOID LANGUAGE SQL AS ''");
    server.ask(
        "CREATE VIEW evil.pg_prepared_statements AS \
         SELECT 'x'::TEXT AS name, true AS from_sql WHERE false",
    );
    server
}

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn the_next_borrower_finds_what_the_mode_says<D: Driver>() {
        let server = prepared_server();
        for reset in [Reset::Transaction, Reset::Session] {
            for (n, (what, leave, tells)) in LEFT.into_iter().enumerate() {
                let pool = single(D::open(&named(&server, "it")).reset(reset));
                let at_first = ask(&pool, tells);
                let mut client = pool.get_timeout(PLENTY).unwrap();
                let _ = D::ask(&mut client, leave);
                drop(client);
                let then = ask(&pool, tells);
                let is_left = then != at_first;
                println!("{reset:?}: {what} is {}", if is_left { "left" } else { "gone" });
                let should_be = reset == Reset::Transaction && n >= ENDS_WITH_A_LOAN;
                assert_eq!(is_left, should_be, "{reset:?}, {what}: {at_first:?}, {then:?}");
                assert_eq!(pool.stats().connects, 1, "{reset:?}, {what}");
            }
        }
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn no_setting_keeps_a_session_from_being_made_as_good_as_new<D: Driver>() {
        let server = prepared_server();
        let pool = single(D::open(&named(&server, "it")).reset(Reset::Session));
        let first: Vec<_> = LEFT.iter().map(|(.., tells)| ask(&pool, tells)).collect();
        let mut client = pool.get_timeout(PLENTY).unwrap();
        // All at once, so that each meets the others; those that end a transaction first.
        for (what, leave, _) in LEFT.into_iter().rev() {
            let _ = D::ask(&mut client, leave);
            if what.contains("transaction") {
                let _ = D::ask(&mut client, "ROLLBACK");
            }
        }
        D::ask(&mut client, "BEGIN").unwrap();
        drop(client);
        let then: Vec<_> = LEFT.iter().map(|(.., tells)| ask(&pool, tells)).collect();
        assert_eq!(first, then);
        assert_eq!(pool.stats().connects, 1);
    }
}

/// Where nothing can be heard: over a socket that is a file, and if a server wants no TLS.
fn unheard<D: Driver>(server: &Postgres) -> [D; 2] {
    let plain = named(server, "it");
    let file = plain.replace("127.0.0.1", "/tmp");
    [D::open(&file), D::open(&plain).secured_by(Pretence)]
}

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn what_nobody_hears_is_gone_all_the_same<D: Driver>() {
        let server = Postgres::start(&["unix_socket_directories=/tmp"]);
        let listening = "SELECT count(*) FROM pg_listening_channels()";
        let prepared = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql";
        for manager in unheard::<D>(&server) {
            let pool = single(manager);
            ask(&pool, "LISTEN tide");
            assert_eq!(ask(&pool, listening).as_deref(), Some("0"));
        }
        for manager in unheard::<D>(&server) {
            let pool = single(manager.reset(Reset::Session));
            ask(&pool, "PREPARE mine AS SELECT 1");
            assert_eq!(ask(&pool, prepared).as_deref(), Some("0"));
        }
        // In a block or a procedure, wherever it runs.
        server.ask(
            "CREATE PROCEDURE listen() LANGUAGE plpgsql AS \
             $$ BEGIN EXECUTE 'LISTEN tide'; END $$",
        );
        for listen in ["DO $$ BEGIN EXECUTE 'LISTEN tide'; END $$", "CALL listen()"] {
            let pool = single(D::open(&named(&server, "it")));
            ask(&pool, listen);
            assert_eq!(ask(&pool, listening).as_deref(), Some("0"), "{listen}");
        }
        let pool = single(D::open(&named(&server, "it")).reset(Reset::Session));
        ask(&pool, "DO $$ BEGIN EXECUTE 'PREPARE mine AS SELECT 1'; END $$");
        assert_eq!(ask(&pool, prepared).as_deref(), Some("0"));
    }

    /// Such a transaction waits for all that write in serializable ones.
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn transactions_that_wait_for_others_do_not_keep_a_session_from_its_reset<D: Driver>() {
        let server = Postgres::start(&["unix_socket_directories=/tmp"]);
        server.ask("CREATE TABLE song (title TEXT)");
        let other = single(PostgresManager::open(&named(&server, "other")));
        let mut other = other.get_timeout(PLENTY).unwrap();
        let write = "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO song VALUES ('Nimue')";
        other.batch_execute(write).unwrap();
        let [file, _] = unheard::<D>(&server);
        for manager in [D::open(&named(&server, "it")), file] {
            let pool = single(manager.reset(Reset::Session));
            ask(
                &pool,
                "SET SESSION CHARACTERISTICS AS TRANSACTION \
                 ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
            );
            assert_eq!(ask(&pool, "SHOW transaction_isolation").as_deref(), Some("read committed"));
            assert_eq!(pool.stats().connects, 1);
        }
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_copy_that_no_driver_goes_on_with_costs_its_connection_and_no_time<D: Driver>() {
        let server = Postgres::start(&[]);
        server.ask("CREATE TABLE song (title TEXT)");
        let builder = D::open(&named(&server, "it")).builder().max_size(1).reset_timeout(PLENTY);
        let pool = builder.build().unwrap();
        let mut client = pool.get_timeout(PLENTY).unwrap();
        D::ask(&mut client, "COPY song FROM STDIN").unwrap_err();
        drop(client);
        let mut client = pool.get_timeout(PLENTY / 2).unwrap();
        assert_eq!(D::ask(&mut client, "SELECT 7").unwrap().as_deref(), Some("7"));
    }
}

fn notify(server: &Postgres) {
    server.ask("NOTIFY tide, 'high'");
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_notification_that_was_not_fetched_is_not_for_the_next_thread() {
    let server = Postgres::start(&[]);
    let pool = single(PostgresManager::open(&named(&server, "it")));
    for listen in ["LISTEN tide", "DO $$ BEGIN EXECUTE 'LISTEN tide'; END $$"] {
        let mut client = pool.get_timeout(PLENTY).unwrap();
        client.batch_execute(listen).unwrap();
        notify(&server);
        let heard = client.notifications().timeout_iter(PLENTY).next().unwrap().unwrap();
        assert_eq!(heard.payload(), "high");
        notify(&server);
        // It is in the driver's hands.
        client.batch_execute("SELECT pg_sleep(0.1)").unwrap();
        drop(client);
        notify(&server);
        let mut client = pool.get_timeout(PLENTY).unwrap();
        client.batch_execute("SELECT pg_sleep(0.1)").unwrap();
        assert!(client.notifications().is_empty(), "{listen}");
        assert!(client.notifications().iter().next().unwrap().is_none(), "{listen}");
    }
    assert_eq!(pool.stats().connects, 1);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_task_hears_the_notifications_of_its_own_loan() {
    let server = Postgres::start(&[]);
    let pool = single(AsyncPostgresManager::open(&named(&server, "it")));
    for _ in 0..3 {
        let client = pool.get_timeout(PLENTY).unwrap();
        RUNTIME.block_on(async {
            assert!(client.notifications().try_recv().is_none(), "another loan's");
            client.batch_execute("LISTEN tide").await.unwrap();
            notify(&server);
            let heard = client.notifications().recv().await.unwrap();
            assert_eq!((heard.channel(), heard.payload()), ("tide", "high"));
            notify(&server);
            client.batch_execute("SELECT pg_sleep(0.1)").await.unwrap();
        });
        drop(client);
        notify(&server);
    }
    assert_eq!(pool.stats().connects, 1);
    // When the connection ends, so does the wait.
    let client = pool.get_timeout(PLENTY).unwrap();
    RUNTIME.block_on(async {
        let end = async {
            tokio::task::block_in_place(|| {
                server.ask(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = 'it'",
                )
            })
        };
        let (heard, _) = tokio::join!(async { client.notifications().recv().await }, end);
        assert!(heard.is_none());
    });
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn notifications_that_are_not_fetched_are_kept_up_to_a_bound() {
    let server = Postgres::start(&[]);
    let pool = single(AsyncPostgresManager::open(&named(&server, "it")));
    let client = pool.get_timeout(PLENTY).unwrap();
    RUNTIME.block_on(client.batch_execute("LISTEN tide")).unwrap();
    server.ask("SELECT count(pg_notify('tide', n::TEXT)) FROM generate_series(1, 3000) AS n");
    eventually("all have come", || client.notifications().lost() == 3000 - 1024);
    let mut notifications = client.notifications();
    assert_eq!(notifications.try_recv().unwrap().payload(), (3000 - 1024 + 1).to_string());
    let rest = std::iter::from_fn(|| notifications.try_recv()).count();
    assert_eq!(rest, 1023);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn notices_are_told_to_those_who_ask_for_them() {
    let server = Postgres::start(&[]);
    let (told, heard) = std::sync::mpsc::channel();
    let manager = AsyncPostgresManager::open(&named(&server, "it"));
    let told = std::sync::Mutex::new(told);
    let pool = single(manager.on_notice(move |notice| {
        let _ = told.lock().unwrap().send(notice.message().to_owned());
    }));
    ask(&pool, "DO $$ BEGIN RAISE NOTICE 'mind the gap'; END $$");
    assert_eq!(heard.recv_timeout(PLENTY).unwrap(), "mind the gap");
}
