//! caliburn: `get_async`.

use super::ForTasks;
use crate::side_by_side::threads::{Objects, pool};
use caliburn::{Fairness, Pool, PooledConnection};
use std::time::Duration;

/// The pool.
#[derive(Debug)]
pub struct GetAsync(Pool<Objects>);

impl ForTasks for GetAsync {
    type Loan<'a> = PooledConnection<Objects>;

    async fn new(size: usize) -> Self {
        Self(pool(size, (), |builder| builder))
    }

    async fn get(&self) -> PooledConnection<Objects> {
        self.0.get_async().await.expect("an object before the timeout")
    }
}

/// The same pool, in which newcomers may claim what is idle before those who wait.
#[derive(Debug)]
pub struct Barging(Pool<Objects>);

impl ForTasks for Barging {
    type Loan<'a> = PooledConnection<Objects>;

    async fn new(size: usize) -> Self {
        let fairness = Fairness::BoundedBarging(Duration::from_secs(60));
        Self(pool(size, (), |builder| builder.fairness(fairness)))
    }

    async fn get(&self) -> PooledConnection<Objects> {
        self.0.get_async().await.expect("an object before the timeout")
    }
}
