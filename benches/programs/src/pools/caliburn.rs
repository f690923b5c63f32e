//! caliburn: `get`, which waits, `try_get`, which does not, and `get_async`.

use super::driver::Driver;
use super::object::{Boxes, Object};
use super::{ForTasks, ForThreads, Got, Limits, Peer, Refusal, turn};
use caliburn::health::PingOnBorrow;
use caliburn::observe::Tracing;
use caliburn::{AsyncManager, BlockingManager, Builder, Deadline, Fairness, GetError, Manager};
use caliburn::{ObjectPool, PingOn, Pool, PooledConnection, Shedding};
use futures_util::future::BoxFuture;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

#[derive(Debug)]
pub struct Adapter<D>(pub D);

impl<D: Driver> Manager for Adapter<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    fn has_broken(&self, connection: &mut D::Connection) -> bool {
        self.0.has_broken(connection)
    }
}

/// It heeds no deadline, as r2d2's manager is not even told one.
impl<D: Driver> BlockingManager for Adapter<D> {
    fn connect(&self, _: &Deadline) -> io::Result<D::Connection> {
        self.0.block(self.0.connect())
    }

    fn ping(&self, connection: &mut D::Connection, _: &Deadline) -> io::Result<()> {
        self.0.block(self.0.ping(connection))
    }
}

impl<D: Driver> AsyncManager for Adapter<D> {
    async fn connect(&self, _: &Deadline) -> io::Result<D::Connection> {
        self.0.connect().await
    }

    async fn ping(&self, connection: &mut D::Connection, _: &Deadline) -> io::Result<()> {
        self.0.ping(connection).await
    }
}

fn configured<M: Manager>(builder: Builder<M>, limits: Limits) -> Builder<M> {
    let builder = builder.max_size(limits.max).min_size(limits.idle).checkout_timeout(limits.get);
    let builder = match limits.shed {
        Some((target, interval)) => {
            builder.shedding(Shedding::CoDel { target, interval, newest_first: false })
        }
        None => builder,
    };
    let Some(check) = limits.check else { return builder };
    let builder = builder.health(PingOnBorrow::always());
    builder.connect_timeout(check.connect).ping_timeout(check.ping)
}

/// Enough for 65,536 objects.
const START: Duration = Duration::from_secs(60);

/// A call that has not ended is a cause, though no error that could be a source.
fn refusal(error: GetError<io::Error>) -> Refusal {
    let has_cause =
        matches!(error, GetError::TimedOut { cause: Some(_), .. } | GetError::Connect { .. });
    Refusal { text: format!("{error:#}"), has_cause }
}

pub(super) struct Threads<D: Driver>(Pool<Adapter<D>>, Arc<Adapter<D>>);

impl<D: Driver> Threads<D> {
    pub(super) fn open(limits: Limits, driver: D) -> Result<Self, Box<dyn Error>> {
        // A driver that heeds no deadline is not to be called on borrowers' threads.
        let builder = configured(Pool::builder(Adapter(driver)), limits).ping_on(PingOn::Worker);
        let pool = builder.wait_ready(START).build()?;
        let manager = pool.manager();
        Ok(Self(pool, manager))
    }
}

impl<D: Driver> Peer for Threads<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        let loan = self.0.get().map_err(refusal);
        Box::pin(turn(&self.1.0, loan, got))
    }
}

pub(super) struct Tasks<D: Driver>(Pool<Adapter<D>>, Arc<Adapter<D>>);

impl<D: Driver> Tasks<D> {
    pub(super) async fn open(limits: Limits, driver: D) -> Result<Self, Box<dyn Error>> {
        let runtime = Handle::current();
        let pool = configured(Pool::builder_async(Adapter(driver)), limits)
            .spawner(move |task| drop(runtime.spawn(task)))
            .build()?;
        pool.ready_async(START).await?;
        let manager = pool.manager();
        Ok(Self(pool, manager))
    }
}

impl<D: Driver> Peer for Tasks<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let loan = self.0.get_async().await.map_err(refusal);
            turn(&self.1.0, loan, got).await
        })
    }
}

/// Of a pool of objects.
pub fn builder(size: usize) -> Builder<Adapter<Boxes>> {
    Pool::builder(Adapter(Boxes)).max_size(size).min_size(size)
}

/// The same, with all that can be watched: events for tracing, whose subscriber drops them, and the
/// latest of them kept; loans measured and looked at.
pub(super) fn watched(size: usize) -> Builder<Adapter<Boxes>> {
    let builder = builder(size).observer(Tracing::new("objects")).record_events(256);
    builder.sample_use_time(1024).leak_threshold(Some(START))
}

/// The pool, with all objects there.
pub fn full(builder: Builder<Adapter<Boxes>>) -> Pool<Adapter<Boxes>> {
    builder.wait_ready(START).build().expect("objects always connect")
}

/// The same with all settings as they are by default.
pub fn pool(size: usize) -> Pool<Adapter<Boxes>> {
    full(builder(size))
}

/// Borrows by `get`.
#[derive(Debug)]
pub(super) struct Get(pub(super) Pool<Adapter<Boxes>>);

impl ForThreads for Get {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.get().expect("an object before the timeout"))
    }
}

/// Borrows by `try_get`.
#[derive(Debug)]
pub(super) struct TryGet(pub(super) Pool<Adapter<Boxes>>);

impl ForThreads for TryGet {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.try_get().expect("an idle object"))
    }
}

/// Borrows by `get` from a pool without a manager.
#[derive(Debug)]
pub(super) struct Plain(ObjectPool<Box<Object>>);

impl Plain {
    pub(super) fn new(size: usize) -> Self {
        let pool = ObjectPool::new(size, Object::boxed).expect("a size from 1");
        pool.prepare(size).expect("boxes are always to be had");
        Self(pool)
    }
}

impl ForThreads for Plain {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.get().expect("an object"))
    }
}

/// Borrows by `get_async`. If it barges, newcomers may claim what is idle before those who wait.
#[derive(Debug)]
pub struct GetAsync<const BARGES: bool = false>(Pool<Adapter<Boxes>>);

impl<const BARGES: bool> ForTasks for GetAsync<BARGES> {
    type Loan<'a> = PooledConnection<Adapter<Boxes>>;

    async fn new(size: usize) -> Self {
        let barging = Fairness::BoundedBarging(Duration::from_secs(60));
        let fairness = if BARGES { barging } else { Fairness::Fifo };
        Self(full(builder(size).fairness(fairness)))
    }

    async fn get(&self) -> PooledConnection<Adapter<Boxes>> {
        self.0.get_async().await.expect("an object before the timeout")
    }
}
