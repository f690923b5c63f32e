//! sqlx's pool, without the test on acquire. On return it always pings.

use super::ForTasks;
use super::nothing::Nothing;
use sqlx_core::pool::{Pool, PoolConnection, PoolOptions};

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
