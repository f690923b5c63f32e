//! The adapters for PostgreSQL, against PostgreSQL itself: what a borrower leaves behind, who is
//! told what went wrong, and when a session ends.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{
    Driver, MARK, RUNTIME, ask, assert_more_than_one_is_tried, assert_unmarked, both, drivers,
    named, root, single,
};
use crate::common::servers::postgres::Postgres;
use crate::common::{PLENTY, ROOM, eventually, poll_once};
use caliburn::adapters::Reset;
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::health::PingOnBorrow;
use caliburn::{BuildError, GetError, ManagerError, Pool, PooledConnection, error::Phase};
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn an_open_transaction_is_rolled_back_before_anybody_else_gets_the_connection<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")));
        ask(&pool, "CREATE TABLE song (title TEXT)");
        let isolated = "BEGIN ISOLATION LEVEL SERIALIZABLE";
        for (n, begin) in
            ["BEGIN", isolated, "SAVEPOINTS", "ABORTED", "API"].into_iter().enumerate()
        {
            let mut client = pool.get().unwrap();
            match begin {
                "API" => D::begin_and_forget(&mut client).unwrap(),
                "SAVEPOINTS" => drop(D::ask(&mut client, "BEGIN; SAVEPOINT one").unwrap()),
                "ABORTED" => {
                    D::ask(&mut client, "BEGIN").unwrap();
                    D::ask(&mut client, "SELECT 1/0").unwrap_err();
                }
                begin => drop(D::ask(&mut client, begin).unwrap()),
            }
            if begin != "ABORTED" {
                D::ask(&mut client, MARK).unwrap();
                D::ask(&mut client, "INSERT INTO song VALUES ('Nimue')").unwrap();
            }
            drop(client);
            assert_unmarked(&pool, begin);
            assert!(pool.stats().resets > n as u64, "{begin} went unnoticed");
            assert_eq!(ask(&pool, "SELECT count(*) FROM song").as_deref(), Some("0"));
        }
        assert_eq!(pool.stats().connects, 1, "a reset is enough");
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn what_was_committed_stays<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")));
        ask(&pool, "CREATE TABLE song (title TEXT)");
        ask(&pool, "BEGIN; INSERT INTO song VALUES ('Nimue'); COMMIT");
        for n in 0..1000 {
            assert_eq!(D::echo(&mut pool.get().unwrap(), n).unwrap(), n);
        }
        let mut client = pool.get().unwrap();
        D::ask(&mut client, "SELECT 1/0").unwrap_err();
        D::ask(&mut client, "SELECT generate_series(1, 100000)").unwrap();
        drop(client);
        assert_eq!(ask(&pool, "SELECT count(*) FROM song").as_deref(), Some("1"));
        assert_eq!(pool.stats().connects, 1);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn hooks_of_new_connections_are_run_again_on_each_session_made_as_good_as_new<D: Driver>() {
        let server = Postgres::start(&[]);
        let builder = D::open(&named(&server, "it")).reset(Reset::Session).builder();
        let greeting = "CREATE TEMP TABLE born AS SELECT 1; SET work_mem = '128kB'";
        let pool = D::greeting(builder.max_size(1), greeting).build().unwrap();
        let mut client = pool.get().unwrap();
        assert_eq!(D::ask(&mut client, "SHOW work_mem").unwrap().as_deref(), Some("128kB"));
        D::ask(&mut client, "DROP TABLE born; SET work_mem = '256kB'").unwrap();
        D::ask(&mut client, "SELECT pg_advisory_lock(7)").unwrap();
        D::echo(&mut client, 7).unwrap();
        drop(client);
        let mut client = pool.get().unwrap();
        assert_eq!(D::ask(&mut client, "SHOW work_mem").unwrap().as_deref(), Some("128kB"));
        assert_eq!(D::ask(&mut client, "TABLE born").unwrap().as_deref(), Some("1"));
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        assert_eq!(D::ask(&mut client, locks).unwrap().as_deref(), Some("0"));
        assert_eq!(D::echo(&mut client, 8).unwrap(), 8);
        assert_eq!(pool.stats().connects, 1);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn sql_that_fails_on_a_new_connection_fails_the_connect_for_good<D: Driver>() {
        let server = Postgres::start(&[]);
        let builder = D::open(&named(&server, "it")).builder().max_size(1);
        let greeting = "SET no_such.thing TO 1; SET nonsense = 1";
        let pool = D::greeting(builder, greeting).build().unwrap();
        let error = pool.get_timeout(PLENTY).unwrap_err();
        assert!(matches!(error, GetError::Connect { .. }), "{error}");
        assert!(root(&error).to_string().contains("nonsense"), "{}", root(&error));
        eventually("no session is left over", || server.sessions("it") == 0);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn no_session_is_left_when_a_pool_has_closed<D: Driver>() {
        let server = Postgres::start(&[]);
        let builder = D::open(&named(&server, "it")).builder();
        let pool = builder.max_size(5).initial_size(5).build().unwrap();
        pool.ready(PLENTY).unwrap();
        let clients: Vec<_> = (0..5).map(|_| pool.get().unwrap()).collect();
        assert_eq!(server.sessions("it"), 5);
        drop(clients);
        assert!(pool.close_within(PLENTY).is_complete());
        // The server has read the goodbyes; its processes need a moment to end.
        eventually("all sessions have ended", || server.sessions("it") == 0);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn who_may_not_in_is_told_so_at_once_and_nobody_is_told_the_password<D: Driver>() {
        let server = Postgres::start(&[]);
        server.ask("CREATE ROLE app LOGIN PASSWORD 'open sesame'");
        let hba = std::fs::read_to_string(server.hba()).unwrap();
        let asks = "host all app 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(server.hba(), format!("{asks}{hba}")).unwrap();
        server.ask("SELECT pg_reload_conf()");

        let dsn = |user: &str, password: &str, database: &str| {
            format!(
                "host=127.0.0.1 port={} user={user} password='{password}' dbname={database}",
                server.port
            )
        };
        let pool = single(D::open(&dsn("app", "open sesame", "postgres")));
        eventually("the new rules hold", || pool.get_timeout(PLENTY).is_ok());

        for (dsn, code) in [
            (dsn("app", "open barley", "postgres"), SqlState::INVALID_PASSWORD),
            (dsn("nobody_we_know", "", "postgres"), SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
            (dsn("app", "open sesame", "no_such_database"), SqlState::INVALID_CATALOG_NAME),
        ] {
            assert_permanent::<D>(&dsn, |error| assert_eq!(error.code(), Some(&code)));
        }
        // The driver's own complaint, before the server is asked.
        assert_permanent::<D>(&dsn("app", "", "postgres").replace("password=''", ""), |error| {
            assert!(format!("{error:#}").contains("invalid configuration"), "{error:#}");
        });
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_query_is_given_up_when_its_token_says_so<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")));
        let mut client = pool.get().unwrap();
        let cancel = D::canceller(&client);
        let is_over = Arc::new(AtomicBool::new(false));
        let canceller = std::thread::spawn({
            let is_over = is_over.clone();
            move || {
                // The first may come before the query.
                eventually("the query is given up", || {
                    cancel();
                    is_over.load(SeqCst)
                });
            }
        });
        let error = D::ask(&mut client, "SELECT pg_sleep(60)").unwrap_err();
        is_over.store(true, SeqCst);
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
        canceller.join().unwrap();
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_connection_taken_out_of_the_pool_goes_on_working<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")));
        let mut client = PooledConnection::detach(pool.get().unwrap());
        assert!(pool.close_within(PLENTY).is_complete());
        assert_eq!(D::echo(&mut client, 5).unwrap(), 5);
        drop(client);
        eventually("its session has ended", || server.sessions("it") == 0);
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn copies_of_all_kinds_leave_a_connection_in_order<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")));
        ask(&pool, "CREATE TABLE song (title TEXT)");
        for n in 0..20 {
            D::copy(&mut pool.get().unwrap(), n);
            assert_eq!(D::echo(&mut pool.get().unwrap(), n).unwrap(), n);
            assert_unmarked(&pool, "a copy");
        }
        // Written to the end: every fifth, one line each; and what was given up half-way has left
        // nothing.
        assert_eq!(ask(&pool, "SELECT count(*) FROM song").as_deref(), Some("4"));
    }

    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_copy_that_is_refused_late_gives_its_second_answer_to_nobody<D: Driver>() {
        let server = Postgres::start(&[]);
        server.ask("CREATE VIEW song AS SELECT 1 AS x");
        let pool = single(D::open(&named(&server, "it")));
        for way in 0..60 {
            D::copy_in_vain(&mut pool.get().unwrap(), way);
            // There is no such table: to succeed is a lie, and to fail otherwise somebody else's
            // answer.
            let insert = "INSERT INTO nothing VALUES (1)";
            let error = D::ask(&mut pool.get().unwrap(), insert).unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error}");
            assert_eq!(ask(&pool, "SELECT 7").as_deref(), Some("7"));
        }
    }

    fn a_server_that_is_not_there_is_waited_for_no_longer_than_asked<D: Driver>() {
        let port = crate::common::servers::process::free_port();
        let pool = single(D::open(&format!("host=127.0.0.1 port={port} user=app password=xyzzy")));
        let begun = Instant::now();
        let error = pool.get_timeout(Duration::from_millis(300)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_millis(300) + ROOM);
        assert!(matches!(error, GetError::TimedOut { .. }), "{error}");
        let refused = root(&error).downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused), "{error}");
        assert!(!format!("{error:?} {error}").contains("xyzzy"));
    }

    fn a_server_that_takes_connections_and_says_nothing_fails_a_connect_at_its_limit<D: Driver>() {
        // The kernel takes them; nobody ever reads.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pool = D::open(&format!("host=127.0.0.1 port={port} user=app dbname=x password=xyzzy"))
            .builder()
            .max_size(1)
            .connect_timeout(Duration::from_millis(200))
            .build()
            .unwrap();
        let begun = Instant::now();
        let error = pool.get_timeout(Duration::from_secs(1)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(1) + ROOM);
        let GetError::TimedOut { phase, .. } = &error else { panic!("{error}") };
        assert!(matches!(phase, Phase::Connect | Phase::Wait), "{error}");
        // The driver itself has let go, so that others could be tried: nothing is stuck.
        assert_more_than_one_is_tried(&pool);
        assert_eq!(pool.stats().quarantined, 0);
        assert!(!format!("{error:?} {error} {:?}", pool.manager()).contains("xyzzy"));
    }
}

