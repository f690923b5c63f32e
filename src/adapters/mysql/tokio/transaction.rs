//! A transaction whose end the pool sees.

use super::seen::{Answer, Executed, Kind, Seen, TxEnd};
use mysql_async::{Conn, Result, Transaction, TxOpts};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A transaction on a borrowed connection, from
/// [`start_transaction`](super::AsyncMysqlConnection::start_transaction).
///
/// It is the driver's, and ends with a plain `COMMIT` or `ROLLBACK`: where the session's
/// `completion_type` is `RELEASE`, the connection ends with it. A transaction begun by `CHAIN` is
/// rolled back before the next call.
///
/// Query it like the connection. Dropping it without a [commit](Self::commit) rolls back. It derefs
/// to the driver's [`Transaction`]; using that costs the connection a round trip on its way back.
///
/// ```no_run
/// # use caliburn::adapters::mysql::AsyncMysqlConnection;
/// use mysql_async::TxOpts;
/// use mysql_async::prelude::Queryable;
///
/// async fn play(conn: &mut AsyncMysqlConnection, is_enough: bool) -> mysql_async::Result<()> {
///     let mut transaction = conn.start_transaction(TxOpts::default()).await?;
///     transaction.query_drop("UPDATE song SET plays = plays + 1").await?;
///     if is_enough { transaction.commit().await } else { transaction.rollback().await }
/// }
/// ```
#[must_use = "what is not committed is rolled back"]
pub struct AsyncMysqlTransaction<'a> {
    /// There until it is ended.
    driver: Option<Transaction<'a>>,
    seen: &'a mut Seen,
}

impl<'a> AsyncMysqlTransaction<'a> {
    pub(super) async fn begin(
        conn: &'a mut Conn,
        seen: &'a mut Seen,
        options: TxOpts,
    ) -> Result<Self> {
        seen.catch_up(conn);
        let driver = seen.begin(conn, options).await?;
        Ok(Self { driver: Some(driver), seen })
    }

    fn parts(&mut self) -> (&mut Transaction<'a>, &mut Seen) {
        let driver = self.driver.as_mut().expect("it has not ended");
        self.seen.catch_up(driver);
        (driver, self.seen)
    }

    /// As on the connection.
    pub(super) fn observe<'s: 'b, 'b, T: Send + 'b>(
        &'s mut self,
        kind: Kind,
        call: impl FnOnce(&'s mut Transaction<'a>) -> Answer<'b, T> + Send + 'b,
    ) -> Answer<'b, T> {
        let (driver, seen) = self.parts();
        seen.observe(driver, kind, call)
    }

    /// As on the connection.
    pub(super) fn execute<'s: 'b, 'b, T: Send + 'b>(
        &'s mut self,
        call: impl FnOnce(&'s mut Transaction<'a>) -> Answer<'b, Executed<T>> + Send + 'b,
    ) -> Answer<'b, T> {
        let (driver, seen) = self.parts();
        seen.execute(driver, call)
    }

    async fn end(mut self, end: TxEnd) -> Result<()> {
        let driver = self.driver.take().expect("it has not ended");
        self.seen.catch_up(&driver);
        self.seen.end(driver, end).await
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// Returns the error of the server or the connection. If the transaction was not committed, it
    /// is rolled back.
    pub async fn commit(self) -> Result<()> {
        self.end(TxEnd::Commit).await
    }

    /// Rolls back.
    ///
    /// # Errors
    ///
    /// Returns the error of the server or the connection.
    pub async fn rollback(self) -> Result<()> {
        self.end(TxEnd::Rollback).await
    }
}

impl<'a> Deref for AsyncMysqlTransaction<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        self.driver.as_ref().expect("it has not ended")
    }
}

impl<'a> DerefMut for AsyncMysqlTransaction<'a> {
    /// From here on statements go unseen, so the connection is reset on return.
    fn deref_mut(&mut self) -> &mut Transaction<'a> {
        let (driver, seen) = self.parts();
        seen.lose_sight();
        driver
    }
}

impl Drop for AsyncMysqlTransaction<'_> {
    fn drop(&mut self) {
        if self.driver.take().is_some() {
            self.seen.roll_back_later();
        }
    }
}

impl fmt::Debug for AsyncMysqlTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncMysqlTransaction").finish_non_exhaustive()
    }
}
