//! Managers written for [deadpool](https://docs.rs/deadpool), as they are.

use super::bridged::{Bridged, Farewell};
use super::error::{BridgeError, Wrap};
use crate::adapters::idle::Occasion;
use crate::adapters::runtime::Runtimes;
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager};
use ::deadpool::managed::{self, RecycleError, RecycleResult};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;

/// Makes a manager of any [`deadpool::managed::Manager`].
///
/// `create` is the connect, and the pool calls `detach` for each connection that leaves it. You can
/// add what deadpool does not have: [`classify_with`](Self::classify_with) tells permanent errors
/// from transient ones. A `post_create` hook becomes an
/// [`after_connect_async`](crate::Builder::after_connect_async), a `pre_recycle` or `post_recycle`
/// hook a [`before_acquire_async`](crate::Builder::before_acquire_async) or an
/// [`on_return_async`](crate::Builder::on_return_async).
///
/// The pooled connection derefs to the manager's `Type`: see [`Bridged`]. Errors are the manager's
/// own, in a [`BridgeError`]. If the manager's error does not implement [`Error`], use
/// [`with_plain_errors`](Self::with_plain_errors) instead of [`new`](Self::new).
///
/// The bridge works with deadpool 0.12 and 0.13. Cargo must use the same version here as for the
/// manager; if it chooses another, fix it with, for example, `cargo update -p deadpool --precise
/// 0.12.3`.
///
/// # When connections are recycled
///
/// `recycle` does two things: it cleans a connection, and finds out whether it still works.
/// deadpool calls it before each loan, so each borrower waits for it. Here it is
///
/// - the **reset**: called after each loan, on the pool's time, so that no borrower meets what
///   another left behind, whatever the strategy. It costs no round trip if `recycle` needs none (as
///   deadpool-postgres' `RecyclingMethod::Fast`);
/// - the **ping**: called before a loan when the [strategy](crate::HealthStrategy) asks for one.
///
/// A connection that was recycled after a loan may die before the next one. If `recycle` needs no
/// I/O, [say so](Self::recycle_waits_for_nothing): the pool then calls it before each loan instead,
/// which finds dead connections. Otherwise use a strategy: `PingOnBorrow::default()` recycles
/// connections that were idle for more than half a second. To recycle exactly as deadpool does, use
/// `PingOnBorrow::always()` together with
/// [`recycle_before_loans_only`](Self::recycle_before_loans_only).
///
/// # The runtime
///
/// As for [`Bb8Manager`](super::Bb8Manager#the-runtime): a connection opens on the tokio runtime of
/// the borrower that waits for one, and the pool replaces it when that runtime is gone or no longer
/// driven.
///
/// # Deadlines and cancellation
///
/// The pool drops the futures of `create` and `recycle` when their time is up, and a ping's also
/// when its borrower is cancelled. It then replaces the connection.
///
/// ```
/// use caliburn::adapters::bridges::DeadpoolManager;
/// use caliburn::health::PingOnBorrow;
/// use caliburn::{ErrorClass, Pool};
/// use deadpool::managed::{self, Metrics, RecycleResult};
/// # use std::io;
/// # use std::net::SocketAddr;
/// # use tokio::net::TcpStream;
///
/// // As it was written for deadpool.
/// struct Tcp(SocketAddr);
///
/// impl managed::Manager for Tcp {
///     type Type = TcpStream;
///     type Error = io::Error;
///
///     async fn create(&self) -> io::Result<TcpStream> {
///         TcpStream::connect(self.0).await
///     }
///     async fn recycle(
///         &self,
///         stream: &mut TcpStream,
///         _: &Metrics,
///     ) -> RecycleResult<io::Error> {
///         stream.take_error()?.map_or(Ok(()), |error| Err(error.into()))
///     }
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
///     # let address = listener.local_addr()?;
///     let manager = DeadpoolManager::new(Tcp(address))
///         .runtime(tokio::runtime::Handle::current())
///         .classify_with(|error| match error.kind() {
///             io::ErrorKind::PermissionDenied => ErrorClass::Permanent,
///             _ => ErrorClass::Transient,
///         });
///     let pool =
///         Pool::builder_async(manager).max_size(8).health(PingOnBorrow::default()).build()?;
///     let stream = pool.get_async().await?;
///     assert_eq!(stream.peer_addr()?, pool.manager().manager().0);
///     Ok(())
/// }
/// ```
#[must_use]
pub struct DeadpoolManager<M: managed::Manager> {
    /// Shared with the connections, which tell it of their end.
    manager: Arc<M>,
    wrap: Wrap<M::Error>,
    runtimes: Runtimes,
    classify: Option<Box<Classify<M::Error>>>,
    recycles: Recycles,
}

