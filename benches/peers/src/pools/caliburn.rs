//! caliburn, both faces: `get` on a blocking driver, `get_async` on an asynchronous one.

use super::{BoxFuture, Got, Limits, Peer, Refusal};
use crate::driver::{Async, Blocking, Driver};
use caliburn::health::{HealthStrategy, PingOnBorrow};
use caliburn::{AsyncManager, BlockingManager, Builder, Deadline, Manager, PingOn, Pool};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

struct Adapter<D>(D);

impl<D: Driver> Manager for Adapter<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    fn has_broken(&self, connection: &mut D::Connection) -> bool {
        self.0.has_broken(connection)
    }
}

/// It heeds no deadline, as r2d2's manager is not even told one.
impl<D: Blocking> BlockingManager for Adapter<D> {
    fn connect(&self, _: &Deadline) -> io::Result<D::Connection> {
        self.0.connect()
    }

    fn ping(&self, connection: &mut D::Connection, _: &Deadline) -> io::Result<()> {
        self.0.ping(connection)
    }
}

impl<D: Async> AsyncManager for Adapter<D> {
    async fn connect(&self, _: &Deadline) -> io::Result<D::Connection> {
        self.0.connect().await
    }

    async fn ping(&self, connection: &mut D::Connection, _: &Deadline) -> io::Result<()> {
        self.0.ping(connection).await
    }
}

fn configured<M: Manager>(builder: Builder<M>, limits: Limits) -> Builder<M> {
    let strategy: Box<dyn HealthStrategy> = match limits.check {
        Some(_) => Box::new(PingOnBorrow::always()),
        None => Box::new(()),
    };
    let builder = builder
        .max_size(limits.max)
        .min_size(limits.idle)
        .checkout_timeout(limits.get)
        .health(strategy);
    match limits.check {
        Some(check) => builder.connect_timeout(check.connect).ping_timeout(check.ping),
        None => builder,
    }
}

const START: Duration = Duration::from_secs(10);

struct Threads<D: Blocking>(Pool<Adapter<D>>);

pub(super) fn for_threads<D: Blocking>(
    limits: Limits,
    driver: D,
) -> Result<Arc<dyn Peer>, Box<dyn Error>> {
    // A driver that heeds no deadline is not to be called on borrowers' threads.
    let builder = configured(Pool::builder(Adapter(driver)), limits).ping_on(PingOn::Worker);
    Ok(Arc::new(Threads(builder.wait_ready(START).build()?)))
}

impl<D: Blocking> Peer for Threads<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut connection = match self.0.get() {
                Ok(connection) => connection,
                Err(error) => {
                    got(Err(Refusal::of(&error)));
                    return Ok(());
                }
            };
            got(Ok(()));
            self.0.manager().0.query(&mut connection)
        })
    }
}

struct Tasks<D: Async>(Pool<Adapter<D>>);

pub(super) async fn for_tasks<D: Async>(
    limits: Limits,
    driver: D,
) -> Result<Arc<dyn Peer>, Box<dyn Error>> {
    let runtime = Handle::current();
    let pool = configured(Pool::builder_async(Adapter(driver)), limits)
        .spawner(move |task| drop(runtime.spawn(task)))
        .build()?;
    pool.ready_async(START).await?;
    Ok(Arc::new(Tasks(pool)))
}

impl<D: Async> Peer for Tasks<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut connection = match self.0.get_async().await {
                Ok(connection) => connection,
                Err(error) => {
                    got(Err(Refusal::of(&error)));
                    return Ok(());
                }
            };
            got(Ok(()));
            self.0.manager().0.query(&mut connection).await
        })
    }
}
