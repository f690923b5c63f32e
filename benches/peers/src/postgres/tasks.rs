//! Pools for tasks, on tokio-postgres.

use super::turns::{on_tasks, on_threads};
use super::{
    Bare, Borrowers, Checks, Contender, Log, Name, Query, SIZE, Times, Which, configured, filled,
};
use bb8_postgres::PostgresConnectionManager;
use caliburn::adapters::postgres::{AsyncPostgresClient, AsyncPostgresManager};
use caliburn::{AsyncManager, Deadline, Manager, Pool, Stats};
use deadpool::managed::{PoolConfig, QueueMode};
use deadpool_postgres::{ManagerConfig, RecyclingMethod, Runtime as OnTokio};
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use tokio::runtime::{Handle, Runtime};
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage, Statement};

/// What borrowers do with it.
trait Lender: Send + Sync + 'static {
    fn turn(&self, query: Query) -> impl Future<Output = ()> + Send;

    fn stats(&self) -> Option<Stats> {
        None
    }
}

async fn ask(client: &Client, query: Query) {
    match query {
        // Without a statement that is kept.
        Query::Prepared | Query::Cached => {
            let row = client.query_one(Query::SQL, &[]).await.expect("an answer");
            assert_eq!(row.get::<_, i32>(0), 1);
        }
        Query::Simple => {
            let answer = client.simple_query(Query::SQL).await.expect("an answer");
            let rows = answer.iter().filter(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0) == Some("1"),
                _ => false,
            });
            assert_eq!(rows.count(), 1);
        }
    }
}

/// A client that may keep statements.
trait Asked: Deref<Target = Client> + Send + Sync {
    fn ask(&self, query: Query) -> impl Future<Output = ()> + Send {
        ask(self, query)
    }
}

impl Asked for Boxed {}

impl Asked for AsyncPostgresClient {
    async fn ask(&self, query: Query) {
        if query != Query::Cached {
            return ask(self, query).await;
        }
        let statement = self.prepare_cached(Query::SQL).await.expect("a statement");
        execute(self, &statement).await;
    }
}

async fn execute(client: &Client, statement: &Statement) {
    let row = client.query_one(statement, &[]).await.expect("an answer");
    assert_eq!(row.get::<_, i32>(0), 1);
}

struct Tasks<L> {
    lender: Arc<L>,
    handle: Handle,
    are_outside: bool,
}

impl<L: Lender> Contender for Tasks<L> {
    fn take_turns(&self, borrowers: usize, query: Query, times: Times) -> Log {
        if self.are_outside {
            let turn = || self.handle.block_on(self.lender.turn(query));
            return on_threads(borrowers, times, turn);
        }
        let lender = Arc::clone(&self.lender);
        on_tasks(&self.handle, borrowers, times, move || {
            let lender = Arc::clone(&lender);
            async move { lender.turn(query).await }
        })
    }

    fn stats(&self) -> Option<Stats> {
        self.lender.stats()
    }
}

fn boxed(lender: impl Lender, which: Which, runtime: &Runtime) -> Box<dyn Contender> {
    let (lender, handle) = (Arc::new(lender), runtime.handle().clone());
    Box::new(Tasks { lender, handle, are_outside: which.borrowers == Borrowers::Outsiders })
}

fn config(dsn: &str) -> Config {
    dsn.parse().expect("a DSN")
}

impl<M: AsyncManager<Connection: Asked>> Lender for Pool<M> {
    async fn turn(&self, query: Query) {
        let client = self.get_async().await.expect("a connection");
        client.ask(query).await;
    }

    fn stats(&self) -> Option<Stats> {
        Some(Pool::stats(self))
    }
}

pub(super) fn caliburn(which: Which, dsn: &str, runtime: &Runtime) -> Box<dyn Contender> {
    let manager = AsyncPostgresManager::new(config(dsn)).runtime(runtime.handle().clone());
    let pool = configured(Pool::builder_async(manager), which).build();
    boxed(filled(pool.expect("settings in order")), which, runtime)
}

pub(super) fn bare(which: Which, dsn: &str, runtime: &Runtime) -> Box<dyn Contender> {
    let manager = Bare((config(dsn), runtime.handle().clone()));
    let pool = configured(Pool::builder_async(manager), which).build();
    boxed(filled(pool.expect("settings in order")), which, runtime)
}

impl Manager for Bare<(Config, Handle)> {
    type Connection = Boxed;
    type Error = Error;

    fn has_broken(&self, client: &mut Boxed) -> bool {
        client.is_closed()
    }
}

impl AsyncManager for Bare<(Config, Handle)> {
    async fn connect(&self, _: &Deadline) -> Result<Boxed, Error> {
        let (config, handle) = self.0.clone();
        let connect = handle.spawn(async move { config.connect(NoTls).await });
        let (client, connection) = connect.await.expect("a driver that does not panic")?;
        handle.spawn(connection);
        Ok(Box::new(client))
    }

    async fn ping(&self, client: &mut Boxed, _: &Deadline) -> Result<(), Error> {
        client.simple_query("").await.map(drop)
    }
}

/// Boxed, to have something that derefs to a client.
type Boxed = Box<Client>;

type Bb8 = bb8::Pool<PostgresConnectionManager<NoTls>>;

impl Lender for Bb8 {
    async fn turn(&self, query: Query) {
        let client = self.get().await.expect("a connection");
        ask(&client, query).await;
    }
}

pub(super) fn bb8(which: Which, dsn: &str, runtime: &Runtime) -> Box<dyn Contender> {
    let manager = PostgresConnectionManager::new(config(dsn), NoTls);
    let builder = bb8::Pool::builder()
        .max_size(SIZE as u32)
        .min_idle(SIZE as u32)
        .test_on_check_out(which.checks == Checks::Always);
    let pool = runtime.block_on(builder.build(manager)).expect("bb8");
    boxed(pool, which, runtime)
}

impl Lender for deadpool_postgres::Pool {
    async fn turn(&self, query: Query) {
        let client = self.get().await.expect("a connection");
        if query == Query::Cached {
            let statement = client.prepare_cached(Query::SQL).await.expect("a statement");
            return execute(&client, &statement).await;
        }
        ask(&client, query).await;
    }
}

pub(super) fn deadpool(which: Which, dsn: &str, runtime: &Runtime) -> Box<dyn Contender> {
    let recycling_method = match which.checks {
        Checks::Never => RecyclingMethod::Fast,
        Checks::Always => RecyclingMethod::Verified,
    };
    let manager = ManagerConfig { recycling_method };
    let manager = deadpool_postgres::Manager::from_config(config(dsn), NoTls, manager);
    let mut config = PoolConfig::new(SIZE);
    config.queue_mode = match which.pool {
        Name::DeadpoolLifo => QueueMode::Lifo,
        _ => QueueMode::Fifo,
    };
    let pool = deadpool_postgres::Pool::builder(manager)
        .config(config)
        .runtime(OnTokio::Tokio1)
        .build()
        .expect("deadpool");
    // As nobody else opens the first connections, so many held at once do.
    runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..SIZE {
            open.push(pool.get().await.expect("a connection"));
        }
    });
    boxed(pool, which, runtime)
}
