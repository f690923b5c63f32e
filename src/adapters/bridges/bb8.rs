//! Managers written for [bb8](https://docs.rs/bb8), as they are.

use super::bridged::Bridged;
use super::error::{BridgeError, Wrap};
use crate::adapters::runtime::Runtimes;
use crate::{AsyncManager, BoxFuture, Deadline, ErrorClass, Face, Manager};
use bb8::{CustomizeConnection, ManageConnection};
use std::error::Error;
use std::fmt;
use tokio::runtime::Handle;

/// Makes a manager of any [`bb8::ManageConnection`].
///
/// `connect` stays what it was, `is_valid` is the ping, and the pool asks `has_broken` before and
/// after each loan. You can add what bb8 does not have: [`classify_with`](Self::classify_with)
/// tells permanent errors from transient ones, [`reset_with`](Self::reset_with) cleans up after
/// borrowers. [`customize`](Self::customize) takes a [`bb8::CustomizeConnection`] unchanged.
///
/// The pooled connection derefs to the manager's: see [`Bridged`]. Errors are the manager's own, in
/// a [`BridgeError`]. If the manager's error does not implement [`Error`], as bb8 allows (a
/// `String`, lapin's), use [`with_plain_errors`](Self::with_plain_errors) instead of
/// [`new`](Self::new).
///
/// # The runtime
///
/// bb8 and its drivers run on tokio. A connection opens on the runtime given to
/// [`runtime`](Self::runtime); without one, on that of the borrower that waits; if no task waits,
/// on a runtime of the crate's own. All calls into the manager run in the context of the
/// connection's runtime. The pool replaces a connection whose runtime is gone or no longer driven.
/// Threads may borrow as well, and a guard needs no runtime to be dropped.
///
/// # Deadlines and cancellation
///
/// The pool drops the futures of `connect`, `is_valid` and resets when their time is up, and
/// `is_valid` also when its borrower is cancelled. It cannot know what the driver does then with
/// the rest of an answer, so it replaces the connection, unless
/// [`pings_are_cancel_safe`](Self::pings_are_cancel_safe).
///
/// As under bb8, a *borrower's* future may be dropped in the middle of a request, and the pool does
/// not notice: it lends the connection again unless `has_broken` returns true on its return.
/// Drivers that tell answers apart (tokio-postgres) or multiplex (redis) can cope. With other
/// drivers [discard](crate::PooledConnection::discard) the guard unless the request has ended, or
/// report the state with [`reset_with`](Self::reset_with).
///
/// ```
/// use caliburn::Pool;
/// use caliburn::adapters::bridges::Bb8Manager;
/// use caliburn::health::PingOnBorrow;
/// # use std::io;
/// # use std::net::SocketAddr;
/// # use tokio::net::TcpStream;
///
/// // As it was written for bb8.
/// struct Tcp(SocketAddr);
///
/// impl bb8::ManageConnection for Tcp {
///     type Connection = TcpStream;
///     type Error = io::Error;
///
///     async fn connect(&self) -> io::Result<TcpStream> {
///         TcpStream::connect(self.0).await
///     }
///     async fn is_valid(&self, stream: &mut TcpStream) -> io::Result<()> {
///         stream.take_error()?.map_or(Ok(()), Err)
///     }
///     fn has_broken(&self, _: &mut TcpStream) -> bool {
///         false
///     }
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
///     # let address = listener.local_addr()?;
///     let pool = Pool::builder_async(Bb8Manager::new(Tcp(address)))
///         .max_size(8)
///         .health(PingOnBorrow::always()) // as bb8 does; the default of 500 ms costs less
///         .build()?;
///     let stream = pool.get_async().await?;
///     assert_eq!(stream.peer_addr()?, address);
///     assert_eq!(pool.manager().manager().0, address);
///     // And back again.
///     let Tcp(_address) = Bb8Manager::new(Tcp(address)).into_manager();
///     Ok(())
/// }
/// ```
#[must_use]
pub struct Bb8Manager<M: ManageConnection> {
    manager: M,
    wrap: Wrap<M::Error>,
    runtimes: Runtimes,
    customizer: Option<Box<dyn CustomizeConnection<M::Connection, M::Error>>>,
    reset: Option<Reset<M::Connection, M::Error>>,
    classify: Option<Box<Classify<M::Error>>>,
    pings_are_cancel_safe: bool,
}

type IsNeeded<C> = dyn Fn(&mut C) -> bool + Send + Sync;
type Clean<C, E> = dyn Fn(&mut C) -> BoxFuture<'_, Result<(), E>> + Send + Sync;
type Classify<E> = dyn Fn(&E) -> ErrorClass + Send + Sync;

