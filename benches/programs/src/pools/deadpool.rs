//! deadpool, managed. It has a limit for each stage of `get` and none for the whole, keeps no
//! minimum open, and checks whatever its manager's `recycle` checks.

use super::driver::Driver;
use super::object::Boxes;
use super::{ForTasks, Got, Limits, Peer, Refusal, turn};
use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Object, Pool, RecycleError, RecycleResult, Timeouts};
use futures_util::future::BoxFuture;
use std::error::Error;
use std::io;

pub struct Adapter<D> {
    driver: D,
    checks: bool,
}

impl<D: Driver> Manager for Adapter<D> {
    type Type = D::Connection;
    type Error = io::Error;

    async fn create(&self) -> io::Result<D::Connection> {
        self.driver.connect().await
    }

    async fn recycle(
        &self,
        connection: &mut D::Connection,
        _: &Metrics,
    ) -> RecycleResult<io::Error> {
        if self.driver.has_broken(connection) {
            return Err(RecycleError::message("broken"));
        }
        if self.checks {
            self.driver.ping(connection).await?;
        }
        Ok(())
    }
}

pub struct Deadpool<D: Driver>(Pool<Adapter<D>>);

impl<D: Driver> Deadpool<D> {
    pub(super) async fn open(limits: Limits, driver: D) -> Result<Self, Box<dyn Error>> {
        let timeouts = Timeouts {
            wait: Some(limits.get),
            create: limits.check.map(|check| check.connect),
            recycle: limits.check.map(|check| check.ping),
        };
        let pool: Pool<_> = Pool::builder(Adapter { driver, checks: limits.check.is_some() })
            .max_size(limits.max)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()?;
        // As nobody else opens the first connections, so many borrowers at once do.
        let borrow = |_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get().await })
        };
        let mut open = Vec::new();
        for borrower in (0..limits.idle).map(borrow).collect::<Vec<_>>() {
            open.push(borrower.await??);
        }
        drop(open);
        Ok(Self(pool))
    }
}

impl<D: Driver> Peer for Deadpool<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        let driver = &self.0.manager().driver;
        Box::pin(async move { turn(driver, self.0.get().await.map_err(Refusal::of), got).await })
    }
}

/// As shipped: without limits.
impl ForTasks for Deadpool<Boxes> {
    type Loan<'a> = Object<Adapter<Boxes>>;

    async fn new(size: usize) -> Self {
        let builder = Pool::builder(Adapter { driver: Boxes, checks: false }).max_size(size);
        Self(builder.build().expect("no limits, no runtime"))
    }

    async fn get(&self) -> Object<Adapter<Boxes>> {
        self.0.get().await.expect("an object")
    }
}
