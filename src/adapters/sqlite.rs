//! SQLite, by way of [rusqlite](https://docs.rs/rusqlite): feature `rusqlite`.
//!
//! See also the [page on SQLite](crate::guide::sqlite).

use crate::{BlockingManager, Deadline, ErrorClass, Manager};
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Result};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What rusqlite gives a connection unless told otherwise.
const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

type Hook = dyn Fn(&mut Connection) -> Result<()> + Send + Sync;

/// Opens connections to one SQLite database.
///
/// A transaction that a borrower left open is rolled back before anybody else gets the connection.
/// What else it changed (pragmas, temporary tables, attached databases) stays: set those in
/// [`on_connect`](Self::on_connect), for all connections alike.
///
/// A database that cannot be opened, or is none, is a [permanent](ErrorClass::Permanent) error:
/// borrowers learn of it at once. One that is busy or locked is a transient one.
///
/// ```
/// use caliburn::Pool;
/// use caliburn::adapters::sqlite::SqliteManager;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app.db");
///
/// let manager = SqliteManager::file(path)
///     .on_connect(|conn| conn.pragma_update(None, "journal_mode", "WAL"));
/// let pool = Pool::builder(manager).max_size(8).build()?;
///
/// pool.get()?.execute_batch("CREATE TABLE song (title TEXT NOT NULL)")?;
///
/// let mut conn = pool.get()?;
/// let transaction = conn.transaction()?;
/// transaction.execute("INSERT INTO song VALUES (?1)", ["Nimue"])?;
/// transaction.commit()?;
/// # drop(conn);
/// # assert!(pool.close_within(std::time::Duration::from_secs(5)).is_complete());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct SqliteManager {
    place: Place,
    flags: OpenFlags,
    busy_timeout: Duration,
    on_connect: Option<Box<Hook>>,
}

enum Place {
    File(PathBuf),
    /// SQLite drops such a database with its last connection; the anchor is one that is never lent.
    Memory {
        name: String,
        anchor: Mutex<Option<Connection>>,
    },
}

impl SqliteManager {
    /// The database in a file, which is created if it is not there.
    ///
    /// As in [`Connection::open`], a path that begins with `file:` is a URI. `:memory:` would give
    /// each connection a database of its own: use [`shared_memory`](Self::shared_memory).
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(path.into()))
    }

    /// A database in memory, shared by all connections of this process that ask for the same name.
    ///
    /// It lives as long as the manager, so a pool may close all its connections without losing it;
    /// and as long as any connection to it, [detached](crate::PooledConnection::detach) ones
    /// included. The name must not be empty.
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
            on_connect: None,
        }
    }

    /// How to open the database: read-only, for example. Default: for reading and writing, created
    /// if it is not there.
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

    /// How long a statement waits for a lock that another connection holds. Default 5 s.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// What to do with each new connection before it is lent: pragmas, functions, a schema. Called
    /// again, it replaces what was given before. If it fails, so does the connect.
    ///
    /// ```
    /// # use caliburn::adapters::sqlite::SqliteManager;
    /// let manager = SqliteManager::file("app.db").on_connect(|conn| {
    ///     conn.pragma_update(None, "journal_mode", "WAL")?;
    ///     conn.pragma_update(None, "foreign_keys", true)
    /// });
    /// # let _ = manager;
    /// ```
    pub fn on_connect(
        mut self,
        hook: impl Fn(&mut Connection) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_connect = Some(Box::new(hook));
        self
    }

    fn open(&self) -> Result<Connection> {
        match &self.place {
            Place::File(path) => Connection::open_with_flags(path, self.flags),
            Place::Memory { name, anchor } => {
                let uri = memory_uri(name)?;
                let flags = self.flags | OpenFlags::SQLITE_OPEN_URI;
                let mut anchor = anchor.lock().unwrap_or_else(PoisonError::into_inner);
                if anchor.is_none() {
                    *anchor = Some(Connection::open_with_flags(&uri, flags)?);
                }
                Connection::open_with_flags(&uri, flags)
            }
        }
    }
}

/// The URI of a database in memory. No character of the name can be taken for a part of the URI; a
/// name that SQLite would cut short is refused, as it might be that of another database.
fn memory_uri(name: &str) -> Result<String> {
    if name.is_empty() || name.contains('\0') {
        return Err(Error::InvalidPath(name.into()));
    }
    let mut uri = String::from("file:");
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?mode=memory&cache=shared");
    Ok(uri)
}

/// SQLite counts in milliseconds, and no further than this.
fn set_busy_timeout(connection: &Connection, timeout: Duration) -> Result<()> {
    connection.busy_timeout(timeout.min(Duration::from_millis(i32::MAX as u64)))
}

impl Manager for SqliteManager {
    type Connection = Connection;
    type Error = Error;

    fn needs_reset(&self, connection: &mut Connection) -> bool {
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

impl BlockingManager for SqliteManager {
    fn connect(&self, deadline: &Deadline) -> Result<Connection> {
        let mut connection = self.open()?;
        set_busy_timeout(&connection, self.busy_timeout.min(deadline.remaining()))?;
        // Opening reads nothing: a file that is no database shows itself only now.
        connection.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
        set_busy_timeout(&connection, self.busy_timeout)?;
        if let Some(hook) = &self.on_connect {
            hook(&mut connection)?;
        }
        Ok(connection)
    }

    fn ping(&self, connection: &mut Connection, _: &Deadline) -> Result<()> {
        // Takes no lock and reads no page, so there is nothing to wait for.
        connection.prepare_cached("SELECT 1")?.query_row([], |_| Ok(()))
    }

    fn reset(&self, connection: &mut Connection, _: &Deadline) -> Result<()> {
        connection.execute_batch("ROLLBACK")
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
