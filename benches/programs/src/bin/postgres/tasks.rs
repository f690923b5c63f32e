//! Pools for tasks, on tokio-postgres.

use crate::pools::{Query, SIZE, Settings, TakeTurns};
use bb8_postgres::PostgresConnectionManager;
use caliburn::Pool;
use caliburn::adapters::postgres::{AsyncPostgresClient, AsyncPostgresManager};
use caliburn_benches::harness::*;
use deadpool::managed::{PoolConfig, QueueMode};
use deadpool_postgres::{ManagerConfig, RecyclingMethod, Runtime as OnTokio};
use std::future::Future;
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls, ToStatement};

async fn ask(client: &Client, query: Query) {
    match query {
        // Without a statement that is kept.
        Query::Prepared | Query::Cached => ask_for_a_row(client, Query::SQL).await,
        Query::Simple => Query::check(&client.simple_query(Query::SQL).await.expect("an answer")),
    }
}

async fn ask_for_a_row(client: &Client, statement: &(impl ToStatement + Sync + ?Sized)) {
    Query::check_row(&client.query_one(statement, &[]).await.expect("an answer"));
}

fn contender<P, F>(
    pool: P,
    runtime: &Runtime,
    turn: impl Fn(P, Query) -> F + Copy + Send + Sync + 'static,
) -> TakeTurns
where
    P: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let handle = runtime.handle().clone();
    Box::new(move |borrowers, query, times| {
        let pool = pool.clone();
        on_tasks(&handle, borrowers, times, move || {
            let pool = pool.clone();
            async move {
                let begun = Instant::now();
                turn(pool, query).await;
                begun.elapsed()
            }
        })
    })
}

fn config(dsn: &str) -> Config {
    dsn.parse().expect("a DSN")
}

pub(crate) fn caliburn(settings: Settings, dsn: &str, runtime: &Runtime) -> TakeTurns {
    let manager = AsyncPostgresManager::new(config(dsn)).runtime(runtime.handle().clone());
    let pool = settings.open(Pool::builder_async(manager));
    contender(pool, runtime, async |pool: Pool<AsyncPostgresManager>, query| {
        let client = pool.get_async().await.expect("a connection");
        let client: &AsyncPostgresClient = &client;
        if query != Query::Cached {
            return ask(client, query).await;
        }
        let statement = client.prepare_cached(Query::SQL).await.expect("a statement");
        ask_for_a_row(client, &statement).await;
    })
}

type Bb8 = bb8::Pool<PostgresConnectionManager<NoTls>>;

pub(crate) fn bb8(checks: bool, dsn: &str, runtime: &Runtime) -> TakeTurns {
    let manager = PostgresConnectionManager::new(config(dsn), NoTls);
    let builder =
        bb8::Pool::builder().max_size(SIZE as u32).min_idle(SIZE as u32).test_on_check_out(checks);
    let pool = runtime.block_on(builder.build(manager)).expect("bb8");
    contender(pool, runtime, async |pool: Bb8, query| {
        ask(&pool.get().await.expect("a connection"), query).await;
    })
}

pub(crate) fn deadpool(
    checks: bool,
    queue_mode: QueueMode,
    dsn: &str,
    runtime: &Runtime,
) -> TakeTurns {
    let recycling_method = if checks { RecyclingMethod::Verified } else { RecyclingMethod::Fast };
    let manager = ManagerConfig { recycling_method };
    let manager = deadpool_postgres::Manager::from_config(config(dsn), NoTls, manager);
    let mut config = PoolConfig::new(SIZE);
    config.queue_mode = queue_mode;
    let builder = deadpool_postgres::Pool::builder(manager).config(config);
    let pool = builder.runtime(OnTokio::Tokio1).build().expect("deadpool");
    // As nobody else opens the first connections, so many held at once do.
    runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..SIZE {
            open.push(pool.get().await.expect("a connection"));
        }
    });
    contender(pool, runtime, async |pool: deadpool_postgres::Pool, query| {
        let client = pool.get().await.expect("a connection");
        if query != Query::Cached {
            return ask(&client, query).await;
        }
        let statement = client.prepare_cached(Query::SQL).await.expect("a statement");
        ask_for_a_row(&client, &statement).await;
    })
}
