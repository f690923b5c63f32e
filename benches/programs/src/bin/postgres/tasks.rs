//! Pools for tasks, on tokio-postgres.

use crate::pools::{Contender, Query, SIZE, Settings};
use bb8_postgres::PostgresConnectionManager;
use caliburn::Pool;
use caliburn::adapters::postgres::{AsyncPostgresClient, AsyncPostgresManager};
use caliburn_benches::harness::turns::{Times, Turns, on_tasks};
use deadpool::managed::{PoolConfig, QueueMode};
use deadpool_postgres::{ManagerConfig, RecyclingMethod, Runtime as OnTokio};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Handle, Runtime};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Statement};

/// What borrowers do with it.
trait Lender: Send + Sync + 'static {
    fn turn(&self, query: Query) -> impl Future<Output = ()> + Send;
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

async fn execute(client: &Client, statement: &Statement) {
    let row = client.query_one(statement, &[]).await.expect("an answer");
    assert_eq!(row.get::<_, i32>(0), 1);
}

struct Tasks<L>(Arc<L>, Handle);

impl<L: Lender> Contender for Tasks<L> {
    fn take_turns(&self, borrowers: usize, query: Query, times: Times) -> Turns {
        let lender = Arc::clone(&self.0);
        on_tasks(&self.1, borrowers, times, move || {
            let lender = Arc::clone(&lender);
            async move {
                let begun = Instant::now();
                lender.turn(query).await;
                begun.elapsed()
            }
        })
    }
}

fn boxed(lender: impl Lender, runtime: &Runtime) -> Box<dyn Contender> {
    Box::new(Tasks(Arc::new(lender), runtime.handle().clone()))
}

fn config(dsn: &str) -> Config {
    dsn.parse().expect("a DSN")
}

impl Lender for Pool<AsyncPostgresManager> {
    async fn turn(&self, query: Query) {
        let client = self.get_async().await.expect("a connection");
        let client: &AsyncPostgresClient = &client;
        if query == Query::Cached {
            let statement = client.prepare_cached(Query::SQL).await.expect("a statement");
            return execute(client, &statement).await;
        }
        ask(client, query).await;
    }
}

pub(crate) fn caliburn(settings: Settings, dsn: &str, runtime: &Runtime) -> Box<dyn Contender> {
    let manager = AsyncPostgresManager::new(config(dsn)).runtime(runtime.handle().clone());
    boxed(settings.open(Pool::builder_async(manager)), runtime)
}

type Bb8 = bb8::Pool<PostgresConnectionManager<NoTls>>;

impl Lender for Bb8 {
    async fn turn(&self, query: Query) {
        let client = self.get().await.expect("a connection");
        ask(&client, query).await;
    }
}

pub(crate) fn bb8(checks: bool, dsn: &str, runtime: &Runtime) -> Box<dyn Contender> {
    let manager = PostgresConnectionManager::new(config(dsn), NoTls);
    let builder =
        bb8::Pool::builder().max_size(SIZE as u32).min_idle(SIZE as u32).test_on_check_out(checks);
    let pool = runtime.block_on(builder.build(manager)).expect("bb8");
    boxed(pool, runtime)
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

pub(crate) fn deadpool(
    checks: bool,
    queue_mode: QueueMode,
    dsn: &str,
    runtime: &Runtime,
) -> Box<dyn Contender> {
    let recycling_method = if checks { RecyclingMethod::Verified } else { RecyclingMethod::Fast };
    let manager = ManagerConfig { recycling_method };
    let manager = deadpool_postgres::Manager::from_config(config(dsn), NoTls, manager);
    let mut config = PoolConfig::new(SIZE);
    config.queue_mode = queue_mode;
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
    boxed(pool, runtime)
}