/// Building with `wait_ready` fails at once, and so does the first `get` without it.
#[track_caller]
fn assert_permanent<D: Driver>(dsn: &str, is_right: impl Fn(&tokio_postgres::Error)) {
    let begun = Instant::now();
    let error = D::open(dsn).builder().min_size(1).wait_ready(PLENTY * 10).build().unwrap_err();
    let BuildError::NotReady(not_ready) = &error else { panic!("{error}") };
    assert!(matches!(not_ready.cause.as_deref(), Some(ManagerError::Failed(_))), "{error}");
    is_right(drivers(&error));
    let pool = single(D::open(dsn));
    let error = pool.get_timeout(PLENTY * 10).unwrap_err();
    assert!(matches!(error, GetError::Connect { .. }), "{error}");
    is_right(drivers(&error));
    let said = format!("{error} {error:?} {} {:?} {pool:?}", root(&error), pool.manager());
    assert!(!said.contains("sesame") && !said.contains("barley"), "{said}");
    assert!(begun.elapsed() < PLENTY, "waited for what will not pass");
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_clean_connection_of_a_thread_comes_back_without_a_reset() {
    let server = Postgres::start(&[]);
    let pool = single(PostgresManager::open(&named(&server, "it")));
    for n in 0..1000 {
        let mut client = pool.get().unwrap();
        assert_eq!(PostgresManager::echo(&mut client, n).unwrap(), n);
        let mut transaction = client.transaction().unwrap();
        transaction.execute("SELECT $1::INT8", &[&n]).unwrap();
        if n % 2 == 0 {
            transaction.commit().unwrap();
        }
    }
    assert_eq!(pool.stats().resets, 0);
}

/// On one thread nobody polls the driver while a connection comes back, though nearly each comes
/// back with the end of a statement still in the driver's queue.
#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_clean_connection_of_a_task_comes_back_without_a_reset() {
    let server = Postgres::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = named(&server, "it").parse().unwrap();
        let pool = Pool::builder_async(AsyncPostgresManager::new(config))
            .spawner(|task| drop(tokio::spawn(task)))
            .max_size(1)
            .build()
            .unwrap();
        for n in 0..1000_i64 {
            let mut client = pool.get_async().await.unwrap();
            let row = client.query_one("SELECT $1::INT8", &[&n]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), n);
            let transaction = client.transaction().await.unwrap();
            transaction.execute("SELECT $1::INT8", &[&n]).await.unwrap();
            transaction.commit().await.unwrap();
        }
        assert_eq!(pool.stats().resets, 0);
    });
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_dropped_future_leaves_neither_its_answer_nor_its_transaction_to_the_next() {
    give_up_one_in_ten(20_000);
}

