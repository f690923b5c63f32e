//! Both drivers for the tests' server, as one who borrows uses them.

use crate::common::wire::{AsyncWire, Conn, Wire, WireError};
use crate::harness::callers::Face;
use caliburn::{BlockingManager, Builder, Deadline, Manager, Pool};
use std::future::Future;
use std::net::TcpStream;
use std::time::Duration;
use tokio::net::TcpStream as AsyncStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// One of the drivers.
pub(super) trait Wired: Manager<Error = WireError, Connection: Talk> + Sized {
    const FACE: Face;

    fn builder(wire: &Wire, runtime: &Runtime) -> Builder<Self>;

    /// A query with a limit of its own.
    fn query(
        &self,
        conn: &mut Self::Connection,
        limit: Duration,
    ) -> impl Future<Output = bool> + Send;
}

impl Wired for Wire {
    const FACE: Face = Face::Threads;

    fn builder(wire: &Wire, _: &Runtime) -> Builder<Self> {
        Pool::builder(wire.clone())
    }

    async fn query(&self, conn: &mut Conn<TcpStream>, limit: Duration) -> bool {
        self.ping(conn, &Deadline::after(limit)).is_ok()
    }
}

impl Wired for AsyncWire {
    const FACE: Face = Face::Tasks;

    fn builder(wire: &Wire, runtime: &Runtime) -> Builder<Self> {
        let _context = runtime.enter();
        Self::builder(wire)
    }

    async fn query(&self, conn: &mut Conn<AsyncStream>, limit: Duration) -> bool {
        matches!(timeout(limit, conn.echo(1)).await, Ok(Ok(())))
    }
}

/// A connection of one of them.
pub(super) trait Talk: Send {
    fn say(&mut self, request: &str) -> impl Future<Output = Result<(), WireError>> + Send;
}

impl Talk for Conn<TcpStream> {
    async fn say(&mut self, request: &str) -> Result<(), WireError> {
        self.tell(request)
    }
}

impl Talk for Conn<AsyncStream> {
    async fn say(&mut self, request: &str) -> Result<(), WireError> {
        self.tell(request).await
    }
}
