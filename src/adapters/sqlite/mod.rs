//! SQLite, by way of [rusqlite](https://docs.rs/rusqlite): feature `rusqlite`.
//!
//! See also the [page on SQLite](crate::guide::sqlite).

mod connection;
mod file;

pub use self::connection::SqliteConnection;
#[doc(no_inline)]
pub use ::rusqlite;

use self::file::{Location, OpenFile, escape};
use crate::{BlockingManager, Deadline, ErrorClass, Manager, PooledConnection};
use rusqlite::{Error, ErrorCode, OpenFlags, Result, ffi};
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What rusqlite gives a connection unless told otherwise.
const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of connections to SQLite.
pub type Pool = crate::Pool<SqliteManager>;

/// A borrowed connection to SQLite.
pub type Connection = PooledConnection<SqliteManager>;

/// Opens connections to one SQLite database.
///
/// Before the next loan the pool rolls back a transaction that a borrower left open. It takes back
/// hooks that the borrower set (on commit, rollback and update, the progress handler, the
/// authorizer), unless [`keep_hooks`](Self::keep_hooks) is set, and restores the [busy
/// timeout](Self::busy_timeout). Other changes (pragmas, temporary tables, attached databases,
/// functions, the hook of the write-ahead log) stay: set these on all connections alike, with
/// [`Builder::after_connect`](crate::Builder::after_connect).
///
/// When a file was replaced or removed under the pool, the next ping notices, so use a strategy
/// that pings if that can happen. A handle to interrupt a connection stays valid after the loan:
/// drop it before.
///
/// A database that cannot be opened, or is none, is a [permanent](ErrorClass::Permanent) error:
/// borrowers get it at once. A database that is busy or locked is a transient error.
///
/// ```
/// use caliburn::Pool;
/// use caliburn::adapters::sqlite::SqliteManager;
/// use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app.db");
///
/// let pool = Pool::builder(SqliteManager::file(path).busy_timeout(Duration::from_secs(2)))
///     .after_connect(|conn, _| Ok(conn.pragma_update(None, "journal_mode", "WAL")?))
///     .max_size(8)
///     .build()?;
///
/// pool.get()?.execute_batch("CREATE TABLE song (title TEXT NOT NULL)")?;
///
/// let mut conn = pool.get()?;
/// let transaction = conn.transaction()?;
/// transaction.execute("INSERT INTO song VALUES (?1)", ["Nimue"])?;
/// transaction.commit()?;
/// # drop(conn);
/// # assert!(pool.close_within(Duration::from_secs(5)).is_complete());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct SqliteManager {
    place: Place,
    flags: OpenFlags,
    busy_timeout: Duration,
    keeps_hooks: bool,
}

enum Place {
    File(Location),
    /// SQLite drops such a database with its last connection; the anchor is one that is never lent.
    Memory {
        name: String,
        anchor: Mutex<Option<rusqlite::Connection>>,
    },
}

