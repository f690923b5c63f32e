//! Managers written for [r2d2](https://docs.rs/r2d2), as they are.

use crate::{BlockingManager, Deadline, ErrorClass, Manager};
use r2d2::{CustomizeConnection, ManageConnection};
use std::fmt;

/// Makes a manager of any [`r2d2::ManageConnection`]: diesel's `ConnectionManager`, for example.
///
/// `connect` stays what it was, `is_valid` is the ping, and the pool asks `has_broken` before and
/// after each loan. You can add what r2d2 does not have: [`classify_with`](Self::classify_with)
/// tells permanent errors from transient ones, [`reset_with`](Self::reset_with) cleans up after
/// borrowers. [`customize`](Self::customize) takes an [`r2d2::CustomizeConnection`] unchanged.
///
/// The manager's error must be `Send` and `Sync`, which r2d2 itself does not require.
///
/// r2d2 brings `scheduled-thread-pool`, whose version 0.2.8 wants Rust 1.95. With an older one:
/// `cargo update -p scheduled-thread-pool --precise 0.2.7`.
///
/// # Deadlines
///
/// r2d2 gives its managers no deadlines, so `connect` and `is_valid` take as long as the driver
/// lets them: set timeouts in the *driver*, in its URL or options. If a call blocks for longer, the
/// pool still keeps its limits. No borrower waits for a connect that has outlived
/// [`connect_timeout`](crate::Settings::connect_timeout): its slot is
/// [quarantined](crate::Stats::quarantined) until the call returns. The borrower's own thread makes
/// the ping before a loan, which can hold it beyond its deadline; to prevent that, let workers ping
/// with `.ping_on(`[`PingOn::Worker`](crate::PingOn::Worker)`)`, or use a strategy that pings only
/// in the background, such as [`PeriodicSweep`](crate::health::PeriodicSweep).
///
/// # What is left behind
///
/// As under r2d2, the pool does not lend a connection again if `has_broken` returns true on its
/// return. (diesel's does for an open transaction, so such a connection is replaced, not rolled
/// back.) It lends any other connection again as it is, with an open transaction for example,
/// unless [`reset_with`](Self::reset_with) cleans it. It closes a connection whose borrower
/// panicked, unless [`keep_on_unwind`](crate::Builder::keep_on_unwind) is set.
///
/// ```
/// use caliburn::Pool;
/// use caliburn::adapters::bridges::R2d2Manager;
/// use caliburn::health::PingOnBorrow;
/// # use std::io;
/// # use std::net::{SocketAddr, TcpStream};
///
/// // As it was written for r2d2.
/// struct Tcp(SocketAddr);
///
/// impl r2d2::ManageConnection for Tcp {
///     type Connection = TcpStream;
///     type Error = io::Error;
///
///     fn connect(&self) -> io::Result<TcpStream> {
///         TcpStream::connect(self.0)
///     }
///     fn is_valid(&self, stream: &mut TcpStream) -> io::Result<()> {
///         stream.take_error()?.map_or(Ok(()), Err)
///     }
///     fn has_broken(&self, _: &mut TcpStream) -> bool {
///         false
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let address = listener.local_addr()?;
/// let pool = Pool::builder(R2d2Manager::new(Tcp(address)))
///     .max_size(8)
///     .health(PingOnBorrow::always()) // as r2d2 does; the default of 500 ms costs less
///     .build()?;
/// let stream = pool.get()?;
/// assert_eq!(stream.peer_addr()?, address);
/// assert_eq!(pool.manager().manager().0, address);
/// // And back again.
/// let Tcp(_address) = R2d2Manager::new(Tcp(address)).into_manager();
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct R2d2Manager<M: ManageConnection> {
    manager: M,
    customizer: Option<Box<dyn CustomizeConnection<M::Connection, M::Error>>>,
    reset: Option<Reset<M::Connection, M::Error>>,
    classify: Option<Box<Classify<M::Error>>>,
}

type IsNeeded<C> = dyn Fn(&mut C) -> bool + Send + Sync;
type Clean<C, E> = dyn Fn(&mut C, &Deadline) -> Result<(), E> + Send + Sync;
type Classify<E> = dyn Fn(&E) -> ErrorClass + Send + Sync;

struct Reset<C, E> {
    is_needed: Box<IsNeeded<C>>,
    clean: Box<Clean<C, E>>,
}

impl<M: ManageConnection> R2d2Manager<M> {
    /// Wraps `manager`, with nothing added.
    pub fn new(manager: M) -> Self {
        Self { manager, customizer: None, reset: None, classify: None }
    }

    /// Sets the customizer, as r2d2's `Builder::connection_customizer` does. A second call replaces
    /// the first.
    ///
    /// `on_acquire` is part of each connect: if it fails, so does the connect. `on_release` gets
    /// the connections that the pool closes while they still work: idle for too long, too old,
    /// surplus, discarded, or because the pool is closed. Unlike r2d2, the pool drops broken
    /// connections without it, and it does not see
    /// [detached](crate::PooledConnection::detach) ones.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::R2d2Manager;
    /// # fn adopt<M>(manager: M) -> R2d2Manager<M>
    /// # where
    /// #     M: r2d2::ManageConnection<Connection = std::net::TcpStream, Error = std::io::Error>,
    /// # {
    /// use std::net::TcpStream;
    ///
    /// #[derive(Debug)]
    /// struct NoDelay;
    ///
    /// impl r2d2::CustomizeConnection<TcpStream, std::io::Error> for NoDelay {
    ///     fn on_acquire(&self, stream: &mut TcpStream) -> std::io::Result<()> {
    ///         stream.set_nodelay(true)
    ///     }
    /// }
    ///
    /// R2d2Manager::new(manager).customize(Box::new(NoDelay))
    /// # }
    /// ```
    pub fn customize(
        mut self,
        customizer: Box<dyn CustomizeConnection<M::Connection, M::Error>>,
    ) -> Self {
        self.customizer = Some(customizer);
        self
    }

