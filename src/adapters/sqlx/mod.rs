//! Any database of [sqlx](https://docs.rs/sqlx), by way of its `sqlx-core`.

pub use ::sqlx_core;

use crate::adapters::runtime::Fixed;
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager};
use sqlx_core::connection::{ConnectOptions, Connection as _};
use sqlx_core::database::Database;
use sqlx_core::error::Error;
use sqlx_core::executor::Executor;
use sqlx_core::transaction::TransactionManager;
use std::fmt;
use std::io;
use std::str::FromStr;
use tokio::runtime::Handle;

/// A pool of sqlx connections: `Pool<Postgres>`.
pub type Pool<DB> = crate::Pool<SqlxManager<DB>>;

/// A connection on loan. `&mut *conn` is an executor.
pub type Connection<DB> = crate::PooledConnection<SqlxManager<DB>>;

/// How to connect to a database: `PgConnectOptions` for `Postgres`.
pub type Options<DB> = <<DB as Database>::Connection as sqlx_core::connection::Connection>::Options;

/// Opens connections to a database of sqlx: `SqlxManager<Postgres>`, `SqlxManager<Sqlite>` and so
/// on.
///
/// The pooled connection is sqlx's own, so `&mut *conn` is an executor, and `conn.begin()` begins a
/// transaction. The connect, the ping and the close are sqlx's own. This pool takes the place of
/// sqlx's `PoolOptions`.
///
/// The manager works with sqlx-core 0.8 and 0.9. Cargo must use the same version here as for sqlx;
/// if it chooses another, fix it with, for example, `cargo update -p sqlx-core@0.9.0 --precise
/// 0.8.6`.
///
/// # What is left behind
///
/// After each loan, in the background, sqlx sends and reads what is still pending: the rollback of
/// a dropped transaction, the rest of the answer to a query that was dropped half-way. The pool
/// rolls back a transaction that is still open because it was forgotten. It replaces a connection
/// that has not finished within [`reset_timeout`](crate::Settings::reset_timeout), without asking
/// the server to cancel the query.
///
/// With MySQL and PostgreSQL this costs one round trip after each loan, as in sqlx's own pool: if a
/// future of `begin` is dropped before the server has answered, sqlx does not know of the
/// transaction, so the pool tells the server to end one in any case. That also ends a transaction
/// begun by a statement (`"BEGIN"`). With other databases there is no such round trip, and a
/// transaction begun by a statement stays open. Settings of the session stay with any database; to
/// clean them use a [hook](crate::Builder::on_return_async).
///
/// # Dead connections
///
/// sqlx shows neither its sockets nor their state, so only a ping finds a connection that the
/// server has ended: use a strategy that pings, for example
/// [`PingOnBorrow`](crate::health::PingOnBorrow).
///
/// # The runtime
///
/// sqlx must have been compiled for tokio. Its connections live on a runtime of the crate's own, of
/// one thread, so that they serve borrowers in any runtime and in none, and outlive each. A program
/// that has one multi-threaded runtime for good, as most have, gives it to
/// [`runtime`](Self::runtime) and saves a change of threads for each answer.
///
/// ```ignore
/// use caliburn::Pool;
/// use caliburn::adapters::sqlx::SqlxManager;
/// use caliburn::health::PingOnBorrow;
/// use sqlx::Postgres;
///
/// let manager = SqlxManager::<Postgres>::from_url("postgres://app:secret@db.example/songs")?
///     .runtime(tokio::runtime::Handle::current());
/// // With other options of sqlx's.
/// let options = manager.options().clone().application_name("web");
/// let manager = SqlxManager::<Postgres>::new(options);
/// let builder = Pool::builder_async(manager).max_size(8).health(PingOnBorrow::default());
/// let pool = builder.build()?;
///
/// let mut conn = pool.get_async().await?;
/// sqlx::query("INSERT INTO song VALUES ($1)").bind("Nimue").execute(&mut *conn).await?;
/// let mut transaction = conn.begin().await?;
/// sqlx::query("DELETE FROM song").execute(&mut *transaction).await?;
/// transaction.commit().await?;
/// ```
#[must_use]
pub struct SqlxManager<DB: Database> {
    options: Options<DB>,
    home: Fixed,
    /// Ends a transaction of which sqlx knows nothing, and does nothing where there is none.
    ending: Option<&'static str>,
}

