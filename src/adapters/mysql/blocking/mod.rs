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
use crate::{BlockingManager, Deadline, ErrorClass, Manager};
use mysql::{DriverError, Error, Opts, OptsBuilder, Result};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

type Change = dyn Fn(OptsBuilder) -> OptsBuilder + Send + Sync;

/// Opens connections to one MySQL or MariaDB server.
///
/// What a borrower left open is undone before the next one gets the connection: a transaction,
/// locks on tables, another database than the first, autocommit, an answer that was not read to its
/// end. What else it changed (variables, temporary tables, named locks) stays, unless
/// [`Reset::Session`] is asked for. See [`MysqlConnection`] for what that costs.
///
/// Refused credentials, an unknown database and all else that trying again would not change are
/// [permanent](ErrorClass::Permanent) errors: borrowers learn of them at once. A server that is
/// down, shuts down or has too many connections is a transient one. TLS is the driver's: its
/// features, and [`OptsBuilder::ssl_opts`]. Without TLS, see
/// [`password_without_tls`](Self::password_without_tls).
///
/// # Deadlines
///
/// The driver blocks, and takes its socket timeouts once. So a watchdog of the crate's cuts a
/// connection whose call outlives its limit: a connect with its handshake, ping, reset, close, and
/// with [`response_timeout`](Self::response_timeout) a borrower's query too. The limit holds
/// whether the server is silent, trickles or floods, with TLS and without. It does not hold for the
/// look-up of a name; nor for connects through a socket file or on other systems than Linux, where
/// the connection is not known before the driver has opened it; nor for anything where there are no
/// Unix sockets. The pool keeps its callers' limits all the same, and shows such a call as
/// quarantined until it ends.
///
/// If a name has several addresses, they share the connect limit, and the one that has answered
/// last is tried first. With TLS whose certificate is checked against the name, the driver tries
/// only the first.
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
/// let manager = MysqlManager::from_url("mysql://app:secret@localhost:3306/songs")?;
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
    connect: Arc<Connect>,
    canceller: Arc<Canceller>,
    before_connect: Option<Box<Change>>,
    reset: Reset,
    response_timeout: Option<Duration>,
}

impl MysqlManager {
    /// Connections as `opts` say ([`Opts`] or an [`OptsBuilder`]), but for what is said
    /// [above](Self#deadlines). The driver's own pool, and the options for it, have no part in
    /// this.
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

        /// What is undone of a loan before the next one. By default, [`Reset::Transaction`].
        ///
        /// With [`Reset::Session`] each borrower gets a session as good as new: variables,
        /// temporary tables, locks and prepared statements of the one before are gone, and the
        /// database is that of the options. It costs two round trips and those of
        /// [`OptsBuilder::init`] and of the [hooks](crate::Builder::after_connect) for new
        /// connections on every return, off the borrower's thread, and the statements have to be
        /// prepared again. Where the server has an `init_connect`, which it does not repeat, the
        /// connection is replaced after each loan.
        reset;

        /// How long a borrower's call may take, from its beginning until its answer was read. By
        /// default, without limit.
        ///
        /// A connection whose answer is late is cut, its session is ended at the server (`KILL`,
        /// from a second connection), and the call fails with
        /// [`TimedOut`](io::ErrorKind::TimedOut). For
        /// [`query_iter`](mysql::prelude::Queryable::query_iter) and
        /// [`exec_iter`](mysql::prelude::Queryable::exec_iter) the limit is for the beginning of
        /// the answer.
        response_timeout;

        /// Whether the server may ask for the password itself on a connection without TLS. By
        /// default, only if it is on the same machine: `localhost`, a loopback address or a socket
        /// file.
        ///
        /// A server with `caching_sha2_password`, the default of MySQL 8, asks for the password of
        /// an account that it has not seen since it was started. Without TLS the driver encrypts it
        /// with a key that the server shows, and so anyone who can pass for the server can read it.
        /// What is not allowed fails with a permanent error before the password is sent. Logins
        /// that prove the password without sending it work in any case; and so does
        /// [`OptsBuilder::server_key_path`], with which the key is not taken from the server.
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
