//! MySQL and MariaDB for threads, by way of [mysql](https://docs.rs/mysql).

use super::blocking_connection::MysqlConnection;
use super::session::{classify, without_tls};
use crate::{BlockingManager, Deadline, ErrorClass, Manager};
use mysql::{Conn, DriverError, Error, Opts, OptsBuilder, Result, UrlError};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// When silence makes the system ask whether the server's machine is still there, and how often
/// until it gives it up.
const KEEPALIVE_MS: u32 = 10_000;
#[cfg(any(target_os = "linux", target_os = "macos"))]
const KEEPALIVE_INTERVAL_S: u32 = 5;
#[cfg(any(target_os = "linux", target_os = "macos"))]
const KEEPALIVE_PROBES: u32 = 3;
/// How long the system waits for the receipt of what it has sent.
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MS: u32 = 25_000;

type Hook = dyn Fn(&mut Conn) -> Result<()> + Send + Sync;

/// Opens connections to one MySQL or MariaDB server.
///
/// A transaction that a borrower left open is rolled back before anybody else gets the connection,
/// and autocommit is set back; so is an answer that was not read to its end found out. What else a
/// borrower changed (variables, temporary tables, locks) stays, unless
/// [`reset_session`](Self::reset_session) is asked for. See [`MysqlConnection`] for what that
/// costs.
///
/// Refused credentials, an unknown database and all else that trying again would not change are
/// [permanent](ErrorClass::Permanent) errors: borrowers learn of them at once. A server that is
/// down, shuts down or has too many connections is a transient one. TLS is the driver's: its
/// features, and [`OptsBuilder::ssl_opts`].
///
/// # Deadlines
///
/// The driver takes its socket timeouts once, when it connects, and they stay for as long as the
/// connection lives. So the TCP connect keeps the pool's `connect_timeout`; but neither the rest of
/// a connect (looking up the name, the greeting, the login) nor a ping can be held to a limit
/// shorter than [`OptsBuilder::read_timeout`], which is none by default. The pool keeps its
/// callers' limits all the same, and shows such a call as quarantined until it ends. Two things
/// help: a read timeout longer than the longest query, and
/// [`ping_on(PingOn::Worker)`](crate::PingOn::Worker).
///
/// Whatever the options leave open is set so that a server that vanishes without a word is given up
/// within half a minute: TCP keepalive (10 s, then every 5 s, three times) and on Linux the TCP
/// user timeout. A server that is slow, or stopped, is not affected.
///
/// `prefer_socket` is turned off: with it the driver opens a second session while the first is
/// still there, more than the pool may have. Give it [`OptsBuilder::socket`] to use a socket file.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::mysql::MysqlManager;
/// use mysql::prelude::Queryable;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = MysqlManager::from_url("mysql://app:secret@db.example:3306/songs")?;
/// let pool = Pool::builder(manager).max_size(8).build()?;
///
/// let mut conn = pool.get()?;
/// conn.exec_drop("INSERT INTO song (title) VALUES (?)", ("Nimue",))?;
/// let count: Option<u64> = conn.query_first("SELECT count(*) FROM song")?;
/// # let _ = count;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct MysqlManager {
    opts: Opts,
    on_connect: Option<Box<Hook>>,
    resets_session: bool,
}

