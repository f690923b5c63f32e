//! Pools for threads, on postgres.

use super::turns::on_threads;
use super::{Bare, Checks, Contender, Log, Query, SIZE, Times, Which, configured, filled};
use ::postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};
use caliburn::adapters::postgres::{PostgresClient, PostgresManager};
use caliburn::{BlockingManager, Deadline, Manager, Pool, Stats};
use r2d2_postgres::PostgresConnectionManager;
use std::ops::DerefMut;

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

/// A client that may keep statements.
trait Asked: DerefMut<Target = Client> {
    fn ask(&mut self, query: Query) {
        ask(self, query);
    }
}

impl Asked for Boxed {}

impl Asked for PostgresClient {
    fn ask(&mut self, query: Query) {
        if query != Query::Cached {
            return ask(self, query);
        }
        let statement = self.prepare_cached(Query::SQL).expect("a statement");
        let row = self.query_one(&statement, &[]).expect("an answer");
        assert_eq!(row.get::<_, i32>(0), 1);
    }
}

fn config(dsn: &str) -> Config {
    dsn.parse().expect("a DSN")
}

impl<M: BlockingManager<Connection: Asked>> Contender for Pool<M> {
    fn take_turns(&self, borrowers: usize, query: Query, times: Times) -> Log {
        on_threads(borrowers, times, || {
            let mut client = self.get().expect("a connection");
            client.ask(query);
        })
    }

    fn stats(&self) -> Option<Stats> {
        Some(Pool::stats(self))
    }
}

pub(super) fn caliburn(which: Which, dsn: &str) -> Box<dyn Contender> {
    let builder = Pool::builder(PostgresManager::new(config(dsn)));
    Box::new(filled(configured(builder, which).build().expect("settings in order")))
}

pub(super) fn bare(which: Which, dsn: &str) -> Box<dyn Contender> {
    let builder = Pool::builder(Bare(config(dsn)));
    Box::new(filled(configured(builder, which).build().expect("settings in order")))
}

impl Manager for Bare<Config> {
    type Connection = Boxed;
    type Error = Error;

    fn has_broken(&self, client: &mut Boxed) -> bool {
        client.is_closed()
    }
}

impl BlockingManager for Bare<Config> {
    fn connect(&self, _: &Deadline) -> Result<Boxed, Error> {
        self.0.connect(NoTls).map(Box::new)
    }

    fn ping(&self, client: &mut Boxed, _: &Deadline) -> Result<(), Error> {
        client.simple_query("").map(drop)
    }
}

/// Boxed, to have something that derefs to a client.
type Boxed = Box<Client>;

type R2d2 = r2d2::Pool<PostgresConnectionManager<NoTls>>;

impl Contender for R2d2 {
    fn take_turns(&self, borrowers: usize, query: Query, times: Times) -> Log {
        on_threads(borrowers, times, || {
            let mut client = self.get().expect("a connection");
            ask(&mut client, query);
        })
    }
}

pub(super) fn r2d2(checks: Checks, dsn: &str) -> Box<dyn Contender> {
    let manager = PostgresConnectionManager::new(config(dsn), NoTls);
    let pool = r2d2::Pool::builder()
        .max_size(SIZE as u32)
        .test_on_check_out(checks == Checks::Always)
        .build(manager)
        .expect("r2d2");
    Box::new(pool)
}
