//! bb8. It has one limit, that of `get`, which bounds the checks within; its connects, tasks of
//! their own, have none.

use super::driver::Driver;
use super::object::Boxes;
use super::{ForTasks, Got, Limits, Peer, Refusal, turn};
use bb8::{ManageConnection, Pool, PooledConnection};
use futures_util::future::BoxFuture;
use std::io;

pub struct Adapter<D>(D);

impl<D: Driver> ManageConnection for Adapter<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<D::Connection> {
        self.0.connect().await
    }

    async fn is_valid(&self, connection: &mut D::Connection) -> io::Result<()> {
        self.0.ping(connection).await
    }

    fn has_broken(&self, connection: &mut D::Connection) -> bool {
        self.0.has_broken(connection)
    }
}

pub struct Bb8<D: Driver>(Pool<Adapter<D>>, D);

impl<D: Driver> Bb8<D> {
    pub(super) async fn open(limits: Limits, driver: D) -> io::Result<Self> {
        let builder = Pool::builder()
            .max_size(limits.max as u32)
            .min_idle(limits.idle as u32)
            .connection_timeout(limits.get)
            .test_on_check_out(limits.check.is_some());
        Ok(Self(builder.build(Adapter(driver.clone())).await?, driver))
    }
}

impl<D: Driver> Peer for Bb8<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { turn(&self.1, self.0.get().await.map_err(Refusal::of), got).await })
    }
}

impl ForTasks for Bb8<Boxes> {
    type Loan<'a> = PooledConnection<'a, Adapter<Boxes>>;

    async fn new(size: usize) -> Self {
        Self::open(Limits::full(size), Boxes).await.expect("objects always connect")
    }

    async fn get(&self) -> PooledConnection<'_, Adapter<Boxes>> {
        self.0.get().await.expect("an object before the timeout")
    }
}
