//! MySQL and MariaDB for threads, by way of [mysql](https://docs.rs/mysql).

mod cancel;
mod connect;
mod connection;
mod queryable;
mod statements;
mod transaction;

pub use self::connection::MysqlConnection;
pub use self::transaction::MysqlTransaction;

use self::cancel::{Canceller, Ending};
use self::connect::Connect;
use super::session::errors::{classify, is_about_a_certificate};
use super::session::on_return::on_return;
use super::session::setters::setters;
use super::session::url::{UrlError, parse};
use crate::adapters::Reset;
use crate::{BlockingManager, Deadline, ErrorClass, Manager, RoleReport};
use mysql::{DriverError, Error, Opts, OptsBuilder, Result};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

type Change = dyn Fn(OptsBuilder) -> OptsBuilder + Send + Sync;

/// Opens connections to one MySQL or MariaDB server.
///
/// Before the next loan the pool undoes what a borrower left open: a transaction, table locks,
/// another database than the first, `autocommit`, an answer not read to its end. Other session
/// state (variables, temporary tables, named locks) stays, unless [`Reset::Session`] is set.
/// [`MysqlConnection`] says what that costs.
///
/// Refused credentials, an unknown database and the like are [permanent](ErrorClass::Permanent)
/// errors: borrowers get them at once. A server that is down, shuts down or has too many
/// connections is a transient error. For TLS use the driver's features and
/// [`OptsBuilder::ssl_opts`]; without TLS see [`password_without_tls`](Self::password_without_tls).
///
/// # Deadlines
///
/// The driver blocks, and fixes its socket timeouts when it connects. So a watchdog of the crate
/// cuts a connection whose call outlives its limit: a connect with its handshake, ping, reset or
/// close, and with [`response_timeout`](Self::response_timeout) a borrower's query too. The limit
/// holds whether the server is silent, trickles or floods, with TLS and without. It does not hold
/// for the look-up of a name, for connects through a socket file or on systems other than Linux
/// (where the connection is unknown until the driver has opened it), nor where there are no Unix
/// sockets. Even then the pool keeps the limits of its callers, and shows such a call as
/// quarantined until it ends.
///
/// Several addresses of a name share the connect limit; the address that answered last comes first.
/// With TLS whose certificate is checked against the name, the driver tries only the first address.
///
/// Where the options leave it open, the manager turns on TCP keepalive (10 s, then every 5 s, three
/// times) and on Linux the TCP user timeout, so that a server that vanished silently is noticed
/// within half a minute. A slow or stopped server is not affected.
///
/// The manager turns `prefer_socket` off: with it the driver opens a second session while the first
/// one exists, one more than the pool may have. To use a socket file, set [`OptsBuilder::socket`].
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::Reset;
/// use caliburn::adapters::mysql::MysqlManager;
/// use mysql::TxOpts;
/// use mysql::prelude::Queryable;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = MysqlManager::from_url("mysql://app:secret@10.0.0.5:3306/songs")?
///     .response_timeout(Some(Duration::from_secs(60)))
///     .reset(Reset::Session)
///     .password_without_tls(true); // on a network that you trust
/// let pool = Pool::builder(manager).max_size(8).build()?;
///
/// let mut conn = pool.get()?;
/// conn.exec_drop("INSERT INTO song (title) VALUES (?)", ("Nimue",))?;
/// let count: Option<u64> = conn.query_first("SELECT count(*) FROM song")?;
///
/// let mut transaction = conn.start_transaction(TxOpts::default())?;
/// transaction.query_drop("DELETE FROM song")?;
/// transaction.rollback()?; // or `commit`
/// # let _ = count;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct MysqlManager {
    opts: Opts,
    connect: Arc<Connect>,
    canceller: Arc<Canceller>,
    before_connect: Option<Box<Change>>,
    reset: Reset,
    response_timeout: Option<Duration>,
}

impl MysqlManager {
    /// Connects as `opts` ([`Opts`] or an [`OptsBuilder`]) say, except for what is said
    /// [above](Self#deadlines). The options for the driver's own pool have no effect.
    ///
    /// ```
    /// # use caliburn::adapters::mysql::MysqlManager;
    /// use mysql::OptsBuilder;
    ///
    /// let opts = OptsBuilder::new()
    ///     .ip_or_hostname(Some("db.example"))
    ///     .user(Some("app"))
    ///     .pass(Some("secret"))
    ///     .db_name(Some("songs"));
    /// let manager = MysqlManager::new(opts);
    /// # let _ = manager;
    /// ```
    pub fn new(opts: impl Into<Opts>) -> Self {
        let connect = Arc::new(Connect::default());
        Self {
            opts: opts.into(),
            canceller: Arc::new(Canceller::new(Arc::clone(&connect))),
            connect,
            before_connect: None,
            reset: Reset::default(),
            response_timeout: None,
        }
    }

