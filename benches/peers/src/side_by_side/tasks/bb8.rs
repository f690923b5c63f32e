//! bb8, without the test on checkout.

use super::ForTasks;
use crate::side_by_side::object::Object;
use bb8::{ManageConnection, Pool, PooledConnection};
use std::convert::Infallible;

pub struct Objects;

impl ManageConnection for Objects {
    type Connection = Box<Object>;
    type Error = Infallible;

    async fn connect(&self) -> Result<Box<Object>, Infallible> {
        Ok(Object::boxed())
    }

    async fn is_valid(&self, _: &mut Box<Object>) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Box<Object>) -> bool {
        false
    }
}

/// The pool.
pub struct Bb8(Pool<Objects>);

impl ForTasks for Bb8 {
    type Loan<'a> = PooledConnection<'a, Objects>;

    async fn new(size: usize) -> Self {
        let builder = Pool::builder().max_size(size as u32).min_idle(size as u32);
        let pool = builder.test_on_check_out(false).build(Objects).await;
        Self(pool.expect("objects always connect"))
    }

    async fn get(&self) -> PooledConnection<'_, Objects> {
        self.0.get().await.expect("an object before the timeout")
    }
}