/// When the manager recycles, beside the pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recycles {
    OnReturn,
    /// And waits for nothing.
    BeforeLoans,
    Never,
}

type Classify<E> = dyn Fn(&E) -> ErrorClass + Send + Sync;

impl<M: managed::Manager<Error: 'static>> DeadpoolManager<M> {
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
    /// # use caliburn::adapters::bridges::DeadpoolManager;
    /// # use deadpool::managed::Manager;
    /// # fn adopt<M: Manager<Error = String>>(manager: M) -> DeadpoolManager<M> {
    /// DeadpoolManager::with_plain_errors(manager)
    /// # }
    /// ```
    pub fn with_plain_errors(manager: M) -> Self
    where
        M::Error: fmt::Debug,
    {
        Self::wrapping(manager, BridgeError::plain)
    }

    fn wrapping(manager: M, wrap: Wrap<M::Error>) -> Self {
        Self {
            manager: Arc::new(manager),
            wrap,
            runtimes: Runtimes::here(),
            classify: None,
            recycles: Recycles::OnReturn,
        }
    }

    fn error(&self, error: M::Error) -> BridgeError<M::Error> {
        let class =
            self.classify.as_ref().map_or(ErrorClass::Transient, |classify| classify(&error));
        (self.wrap)(error, class)
    }

    fn refusal(&self, error: RecycleError<M::Error>) -> BridgeError<M::Error> {
        match error {
            RecycleError::Message(reason) => BridgeError::refused(reason),
            RecycleError::Backend(error) => self.error(error),
        }
    }
}

impl<M: managed::Manager> DeadpoolManager<M> {
    /// Sets the runtime on which all connections live, wherever borrowers are.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtimes.choose(runtime);
        self
    }

    /// Recycles connections only when the strategy pings. Use it with
    /// [`PingOnBorrow::always()`](crate::health::PingOnBorrow::always), or with a manager whose
    /// `recycle` cleans nothing: otherwise a borrower may find what another one left behind.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::DeadpoolManager;
    /// # use caliburn::health::PingOnBorrow;
    /// # use caliburn::Pool;
    /// # use deadpool::managed::Manager;
    /// # fn adopt<M>(manager: M) -> Option<Pool<DeadpoolManager<M>>>
    /// # where M: Manager<Type: Sync + 'static, Error = std::io::Error> + 'static {
    /// let manager = DeadpoolManager::new(manager).recycle_before_loans_only();
    /// let pool = Pool::builder_async(manager).health(PingOnBorrow::always()).build();
    /// # pool.ok()
    /// # }
    /// ```
    pub fn recycle_before_loans_only(mut self) -> Self {
        self.recycles = Recycles::Never;
        self
    }

    /// States that `recycle` waits for nothing, as with deadpool-postgres by default
    /// (`RecyclingMethod::Fast`). The pool then calls it before each loan, as deadpool does, and
    /// not after it: whatever the strategy, it lends no connection that the driver knows to be
    /// dead. A connection whose `recycle` waits all the same counts as dead.
    ///
    /// ```
    /// # use caliburn::adapters::bridges::DeadpoolManager;
    /// # use deadpool::managed::Manager;
    /// # fn adopt<M: Manager<Error = std::io::Error>>(manager: M) -> DeadpoolManager<M> {
    /// DeadpoolManager::new(manager).recycle_waits_for_nothing()
    /// # }
    /// ```
    pub fn recycle_waits_for_nothing(mut self) -> Self {
        self.recycles = Recycles::BeforeLoans;
        self
    }

    /// Sets which connect errors are permanent: all waiters then fail at once with the cause,
    /// instead of after their timeout. Default: all are transient. A second call replaces the
    /// first.
    pub fn classify_with(
        mut self,
        classify: impl Fn(&M::Error) -> ErrorClass + Send + Sync + 'static,
    ) -> Self {
        self.classify = Some(Box::new(classify));
        self
    }

    /// Returns the manager written for deadpool. Of a pool: `pool.manager().manager()`.
    pub fn manager(&self) -> &M {
        &self.manager
    }
}

