//! Managers written for [bb8](https://docs.rs/bb8), as they are.

use crate::{AsyncManager, Deadline, ErrorClass, Manager};
use bb8::{CustomizeConnection, ManageConnection};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// Makes a manager of any [`bb8::ManageConnection`].
///
/// Its `connect` stays what it was, `is_valid` is the ping, and `has_broken` is asked on each
/// return. What bb8 has no word for can be added: [`classify_with`](Self::classify_with) tells
/// errors that will not pass from those that may, [`reset_with`](Self::reset_with) cleans what
/// borrowers leave behind. A [`bb8::CustomizeConnection`] is taken as it is by
/// [`customize`](Self::customize).
///
/// The manager's error must be an [`Error`] and `Sync`, which bb8 itself does not ask for; with
/// another one (a `String`) implement [`AsyncManager`] instead, which is hardly longer.
///
/// # The runtime
///
/// bb8 runs on tokio, and so do the drivers its managers are for. Give the pool the runtime:
/// `.spawner(move |task| { handle.spawn(task); })`, or they will panic for want of one. Threads may
/// borrow from the pool as well; `bb8::PooledConnection` has its counterpart in a guard that needs
/// no runtime to be dropped.
///
/// # Deadlines and cancellation
///
/// The futures of `connect`, `is_valid` and resets are dropped when their time is up, and
/// `is_valid` also when the borrower is no longer interested. Nobody can know what a driver does
/// with the rest of an answer then, so the connection is replaced, unless
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
///     let runtime = tokio::runtime::Handle::current();
///     let pool = Pool::builder_async(Bb8Manager::new(Tcp(address)))
///         .spawner(move |task| { runtime.spawn(task); })
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
    customizer: Option<Box<dyn CustomizeConnection<M::Connection, M::Error>>>,
    reset: Option<Reset<M::Connection, M::Error>>,
    classify: Option<Box<Classify<M::Error>>>,
    pings_are_cancel_safe: bool,
}

type Cleaning<'a, E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'a>>;
type IsNeeded<C> = dyn Fn(&mut C) -> bool + Send + Sync;
type Clean<C, E> = dyn Fn(&mut C) -> Cleaning<'_, E> + Send + Sync;
type Classify<E> = dyn Fn(&E) -> ErrorClass + Send + Sync;

struct Reset<C, E> {
    is_needed: Box<IsNeeded<C>>,
    clean: Box<Clean<C, E>>,
}

impl<M: ManageConnection> Bb8Manager<M> {
    /// The manager, with nothing added.
    pub fn new(manager: M) -> Self {
        Self {
            manager,
            customizer: None,
            reset: None,
            classify: None,
            pings_are_cancel_safe: false,
        }
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
    /// # where M: bb8::ManageConnection<Connection = tokio::net::TcpStream, Error = std::io::Error> {
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
    /// is driven where the pool's other futures are, and dropped after
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
        Clean: for<'a> Fn(
                &'a mut M::Connection,
            )
                -> Pin<Box<dyn Future<Output = Result<(), M::Error>> + Send + 'a>>
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
    /// # fn adopt<M: bb8::ManageConnection>(manager: M) -> Bb8Manager<M> {
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

impl<M: ManageConnection> From<M> for Bb8Manager<M> {
    fn from(manager: M) -> Self {
        Self::new(manager)
    }
}

impl<M> Manager for Bb8Manager<M>
where
    M: ManageConnection,
    M::Error: Error + Sync,
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

    fn ping_is_cancel_safe(&self) -> bool {
        self.pings_are_cancel_safe
    }
}

impl<M> AsyncManager for Bb8Manager<M>
where
    M: ManageConnection,
    M::Error: Error + Sync,
{
    async fn connect(&self, _: &Deadline) -> Result<M::Connection, M::Error> {
        let mut connection = self.manager.connect().await?;
        if let Some(customizer) = &self.customizer {
            customizer.on_acquire(&mut connection).await?;
        }
        Ok(connection)
    }

    async fn ping(&self, connection: &mut M::Connection, _: &Deadline) -> Result<(), M::Error> {
        self.manager.is_valid(connection).await
    }

    async fn reset(&self, connection: &mut M::Connection, _: &Deadline) -> Result<(), M::Error> {
        match &self.reset {
            Some(reset) => (reset.clean)(connection).await,
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
            .finish_non_exhaustive()
    }
}