    /// Sets how to make a connection as good as new before its next loan. A second call replaces
    /// the first.
    ///
    /// `is_needed` is called once on each return, on the returning thread: it must not block, so
    /// ask the driver for what it knows (SQLite's `is_autocommit`, a transaction's depth).
    /// `|_| true` costs every return a round trip, though none of the borrower's time. `clean` runs
    /// on a worker's thread, within [`reset_timeout`](crate::Settings::reset_timeout), and must
    /// honour its deadline. If it fails or is late, or if `has_broken` returns true, the pool
    /// replaces the connection.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::R2d2Manager;
    /// # mod r2d2_foodb {
    /// #     use std::io;
    /// #     pub struct Conn;
    /// #     impl Conn {
    /// #         pub fn is_in_transaction(&self) -> bool { false }
    /// #         pub fn execute(&mut self, _: &str) -> io::Result<()> { Ok(()) }
    /// #     }
    /// #     pub struct FooManager;
    /// #     impl r2d2::ManageConnection for FooManager {
    /// #         type Connection = Conn;
    /// #         type Error = io::Error;
    /// #         fn connect(&self) -> io::Result<Conn> { Ok(Conn) }
    /// #         fn is_valid(&self, _: &mut Conn) -> io::Result<()> { Ok(()) }
    /// #         fn has_broken(&self, _: &mut Conn) -> bool { false }
    /// #     }
    /// # }
    /// # use r2d2_foodb::FooManager;
    /// let manager = R2d2Manager::new(FooManager)
    ///     .reset_with(|conn| conn.is_in_transaction(), |conn, _| conn.execute("ROLLBACK"));
    /// # let _ = manager;
    /// ```
    #[rustfmt::skip] // It would make one line of the last bounds, and a wide one.
    pub fn reset_with(
        mut self,
        is_needed: impl Fn(&mut M::Connection) -> bool + Send + Sync + 'static,
        clean: impl Fn(&mut M::Connection, &Deadline) -> Result<(), M::Error>
            + Send + Sync + 'static,
    ) -> Self {
        self.reset = Some(Reset { is_needed: Box::new(is_needed), clean: Box::new(clean) });
        self
    }

    /// Sets which connect errors are permanent: all waiters then fail at once with the cause,
    /// instead of after their timeout. Default: all are transient, as under r2d2. A second call
    /// replaces the first.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::R2d2Manager;
    /// # fn adopt<M>(manager: M) -> R2d2Manager<M>
    /// # where
    /// #     M: r2d2::ManageConnection<Error = std::io::Error>,
    /// # {
    /// use caliburn::ErrorClass;
    /// use std::io::ErrorKind;
    ///
    /// R2d2Manager::new(manager).classify_with(|error| match error.kind() {
    ///     ErrorKind::PermissionDenied | ErrorKind::NotFound => ErrorClass::Permanent,
    ///     _ => ErrorClass::Transient,
    /// })
    /// # }
    /// ```
    pub fn classify_with(
        mut self,
        classify: impl Fn(&M::Error) -> ErrorClass + Send + Sync + 'static,
    ) -> Self {
        self.classify = Some(Box::new(classify));
        self
    }

    /// Returns the manager written for r2d2. Of a pool: `pool.manager().manager()`.
    pub fn manager(&self) -> &M {
        &self.manager
    }

    /// Returns the manager written for r2d2, without what was added.
    pub fn into_manager(self) -> M {
        self.manager
    }
}

impl<M: ManageConnection> From<M> for R2d2Manager<M> {
    fn from(manager: M) -> Self {
        Self::new(manager)
    }
}

impl<M> Manager for R2d2Manager<M>
where
    M: ManageConnection,
    M::Error: Send + Sync,
{
    type Connection = M::Connection;
    type Error = M::Error;

    fn has_broken(&self, connection: &mut M::Connection) -> bool {
        self.manager.has_broken(connection)
    }

    fn needs_reset(&self, connection: &mut M::Connection) -> bool {
        self.reset.as_ref().is_some_and(|reset| (reset.is_needed)(connection))
    }

    fn classify(&self, error: &M::Error) -> ErrorClass {
        self.classify.as_ref().map_or(ErrorClass::Transient, |classify| classify(error))
    }
}

impl<M> BlockingManager for R2d2Manager<M>
where
    M: ManageConnection,
    M::Error: Send + Sync,
{
    fn connect(&self, _: &Deadline) -> Result<M::Connection, M::Error> {
        let mut connection = self.manager.connect()?;
        if let Some(customizer) = &self.customizer {
            customizer.on_acquire(&mut connection)?;
        }
        Ok(connection)
    }

    fn ping(&self, connection: &mut M::Connection, _: &Deadline) -> Result<(), M::Error> {
        self.manager.is_valid(connection)
    }

    fn reset(&self, connection: &mut M::Connection, deadline: &Deadline) -> Result<(), M::Error> {
        self.reset.as_ref().map_or(Ok(()), |reset| (reset.clean)(connection, deadline))
    }

    fn close(&self, connection: M::Connection, _: &Deadline) {
        match &self.customizer {
            Some(customizer) => customizer.on_release(connection),
            None => drop(connection),
        }
    }
}

impl<M: ManageConnection> fmt::Debug for R2d2Manager<M> {
    /// Without the manager itself, which may know a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("R2d2Manager")
            .field("customizes", &self.customizer.is_some())
            .field("resets", &self.reset.is_some())
            .field("classifies", &self.classify.is_some())
            .finish_non_exhaustive()
    }
}