struct Reset<C, E> {
    is_needed: Box<IsNeeded<C>>,
    clean: Box<Clean<C, E>>,
}

impl<M: ManageConnection> Bb8Manager<M> {
    /// Wraps `manager`, with nothing added.
    pub fn new(manager: M) -> Self
    where
        M::Error: Error + Sync,
    {
        Self::wrapping(manager, BridgeError::typed)
    }

    /// As `new`, for a manager whose error does not implement [`Error`], or is not `Sync`. Such an
    /// error reads as its `Debug`; a text reads as it is.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::Bb8Manager;
    /// # fn adopt<M: bb8::ManageConnection<Error = String>>(manager: M) -> Bb8Manager<M> {
    /// Bb8Manager::with_plain_errors(manager)
    /// # }
    /// ```
    pub fn with_plain_errors(manager: M) -> Self {
        Self::wrapping(manager, BridgeError::plain)
    }

    fn wrapping(manager: M, wrap: Wrap<M::Error>) -> Self {
        Self {
            manager,
            wrap,
            runtimes: Runtimes::here(),
            customizer: None,
            reset: None,
            classify: None,
            pings_are_cancel_safe: false,
        }
    }

    /// Sets the runtime on which all connections live, wherever borrowers are.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::Bb8Manager;
    /// # fn adopt<M: bb8::ManageConnection>(manager: Bb8Manager<M>) -> std::io::Result<()> {
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let manager = manager.runtime(runtime.handle().clone());
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtimes.choose(runtime);
        self
    }

    /// Sets the customizer, as bb8's `Builder::connection_customizer` does. A second call replaces
    /// the first.
    ///
    /// `on_acquire` is part of each connect and of its time: if it fails, so does the connect.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::Bb8Manager;
    /// # use std::{future::Future, pin::Pin};
    /// # fn adopt<M>(manager: M) -> Bb8Manager<M>
    /// # where
    /// #     M: bb8::ManageConnection<Connection = tokio::net::TcpStream, Error = std::io::Error>,
    /// # {
    /// use tokio::net::TcpStream;
    ///
    /// #[derive(Debug)]
    /// struct NoDelay;
    ///
    /// impl bb8::CustomizeConnection<TcpStream, std::io::Error> for NoDelay {
    ///     fn on_acquire<'a>(
    ///         &'a self,
    ///         stream: &'a mut TcpStream,
    ///     ) -> Pin<Box<dyn Future<Output = std::io::Result<()>> + Send + 'a>> {
    ///         Box::pin(async move { stream.set_nodelay(true) })
    ///     }
    /// }
    ///
    /// Bb8Manager::new(manager).customize(Box::new(NoDelay))
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
    /// `is_needed` is called once on each return, on the returning thread: it must not block.
    /// `|_| true` costs every return a round trip, though none of the borrower's time. `clean` runs
    /// on the connection's runtime, and is dropped after
    /// [`reset_timeout`](crate::Settings::reset_timeout). If it fails or is dropped, or if
    /// `has_broken` returns true, the pool replaces the connection.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::Bb8Manager;
    /// # mod bb8_foodb {
    /// #     use std::io;
    /// #     pub struct Conn;
    /// #     impl Conn {
    /// #         pub fn is_in_transaction(&self) -> bool { false }
    /// #         pub async fn execute(&mut self, _: &str) -> io::Result<()> { Ok(()) }
    /// #     }
    /// #     pub struct FooManager;
    /// #     impl bb8::ManageConnection for FooManager {
    /// #         type Connection = Conn;
    /// #         type Error = io::Error;
    /// #         async fn connect(&self) -> io::Result<Conn> { Ok(Conn) }
    /// #         async fn is_valid(&self, _: &mut Conn) -> io::Result<()> { Ok(()) }
    /// #         fn has_broken(&self, _: &mut Conn) -> bool { false }
    /// #     }
    /// # }
    /// # use bb8_foodb::FooManager;
    /// let manager = Bb8Manager::new(FooManager).reset_with(
    ///     |conn| conn.is_in_transaction(),
    ///     |conn| Box::pin(async move { conn.execute("ROLLBACK").await }),
    /// );
    /// # let _ = manager;
    /// ```
    pub fn reset_with<Needed, Clean>(mut self, is_needed: Needed, clean: Clean) -> Self
    where
        Needed: Fn(&mut M::Connection) -> bool + Send + Sync + 'static,
        Clean: for<'a> Fn(&'a mut M::Connection) -> BoxFuture<'a, Result<(), M::Error>>
            + Send
            + Sync
            + 'static,
    {
        self.reset = Some(Reset { is_needed: Box::new(is_needed), clean: Box::new(clean) });
        self
    }

    /// Sets which connect errors are permanent: all waiters then fail at once with the cause,
    /// instead of after their timeout. Default: all are transient, as under bb8. A second call
    /// replaces the first.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::Bb8Manager;
    /// # fn adopt<M: bb8::ManageConnection<Error = std::io::Error>>(manager: M) -> Bb8Manager<M> {
    /// use caliburn::ErrorClass;
    /// use std::io::ErrorKind;
    ///
    /// Bb8Manager::new(manager).classify_with(|error| match error.kind() {
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

    /// States that an `is_valid` dropped half-way leaves the connection fit for the next borrower,
    /// so that the pool keeps it. True of tokio-postgres and of redis's multiplexed connections; if
    /// in doubt, do not call it.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::Bb8Manager;
    /// # fn adopt<M: bb8::ManageConnection<Error = std::io::Error>>(manager: M) -> Bb8Manager<M> {
    /// Bb8Manager::new(manager).pings_are_cancel_safe()
    /// # }
    /// ```
    pub fn pings_are_cancel_safe(mut self) -> Self {
        self.pings_are_cancel_safe = true;
        self
    }

    /// Returns the manager written for bb8. Of a pool: `pool.manager().manager()`.
    pub fn manager(&self) -> &M {
        &self.manager
    }

    /// Returns the manager written for bb8, without what was added.
    pub fn into_manager(self) -> M {
        self.manager
    }
}