impl SqliteManager {
    /// Opens the database in a file, which is created if it does not exist.
    ///
    /// A relative path begins at the working directory of this moment, even if the process changes
    /// its directory later. As in [`rusqlite::Connection::open`], a path that begins with `file:`
    /// is a URI. `:memory:` would give each connection a database of its own: use
    /// [`shared_memory`](Self::shared_memory).
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(Location::new(path.into())))
    }

    /// Opens a database in memory, shared by all connections of this process with the same `name`.
    ///
    /// It lives as long as the manager, so a pool may close all its connections without losing it;
    /// and as long as any connection to it, [detached](crate::PooledConnection::detach) ones
    /// included. `name` must not be empty.
    ///
    /// Its connections share a cache, whose locks on tables do not wait: a statement that meets one
    /// fails at once with [`DatabaseLocked`](ErrorCode::DatabaseLocked), whatever the [busy
    /// timeout](Self::busy_timeout). Good for tests; for many writers a file in WAL mode is better.
    ///
    /// ```
    /// use caliburn::Pool;
    /// use caliburn::adapters::sqlite::SqliteManager;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///
    /// let pool = Pool::builder(SqliteManager::shared_memory("songs")).max_size(2).build()?;
    /// let (one, other) = (pool.get()?, pool.get()?);
    /// one.execute_batch("CREATE TABLE song (title TEXT); INSERT INTO song VALUES ('Nimue')")?;
    /// let title: String = other.query_row("SELECT title FROM song", [], |row| row.get(0))?;
    /// assert_eq!(title, "Nimue");
    /// # Ok(())
    /// # }
    /// ```
    pub fn shared_memory(name: impl Into<String>) -> Self {
        Self::at(Place::Memory { name: name.into(), anchor: Mutex::new(None) })
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            flags: OpenFlags::default(),
            busy_timeout: DEFAULT_BUSY_TIMEOUT,
            keeps_hooks: false,
        }
    }

    /// Sets how to open the database: read-only, for example. Default: for reading and writing,
    /// created if it does not exist.
    ///
    /// ```
    /// # use caliburn::adapters::sqlite::SqliteManager;
    /// use rusqlite::OpenFlags;
    /// let manager = SqliteManager::file("app.db").flags(OpenFlags::SQLITE_OPEN_READ_ONLY);
    /// # let _ = manager;
    /// ```
    pub fn flags(mut self, flags: OpenFlags) -> Self {
        self.flags = flags;
        self
    }

    /// Sets how long a statement waits for a lock that another connection holds. Default: 5 s.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Keeps hooks when a connection comes back: those that
    /// [`Builder::after_connect`](crate::Builder::after_connect) has set. Borrowers must take back
    /// their own. Default: all hooks are taken back after each loan.
    ///
    /// ```
    /// # use caliburn::{Pool, adapters::sqlite::SqliteManager};
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// static COMMITS: AtomicU64 = AtomicU64::new(0);
    ///
    /// let pool = Pool::builder(SqliteManager::shared_memory("counted").keep_hooks())
    ///     .after_connect(|conn, _| {
    ///         Ok(conn.commit_hook(Some(|| {
    ///             COMMITS.fetch_add(1, Ordering::Relaxed);
    ///             false
    ///         }))?)
    ///     })
    ///     .build();
    /// # pool.unwrap().get().unwrap().execute_batch("CREATE TABLE song (title TEXT)").unwrap();
    /// # assert_eq!(COMMITS.load(Ordering::Relaxed), 1);
    /// ```
    pub fn keep_hooks(mut self) -> Self {
        self.keeps_hooks = true;
        self
    }

    fn open(&self) -> Result<SqliteConnection> {
        match &self.place {
            Place::File(location) => {
                let may_be_uri = self.flags.contains(OpenFlags::SQLITE_OPEN_URI);
                let (name, path) = location.resolve(may_be_uri);
                let find = || path.as_deref().and_then(OpenFile::at);
                // If another takes its place meanwhile, the next ping notices.
                let before = find();
                let conn = rusqlite::Connection::open_with_flags(name, self.flags)?;
                Ok(SqliteConnection::new(conn, before.or_else(find)))
            }
            Place::Memory { name, anchor } => {
                let uri = memory_uri(name)?;
                let flags = self.flags | OpenFlags::SQLITE_OPEN_URI;
                let mut anchor = anchor.lock().unwrap_or_else(PoisonError::into_inner);
                if anchor.is_none() {
                    *anchor = Some(rusqlite::Connection::open_with_flags(&uri, flags)?);
                }
                Ok(SqliteConnection::new(rusqlite::Connection::open_with_flags(&uri, flags)?, None))
            }
        }
    }
}

impl FromStr for SqliteManager {
    type Err = Infallible;

    /// As [`file`](Self::file).
    fn from_str(path: &str) -> std::result::Result<Self, Infallible> {
        Ok(Self::file(path))
    }
}

