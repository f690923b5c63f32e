//! A manager as it was written for other pools, and the bridges over it.

use crate::common::{AsyncFake, Conn, Fake, FakeError, PLENTY, yield_once};
use caliburn::adapters::bridges::{Bb8Manager, Bridged, DeadpoolManager, R2d2Manager};
use caliburn::{AsyncManager, BlockingManager, Deadline, ErrorClass, Manager};
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// An error of a driver, with the server's beneath it.
#[derive(Debug)]
pub(crate) struct DriverError(pub(crate) FakeError);

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver failed")
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// A manager for each of the other pools. It has a password, and a witness of its end.
#[derive(Debug)]
pub(crate) struct Old {
    fake: Fake,
    pub(crate) password: &'static str,
    pub(crate) alive: Arc<()>,
    pub(crate) detached: Arc<AtomicUsize>,
}

impl Old {
    pub(crate) fn new(fake: &Fake) -> Self {
        let (alive, detached) = (Arc::default(), Arc::default());
        Self { fake: fake.clone(), password: "sesame", alive, detached }
    }
}

pub(crate) fn unlimited() -> Deadline {
    Deadline::after(PLENTY)
}

impl r2d2::ManageConnection for Old {
    type Connection = Conn;
    type Error = DriverError;

    fn connect(&self) -> Result<Conn, DriverError> {
        assert_eq!(self.password, "sesame");
        BlockingManager::connect(&self.fake, &unlimited()).map_err(DriverError)
    }

    fn is_valid(&self, conn: &mut Conn) -> Result<(), DriverError> {
        BlockingManager::ping(&self.fake, conn, &unlimited()).map_err(DriverError)
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        Manager::has_broken(&self.fake, conn)
    }
}

impl bb8::ManageConnection for Old {
    type Connection = Conn;
    type Error = DriverError;

    async fn connect(&self) -> Result<Conn, DriverError> {
        AsyncFake(self.fake.clone()).connect(&unlimited()).await.map_err(DriverError)
    }

    async fn is_valid(&self, conn: &mut Conn) -> Result<(), DriverError> {
        AsyncFake(self.fake.clone()).ping(conn, &unlimited()).await.map_err(DriverError)
    }

    fn has_broken(&self, conn: &mut Conn) -> bool {
        Manager::has_broken(&self.fake, conn)
    }
}

impl managed::Manager for Old {
    type Type = Conn;
    type Error = DriverError;

    async fn create(&self) -> Result<Conn, DriverError> {
        bb8::ManageConnection::connect(self).await
    }

    /// Cleans, as deadpool's managers do, and counts what was recycled before.
    async fn recycle(&self, conn: &mut Conn, metrics: &Metrics) -> RecycleResult<DriverError> {
        assert!(metrics.recycled.is_some() == (metrics.recycle_count > 0));
        if conn.broken {
            return Err(RecycleError::message("the connection is closed"));
        }
        bb8::ManageConnection::is_valid(self, conn).await?;
        if conn.dirty {
            let server = AsyncFake(self.fake.clone());
            server.reset(conn, &unlimited()).await.map_err(DriverError)?;
        }
        Ok(())
    }

    fn detach(&self, _: &mut Conn) {
        self.detached.fetch_add(1, SeqCst);
    }
}

pub(crate) fn classify(error: &DriverError) -> ErrorClass {
    match error {
        DriverError(FakeError::WrongPassword) => ErrorClass::Permanent,
        DriverError(FakeError::Refused) => ErrorClass::Transient,
    }
}

pub(crate) fn over_r2d2(fake: &Fake) -> R2d2Manager<Old> {
    R2d2Manager::new(Old::new(fake))
}

pub(crate) fn over_bb8(fake: &Fake) -> Bb8Manager<Old> {
    Bb8Manager::new(Old::new(fake))
}

pub(crate) fn over_deadpool(fake: &Fake) -> DeadpoolManager<Old> {
    DeadpoolManager::new(Old::new(fake))
}

/// Rolls back what is dirty.
pub(crate) fn resetting_r2d2(fake: &Fake) -> R2d2Manager<Old> {
    let server = fake.clone();
    over_r2d2(fake).reset_with(
        |conn| conn.dirty,
        move |conn, deadline| server.reset_blocking(conn, deadline).map_err(DriverError),
    )
}

/// The same, as a future.
pub(crate) fn resetting_bb8(fake: &Fake) -> Bb8Manager<Old> {
    let server = AsyncFake(fake.clone());
    over_bb8(fake).reset_with(
        |conn| conn.dirty,
        move |conn| {
            let server = server.clone();
            Box::pin(async move { server.reset(conn, &unlimited()).await.map_err(DriverError) })
        },
    )
}

trait ResetBlocking {
    fn reset_blocking(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError>;
}

impl ResetBlocking for Fake {
    fn reset_blocking(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        assert!(!deadline.is_past() && deadline.remaining() < PLENTY, "not the pool's deadline");
        BlockingManager::reset(self, conn, deadline)
    }
}

/// The fake connection, as a pool over any of the bridges has it.
pub(crate) trait Behind {
    fn fake(&mut self) -> &mut Conn;
}

impl Behind for Conn {
    fn fake(&mut self) -> &mut Conn {
        self
    }
}

impl Behind for Bridged<Conn> {
    fn fake(&mut self) -> &mut Conn {
        self
    }
}

/// Keeps books of its own, and does as it is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Customizer(pub(crate) Arc<Customs>);

#[derive(Debug, Default)]
pub(crate) struct Customs {
    pub(crate) acquired: AtomicUsize,
    pub(crate) released: AtomicUsize,
    pub(crate) refuses: AtomicBool,
    pub(crate) panics: AtomicBool,
}

impl Customizer {
    fn acquire(&self, conn: &mut Conn) -> Result<(), DriverError> {
        assert!(!self.0.panics.load(SeqCst), "a customizer panics");
        if self.0.refuses.load(SeqCst) {
            return Err(DriverError(FakeError::Refused));
        }
        self.0.acquired.fetch_add(1, SeqCst);
        conn.value = 42;
        Ok(())
    }
}

impl r2d2::CustomizeConnection<Conn, DriverError> for Customizer {
    fn on_acquire(&self, conn: &mut Conn) -> Result<(), DriverError> {
        self.acquire(conn)
    }

    fn on_release(&self, conn: Conn) {
        assert_eq!(conn.value, 42);
        self.0.released.fetch_add(1, SeqCst);
        assert!(!self.0.panics.load(SeqCst), "a customizer panics");
    }
}

impl bb8::CustomizeConnection<Conn, DriverError> for Customizer {
    fn on_acquire<'a>(
        &'a self,
        conn: &'a mut Conn,
    ) -> Pin<Box<dyn Future<Output = Result<(), DriverError>> + Send + 'a>> {
        Box::pin(async move {
            yield_once().await;
            self.acquire(conn)
        })
    }
}