#[test]
#[ignore = "soak: a million requests take some minutes (needs PostgreSQL)"]
fn soak_one_in_ten_of_a_million_requests_is_given_up_midway() {
    give_up_one_in_ten(1_000_000);
}

fn give_up_one_in_ten(requests: i64) {
    let server = Postgres::start(&[]);
    let manager = AsyncPostgresManager::open(&named(&server, "it"));
    let pool = manager.builder().max_size(4).build().unwrap();
    let mismatches = AtomicU64::new(0);
    let dropped = AtomicU64::new(0);
    let rounds = requests / 8;
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (pool, mismatches, dropped) = (&pool, &mismatches, &dropped);
            scope.spawn(move || {
                RUNTIME.block_on(async {
                    for round in 0..rounds {
                        let number = worker * rounds + round;
                        let client = pool.get_async().await.unwrap();
                        if round % 10 == 0 {
                            give_up_midway(&client, number).await;
                            dropped.fetch_add(1, SeqCst);
                            continue;
                        }
                        let sql = format!(
                            "SELECT {number}, coalesce(current_setting('caliburn.mark', true), '')"
                        );
                        let rows = client.simple_query(&sql).await.unwrap();
                        let row = rows.iter().find_map(|message| match message {
                            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
                            _ => None,
                        });
                        let row = row.expect("a row");
                        let is_ours = row.get(0) == Some(&*number.to_string());
                        if !is_ours || row.get(1) != Some("") {
                            mismatches.fetch_add(1, SeqCst);
                        }
                    }
                });
            });
        }
    });
    let stats = pool.stats();
    println!(
        "{} requests, {} dropped midway, {} resets, {} connects",
        8 * rounds,
        dropped.load(SeqCst),
        stats.resets,
        stats.connects
    );
    assert_eq!(mismatches.load(SeqCst), 0);
    assert_eq!(stats.connects, 4, "none needs to be replaced");
    assert!(pool.close_within(PLENTY).is_complete());
}

