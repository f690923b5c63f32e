//! r2d2. It has one limit, that of `get`; connects run on its own three threads, checks on the
//! caller's.

use super::driver::Driver;
use super::object::{Boxes, Object};
use super::{ForThreads, Got, Limits, Peer, Refusal, turn};
use futures_util::future::BoxFuture;
use r2d2::{ManageConnection, NopErrorHandler, Pool};
use std::io;

struct Adapter<D>(D);

impl<D: Driver> ManageConnection for Adapter<D> {
    type Connection = D::Connection;
    type Error = io::Error;

    fn connect(&self) -> io::Result<D::Connection> {
        self.0.block(self.0.connect())
    }

    fn is_valid(&self, connection: &mut D::Connection) -> io::Result<()> {
        self.0.block(self.0.ping(connection))
    }

    fn has_broken(&self, connection: &mut D::Connection) -> bool {
        self.0.has_broken(connection)
    }
}

pub(super) struct R2d2<D: Driver>(Pool<Adapter<D>>, D);

impl<D: Driver> R2d2<D> {
    pub(super) fn open(limits: Limits, driver: D) -> Result<Self, r2d2::Error> {
        let builder = Pool::builder()
            .max_size(limits.max as u32)
            .min_idle(Some(limits.idle as u32))
            .connection_timeout(limits.get)
            .test_on_check_out(limits.check.is_some())
            .error_handler(Box::new(NopErrorHandler));
        Ok(Self(builder.build(Adapter(driver.clone()))?, driver))
    }
}

impl R2d2<Boxes> {
    pub(super) fn new(size: usize) -> Self {
        Self::open(Limits::full(size), Boxes).expect("objects always connect")
    }
}

impl<D: Driver> Peer for R2d2<D> {
    fn turn<'a>(&'a self, got: Got<'a>) -> BoxFuture<'a, io::Result<()>> {
        let loan = self.0.get().map_err(|error| {
            // It has no source; the driver's last error, if any, follows a colon.
            let text = error.to_string();
            Refusal { has_cause: text.contains(": "), text }
        });
        Box::pin(turn(&self.1, loan, got))
    }
}

impl ForThreads for R2d2<Boxes> {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.get().expect("an object before the timeout"))
    }
}
