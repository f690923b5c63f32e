//! The tests' drivers, for threads and for tasks, as one who borrows uses them.

use crate::Bench;
use caliburn::{BlockingManager, Builder, Deadline, Manager, PingOn, Pool};
use caliburn_benches::common::{AsyncFake, AsyncWire, Fake, Wire, WireConn, WireError};
use caliburn_benches::harness::*;
use std::future::Future;
use std::net::TcpStream;
use std::time::Duration;
use tokio::net::TcpStream as AsyncStream;
use tokio::time::timeout;

/// A manager made of what both kinds of a driver have in common.
pub(crate) trait Driven: Manager + Sized {
    type Driver;
    const FACE: Face;
    /// What keeps, or does not keep, its calls within their limits.
    const CONDITIONS: &str;

    fn builder(driver: &Self::Driver, bench: &Bench) -> Builder<Self>;
}

impl Driven for Wire {
    type Driver = Wire;
    const FACE: Face = Face::Threads;
    const CONDITIONS: &str = "the driver ignores its deadlines";

    fn builder(wire: &Wire, _: &Bench) -> Builder<Self> {
        Pool::builder(wire.clone())
    }
}

impl Driven for AsyncWire {
    type Driver = Wire;
    const FACE: Face = Face::Tasks;
    const CONDITIONS: &str = "on tokio, two workers";

    fn builder(wire: &Wire, bench: &Bench) -> Builder<Self> {
        bench.builder(Self(wire.clone()))
    }
}

impl Driven for Fake {
    type Driver = Fake;
    const FACE: Face = Face::Threads;
    const CONDITIONS: &str = "PingOn::Worker, the driver ignores it";

    fn builder(fake: &Fake, _: &Bench) -> Builder<Self> {
        Pool::builder(fake.clone()).ping_on(PingOn::Worker)
    }
}

impl Driven for AsyncFake {
    type Driver = Fake;
    const FACE: Face = Face::Tasks;
    const CONDITIONS: &str = "on tokio, two workers";

    fn builder(fake: &Fake, bench: &Bench) -> Builder<Self> {
        bench.builder(Self(fake.clone()))
    }
}

/// One of those that talk to the tests' server.
pub(crate) trait Wired: Driven<Driver = Wire> + Manager<Error = WireError> {
    fn say(
        conn: &mut Self::Connection,
        request: &str,
    ) -> impl Future<Output = Result<(), WireError>> + Send;

    /// A query with a limit of its own.
    fn query(
        &self,
        conn: &mut Self::Connection,
        limit: Duration,
    ) -> impl Future<Output = bool> + Send;
}

impl Wired for Wire {
    async fn say(conn: &mut WireConn<TcpStream>, request: &str) -> Result<(), WireError> {
        conn.tell(request)
    }

    async fn query(&self, conn: &mut WireConn<TcpStream>, limit: Duration) -> bool {
        self.ping(conn, &Deadline::after(limit)).is_ok()
    }
}

impl Wired for AsyncWire {
    async fn say(conn: &mut WireConn<AsyncStream>, request: &str) -> Result<(), WireError> {
        conn.tell(request).await
    }

    async fn query(&self, conn: &mut WireConn<AsyncStream>, limit: Duration) -> bool {
        matches!(timeout(limit, conn.echo(1)).await, Ok(Ok(())))
    }
}
