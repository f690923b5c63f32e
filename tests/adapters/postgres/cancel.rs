//! Queries that their borrowers have given up end at the server, too.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::pg::{Driver, RUNTIME, ask, both, named, single};
use crate::common::pg_fake::{done, request, serve, startup, welcome};
use crate::common::servers::postgres::Postgres;
use crate::common::{PLENTY, ROOM, eventually, poll_once};
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::{Pool, PooledConnection};
use futures_util::{Stream, StreamExt};
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;
use tokio_postgres::types::ToSql;

const SLEEP: &str = "SELECT pg_sleep(60)";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn asleep(server: &Postgres) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'";
    server.ask(sql).parse().unwrap()
}

/// Asks for a minute's sleep, sees it begin at the server, and gives it up.
fn give_up(server: &Postgres, client: &tokio_postgres::Client) {
    let before = asleep(server);
    let mut query = pin!(client.batch_execute(SLEEP));
    RUNTIME.block_on(async { assert!(poll_once(&mut query).is_pending()) });
    eventually("the server is at it", || asleep(server) > before);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_query_that_was_given_up_is_cancelled_and_its_connection_lent_again() {
    let server = Postgres::start(&[]);
    let pool = single(AsyncPostgresManager::open(&named(&server, "it")));
    for n in 0..6 {
        let client = pool.get_timeout(PLENTY).unwrap();
        give_up(&server, &client);
        drop(client);
        let begun = Instant::now();
        assert_eq!(ask(&pool, "SELECT 7").as_deref(), Some("7"), "loan {n}");
        assert!(begun.elapsed() < ms(250) + ROOM, "{:?}", begun.elapsed());
        assert_eq!((server.sessions("it"), asleep(&server)), (1, 0));
    }
    assert_eq!(pool.stats().connects, 1);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_query_that_ends_within_the_grace_is_not_cancelled_nor_is_the_next_one() {
    let server = Postgres::start(&["log_min_messages=error"]);
    let manager = AsyncPostgresManager::open(&named(&server, "it")).cancel_after(Some(ms(20)));
    let pool = single(manager);
    let mut cancelled = 0;
    // Cancellations and ends meet at all times.
    for n in 0..150 {
        let client = pool.get_timeout(PLENTY).unwrap();
        let sql = format!("SELECT pg_sleep(0.0{:02})", 10 + n % 20);
        let query = client.batch_execute(&sql);
        RUNTIME.block_on(async { assert!(poll_once(&mut pin!(query)).is_pending()) });
        drop(client);
        let answer = AsyncPostgresManager::ask(&mut pool.get_timeout(PLENTY).unwrap(), "SELECT 7");
        assert_eq!(answer.unwrap().as_deref(), Some("7"));
        cancelled = pool.stats().resets;
    }
    assert!(cancelled > 0);
    assert_eq!(server.sessions("it"), 1);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_connection_that_is_closed_in_the_midst_of_a_query_ends_it() {
    let server = Postgres::start(&[]);
    type End = fn(PooledConnection<AsyncPostgresManager>);
    let ends: [End; 2] =
        [PooledConnection::discard, |client| drop(PooledConnection::detach(client))];
    for end in ends {
        let pool = single(AsyncPostgresManager::open(&named(&server, "it")));
        let client = pool.get_timeout(PLENTY).unwrap();
        give_up(&server, &client);
        end(client);
        eventually("the query has ended", || asleep(&server) == 0);
        eventually("so has its session", || server.sessions("it") == 0);
    }
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn without_a_grace_a_query_that_was_given_up_runs_on() {
    let server = Postgres::start(&[]);
    let manager = AsyncPostgresManager::open(&named(&server, "it")).cancel_after(None);
    let pool = single(manager);
    let client = pool.get_timeout(PLENTY).unwrap();
    give_up(&server, &client);
    drop(client);
    assert!(pool.get_timeout(ms(600)).is_err());
    assert_eq!(asleep(&server), 1);
    server.ask(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'",
    );
}

both! {
    #[ignore = "needs PostgreSQL (initdb, postgres)"]
    fn a_query_that_is_not_answered_in_time_ends_at_the_server<D: Driver>() {
        let server = Postgres::start(&[]);
        let pool = single(D::open(&named(&server, "it")).response_timeout(Some(ms(200))));
        for _ in 0..3 {
            let begun = Instant::now();
            let mut client = pool.get_timeout(PLENTY).unwrap();
            D::ask(&mut client, SLEEP).unwrap_err();
            assert!(begun.elapsed() < ms(200) + ROOM, "{:?}", begun.elapsed());
            drop(client);
            eventually("the query has ended", || asleep(&server) == 0);
            assert_eq!(ask(&pool, "SELECT 7").as_deref(), Some("7"));
        }
        eventually("so have the sessions", || server.sessions("it") == 1);
    }

    fn a_request_to_cancel_is_limited_in_time_whatever_the_server_does<D: Driver>() {
        // It answers its first client, and goes mute to all others: at the question for TLS, too.
        for mode in ["disable", "prefer"] {
            let clients = Arc::new(AtomicUsize::new(0));
            let port = serve({
                let clients = clients.clone();
                move |stream| {
                    if clients.fetch_add(1, SeqCst) == 0 {
                        if mode == "prefer" {
                            startup(stream)?;
                            stream.write_all(b"N")?;
                        }
                        welcome(stream)?;
                        while request(stream).is_ok() {}
                    }
                    // Until it hangs up.
                    while stream.read(&mut [0; 64])? > 0 {}
                    thread::sleep(PLENTY);
                    Ok(())
                }
            });
            let manager = D::open(&format!("host=127.0.0.1 port={port} user=app sslmode={mode}"));
            let manager = match mode {
                "prefer" => manager.secured_by(crate::common::pg::Pretence),
                _ => manager,
            };
            let pool = manager.builder().max_size(1).connect_timeout(ms(300)).build().unwrap();
            let client = pool.get_timeout(PLENTY).unwrap();
            let begun = Instant::now();
            D::cancel_somehow(&client);
            assert!(begun.elapsed() < ms(300) + ROOM, "{mode}: {:?}", begun.elapsed());
            assert!(clients.load(SeqCst) >= 2);
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn what_a_thread_left_running_is_cancelled_too() {
    let server = Postgres::start(&[]);
    let pool: Pool<PostgresManager> = single(PostgresManager::open(&named(&server, "it")));
    let mut client = pool.get_timeout(PLENTY).unwrap();
    let endless = "COPY (SELECT generate_series(1, 1000000000)) TO STDOUT";
    let mut reader = client.copy_out(endless).unwrap();
    reader.read_exact(&mut [0; 4]).unwrap();
    drop(reader);
    let begun = Instant::now();
    drop(client);
    assert_eq!(ask(&pool, "SELECT 7").as_deref(), Some("7"));
    assert!(begun.elapsed() < ms(250) + ROOM, "{:?}", begun.elapsed());
    assert_eq!(pool.stats().connects, 1);
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_transaction_knows_how_to_be_cancelled() {
    let server = Postgres::start(&[]);
    let pool = single(AsyncPostgresManager::open(&named(&server, "it")));
    let mut client = pool.get_timeout(PLENTY).unwrap();
    RUNTIME.block_on(async {
        let transaction = client.transaction().await.unwrap();
        let token = transaction.cancel_token();
        let sleep = transaction.batch_execute(SLEEP);
        let cancel = async {
            tokio::time::sleep(ms(100)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (slept, ()) = tokio::join!(sleep, cancel);
        slept.unwrap_err();
    });
}

/// Where there is no runtime, no timer can be set.
#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_guard_with_a_timeout_for_responses_may_be_dropped_outside_of_any_runtime() {
    let server = Postgres::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (pool, client) = runtime.block_on(async {
        let manager = AsyncPostgresManager::from_url(&named(&server, "it")).unwrap();
        let manager = manager.response_timeout(Some(ms(60_000)));
        let pool = Pool::builder_async(manager).max_size(1).build().unwrap();
        let client = pool.get_async().await.unwrap();
        // Its statement's end has not left the queue yet.
        client.query_one("SELECT 7", &[]).await.unwrap();
        (pool, client)
    });
    drop(client);
    runtime.block_on(async {
        pool.get_async().await.unwrap().batch_execute("SELECT 1").await.unwrap()
    });
    assert_eq!((pool.stats().connects, pool.stats().resets), (1, 0));
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn queries_of_a_runtime_that_is_gone_end_at_the_server() {
    let server = Postgres::start(&[]);
    let manager = AsyncPostgresManager::from_url(&named(&server, "it")).unwrap();
    let pool = Pool::builder_async(manager).max_size(4).build().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for _ in 0..4 {
        let pool = pool.clone();
        runtime.spawn(async move {
            let client = pool.get_async().await.unwrap();
            let _ = client.batch_execute(SLEEP).await;
        });
    }
    eventually("all are at it", || asleep(&server) == 4);
    drop(runtime);
    current_thread().block_on(async {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(pool.get_async().await.unwrap());
        }
        eventually("none is at it", || asleep(&server) == 0);
        eventually("nor is its session there", || server.sessions("it") == 4);
    });
}

/// Nobody drives it any more, but it is not dropped either.
#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn sessions_of_runtimes_that_are_kept_for_nothing_end() {
    let server = Postgres::start(&[]);
    let manager = AsyncPostgresManager::from_url(&named(&server, "it")).unwrap();
    let pool = Pool::builder_async(manager).max_size(2).close_timeout(ms(500)).build().unwrap();
    let mut kept = Vec::new();
    for _ in 0..4 {
        let runtime = current_thread();
        runtime.block_on(async {
            let (one, two) = (pool.get_async().await.unwrap(), pool.get_async().await.unwrap());
            one.batch_execute("SELECT 1").await.unwrap();
            two.batch_execute("SELECT 1").await.unwrap();
        });
        kept.push(runtime);
    }
    eventually("only those of the pool are left", || server.sessions("it") <= 2);
}

/// A borrower that takes its time over what has come is not waiting for the server.
#[test]
#[ignore = "needs PostgreSQL (initdb, postgres)"]
fn a_server_whose_rows_are_taken_slowly_is_not_silent() {
    let server = Postgres::start(&[]);
    let manager = AsyncPostgresManager::open(&named(&server, "it"));
    let pool = single(manager.response_timeout(Some(ms(200))));
    let client = pool.get_timeout(PLENTY).unwrap();
    let rows = "SELECT repeat('x', 1000) FROM generate_series(1, 50000)";
    RUNTIME.block_on(async {
        let none: [&(dyn ToSql + Sync); 0] = [];
        let answer = client.query_raw(rows, none).await.unwrap();
        assert_eq!(take_slowly(answer).await, 50_000);
        let answer = client.copy_out(&format!("COPY ({rows}) TO STDOUT")).await.unwrap();
        assert_eq!(take_slowly(answer).await, 50_000);
        // And one that is silent is called so.
        let error = client.batch_execute(SLEEP).await.unwrap_err();
        let told = error.as_db_error().expect("a word on it").message();
        assert!(told.contains("timed out") && told.contains("response_timeout"), "{told}");
    });
}

async fn take_slowly<T>(answer: impl Stream<Item = Result<T, tokio_postgres::Error>>) -> usize {
    let (mut answer, mut count) = (pin!(answer), 0);
    while let Some(item) = answer.next().await {
        item.unwrap_or_else(|error| panic!("after {count}: {error}"));
        count += 1;
        if count % 20_000 == 1 {
            // The load itself: at work with what it has.
            tokio::time::sleep(ms(700)).await;
        }
    }
    count
}

/// Neither is a long request written where the guard is dropped, nor is it forgotten.
#[test]
fn a_return_writes_nothing_whatever_is_in_the_queue() {
    let asked = Arc::new(AtomicUsize::new(0));
    let port = serve({
        let asked = asked.clone();
        move |stream| {
            welcome(stream)?;
            while let Ok((tag, _)) = request(stream) {
                asked.fetch_add(usize::from(tag == b'Q'), SeqCst);
                done(stream)?;
            }
            Ok(())
        }
    });
    let dsn = format!("host=127.0.0.1 port={port} user=app");
    for length in [10, 4_000, 100_000] {
        let runtime = current_thread();
        let manager = AsyncPostgresManager::from_url(&dsn).unwrap();
        let builder = Pool::builder_async(manager).max_size(1).manual_maintenance();
        let pool = builder.reset_timeout(ms(50)).close_timeout(ms(50)).build().unwrap();
        let is_lent = AtomicBool::new(false);
        let client = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_lent.load(SeqCst) {
                    pool.maintain();
                    thread::sleep(ms(1));
                }
            });
            let client = runtime.block_on(pool.get_async());
            is_lent.store(true, SeqCst);
            client.unwrap()
        });
        let sql = format!("SELECT '{}'", "x".repeat(length));
        assert!(poll_once(&mut pin!(client.batch_execute(&sql))).is_pending());
        let before = asked.load(SeqCst);
        drop(client);
        // The server has all the time it needs to hear of it.
        thread::sleep(ms(100));
        assert_eq!(asked.load(SeqCst), before, "{length}");
        drop(pool);
    }
}