/// The URI of a database in memory. No character of the name can be taken for a part of the URI; a
/// name that SQLite would cut short is refused, as it might be that of another database.
fn memory_uri(name: &str) -> Result<String> {
    if name.is_empty() || name.contains('\0') {
        return Err(Error::InvalidPath(name.into()));
    }
    let mut uri = String::from("file:");
    escape(name.as_bytes(), b"", &mut uri);
    uri.push_str("?mode=memory&cache=shared");
    Ok(uri)
}

/// SQLite counts in milliseconds, and no further than this.
fn set_busy_timeout(connection: &rusqlite::Connection, timeout: Duration) -> Result<()> {
    connection.busy_timeout(timeout.min(Duration::from_millis(i32::MAX as u64)))
}

impl Manager for SqliteManager {
    type Connection = SqliteConnection;
    type Error = Error;

    fn needs_reset(&self, connection: &mut SqliteConnection) -> bool {
        // What takes no time is done here: a worker would cost more than most loans.
        let is_restored = self.keeps_hooks || connection.unhook().is_ok();
        let is_restored = is_restored && set_busy_timeout(connection, self.busy_timeout).is_ok();
        !is_restored || !connection.is_autocommit() || connection.is_busy()
    }

    /// What hooks have set is meant for the borrower.
    fn needs_reset_after_hook(&self, connection: &mut SqliteConnection) -> bool {
        !connection.is_autocommit()
    }

    fn classify(&self, error: &Error) -> ErrorClass {
        match error {
            Error::InvalidPath(_) | Error::NulError(_) => return ErrorClass::Permanent,
            _ => {}
        }
        match error.sqlite_error_code() {
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::AuthorizationForStatementDenied,
            ) => ErrorClass::Permanent,
            _ => ErrorClass::Transient,
        }
    }
}

const QUERY_OF_PINGS: &str = "SELECT 1";

impl BlockingManager for SqliteManager {
    fn connect(&self, deadline: &Deadline) -> Result<SqliteConnection> {
        let connection = self.open()?;
        set_busy_timeout(&connection, self.busy_timeout.min(deadline.remaining()))?;
        // Opening reads nothing: a file that is no database shows itself only now.
        connection.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
        // The first query, even of no table, has SQLite read the schema, for which it may have to
        // wait: here, so that no ping has to.
        connection.prepare_cached(QUERY_OF_PINGS)?;
        set_busy_timeout(&connection, self.busy_timeout)?;
        Ok(connection)
    }

    fn ping(&self, connection: &mut SqliteConnection, _: &Deadline) -> Result<()> {
        if !connection.is_in_place() {
            let moved = ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED);
            let text = "the database file was replaced or removed".to_owned();
            return Err(Error::SqliteFailure(moved, Some(text)));
        }
        // Takes no lock and reads no page, so there is nothing to wait for.
        connection.prepare_cached(QUERY_OF_PINGS)?.query_row([], |_| Ok(()))
    }

    fn reset(&self, connection: &mut SqliteConnection, _: &Deadline) -> Result<()> {
        if connection.is_busy() {
            // Its cursor was forgotten, so nothing can end it, and the next borrower would see the
            // data as they were then.
            let busy = ffi::Error::new(ffi::SQLITE_BUSY);
            return Err(Error::SqliteFailure(busy, Some("a statement was left running".into())));
        }
        if !self.keeps_hooks {
            connection.unhook()?;
        }
        set_busy_timeout(connection, self.busy_timeout)?;
        if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") }
    }
}

impl fmt::Debug for SqliteManager {
    /// Without the path or the name, which may say more than a log should know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::File(_) => "file",
            Place::Memory { .. } => "memory",
        };
        f.debug_struct("SqliteManager")
            .field("place", &place)
            .field("busy_timeout", &self.busy_timeout)
            .finish_non_exhaustive()
    }
}