impl<M: ManageConnection<Error: Error + Sync>> From<M> for Bb8Manager<M> {
    fn from(manager: M) -> Self {
        Self::new(manager)
    }
}

impl<M: ManageConnection> Bb8Manager<M> {
    fn error(&self, error: M::Error) -> BridgeError<M::Error> {
        let class =
            self.classify.as_ref().map_or(ErrorClass::Transient, |classify| classify(&error));
        (self.wrap)(error, class)
    }

    async fn open(&self) -> Result<M::Connection, M::Error> {
        let mut connection = self.manager.connect().await?;
        if let Some(customizer) = &self.customizer {
            customizer.on_acquire(&mut connection).await?;
        }
        Ok(connection)
    }

    /// The end of a call that was made where the connection lives.
    fn outcome(&self, result: Option<Result<(), M::Error>>) -> Result<(), BridgeError<M::Error>> {
        let result = result.ok_or_else(BridgeError::runtime_lost)?;
        result.map_err(|error| self.error(error))
    }
}

impl<M: ManageConnection> Manager for Bb8Manager<M> {
    type Connection = Bridged<M::Connection>;
    type Error = BridgeError<M::Error>;

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        let occasion = connection.occasion();
        connection.is_stranded(occasion) || self.manager.has_broken(connection)
    }

    fn needs_reset(&self, connection: &mut Self::Connection) -> bool {
        self.reset.as_ref().is_some_and(|reset| (reset.is_needed)(connection))
    }

    fn classify(&self, error: &Self::Error) -> ErrorClass {
        error.class()
    }

    fn ping_is_cancel_safe(&self) -> bool {
        self.pings_are_cancel_safe
    }

    fn needs_ping(&self, connection: &mut Self::Connection) -> bool {
        connection.is_in_doubt()
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
    }
}

impl<M: ManageConnection> AsyncManager for Bb8Manager<M> {
    async fn connect(&self, _: &Deadline) -> Result<Self::Connection, Self::Error> {
        let (opened, home) = self.runtimes.run(|| self.open()).await;
        let connection = opened.map_err(|error| self.error(error))?;
        Ok(Bridged::new(connection, home, None))
    }

    async fn ping(
        &self,
        connection: &mut Self::Connection,
        _: &Deadline,
    ) -> Result<(), Self::Error> {
        self.outcome(connection.at_home(|connection| self.manager.is_valid(connection)).await)
    }

    async fn reset(
        &self,
        connection: &mut Self::Connection,
        _: &Deadline,
    ) -> Result<(), Self::Error> {
        match &self.reset {
            Some(reset) => self.outcome(connection.at_home(|conn| (reset.clean)(conn)).await),
            None => Ok(()),
        }
    }
}

impl<M: ManageConnection> fmt::Debug for Bb8Manager<M> {
    /// Without the manager itself, which may know a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bb8Manager")
            .field("customizes", &self.customizer.is_some())
            .field("resets", &self.reset.is_some())
            .field("classifies", &self.classify.is_some())
            .field("pings_are_cancel_safe", &self.pings_are_cancel_safe)
            .field("runtimes", &self.runtimes)
            .finish_non_exhaustive()
    }
}
