//! MySQL and MariaDB for tasks, by way of [mysql_async](https://docs.rs/mysql_async).

use super::session::{classify, without_tls};
use super::tokio_connection::AsyncMysqlConnection;
use crate::adapters::runtime::Runtimes;
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, Opts, OptsBuilder, Result, UrlError};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use tokio::runtime::Handle;

/// Opens connections to one MySQL or MariaDB server.
///
/// A transaction that a borrower left open is rolled back before anybody else gets the connection,
/// and autocommit is set back. What else it changed (variables, temporary tables, locks) stays,
/// unless [`reset_session`](Self::reset_session) is asked for. A borrower's future may be dropped
/// in the middle of a query: the next borrower gets neither its answer nor its transaction. See
/// [`AsyncMysqlConnection`] for how, and what it costs.
///
/// Refused credentials, an unknown database and all else that trying again would not change are
/// [permanent](ErrorClass::Permanent) errors: borrowers learn of them at once. A server that is
/// down, shuts down or has too many connections is a transient one. TLS is the driver's: its
/// features, and [`OptsBuilder::ssl_opts`].
///
/// Connections live on the tokio runtime on which [`new`](Self::new) was called, or the one given
/// to [`runtime`](Self::runtime), or else that of the
/// [`Builder::spawner`](crate::Builder::spawner). Without any of them connecting fails for good.
/// Calls are dropped at the pool's limits, whatever the driver does.
///
/// `prefer_socket` is turned off: with it the driver opens a second session while the first is
/// still there, more than the pool may have. Give it [`OptsBuilder::socket`] to use a socket file.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::mysql::AsyncMysqlManager;
/// use mysql_async::prelude::Queryable;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = AsyncMysqlManager::from_url("mysql://app:secret@db.example:3306/songs")?;
/// let pool = Pool::builder_async(manager).max_size(8).build()?;
///
/// let mut conn = pool.get_async().await?;
/// conn.exec_drop("INSERT INTO song (title) VALUES (?)", ("Nimue",)).await?;
/// let count: Option<u64> = conn.query_first("SELECT count(*) FROM song").await?;
/// # let _ = count;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct AsyncMysqlManager {
    opts: Opts,
    runtimes: Runtimes,
    resets_session: bool,
}

impl AsyncMysqlManager {
    /// Connections as `opts` say ([`Opts`] or an [`OptsBuilder`]). The driver's own pool, and the
    /// options for it, have no part in this. What to do with each new connection is among the
    /// options: [`init`](OptsBuilder::init), [`setup`](OptsBuilder::setup),
    /// [`after_connect`](OptsBuilder::after_connect).
    ///
    /// ```
    /// # use caliburn::adapters::mysql::AsyncMysqlManager;
    /// use mysql_async::OptsBuilder;
    ///
    /// let opts = OptsBuilder::default()
    ///     .ip_or_hostname("db.example")
    ///     .user(Some("app"))
    ///     .pass(Some("secret"))
    ///     .setup(vec!["SET time_zone = '+00:00'"]);
    /// let manager = AsyncMysqlManager::new(opts);
    /// # let _ = manager;
    /// ```
    pub fn new(opts: impl Into<Opts>) -> Self {
        let opts = OptsBuilder::from_opts(opts).prefer_socket(false).into();
        Self { opts, runtimes: Runtimes::here(), resets_session: false }
    }

    /// Connections as a URL says: `mysql://user:password@host:port/database?option=value`.
    ///
    /// # Errors
    ///
    /// The URL is none, or has options that the driver does not know. The password is not in the
    /// error.
    pub fn from_url(url: &str) -> std::result::Result<Self, UrlError> {
        Ok(Self::new(Opts::from_url(url)?))
    }

    /// The runtime on which connections live, for a manager that is made elsewhere.
    ///
    /// ```
    /// # use caliburn::adapters::mysql::AsyncMysqlManager;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let manager = AsyncMysqlManager::from_url("mysql://app@localhost")?.runtime(runtime.handle().clone());
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtimes.choose(runtime);
        self
    }

    /// Gives every borrower a session as good as new: variables, temporary tables, locks and
    /// prepared statements of the one before are gone. It costs two round trips and those of
    /// [`setup`](OptsBuilder::setup) on every return, off the borrower's task, and the statements
    /// have to be prepared again. What was done in `init` and `after_connect` is gone, too.
    pub fn reset_session(mut self) -> Self {
        self.resets_session = true;
        self
    }
}

impl AsyncMysqlManager {
    async fn open(&self) -> Result<Conn> {
        let connect = Conn::new(self.opts.clone());
        match self.opts.ssl_opts() {
            Some(_) => opened_with_tls(connect).await,
            None => connect.await,
        }
    }
}

/// Asked for TLS that was not compiled in, the driver panics.
async fn opened_with_tls(connect: impl Future<Output = Result<Conn>>) -> Result<Conn> {
    let mut connect = Box::pin(connect);
    poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| connect.as_mut().poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(without_tls(panic).into())))
    })
    .await
}

impl Manager for AsyncMysqlManager {
    type Connection = AsyncMysqlConnection;
    type Error = Error;

    fn has_broken(&self, connection: &mut AsyncMysqlConnection) -> bool {
        connection.has_broken()
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
    }

    fn needs_reset(&self, connection: &mut AsyncMysqlConnection) -> bool {
        !connection.is_clean() || self.resets_session
    }

    fn classify(&self, error: &Error) -> ErrorClass {
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        let is_permanent = match error {
            Error::Server(error) => return classify(error.code),
            Error::Driver(error) => matches!(
                error,
                DriverError::CantParseServerVersion { .. }
                    | DriverError::UnknownAuthPlugin { .. }
                    | DriverError::MysqlOldPasswordDisabled
                    | DriverError::CleartextPluginDisabled
                    | DriverError::NoClientSslFlagFromServer
                    | DriverError::NoKeyFound
            ),
            Error::Io(IoError::Io(error)) => {
                matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
            }
            Error::Url(_) => true,
            _ => false,
        };
        if is_permanent { ErrorClass::Permanent } else { ErrorClass::Transient }
    }
}

impl AsyncManager for AsyncMysqlManager {
    async fn connect(&self, _: &Deadline) -> Result<AsyncMysqlConnection> {
        let (opened, home) = self.runtimes.run(|| self.open()).await;
        Ok(AsyncMysqlConnection::new(opened?, home))
    }

    async fn ping(&self, connection: &mut AsyncMysqlConnection, _: &Deadline) -> Result<()> {
        connection.ping().await
    }

    async fn reset(&self, connection: &mut AsyncMysqlConnection, _: &Deadline) -> Result<()> {
        connection.settle().await?;
        if self.resets_session {
            connection.renew().await?;
        }
        Ok(())
    }

    async fn close(&self, connection: AsyncMysqlConnection, _: &Deadline) {
        // It says goodbye as well as it can.
        connection.disconnect().await;
    }
}

impl fmt::Debug for AsyncMysqlManager {
    /// Without the options, which contain the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncMysqlManager")
            .field("host", &self.opts.ip_or_hostname())
            .field("port", &self.opts.tcp_port())
            .field("runtimes", &self.runtimes)
            .field("resets_session", &self.resets_session)
            .finish_non_exhaustive()
    }
}
