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
/// Its `connect` stays what it was, `is_valid` is the ping, and `has_broken` is asked before and
/// after each loan. What bb8 has no word for can be added:
/// [`classify_with`](Self::classify_with) tells errors that will not pass from those that may,
/// [`reset_with`](Self::reset_with) cleans what borrowers leave behind. A
/// [`bb8::CustomizeConnection`] is taken as it is by [`customize`](Self::customize).
///
/// What is pooled derefs to the manager's connection: see [`Bridged`]. Errors are the manager's
/// own, in a [`BridgeError`]. If the manager's error is no [`Error`], as bb8 allows (a `String`,
/// lapin's), begin with [`with_plain_errors`](Self::with_plain_errors) instead of
/// [`new`](Self::new).
///
/// # The runtime
///
/// bb8 runs on tokio, and so do the drivers its managers are for. A connection is opened on the
/// runtime of the borrower that waits for one, on that given to [`runtime`](Self::runtime) if there
/// is one, and on one of the crate's own if borrowers are in none. All calls into the manager are
/// made in the context of the connection's runtime. A connection whose runtime is gone or no longer
/// driven is replaced. Threads may borrow as well, and a guard needs no runtime to be dropped.
///
/// # Deadlines and cancellation
///
/// The futures of `connect`, `is_valid` and resets are dropped when their time is up, and
/// `is_valid` also when the borrower is no longer interested. What a driver does then with the rest
/// of an answer is not known, so the connection is replaced, unless
/// [`pings_are_cancel_safe`](Self::pings_are_cancel_safe).
///
/// As under bb8, a *borrower's* future may be dropped in the middle of a request, and the pool
/// learns nothing of it: the connection is lent again unless `has_broken` says yes on its return.
/// Drivers that tell answers apart (tokio-postgres) or multiplex (redis) can cope. For one that
/// cannot, have the guard [discarded](crate::PooledConnection::discard) unless the request came to
/// its end, or tell by [`reset_with`](Self::reset_with) what state it is in.
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
///         .health(PingOnBorrow::always()) // as bb8 does; the default of 500 ms is kinder
///         .build()?;
///     let stream = pool.get_async().await?;
///     assert_eq!(stream.peer_addr()?, address);
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
    /// The manager, with nothing added.
    pub fn new(manager: M) -> Self
    where
        M::Error: Error + Sync,
    {
        Self::wrapping(manager, BridgeError::typed)
    }

    /// The same for a manager whose error is no [`Error`], or not `Sync`: it reads as its `Debug`
    /// does, and a text as it is.
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

    /// Has all connections live on this runtime, wherever borrowers are.
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

    /// What was given to bb8's `Builder::connection_customizer`. Called again, it replaces what was
    /// given before.
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

    /// How to make a connection as good as new before its next loan. Called again, it replaces what
    /// was given before.
    ///
    /// `is_needed` is asked on each return, on the returning thread: it must be quick and do no
    /// I/O. `|_| true` costs every return a round trip, though none of the borrower's time. `clean`
    /// is driven in the connection's runtime, and dropped after
    /// [`reset_timeout`](crate::Settings::reset_timeout). If it fails or is dropped, the connection
    /// is replaced. One that `has_broken` is replaced at once.
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

    /// Which errors in connecting will not pass by themselves: all who wait for a connection then
    /// fail at once with the cause, rather than after their timeout. By default all may pass, as
    /// under bb8. Called again, it replaces what was given before.
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

    /// Vouches for the driver: an `is_valid` that was dropped half-way leaves the connection fit
    /// for the next borrower, so it need not be replaced. True of tokio-postgres and of redis's
    /// multiplexed connections; if in doubt, leave it.
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

    /// The manager that was written for bb8. Of a pool: `pool.manager().manager()`.
    pub fn manager(&self) -> &M {
        &self.manager
    }

    /// The manager that was written for bb8, without what was added.
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
