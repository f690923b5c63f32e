//! deadpool, managed, as shipped: without timeouts.

use super::ForTasks;
use crate::side_by_side::object::Object;
use deadpool::managed::{Manager, Metrics, Object as Loan, Pool, RecycleResult};
use std::convert::Infallible;

pub struct Objects;

impl Manager for Objects {
    type Type = Box<Object>;
    type Error = Infallible;

    async fn create(&self) -> Result<Box<Object>, Infallible> {
        Ok(Object::boxed())
    }

    async fn recycle(&self, _: &mut Box<Object>, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

/// The pool.
pub struct Deadpool(Pool<Objects>);

impl ForTasks for Deadpool {
    type Loan<'a> = Loan<Objects>;

    async fn new(size: usize) -> Self {
        Self(Pool::builder(Objects).max_size(size).build().expect("no timeouts, no runtime"))
    }

    async fn get(&self) -> Loan<Objects> {
        self.0.get().await.expect("an object")
    }
}
