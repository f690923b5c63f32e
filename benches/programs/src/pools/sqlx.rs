//! sqlx's pool, without the test on acquire. On return it always pings.

use super::nothing::Nothing;
use super::{ForTasks, Got, Peer, Refusal};
use crate::harness::Face;
use futures_util::future::BoxFuture;
use sqlx_core::pool::{Pool, PoolConnection, PoolOptions};
use std::io;
use std::time::Duration;

pub struct Sqlx(Pool<Nothing>);

impl ForTasks for Sqlx {
    type Loan<'a> = PoolConnection<Nothing>;

    async fn new(size: usize) -> Self {
        let options = PoolOptions::new().max_connections(size as u32).min_connections(size as u32);
        let pool = options.test_before_acquire(false).connect_with(Nothing).await;
        Self(pool.expect("objects always connect"))
    }

    async fn get(&self) -> PoolConnection<Nothing> {
        self.0.acquire().await.expect("an object before the timeout")
    }
}

/// It takes no driver but a database's: what lies in it are objects, and a query is a sleep.
pub struct SleepySqlx {
    pool: Sqlx,
    query: Duration,
}

impl SleepySqlx {
    pub async fn open(size: usize, query: Duration) -> Self {
        Self { pool: Sqlx::new(size).await, query }
    }
}

impl Peer for SleepySqlx {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let object = self.pool.0.acquire().await.map_err(Refusal::of);
            got(object.as_ref().map(drop).map_err(Refusal::clone));
            if object.is_ok() {
                Face::Tasks.sleep(self.query).await;
            }
            Ok(())
        })
    }
}
