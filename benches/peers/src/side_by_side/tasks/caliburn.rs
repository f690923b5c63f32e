//! caliburn: `get_async`.

use super::ForTasks;
use crate::side_by_side::threads::{Objects, pool};
use caliburn::{Pool, PooledConnection};

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
