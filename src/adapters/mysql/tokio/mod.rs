//! MySQL and MariaDB for tasks, by way of [mysql_async](https://docs.rs/mysql_async).

mod cancel;
mod connect;
mod connection;
mod queryable;
mod seen;
mod transaction;

pub use self::connection::AsyncMysqlConnection;
pub use self::transaction::AsyncMysqlTransaction;

use self::cancel::Canceller;
use self::connect::{Connect, cut_off};
use super::session::errors::{classify, is_about_a_certificate};
use super::session::line::Limit;
use super::session::on_return::on_return;
use super::session::setters::setters;
use super::session::url::{UrlError, parse};
use crate::adapters::Reset;
use crate::adapters::runtime::Runtimes;
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager, RoleReport};
use mysql_async::{DriverError, Error, IoError, Opts, OptsBuilder, Result};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

type Change = dyn Fn(OptsBuilder) -> OptsBuilder + Send + Sync;

/// Opens connections to one MySQL or MariaDB server.
///
/// Before the next loan the pool undoes what a borrower left open: a transaction, table locks,
/// another database than the first, `autocommit`. Other session state (variables, temporary tables,
/// named locks) stays, unless [`Reset::Session`] is set. A borrower's future may be dropped in the
/// middle of a query: the next borrower gets neither its answer nor its transaction, and the pool
/// ends the query at the server. [`AsyncMysqlConnection`] says how, and what it costs.
///
/// Refused credentials, an unknown database and the like are [permanent](ErrorClass::Permanent)
/// errors: borrowers get them at once. A server that is down, shuts down or has too many
/// connections is a transient error. For TLS use the driver's features and
/// [`OptsBuilder::ssl_opts`]; without TLS see [`password_without_tls`](Self::password_without_tls).
///
/// Connections live on the tokio runtime given to [`runtime`](Self::runtime); without one, on that
/// of the borrower that waits for a connection; if no task waits, on a runtime of the crate's own.
/// The pool drops calls at their limits, whatever the driver does; on Linux it also cuts the
/// connection, so that a server that sends without pause occupies no thread.
///
/// If a name has several addresses, the next address is tried when the last one has failed, and
/// beside it when the last one has taken a quarter of a second. The address that answered last
/// comes first.
///
/// Where the options leave it open, the manager turns on TCP keepalive (10 s, then every 5 s, three
/// times) and the TCP user timeout, on Linux, so that a server that vanished silently is noticed
/// within half a minute. A slow or stopped server is not affected.
///
/// The manager turns `prefer_socket` off: with it the driver opens a second session while the first
/// one exists, one more than the pool may have. To use a socket file, set [`OptsBuilder::socket`].
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::Reset;
/// use caliburn::adapters::mysql::AsyncMysqlManager;
/// use mysql_async::TxOpts;
/// use mysql_async::prelude::Queryable;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = AsyncMysqlManager::from_url("mysql://app:secret@10.0.0.5:3306/songs")?
///     .response_timeout(Some(Duration::from_secs(60)))
///     .reset(Reset::Session)
///     .password_without_tls(true); // on a network that you trust
/// let pool = Pool::builder_async(manager).max_size(8).build()?;
///
/// let mut conn = pool.get_async().await?;
/// conn.exec_drop("INSERT INTO song (title) VALUES (?)", ("Nimue",)).await?;
/// let count: Option<u64> = conn.query_first("SELECT count(*) FROM song").await?;
///
/// let mut transaction = conn.start_transaction(TxOpts::default()).await?;
/// transaction.query_drop("DELETE FROM song").await?;
/// transaction.rollback().await?; // or `commit`
/// # let _ = count;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct AsyncMysqlManager {
    opts: Opts,
    connect: Arc<Connect>,
    canceller: Arc<Canceller>,
    before_connect: Option<Box<Change>>,
    runtimes: Runtimes,
    reset: Reset,
    response_timeout: Option<Duration>,
}

