//! Pools for threads, on postgres.

use crate::pools::{Contender, Query, SIZE, Settings};
use caliburn::Pool;
use caliburn::adapters::postgres::{PostgresClient, PostgresManager};
use caliburn_benches::harness::figures::timed;
use caliburn_benches::harness::turns::{Times, Turns, on_threads};
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use r2d2_postgres::PostgresConnectionManager;

fn ask(client: &mut Client, query: Query) {
    match query {
        // Without a statement that is kept.
        Query::Prepared | Query::Cached => {
            let row = client.query_one(Query::SQL, &[]).expect("an answer");
            assert_eq!(row.get::<_, i32>(0), 1);
        }
        Query::Simple => {
            let answer = client.simple_query(Query::SQL).expect("an answer");
            let rows = answer.iter().filter(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0) == Some("1"),
                _ => false,
            });
            assert_eq!(rows.count(), 1);
        }
    }
}

fn config(dsn: &str) -> Config {
    dsn.parse().expect("a DSN")
}

impl Contender for Pool<PostgresManager> {
    fn take_turns(&self, borrowers: usize, query: Query, times: Times) -> Turns {
        let turn = || {
            let mut client = self.get().expect("a connection");
            let client: &mut PostgresClient = &mut client;
            if query != Query::Cached {
                return ask(client, query);
            }
            let statement = client.prepare_cached(Query::SQL).expect("a statement");
            let row = client.query_one(&statement, &[]).expect("an answer");
            assert_eq!(row.get::<_, i32>(0), 1);
        };
        on_threads(borrowers, times, || timed(turn).1)
    }
}

pub(crate) fn caliburn(settings: Settings, dsn: &str) -> Box<dyn Contender> {
    Box::new(settings.open(Pool::builder(PostgresManager::new(config(dsn)))))
}

type R2d2 = r2d2::Pool<PostgresConnectionManager<NoTls>>;

impl Contender for R2d2 {
    fn take_turns(&self, borrowers: usize, query: Query, times: Times) -> Turns {
        let turn = || ask(&mut self.get().expect("a connection"), query);
        on_threads(borrowers, times, || timed(turn).1)
    }
}

pub(crate) fn r2d2(checks: bool, dsn: &str) -> Box<dyn Contender> {
    let manager = PostgresConnectionManager::new(config(dsn), NoTls);
    let pool = r2d2::Pool::builder()
        .max_size(SIZE as u32)
        .test_on_check_out(checks)
        .build(manager)
        .expect("r2d2");
    Box::new(pool)
}