/// At different points: before anything is on the wire, while the server is at it, in the midst of
/// rows, in a transaction.
async fn give_up_midway(client: &tokio_postgres::Client, number: i64) {
    let marked = format!("BEGIN; {MARK}; SELECT {number}");
    match number / 10 % 4 {
        0 => {
            let mut query = pin!(client.batch_execute(&marked));
            let _ = poll_once(&mut query);
        }
        1 => {
            let query = client.batch_execute(&marked);
            let _ = tokio::time::timeout(Duration::from_micros(number as u64 % 300), query).await;
        }
        2 => {
            let rows = client.query_raw("SELECT generate_series(1, 5000)", Vec::<i64>::new());
            let _ = tokio::time::timeout(Duration::from_micros(number as u64 % 300), rows).await;
        }
        _ => {
            client.batch_execute(&marked).await.unwrap();
            let parameters: &[&(dyn ToSql + Sync)] = &[&number];
            let mut query = pin!(client.query_one("SELECT $1::INT8", parameters));
            let _ = poll_once(&mut query);
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_blocking_connection_to_a_frozen_server_fails_at_its_limit_and_blocks_no_thread() {
    let server = Postgres::start(&[]);
    let pool = PostgresManager::open(&named(&server, "it"))
        .builder()
        .max_size(2)
        .health(PingOnBorrow::always())
        .ping_timeout(Duration::from_millis(200))
        .connect_timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    drop((pool.get().unwrap(), pool.get().unwrap()));
    server.freeze();
    let begun = Instant::now();
    let error = pool.get_timeout(Duration::from_secs(1)).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1) + ROOM, "{:?}", begun.elapsed());
    assert!(matches!(error, GetError::TimedOut { .. } | GetError::AllEvicted { .. }), "{error}");
    assert!(pool.stats().ping_failures >= 1);
    eventually("nothing is stuck", || pool.stats().quarantined == 0);
    assert!(pool.overruns().is_empty(), "{:?}", pool.overruns());
    server.thaw();
    let begun = Instant::now();
    assert_eq!(ask(&pool, "SELECT 1").as_deref(), Some("1"));
    assert!(begun.elapsed() < Duration::from_secs(1) + ROOM);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_goodbye_that_nobody_hears_leaves_no_socket_behind() {
    let server = Postgres::start(&[]);
    let manager = AsyncPostgresManager::open(&named(&server, "it"));
    let pool =
        manager.builder().max_size(1).close_timeout(Duration::from_millis(100)).build().unwrap();
    let client = pool.get().unwrap();
    let statement = RUNTIME.block_on(client.prepare("SELECT 1")).unwrap();
    assert_eq!(sockets_to(server.port), 1);
    server.freeze();
    // Its end stays unanswered, so that the driver would wait for ever.
    drop(statement);
    drop(client);
    assert!(pool.close_within(PLENTY).is_complete());
    eventually("the socket is closed", || sockets_to(server.port) == 0);
    server.thaw();
}

/// Of this process.
fn sockets_to(port: u16) -> usize {
    let open: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .collect();
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_ours = |line: &&str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns[2].ends_with(&format!(":{port:04X}"))
            && open.iter().any(|path| path.to_str() == Some(&format!("socket:[{}]", columns[9])))
    };
    table.lines().skip(1).filter(is_ours).count()
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_silent_server_fails_a_borrowers_query_if_that_is_wanted() {
    let server = Postgres::start(&[]);
    let manager = PostgresManager::open(&named(&server, "it"))
        .response_timeout(Some(Duration::from_millis(200)));
    let pool = single(manager);
    let mut client = pool.get().unwrap();
    client.simple_query("SELECT pg_sleep(0.05)").unwrap();
    let begun = Instant::now();
    let error = client.simple_query("SELECT pg_sleep(60)").unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(200) + ROOM, "{:?}", begun.elapsed());
    let kind = root(&error).downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::TimedOut), "{error}");
    drop(client);
    assert_eq!(ask(&pool, "SELECT 1").as_deref(), Some("1"));
    assert_eq!(pool.stats().connects, 2);
}