impl AsyncMysqlManager {
    /// Connects as `opts` ([`Opts`] or an [`OptsBuilder`]) say. The options for the driver's own
    /// pool have no effect. The options also say what to do with each new connection:
    /// [`init`](OptsBuilder::init), [`setup`](OptsBuilder::setup),
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
        let connect = Arc::new(Connect::default());
        Self {
            opts: OptsBuilder::from_opts(opts).prefer_socket(false).into(),
            canceller: Arc::new(Canceller::new(Arc::clone(&connect))),
            connect,
            before_connect: None,
            runtimes: Runtimes::here(),
            reset: Reset::default(),
            response_timeout: None,
        }
    }

    setters! {
        AsyncMysqlManager;

        /// Sets how much of a loan is undone before the next one. Default: [`Reset::Transaction`].
        ///
        /// With [`Reset::Session`] each borrower gets a session as good as new: variables,
        /// temporary tables, locks and prepared statements of the last loan are gone, and the
        /// database is that of the options. Each return then costs two round trips, and those of
        /// [`setup`](OptsBuilder::setup), off the borrower's task, and the driver prepares
        /// statements again. The effects of [`init`](OptsBuilder::init) and
        /// [`after_connect`](OptsBuilder::after_connect) are gone, too. On a server with an
        /// `init_connect`, which the server does not repeat, the pool replaces the connection after
        /// each loan.
        reset;

        /// Sets the limit of a borrower's call, from its beginning until its answer was read.
        /// Default: `None`, no limit. It needs a runtime with timers.
        ///
        /// When the time is up, the pool closes the connection, and the call returns
        /// [`TimedOut`](io::ErrorKind::TimedOut). For
        /// [`query_iter`](mysql_async::prelude::Queryable::query_iter) and
        /// [`exec_iter`](mysql_async::prelude::Queryable::exec_iter) the limit covers the beginning
        /// of the answer.
        response_timeout;

        /// Sets whether a password may be used on a connection without TLS. Default: only if the
        /// server is on the same machine (`localhost`, a loopback address or a socket file).
        ///
        /// A server with `caching_sha2_password`, the default of MySQL 8, asks for the password of
        /// an account that has not logged in since the server started. Without TLS the driver
        /// encrypts it with a key that the server presents, so anyone who can pass for the server
        /// can read it. The driver always answers that question, so if it is not allowed, the
        /// connect returns a permanent error before anything is sent. Allow it in a network that
        /// you trust.
        password_without_tls;
    }

    /// Sets the runtime on which all connections live.
    ///
    /// ```
    /// # use caliburn::adapters::mysql::AsyncMysqlManager;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let manager = AsyncMysqlManager::from_url("mysql://app@localhost")?
    ///     .runtime(runtime.handle().clone());
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtimes.choose(runtime);
        self
    }

    async fn open(
        &self,
        deadline: &Deadline,
    ) -> Result<(mysql_async::Conn, super::session::line::Line)> {
        let mut opts = self.opts.clone();
        if let Some(change) = &self.before_connect {
            opts = change(OptsBuilder::from_opts(opts)).prefer_socket(false).into();
        }
        self.connect.open(opts, deadline).await
    }
}

impl FromStr for AsyncMysqlManager {
    type Err = UrlError;

    /// As [`from_url`](Self::from_url).
    fn from_str(url: &str) -> std::result::Result<Self, UrlError> {
        Self::from_url(url)
    }
}

impl Manager for AsyncMysqlManager {
    type Connection = AsyncMysqlConnection;
    type Error = Error;

    on_return!(AsyncMysqlConnection);

    fn needs_ping(&self, connection: &mut AsyncMysqlConnection) -> bool {
        connection.home().is_in_doubt()
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
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
            // TLS among them, if it was compiled in.
            error => is_about_a_certificate(&error.to_string()),
        };
        if is_permanent { ErrorClass::Permanent } else { ErrorClass::Transient }
    }
}

impl AsyncManager for AsyncMysqlManager {
    async fn connect(&self, deadline: &Deadline) -> Result<AsyncMysqlConnection> {
        let (opened, home) = self.runtimes.run(|| self.open(deadline)).await;
        let (conn, line) = opened?;
        let _limit = limit(&line, deadline)?;
        let canceller = Arc::clone(&self.canceller);
        let lives = Arc::clone(&home);
        let timeout = self.response_timeout;
        let settled = AsyncMysqlConnection::new(conn, line, home, canceller, timeout);
        lives.run(settled).await.unwrap_or_else(|| Err(without_runtime()))
    }

    async fn ping(&self, connection: &mut AsyncMysqlConnection, deadline: &Deadline) -> Result<()> {
        let _limit = limit(connection.line(), deadline)?;
        let home = connection.home().clone();
        home.run(connection.check()).await.unwrap_or_else(|| Err(without_runtime()))
    }

    async fn reset(
        &self,
        connection: &mut AsyncMysqlConnection,
        deadline: &Deadline,
    ) -> Result<()> {
        let _limit = limit(connection.line(), deadline)?;
        let was_lent = connection.watch().was_lent();
        let home = connection.home().clone();
        let reset = async {
            let settled = connection.settle().await?;
            if self.reset == Reset::Session && was_lent {
                connection.renew(&settled, &self.opts).await?;
            }
            Ok(())
        };
        home.run(reset).await.unwrap_or_else(|| Err(without_runtime()))
    }

    async fn close(&self, connection: AsyncMysqlConnection, _: &Deadline) {
        // It says goodbye as well as it can.
        connection.disconnect().await;
    }

    async fn role(
        &self,
        connection: &mut AsyncMysqlConnection,
        deadline: &Deadline,
    ) -> Result<RoleReport> {
        let _limit = limit(connection.line(), deadline)?;
        let home = connection.home().clone();
        home.run(connection.role()).await.unwrap_or_else(|| Err(without_runtime()))
    }
}

/// A connection whose runtime is gone, or not driven, has broken.
fn without_runtime() -> Error {
    DriverError::ConnectionClosed.into()
}

/// Cuts the connection after the deadline, if its server keeps the future busy.
fn limit(line: &super::session::line::Line, deadline: &Deadline) -> Result<Limit> {
    Ok(line.until(cut_off(deadline))?)
}

impl fmt::Debug for AsyncMysqlManager {
    /// Without the options, which contain the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncMysqlManager")
            .field("host", &self.opts.ip_or_hostname())
            .field("port", &self.opts.tcp_port())
            .field("runtimes", &self.runtimes)
            .field("reset", &self.reset)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}
