//! The pools, each behind the traits of what is measured about it.

mod bb8;
mod borrowed;
mod caliburn;
mod containers;
mod deadpool;
mod driver;
mod line;
mod mobc;
mod nothing;
mod object;
mod r2d2;
mod roster;
mod sleepy;
mod sqlx;

pub use self::bb8::Bb8;
pub use self::caliburn::{Adapter, GetAsync, builder, full, pool};
pub use self::deadpool::Deadpool;
pub use self::mobc::Mobc;
pub use self::sqlx::{SleepySqlx, Sqlx};
pub use driver::{Books, Driver};
pub use line::Line;
pub use object::{Boxes, Object, Touch};
pub use roster::{TaskArena, ThreadArena};
pub use sleepy::Sleepy;

use crate::harness::*;
use futures_util::future::BoxFuture;
use std::error::Error;
use std::future::Future;
use std::io;
use std::ops::DerefMut;
use std::sync::Arc;
use std::time::Duration;

/// Whoever takes part, by the names of their packages.
pub const PACKAGES: [&str; 13] = [
    "caliburn",
    "r2d2",
    "deadpool",
    "bb8",
    "mobc",
    "sqlx-core",
    "lockfree-object-pool",
    "object-pool",
    "opool",
    "sharded-slab",
    "regex-automata",
    "crossbeam-queue",
    "tokio",
];

/// A pool that threads borrow objects from. Whoever measures is generic over it: there is no
/// dynamic call in a measured loop.
pub trait ForThreads: Sync {
    /// One loan: waits for an object, lends it to `held`, gives it back.
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R;

    /// The shortest loan there is.
    fn trip(&self) {
        self.borrow(Object::touch);
    }
}

/// The same for tasks. It may keep tasks of its own on the runtime that it was made on.
pub trait ForTasks: Sized + Send + Sync + 'static {
    /// The guard.
    type Loan<'a>: DerefMut<Target: Touch> + Send
    where
        Self: 'a;

    /// A pool for so many objects.
    fn new(size: usize) -> impl Future<Output = Self> + Send;

    /// Waits for an object.
    fn get(&self) -> impl Future<Output = Self::Loan<'_>> + Send;

    /// The shortest loan there is.
    fn trip(&self) -> impl Future<Output = ()> + Send {
        async { self.get().await.touch() }
    }

    /// A pool all of whose objects are there, as so many were lent at once.
    fn filled(size: usize) -> impl Future<Output = Self> + Send {
        async move {
            let pool = Self::new(size).await;
            let mut loans = Vec::new();
            for _ in 0..size {
                loans.push(pool.get().await);
            }
            drop(loans);
            pool
        }
    }
}

/// A pool with a driver, whichever they are.
pub trait Peer: Send + Sync {
    /// One borrower's turn: get a connection, tell `got` what came of it, query once, give back.
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>>;
}

/// Told once in each turn.
pub type Got<'a> = &'a (dyn Fn(Result<(), Refusal>) + Sync);

/// Why there was no connection.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub text: String,
    /// Whether it carries what went wrong underneath.
    pub has_cause: bool,
}

impl Refusal {
    fn of(error: impl Error) -> Self {
        Self { text: error.to_string(), has_cause: error.source().is_some() }
    }
}

/// What is the same in all turns.
async fn turn<D: Driver>(
    driver: &D,
    loan: Result<impl DerefMut<Target = D::Connection>, Refusal>,
    got: Got<'_>,
) -> io::Result<()> {
    match loan {
        Ok(mut connection) => {
            got(Ok(()));
            driver.query(&mut connection).await
        }
        Err(refusal) => {
            got(Err(refusal));
            Ok(())
        }
    }
}

/// The same for all pools.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max: usize,
    /// So many connections are open before the scenario begins, and are kept.
    pub idle: usize,
    /// The limit of one `get`.
    pub get: Duration,
    /// Has every connection checked before it is lent.
    pub check: Option<Check>,
    /// Target and interval of those pools that shed.
    pub shed: Option<(Duration, Duration)>,
}

impl Limits {
    /// So many, all of them open, and nobody checks.
    fn full(size: usize) -> Self {
        Self { max: size, idle: size, get: Duration::from_secs(30), check: None, shed: None }
    }
}

/// Limits for those pools that have them.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub ping: Duration,
    pub connect: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    CaliburnThreads,
    CaliburnTasks,
    R2d2,
    Bb8,
    Deadpool,
}

impl Which {
    pub const ALL: [Self; 5] =
        [Self::CaliburnThreads, Self::CaliburnTasks, Self::R2d2, Self::Deadpool, Self::Bb8];
    /// By the names of their packages.
    pub const PACKAGES: [&str; 5] = ["caliburn", "r2d2", "bb8", "deadpool", "tokio"];

    pub fn name(self) -> &'static str {
        match self {
            Self::CaliburnThreads => "caliburn, threads",
            Self::CaliburnTasks => "caliburn, tasks",
            Self::R2d2 => "r2d2",
            Self::Bb8 => "bb8",
            Self::Deadpool => "deadpool",
        }
    }

    /// Who borrows from it.
    pub fn face(self) -> Face {
        match self {
            Self::CaliburnThreads | Self::R2d2 => Face::Threads,
            _ => Face::Tasks,
        }
    }

    /// Builds the pool and waits until its first connections are open.
    pub async fn build(
        self,
        limits: Limits,
        driver: impl Driver,
    ) -> Result<Arc<dyn Peer>, Box<dyn Error>> {
        Ok(match self {
            Self::CaliburnThreads => Arc::new(caliburn::Threads::open(limits, driver)?),
            Self::CaliburnTasks => Arc::new(caliburn::Tasks::open(limits, driver).await?),
            Self::R2d2 => Arc::new(r2d2::R2d2::open(limits, driver)?),
            Self::Bb8 => Arc::new(Bb8::open(limits, driver).await?),
            Self::Deadpool => Arc::new(Deadpool::open(limits, driver).await?),
        })
    }
}
