//! A transaction whose end the pool sees.

use super::connection::MysqlConnection;
use crate::adapters::mysql::session::statement::{COMMIT, Effect, ROLLBACK};
use mysql::prelude::Queryable;
use mysql::{AccessMode, Result, TxOpts};
use std::fmt;
use std::ops::Deref;

/// A transaction on a borrowed connection, from
/// [`start_transaction`](MysqlConnection::start_transaction).
///
/// Query it like the connection. Dropping it without a [commit](Self::commit) rolls back. It derefs
/// to the connection, for methods that only read.
///
/// ```no_run
/// # use caliburn::adapters::mysql::MysqlConnection;
/// use mysql::TxOpts;
/// use mysql::prelude::Queryable;
///
/// fn play(conn: &mut MysqlConnection, is_enough: bool) -> mysql::Result<()> {
///     let mut transaction = conn.start_transaction(TxOpts::default())?;
///     transaction.query_drop("UPDATE song SET plays = plays + 1")?;
///     if is_enough { transaction.commit() } else { transaction.rollback() }
/// }
/// ```
#[must_use = "what is not committed is rolled back"]
pub struct MysqlTransaction<'a> {
    connection: &'a mut MysqlConnection,
    is_over: bool,
}

impl<'a> MysqlTransaction<'a> {
    pub(super) fn begin(connection: &'a mut MysqlConnection, options: TxOpts) -> Result<Self> {
        if let Some(level) = options.isolation_level() {
            let sql = format!("SET TRANSACTION ISOLATION LEVEL {level}");
            connection.observe(Effect::Begins, |conn| conn.query_drop(sql))?;
        }
        let snapshot = options.with_consistent_snapshot().then_some("WITH CONSISTENT SNAPSHOT");
        let mode = options.access_mode().map(|mode| match mode {
            AccessMode::ReadOnly => "READ ONLY",
            AccessMode::ReadWrite => "READ WRITE",
        });
        let modes: Vec<_> = snapshot.into_iter().chain(mode).collect();
        connection.query_drop(format!("START TRANSACTION {}", modes.join(", ")))?;
        Ok(Self { connection, is_over: false })
    }

    pub(super) fn connection(&mut self) -> &mut MysqlConnection {
        self.connection
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// Returns the error of the server or the connection. If the transaction was not committed, it
    /// is rolled back.
    pub fn commit(mut self) -> Result<()> {
        self.connection.query_drop(COMMIT)?;
        self.is_over = true;
        Ok(())
    }

    /// Rolls back.
    ///
    /// # Errors
    ///
    /// Returns the error of the server or the connection; the connection is then not used again.
    pub fn rollback(mut self) -> Result<()> {
        self.is_over = true;
        self.connection.query_drop(ROLLBACK)
    }
}

impl MysqlConnection {
    /// Begins a transaction, with [an example](MysqlTransaction). Dropping it rolls back.
    ///
    /// It replaces the driver's [`Conn::start_transaction`](mysql::Conn::start_transaction), which
    /// cannot tell the pool how its transaction has ended.
    ///
    /// # Errors
    ///
    /// Returns the error of the server or the connection.
    pub fn start_transaction(&mut self, options: TxOpts) -> Result<MysqlTransaction<'_>> {
        MysqlTransaction::begin(self, options)
    }
}

impl Deref for MysqlTransaction<'_> {
    type Target = MysqlConnection;

    fn deref(&self) -> &MysqlConnection {
        self.connection
    }
}

impl Drop for MysqlTransaction<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // If it fails, the connection is closed.
            let _ = self.connection.query_drop(ROLLBACK);
        }
    }
}

impl fmt::Debug for MysqlTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlTransaction").field("connection", &**self).finish_non_exhaustive()
    }
}