impl MysqlManager {
    /// Connections as `opts` say ([`Opts`] or an [`OptsBuilder`]), but for what is said
    /// [above](Self#deadlines). The driver's own pool, and the options for it, have no part in
    /// this.
    ///
    /// ```
    /// # use caliburn::adapters::mysql::MysqlManager;
    /// use mysql::OptsBuilder;
    /// use std::time::Duration;
    ///
    /// let opts = OptsBuilder::new()
    ///     .ip_or_hostname(Some("db.example"))
    ///     .user(Some("app"))
    ///     .pass(Some("secret"))
    ///     .db_name(Some("songs"))
    ///     .read_timeout(Some(Duration::from_secs(60)));
    /// let manager = MysqlManager::new(opts);
    /// # let _ = manager;
    /// ```
    pub fn new(opts: impl Into<Opts>) -> Self {
        Self { opts: careful(opts.into()), on_connect: None, resets_session: false }
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

    /// What to do with each new connection before it is lent, and after each reset of a
    /// [session](Self::reset_session). Called again, it replaces what was given before. If it
    /// fails, so does the connect.
    ///
    /// ```
    /// # use caliburn::adapters::mysql::MysqlManager;
    /// # fn main() -> Result<(), mysql::UrlError> {
    /// use mysql::prelude::Queryable;
    /// let manager = MysqlManager::from_url("mysql://app@localhost")?
    ///     .on_connect(|conn| conn.query_drop("SET time_zone = '+00:00'"));
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_connect(
        mut self,
        hook: impl Fn(&mut Conn) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_connect = Some(Box::new(hook));
        self
    }

    /// Gives every borrower a session as good as new: variables, temporary tables, locks and
    /// prepared statements of the one before are gone. It costs two round trips and those of
    /// [`on_connect`](Self::on_connect) on every return, off the borrower's thread, and the
    /// statements have to be prepared again.
    pub fn reset_session(mut self) -> Self {
        self.resets_session = true;
        self
    }

    fn open(&self, deadline: &Deadline) -> Result<Conn> {
        let left = deadline.remaining();
        if left.is_zero() {
            return Err(DriverError::ConnectTimeout.into());
        }
        let limit = self.opts.get_tcp_connect_timeout().map_or(left, |own| own.min(left));
        let opts = OptsBuilder::from_opts(self.opts.clone()).tcp_connect_timeout(Some(limit));
        if self.opts.get_ssl_opts().is_none() {
            return Conn::new(opts);
        }
        // Asked for TLS that was not compiled in, the driver panics.
        let opened = catch_unwind(AssertUnwindSafe(|| Conn::new(opts)));
        opened.unwrap_or_else(|panic| Err(without_tls(panic).into()))
    }

    fn prepare(&self, conn: &mut Conn) -> Result<()> {
        self.on_connect.as_ref().map_or(Ok(()), |hook| hook(conn))
    }
}

/// Fills in what guards against a peer that is gone, and leaves out the second session.
fn careful(opts: Opts) -> Opts {
    let idle = opts.get_tcp_keepalive_time_ms();
    let mut builder = OptsBuilder::from_opts(opts.clone()).prefer_socket(false);
    builder = builder.tcp_keepalive_time_ms(idle.or(Some(KEEPALIVE_MS)));
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        let interval = opts.get_tcp_keepalive_probe_interval_secs();
        let count = opts.get_tcp_keepalive_probe_count();
        builder = builder
            .tcp_keepalive_probe_interval_secs(interval.or(Some(KEEPALIVE_INTERVAL_S)))
            .tcp_keepalive_probe_count(count.or(Some(KEEPALIVE_PROBES)));
    }
    #[cfg(target_os = "linux")]
    {
        let receipt = opts.get_tcp_user_timeout_ms();
        builder = builder.tcp_user_timeout_ms(receipt.or(Some(USER_TIMEOUT_MS)));
    }
    builder.into()
}

impl Manager for MysqlManager {
    type Connection = MysqlConnection;
    type Error = Error;

    fn has_broken(&self, connection: &mut MysqlConnection) -> bool {
        connection.is_broken()
    }

    fn needs_reset(&self, connection: &mut MysqlConnection) -> bool {
        !connection.is_sure() || self.resets_session
    }

    fn classify(&self, error: &Error) -> ErrorClass {
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        let is_permanent = match error {
            Error::MySqlError(error) => return classify(error.code),
            Error::DriverError(DriverError::CouldNotConnect(Some((_, _, kind)))) => {
                matches!(kind, InvalidInput | PermissionDenied | Unsupported)
            }
            Error::DriverError(error) => matches!(
                error,
                DriverError::UnsupportedProtocol(_)
                    | DriverError::Protocol41NotSet
                    | DriverError::TlsNotSupported
                    | DriverError::UnknownAuthPlugin(_)
                    | DriverError::OldMysqlPasswordDisabled
                    | DriverError::CleartextPluginDisabled
            ),
            Error::IoError(error) => {
                matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
            }
            Error::UrlError(_) => true,
            _ => false,
        };
        if is_permanent { ErrorClass::Permanent } else { ErrorClass::Transient }
    }
}

impl BlockingManager for MysqlManager {
    fn connect(&self, deadline: &Deadline) -> Result<MysqlConnection> {
        let mut conn = self.open(deadline)?;
        self.prepare(&mut conn)?;
        MysqlConnection::new(conn)
    }

    fn ping(&self, connection: &mut MysqlConnection, _: &Deadline) -> Result<()> {
        connection.ping()
    }

    fn reset(&self, connection: &mut MysqlConnection, _: &Deadline) -> Result<()> {
        connection.settle()?;
        if self.resets_session {
            connection.renew(|conn| self.prepare(conn))?;
        }
        Ok(())
    }
}

impl fmt::Debug for MysqlManager {
    /// Without the options, which contain the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlManager")
            .field("host", &self.opts.get_ip_or_hostname())
            .field("port", &self.opts.get_tcp_port())
            .field("resets_session", &self.resets_session)
            .finish_non_exhaustive()
    }
}