impl<M: managed::Manager<Error: Error + Sync + 'static>> From<M> for DeadpoolManager<M> {
    fn from(manager: M) -> Self {
        Self::new(manager)
    }
}

impl<M> DeadpoolManager<M>
where
    M: managed::Manager<Type: 'static, Error: 'static> + 'static,
{
    async fn recycle(
        &self,
        connection: &mut Bridged<M::Type>,
    ) -> Result<(), BridgeError<M::Error>> {
        let metrics = connection.metrics;
        let recycle = |object| recycle(&*self.manager, object, metrics);
        let outcome = connection.at_home(recycle).await.ok_or_else(BridgeError::runtime_lost)?;
        outcome.map_err(|error| self.refusal(error))?;
        note_recycled(&mut connection.metrics);
        Ok(())
    }

    fn recycles_at_once(&self, connection: &mut Bridged<M::Type>) -> bool {
        let metrics = connection.metrics;
        let recycle = |object| recycle(&*self.manager, object, metrics);
        let is_recycled = connection.at_once(recycle).is_some_and(|outcome| outcome.is_ok());
        note_recycled(&mut connection.metrics);
        is_recycled
    }
}

fn note_recycled(metrics: &mut managed::Metrics) {
    metrics.recycle_count += 1;
    metrics.recycled = Some(Instant::now());
}

/// Owns what the manager looks at meanwhile.
async fn recycle<M: managed::Manager>(
    manager: &M,
    object: &mut M::Type,
    metrics: managed::Metrics,
) -> RecycleResult<M::Error> {
    manager.recycle(object, &metrics).await
}

impl<M> Manager for DeadpoolManager<M>
where
    M: managed::Manager<Type: 'static, Error: 'static> + 'static,
{
    type Connection = Bridged<M::Type>;
    type Error = BridgeError<M::Error>;

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        let occasion = connection.occasion();
        let recycles = occasion != Occasion::Return && self.recycles == Recycles::BeforeLoans;
        connection.is_stranded(occasion) || recycles && !self.recycles_at_once(connection)
    }

    fn needs_reset(&self, _: &mut Self::Connection) -> bool {
        self.recycles == Recycles::OnReturn
    }

    fn classify(&self, error: &Self::Error) -> ErrorClass {
        error.class()
    }

    fn needs_ping(&self, connection: &mut Self::Connection) -> bool {
        connection.is_in_doubt()
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
    }
}

impl<M> AsyncManager for DeadpoolManager<M>
where
    M: managed::Manager<Type: 'static, Error: 'static> + 'static,
{
    async fn connect(&self, _: &Deadline) -> Result<Self::Connection, Self::Error> {
        let (created, home) = self.runtimes.run(|| self.manager.create()).await;
        let object = created.map_err(|error| self.error(error))?;
        let manager = Arc::clone(&self.manager);
        let farewell: Farewell<M::Type> = Box::new(move |object| manager.detach(object));
        Ok(Bridged::new(object, home, Some(farewell)))
    }

    async fn ping(
        &self,
        connection: &mut Self::Connection,
        _: &Deadline,
    ) -> Result<(), Self::Error> {
        self.recycle(connection).await
    }

    async fn reset(
        &self,
        connection: &mut Self::Connection,
        _: &Deadline,
    ) -> Result<(), Self::Error> {
        self.recycle(connection).await
    }
}

impl<M: managed::Manager> fmt::Debug for DeadpoolManager<M> {
    /// Without the manager itself, which may know a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadpoolManager")
            .field("recycles", &self.recycles)
            .field("classifies", &self.classify.is_some())
            .field("runtimes", &self.runtimes)
            .finish_non_exhaustive()
    }
}