impl<DB: Database> SqlxManager<DB> {
    /// Connects as `options` say; they may come from a URL.
    pub fn new(options: Options<DB>) -> Self {
        let ending = match DB::NAME {
            "Any" => ending(options.to_url_lossy().scheme()),
            name => ending(name),
        };
        Self { options, home: Fixed::default(), ending }
    }

    /// Connects as `url` says.
    ///
    /// # Errors
    ///
    /// Returns sqlx's error if the driver does not know the URL.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        url.parse()
    }

    /// Sets the tokio runtime on which the connections live. Default: one of the crate's own.
    /// Choose a multi-threaded runtime that lasts as long as the pool: once it is gone, connecting
    /// fails permanently.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.home.choose(runtime);
        self
    }

    /// Returns the options.
    pub fn options(&self) -> &Options<DB> {
        &self.options
    }
}

impl<DB: Database> FromStr for SqlxManager<DB> {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        url.parse().map(Self::new)
    }
}

impl<DB: Database> SqlxManager<DB> {
    /// Does `work` where the connections live.
    async fn at_home<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let worked = self.home.get().run(work).await;
        worked
            .unwrap_or_else(|| Err(if self.home.is_lost() { without_runtime() } else { silent() }))
    }
}

/// By the name of the database, or by the scheme of its URL.
fn ending(database: &str) -> Option<&'static str> {
    match database {
        "MySQL" | "mysql" | "mariadb" => Some("ROLLBACK"),
        // Where there is none to end, a bare rollback would have a warning logged.
        "PostgreSQL" | "postgres" | "postgresql" => Some("BEGIN; ROLLBACK"),
        // SQLite's thread ends calls that were dropped.
        _ => None,
    }
}

fn without_runtime() -> Error {
    Error::Configuration("the runtime chosen for the connections is gone".into())
}

fn silent() -> Error {
    let message = "nothing drives the runtime chosen for the connections";
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}

impl<DB: Database<Connection: 'static>> Manager for SqlxManager<DB> {
    type Connection = DB::Connection;
    type Error = Error;

    fn has_broken(&self, _: &mut DB::Connection) -> bool {
        self.home.fails()
    }

    fn needs_ping(&self, _: &mut DB::Connection) -> bool {
        self.home.is_in_doubt()
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.home.may_wait_here(face)
    }

    /// Always: whether answers are left to be read is known only to sqlx.
    fn needs_reset(&self, _: &mut DB::Connection) -> bool {
        true
    }

    fn classify(&self, error: &Error) -> ErrorClass {
        let is_permanent = match error {
            Error::Configuration(_) | Error::Tls(_) => true,
            // No access, no such database, and SQLite's "unable to open".
            Error::Database(error) => error.code().is_some_and(|code| {
                ["28", "3D", "42"].iter().any(|class| code.starts_with(class)) || code == "14"
            }),
            _ => false,
        };
        if is_permanent { ErrorClass::Permanent } else { ErrorClass::Transient }
    }
}

impl<DB: Database<Connection: 'static>> AsyncManager for SqlxManager<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    async fn connect(&self, _: &Deadline) -> Result<DB::Connection, Error> {
        self.at_home(self.options.connect()).await
    }

    async fn ping(&self, connection: &mut DB::Connection, _: &Deadline) -> Result<(), Error> {
        self.at_home(connection.ping()).await
    }

    async fn reset(&self, connection: &mut DB::Connection, _: &Deadline) -> Result<(), Error> {
        let clean = async {
            connection.flush().await?;
            while connection.is_in_transaction() {
                DB::TransactionManager::rollback(connection).await?;
            }
            if let Some(ending) = self.ending {
                connection.execute(ending).await?;
            }
            Ok(())
        };
        self.at_home(clean).await
    }

    async fn close(&self, connection: DB::Connection, _: &Deadline) {
        // It says goodbye as well as it can.
        let _ = self.at_home(connection.close()).await;
    }
}

impl<DB: Database> fmt::Debug for SqlxManager<DB> {
    /// Without the options, which contain the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxManager")
            .field("database", &DB::NAME)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}
