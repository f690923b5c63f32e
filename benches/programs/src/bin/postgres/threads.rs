//! Pools for threads, on postgres.

use crate::pools::{Query, SIZE, Settings, TakeTurns};
use caliburn::Pool;
use caliburn::adapters::postgres::{PostgresClient, PostgresManager};
use caliburn_benches::harness::*;
use postgres::{Client, Config, NoTls, ToStatement};
use r2d2_postgres::PostgresConnectionManager;

fn ask(client: &mut Client, query: Query) {
    match query {
        // Without a statement that is kept.
        Query::Prepared | Query::Cached => ask_for_a_row(client, Query::SQL),
        Query::Simple => Query::check(&client.simple_query(Query::SQL).expect("an answer")),
    }
}

fn ask_for_a_row(client: &mut Client, statement: &(impl ToStatement + ?Sized)) {
    Query::check_row(&client.query_one(statement, &[]).expect("an answer"));
}

fn contender(turn: impl Fn(Query) + Sync + 'static) -> TakeTurns {
    Box::new(move |borrowers, query, times| {
        on_threads(borrowers, times, || timed(|| turn(query)).1)
    })
}

fn config(dsn: &str) -> Config {
    dsn.parse().expect("a DSN")
}

pub(crate) fn caliburn(settings: Settings, dsn: &str) -> TakeTurns {
    let pool: Pool<PostgresManager> =
        settings.open(Pool::builder(PostgresManager::new(config(dsn))));
    contender(move |query| {
        let mut client = pool.get().expect("a connection");
        let client: &mut PostgresClient = &mut client;
        if query != Query::Cached {
            return ask(client, query);
        }
        let statement = client.prepare_cached(Query::SQL).expect("a statement");
        ask_for_a_row(client, &statement);
    })
}

pub(crate) fn r2d2(checks: bool, dsn: &str) -> TakeTurns {
    let manager = PostgresConnectionManager::new(config(dsn), NoTls);
    let builder = r2d2::Pool::builder().max_size(SIZE as u32).test_on_check_out(checks);
    let pool = builder.build(manager).expect("r2d2");
    contender(move |query| ask(&mut pool.get().expect("a connection"), query))
}
