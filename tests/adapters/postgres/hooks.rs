//! What hooks that accompany a loan leave open.
#![cfg(all(feature = "postgres", feature = "tokio-postgres"))]

use crate::common::PLENTY;
use crate::common::pg::{Driver, RUNTIME, named};
use crate::common::servers::postgres::Postgres;
use caliburn::adapters::postgres::{AsyncPostgresManager, PostgresManager};
use caliburn::{Builder, HookError, Pool};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const BEGIN: &str = "BEGIN; SET LOCAL caliburn.mark = 'a hook'";

fn blocking(server: &Postgres) -> Builder<PostgresManager> {
    PostgresManager::open(&named(server, "it")).builder().max_size(1)
}

fn tasks(server: &Postgres) -> Builder<AsyncPostgresManager> {
    AsyncPostgresManager::open(&named(server, "it")).builder().max_size(1)
}

fn server() -> Postgres {
    let server = Postgres::start(&[]);
    server.ask("CREATE TABLE done (n INT8)");
    server
}

/// A borrower's write is there as soon as its loan is over.
fn keeps_writes<D: Driver>(server: &Postgres, pool: &Pool<D>) {
    for loans in 1..4 {
        let mut client = pool.get_timeout(PLENTY).unwrap();
        D::ask(&mut client, "INSERT INTO done VALUES (1)").unwrap();
        assert_eq!(server.ask("SELECT count(*) FROM done"), loans.to_string());
    }
    server.ask("DELETE FROM done");
    assert_eq!(pool.stats().evictions.total(), 0);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_transaction_that_a_hook_has_left_open_takes_no_write_of_a_borrowers() {
    let server = server();
    let begin = |client: &mut <PostgresManager as caliburn::Manager>::Connection| {
        client.batch_execute(BEGIN).map_err(HookError::from)
    };
    let pool = blocking(&server).on_return(move |client, _| begin(client)).build().unwrap();
    keeps_writes(&server, &pool);
    let pool = blocking(&server).before_acquire(move |client, _| begin(client)).build().unwrap();
    keeps_writes(&server, &pool);
    let pool = tasks(&server).on_return_async(|client, _| {
        Box::pin(async move { Ok(client.batch_execute(BEGIN).await?) })
    });
    keeps_writes(&server, &pool.build().unwrap());
    let pool = tasks(&server).before_acquire_async(|client, _| {
        Box::pin(async move { Ok(client.batch_execute(BEGIN).await?) })
    });
    keeps_writes(&server, &pool.build().unwrap());
}

async fn give_up<T>(query: impl Future<Output = T>) {
    drop(timeout(Duration::from_millis(20), query).await);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_query_that_a_hook_has_given_up_is_over_before_the_loan() {
    const LONG: Duration = Duration::from_secs(1);
    let server = server();
    let long = "BEGIN; SELECT pg_sleep(1); COMMIT";
    let after = tasks(&server).on_return_async(move |client, _| {
        Box::pin(async move {
            give_up(client.batch_execute(long)).await;
            Ok(())
        })
    });
    let before = tasks(&server).before_acquire_async(move |client, _| {
        Box::pin(async move {
            give_up(client.batch_execute(long)).await;
            Ok(())
        })
    });
    for builder in [after, before] {
        let pool = builder.spawner(|task| drop(RUNTIME.spawn(task))).build().unwrap();
        RUNTIME.block_on(async {
            drop(pool.get_async().await.unwrap());
            let client = pool.get_async().await.unwrap();
            let begun = Instant::now();
            client.batch_execute("INSERT INTO done VALUES (1)").await.unwrap();
            assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
        });
    }
    assert_eq!(server.ask("SELECT count(*) FROM done"), "2");
}

/// What a hook sets is what it is for.
#[test]
#[ignore = "needs PostgreSQL"]
fn what_a_hook_sets_before_a_loan_the_borrower_finds() {
    let server = server();
    let pool = blocking(&server)
        .before_acquire(|client, _| Ok(client.batch_execute("SET caliburn.mark = 'tenant'")?))
        .build()
        .unwrap();
    for _ in 0..3 {
        let mut client = pool.get_timeout(PLENTY).unwrap();
        let mark = PostgresManager::ask(&mut client, "SHOW caliburn.mark").unwrap();
        assert_eq!(mark.as_deref(), Some("tenant"));
    }
    assert_eq!(pool.stats().resets, 0);
}
