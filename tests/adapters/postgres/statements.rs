//! The statements that PostgreSQL's adapters keep: how many, for how long, and what becomes of them
//! when the server forgets them or a table changes.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, RUNTIME, ask, both, named, single};
use crate::common::servers::pgbouncer::PgBouncer;
use crate::common::servers::postgres::Postgres;
use crate::common::{PLENTY, poll_once};
use bytes::BytesMut;
use caliburn::adapters::Reset;
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::{EvictionCause, Pool, PooledConnection};
use std::pin::pin;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A value of a type of the tests' own.
#[derive(Debug)]
struct Mood;

impl ToSql for Mood {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(b"ok");
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

const THERE: &str = "SELECT count(*) FROM pg_prepared_statements";

fn there<D: Driver>(client: &mut D::Connection) -> usize {
    D::ask(client, THERE).unwrap().unwrap().parse().unwrap()
}

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_statement_is_prepared_once_for_each_connection_whoever_borrows_it<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")));
        for n in 0..10 {
            let mut client = pool.get_timeout(PLENTY).unwrap();
            assert_eq!(D::kept(&mut client, "SELECT 7::INT8").unwrap(), 7);
            assert_eq!(D::kept_at_once(&mut client, "SELECT 7::INT8").unwrap(), 7);
            assert_eq!(D::kept_in_transaction(&mut client, "SELECT 7::INT8").unwrap(), 7);
            assert_eq!(there::<D>(&mut client), 1, "loan {n}");
        }
        let calls = ask(&pool, "SELECT generic_plans + custom_plans FROM pg_prepared_statements");
        assert_eq!(calls.as_deref(), Some("30"));
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn the_least_recently_used_statement_is_closed_for_a_new_one<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")).statement_cache_size(3));
        let mut client = pool.get_timeout(PLENTY).unwrap();
        for n in [1, 2, 3, 1, 4, 1, 5, 1, 6, 1] {
            assert_eq!(D::kept(&mut client, &format!("SELECT {n}::INT8")).unwrap(), n);
        }
        assert_eq!(there::<D>(&mut client), 3);
        let list = "SELECT string_agg(statement, ', ' ORDER BY statement) \
                    FROM pg_prepared_statements";
        let kept = D::ask(&mut client, list).unwrap();
        assert_eq!(kept.as_deref(), Some("SELECT 1::INT8, SELECT 5::INT8, SELECT 6::INT8"));
        drop(client);
        let pool = single(D::open(&named(&server, "it")).statement_cache_size(0));
        let mut client = pool.get_timeout(PLENTY).unwrap();
        assert_eq!(D::kept(&mut client, "SELECT 1::INT8").unwrap(), 1);
        assert_eq!(there::<D>(&mut client), 0);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn what_the_server_has_forgotten_is_prepared_anew<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")));
        let mut client = pool.get_timeout(PLENTY).unwrap();
        for forget in ["DISCARD ALL", "DEALLOCATE ALL", "SELECT 1; DISCARD ALL"] {
            assert_eq!(D::kept(&mut client, "SELECT 7::INT8").unwrap(), 7);
            // Several statements at once run in a transaction, where not all may be discarded.
            let seven = "SELECT 7::INT8";
            let _ = D::ask(&mut client, forget);
            assert_eq!(D::kept(&mut client, seven).unwrap(), 7, "after {forget}");
            let _ = D::ask(&mut client, forget);
            assert_eq!(D::kept_at_once(&mut client, seven).unwrap(), 7, "after {forget}");
            let _ = D::ask(&mut client, forget);
            assert_eq!(D::kept_in_transaction(&mut client, seven).unwrap(), 7, "after {forget}");
            assert_eq!(there::<D>(&mut client), 1);
        }
        let name = D::ask(&mut client, "SELECT name FROM pg_prepared_statements").unwrap().unwrap();
        D::ask(&mut client, &format!("DEALLOCATE {name}")).unwrap();
        assert_eq!(D::kept(&mut client, "SELECT 7::INT8").unwrap(), 7);
        // Where it cannot be overheard, the first to use it finds out.
        let name = D::ask(&mut client, "SELECT name FROM pg_prepared_statements").unwrap().unwrap();
        D::ask(&mut client, &format!("DO $$ BEGIN EXECUTE 'DEALLOCATE {name}'; END $$")).unwrap();
        let error = D::kept(&mut client, "SELECT 7::INT8").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INVALID_SQL_STATEMENT_NAME));
        assert_eq!(D::kept(&mut client, "SELECT 7::INT8").unwrap(), 7);
        let name = D::ask(&mut client, "SELECT name FROM pg_prepared_statements").unwrap().unwrap();
        D::ask(&mut client, &format!("DO $$ BEGIN EXECUTE 'DEALLOCATE {name}'; END $$")).unwrap();
        assert_eq!(D::kept_at_once(&mut client, "SELECT 7::INT8").unwrap(), 7);
        drop(client);
        assert_eq!(ask(&pool, "SELECT 1").as_deref(), Some("1"));
        assert_eq!(pool.stats().connects, 1);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn what_no_longer_fits_its_table_is_prepared_anew_once<D: Driver>() {
        const SQL: &str = "SELECT * FROM song";
        let server = Postgres::start(&[]);
        server.ask("CREATE TABLE song (title INT8)");
        server.ask("INSERT INTO song VALUES (7)");
        let pool = single(D::open(&named(&server, "it")));
        let mut client = pool.get_timeout(PLENTY).unwrap();
        assert_eq!(D::kept(&mut client, SQL).unwrap(), 7);
        server.ask("ALTER TABLE song ADD a TEXT");
        let error = D::kept(&mut client, SQL).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
        assert_eq!(D::kept(&mut client, SQL).unwrap(), 7);
        server.ask("ALTER TABLE song ADD b TEXT");
        assert_eq!(D::kept_at_once(&mut client, SQL).unwrap(), 7);
        assert_eq!(D::kept_at_once(&mut client, SQL).unwrap(), 7);
        // A transaction has failed by then, which its owner must know.
        server.ask("ALTER TABLE song ADD c TEXT");
        let error = D::kept_in_transaction(&mut client, SQL).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
        assert_eq!(D::kept_in_transaction(&mut client, SQL).unwrap(), 7);
        server.ask("ALTER TABLE song ADD d TEXT");
        D::ask(&mut client, "BEGIN").unwrap();
        let error = D::kept_at_once(&mut client, SQL).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
        D::ask(&mut client, "ROLLBACK").unwrap();
        assert_eq!(D::kept_at_once(&mut client, SQL).unwrap(), 7);
        assert_eq!(there::<D>(&mut client), 1);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_session_that_is_made_as_good_as_new_keeps_them<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")).reset(Reset::Session));
        for _ in 0..3 {
            let mut client = pool.get_timeout(PLENTY).unwrap();
            assert_eq!(D::kept(&mut client, "SELECT 7::INT8").unwrap(), 7);
            D::ask(&mut client, "PREPARE \"it's\"\"mine\" AS SELECT 1").unwrap();
            assert_eq!(there::<D>(&mut client), 2);
        }
        let calls = ask(&pool, "SELECT generic_plans + custom_plans FROM pg_prepared_statements");
        assert_eq!(calls.as_deref(), Some("3"));
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn what_has_been_done_in_part_is_not_done_again<D: Driver>() {
        let server = Postgres::start(&[]);
        server.ask("CREATE TABLE done (n INT8)");
        server.ask(
            "CREATE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO done VALUES (1); COMMIT; EXECUTE 'DEALLOCATE helper'; END $$",
        );
        let pool = single(D::open(&named(&server, "it")));
        let mut client = pool.get_timeout(PLENTY).unwrap();
        let error = D::kept_at_once(&mut client, "CALL work()").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INVALID_SQL_STATEMENT_NAME));
        assert_eq!(server.ask("SELECT count(*) FROM done"), "1");
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_session_whose_driver_has_lost_its_own_statements_is_replaced<D: Driver>() {
        let server = Postgres::start(&[]);
        for n in 0..2 {
            server.ask(&format!("CREATE TYPE mood{n} AS ENUM ('ok')"));
        }
        // Each looks up a type.
        let ask_for = |client: &mut D::Connection, n| {
            D::echo_as(client, &format!("SELECT 'ok'::mood{n}"))
        };
        let pool = single(D::open(&named(&server, "it")));
        ask_for(&mut pool.get_timeout(PLENTY).unwrap(), 0).unwrap();
        ask(&pool, "DISCARD ALL");
        let error = ask_for(&mut pool.get_timeout(PLENTY).unwrap(), 1).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INVALID_SQL_STATEMENT_NAME));
        ask_for(&mut pool.get_timeout(PLENTY).unwrap(), 1).unwrap();
        assert_eq!(pool.stats().connects, 2);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn what_is_made_of_a_type_that_was_made_anew_is_prepared_anew<D: Driver>() {
        let server = Postgres::start(&["unix_socket_directories=/tmp"]);
        let make = "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE person (m mood)";
        server.ask(make);
        let tcp = named(&server, "it");
        for dsn in [tcp.replace("127.0.0.1", "/tmp"), tcp] {
            let pool = single(D::open(&dsn));
            let mut client = pool.get_timeout(PLENTY).unwrap();
            let ask = |client: &mut D::Connection| {
                D::kept_with(client, "SELECT count(*) FROM person WHERE m = $1", &Mood)
            };
            ask(&mut client).unwrap();
            server.ask("DROP TABLE person; DROP TYPE mood");
            server.ask(make);
            let failed = (0..3).filter(|_| ask(&mut client).is_err());
            assert_eq!(failed.count(), 1, "{dsn}");
        }
    }

    /// Over a socket that is a file nobody sees that a transaction is open.
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_transaction_that_has_failed_says_why_where_nothing_is_heard<D: Driver>() {
        let server = Postgres::start(&["unix_socket_directories=/tmp"]);
        server.ask("CREATE TABLE song (title INT8)");
        server.ask("INSERT INTO song VALUES (7)");
        let dsn = named(&server, "it").replace("127.0.0.1", "/tmp");
        let pool = single(D::open(&dsn));
        let mut client = pool.get_timeout(PLENTY).unwrap();
        assert_eq!(D::kept_at_once(&mut client, "SELECT * FROM song").unwrap(), 7);
        server.ask("ALTER TABLE song ADD a TEXT");
        D::ask(&mut client, "BEGIN").unwrap();
        let error = D::kept_at_once(&mut client, "SELECT * FROM song").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    }

    #[ignore = "needs PostgreSQL and PgBouncer (initdb, postgres, pgbouncer)"]
    fn behind_a_pooler_that_knows_no_statements_none_need_be_kept<D: Driver>() {
        let server = Postgres::start(&[]);
        let pooler = PgBouncer::start(&server, 1);
        let builder = D::open(&pooler.dsn()).statement_cache_size(0).builder();
        let pool = builder.max_size(3).build().unwrap();
        let mut clients: Vec<_> = (0..3).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
        for n in 0..30 {
            let client = &mut clients[n % 3];
            assert_eq!(D::kept_in_transaction(client, "SELECT 7::INT8").unwrap(), 7);
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn statements_with_types_of_their_own_are_kept_apart() {
    let server = Postgres::start(&[]);
    let pool = single(AsyncPostgresManager::open(&named(&server, "it")));
    RUNTIME.block_on(async {
        let client = pool.get_async().await.unwrap();
        for _ in 0..3 {
            for of in [Type::INT4, Type::TEXT] {
                let statement = client
                    .prepare_typed_cached("SELECT $1", std::slice::from_ref(&of))
                    .await
                    .unwrap();
                assert_eq!(statement.params(), [of]);
            }
        }
    });
    assert_eq!(ask(&pool, THERE).as_deref(), Some("2"));
}

struct Prepared(Vec<tokio_postgres::Statement>);

/// More than may be left behind by requests that were given up.
#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn statements_that_a_hook_keeps_beside_the_connection_stay() {
    let server = Postgres::start(&[]);
    let prepare = |n: i32| format!("SELECT {n}");
    let threads = Pool::builder(PostgresManager::open(&named(&server, "it")))
        .max_size(1)
        .after_connect(move |client, metadata| {
            let all = (0..70).map(|n| client.prepare(&prepare(n))).collect::<Result<_, _>>()?;
            metadata.data().insert(Prepared(all));
            Ok(())
        })
        .build()
        .unwrap();
    for n in 0..3 {
        let mut client = threads.get_timeout(PLENTY).unwrap();
        let statement = PooledConnection::data(&client).get::<Prepared>().unwrap().0[n].clone();
        client.query_one(&statement, &[]).unwrap();
    }
    let tasks = AsyncPostgresManager::open(&named(&server, "it")).builder();
    let tasks = tasks.max_size(1).after_connect_async(move |client, mut metadata| {
        Box::pin(async move {
            let mut all = Vec::new();
            for n in 0..70 {
                all.push(client.prepare(&prepare(n)).await?);
            }
            metadata.data().insert(Prepared(all));
            Ok(())
        })
    });
    let tasks = tasks.build().unwrap();
    for n in 0..3 {
        let client = tasks.get_timeout(PLENTY).unwrap();
        let statement = PooledConnection::data(&client).get::<Prepared>().unwrap().0[n].clone();
        RUNTIME.block_on(client.query_one(&statement, &[])).unwrap();
    }
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn requests_that_are_given_up_midway_leave_a_bounded_number_of_statements_behind() {
    let server = Postgres::start(&[]);
    // On this thread nothing is answered between a poll and a drop.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let manager = AsyncPostgresManager::new(named(&server, "it").parse().unwrap());
    let pool = single(manager.runtime(runtime.handle().clone()));
    runtime.block_on(async {
        let kept = pool.get_async().await.unwrap().prepare_cached("SELECT 'kept'").await.unwrap();
        for n in 0..2_000 {
            let client = pool.get_async().await.unwrap();
            let sql = format!("SELECT {n}");
            if n % 2 == 0 {
                let _ = poll_once(&mut pin!(client.query(&*sql, &[])));
            } else {
                let _ = poll_once(&mut pin!(client.prepare_cached(&sql)));
            }
        }
        let client = pool.get_async().await.unwrap();
        let row = client.query_one(&kept, &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "kept");
        assert_eq!(client.query_one_cached("SELECT 'kept'", &[]).await.unwrap().len(), 1);
        let there: i64 = client.query_one_cached(THERE, &[]).await.unwrap().get(0);
        assert!(there <= 100, "{there} statements");
    });
    assert_eq!(pool.stats().connects, 1);
    assert!(pool.stats().resets < 2_000 / 10, "{:?}", pool.stats());
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn answers_that_come_as_their_futures_are_dropped_cost_a_connection_in_the_end() {
    let server = Postgres::start(&[]);
    let pool = single(AsyncPostgresManager::open(&named(&server, "it")));
    let there = || ask(&pool, THERE).unwrap().parse::<usize>().unwrap();
    let mut most = 0;
    for n in 0..30 {
        let client = pool.get_timeout(PLENTY).unwrap();
        for m in 0..100 {
            let statement = RUNTIME.block_on(client.prepare(&format!("SELECT {n} + {m}")));
            // To the server this is a future that was dropped too late.
            std::mem::forget(statement.unwrap());
        }
        drop(client);
        most = most.max(there());
    }
    assert!(most <= 1_200, "{most} statements");
    assert_eq!(pool.stats().connects, 3);
    assert_eq!(pool.stats().evictions.by(EvictionCause::Broken), 2);
}