    setters! {
        MysqlManager;

        /// Sets how much of a loan is undone before the next one. Default: [`Reset::Transaction`].
        ///
        /// With [`Reset::Session`] each borrower gets a session as good as new: variables,
        /// temporary tables, locks and prepared statements of the last loan are gone, and the
        /// database is that of the options. Each return then costs two round trips, and those of
        /// [`OptsBuilder::init`] and of the [hooks](crate::Builder::after_connect) for new
        /// connections, off the borrower's thread, and the driver prepares statements again. On a
        /// server with an `init_connect`, which the server does not repeat, the pool replaces the
        /// connection after each loan.
        reset;

        /// Sets the limit of a borrower's call, from its beginning until its answer was read.
        /// Default: `None`, no limit.
        ///
        /// When the time is up, the pool cuts the connection and ends its session at the server
        /// (`KILL`, from a second connection), and the call returns
        /// [`TimedOut`](io::ErrorKind::TimedOut). For
        /// [`query_iter`](mysql::prelude::Queryable::query_iter) and
        /// [`exec_iter`](mysql::prelude::Queryable::exec_iter) the limit covers the beginning of
        /// the answer.
        response_timeout;

        /// Sets whether the server may ask for the password itself on a connection without TLS.
        /// Default: only if it is on the same machine (`localhost`, a loopback address or a socket
        /// file).
        ///
        /// A server with `caching_sha2_password`, the default of MySQL 8, asks for the password of
        /// an account that has not logged in since the server started. Without TLS the driver
        /// encrypts it with a key that the server presents, so anyone who can pass for the server
        /// can read it. If that is not allowed, the connect returns a permanent error before the
        /// password is sent. Logins that prove the password without sending it always work; so does
        /// [`OptsBuilder::server_key_path`], which does not take the key from the server.
        password_without_tls;
    }
}

impl FromStr for MysqlManager {
    type Err = UrlError;

    /// As [`from_url`](Self::from_url).
    fn from_str(url: &str) -> std::result::Result<Self, UrlError> {
        Self::from_url(url)
    }
}

impl Manager for MysqlManager {
    type Connection = MysqlConnection;
    type Error = Error;

    on_return!(MysqlConnection);

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
            // TLS among them, if it was compiled in.
            error => is_about_a_certificate(&error.to_string()),
        };
        if is_permanent { ErrorClass::Permanent } else { ErrorClass::Transient }
    }
}

impl BlockingManager for MysqlManager {
    fn connect(&self, deadline: &Deadline) -> Result<MysqlConnection> {
        let mut opts = self.opts.clone();
        if let Some(change) = &self.before_connect {
            opts = change(OptsBuilder::from_opts(opts)).into();
        }
        let (conn, line) = self.connect.open(&opts, deadline)?;
        let limit = line.within(deadline.remaining())?;
        let ending = Ending { canceller: Arc::clone(&self.canceller), opts };
        let connection = MysqlConnection::new(conn, line, ending, self.response_timeout)?;
        if limit.end() { Ok(connection) } else { Err(DriverError::ConnectTimeout.into()) }
    }

    fn ping(&self, connection: &mut MysqlConnection, deadline: &Deadline) -> Result<()> {
        connection.within(deadline, MysqlConnection::ping)
    }

    fn reset(&self, connection: &mut MysqlConnection, deadline: &Deadline) -> Result<()> {
        connection.within(deadline, |connection| {
            let was_lent = connection.watch().was_lent();
            let settled = connection.settle()?;
            if self.reset == Reset::Session && was_lent {
                connection.renew(&settled, &self.opts)?;
            }
            Ok(())
        })
    }

    fn close(&self, connection: MysqlConnection, deadline: &Deadline) {
        connection.close(deadline);
    }

    fn role(&self, connection: &mut MysqlConnection, deadline: &Deadline) -> Result<RoleReport> {
        connection.within(deadline, MysqlConnection::role)
    }
}

impl fmt::Debug for MysqlManager {
    /// Without the options, which contain the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlManager")
            .field("host", &self.opts.get_ip_or_hostname())
            .field("port", &self.opts.get_tcp_port())
            .field("reset", &self.reset)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}
