//! mobc, without the test on checkout and with all connections kept; as shipped it keeps two.

use super::ForTasks;
use super::object::Object;
use mobc::{Connection, Manager, Pool, async_trait};
use std::convert::Infallible;

pub struct Objects;

#[async_trait]
impl Manager for Objects {
    type Connection = Box<Object>;
    type Error = Infallible;

    async fn connect(&self) -> Result<Box<Object>, Infallible> {
        Ok(Object::boxed())
    }

    async fn check(&self, object: Box<Object>) -> Result<Box<Object>, Infallible> {
        Ok(object)
    }
}

pub struct Mobc(Pool<Objects>);

impl ForTasks for Mobc {
    type Loan<'a> = Connection<Objects>;

    async fn new(size: usize) -> Self {
        let size = size as u64;
        let builder = Pool::builder().max_open(size).max_idle(size);
        Self(builder.test_on_check_out(false).build(Objects))
    }

    async fn get(&self) -> Connection<Objects> {
        self.0.get().await.unwrap_or_else(|_| panic!("an object before the timeout"))
    }
}
