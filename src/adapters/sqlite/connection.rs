//! A connection to SQLite, and what its borrowers did to it.

use super::file::OpenFile;
use rusqlite::hooks::{Action, AuthContext, Authorization};
use rusqlite::{Connection, Result};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The pooled connection: derefs to a [`rusqlite::Connection`].
///
/// Where a function wants one, pass `&conn` or `&mut conn`.
pub struct SqliteConnection {
    conn: Connection,
    /// The file that it was opened on; none if it is in memory, or the system tells no files apart.
    file: Option<OpenFile>,
}

/// What taking back a hook may come to: some versions of rusqlite cannot fail at it.
trait Outcome {
    fn checked(self) -> Result<()>;
}

impl Outcome for () {
    fn checked(self) -> Result<()> {
        Ok(())
    }
}

impl Outcome for Result<()> {
    fn checked(self) -> Result<()> {
        self
    }
}

impl SqliteConnection {
    pub(super) fn new(conn: Connection, file: Option<OpenFile>) -> Self {
        Self { conn, file }
    }

    /// Whether the path still leads to the file that is open here.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.as_ref().is_none_or(OpenFile::is_in_place)
    }

    /// Takes back the hooks that a borrower may have set. None of it does I/O. (A hook of the
    /// write-ahead log stays: without one SQLite would no longer make checkpoints by itself.)
    pub(super) fn unhook(&mut self) -> Result<()> {
        let conn = &mut self.conn;
        conn.commit_hook(None::<fn() -> bool>).checked()?;
        conn.rollback_hook(None::<fn()>).checked()?;
        conn.update_hook(None::<fn(Action, &str, &str, i64)>).checked()?;
        conn.progress_handler(0, None::<fn() -> bool>).checked()?;
        conn.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).checked()
    }
}

impl Deref for SqliteConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.conn
    }
}

impl DerefMut for SqliteConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.conn
    }
}

impl AsRef<Connection> for SqliteConnection {
    fn as_ref(&self) -> &Connection {
        self
    }
}

impl From<SqliteConnection> for Connection {
    /// For a connection that was [detached](crate::PooledConnection::detach).
    fn from(connection: SqliteConnection) -> Self {
        connection.conn
    }
}

impl fmt::Debug for SqliteConnection {
    /// Without the path, which may say more than a log should know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteConnection")
            .field("is_autocommit", &self.conn.is_autocommit())
            .finish_non_exhaustive()
    }
}
