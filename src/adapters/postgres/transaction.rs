//! Transactions for tasks that use their connection's statements.

use super::cancel::{AsyncPostgresCancelToken, Canceller};
use super::statements::{Statements, cached, the_cause};
use std::fmt;
use std::ops::{Deref, DerefMut};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, IsolationLevel, Row, Statement, Transaction, TransactionBuilder};

/// A transaction: derefs to the driver's [`Transaction`], and uses the statements that its
/// connection keeps. Dropping it without a commit rolls back.
///
/// Where a function wants the driver's transaction, or a `GenericClient`, pass `&*transaction`.
pub struct AsyncPostgresTransaction<'a> {
    transaction: Transaction<'a>,
    statements: &'a Statements,
    canceller: &'a Canceller,
}

cached!(AsyncPostgresTransaction<'_>, transaction, false, [&self] self, async await);

impl AsyncPostgresTransaction<'_> {
    /// As [`Transaction::commit`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error.
    pub async fn commit(self) -> Result<(), Error> {
        self.transaction.commit().await
    }

    /// As [`Transaction::rollback`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error.
    pub async fn rollback(self) -> Result<(), Error> {
        self.transaction.rollback().await
    }

    /// As [`Transaction::transaction`]: a savepoint.
    ///
    /// # Errors
    ///
    /// Returns the driver's error.
    pub async fn transaction(&mut self) -> Result<AsyncPostgresTransaction<'_>, Error> {
        let transaction = self.transaction.transaction().await?;
        let (statements, canceller) = (self.statements, self.canceller);
        Ok(AsyncPostgresTransaction { transaction, statements, canceller })
    }

    /// As [`Transaction::savepoint`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error.
    pub async fn savepoint(
        &mut self,
        name: impl Into<String>,
    ) -> Result<AsyncPostgresTransaction<'_>, Error> {
        let transaction = self.transaction.savepoint(name).await?;
        let (statements, canceller) = (self.statements, self.canceller);
        Ok(AsyncPostgresTransaction { transaction, statements, canceller })
    }

    /// As [`AsyncPostgresClient::cancel_token`](super::AsyncPostgresClient::cancel_token).
    pub fn cancel_token(&self) -> AsyncPostgresCancelToken {
        self.canceller.token()
    }
}

impl<'a> Deref for AsyncPostgresTransaction<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

impl<'a> DerefMut for AsyncPostgresTransaction<'a> {
    fn deref_mut(&mut self) -> &mut Transaction<'a> {
        &mut self.transaction
    }
}

impl fmt::Debug for AsyncPostgresTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPostgresTransaction").finish_non_exhaustive()
    }
}

/// The options of a transaction: the driver's [`TransactionBuilder`].
#[must_use = "a transaction begins with `start`"]
pub struct AsyncPostgresTransactionBuilder<'a> {
    pub(super) builder: TransactionBuilder<'a>,
    pub(super) statements: &'a Statements,
    pub(super) canceller: &'a Canceller,
}

impl<'a> AsyncPostgresTransactionBuilder<'a> {
    /// As [`TransactionBuilder::isolation_level`].
    pub fn isolation_level(self, isolation_level: IsolationLevel) -> Self {
        Self { builder: self.builder.isolation_level(isolation_level), ..self }
    }

    /// As [`TransactionBuilder::read_only`].
    pub fn read_only(self, read_only: bool) -> Self {
        Self { builder: self.builder.read_only(read_only), ..self }
    }

    /// As [`TransactionBuilder::deferrable`].
    pub fn deferrable(self, deferrable: bool) -> Self {
        Self { builder: self.builder.deferrable(deferrable), ..self }
    }

    /// As [`TransactionBuilder::start`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error if it could not be begun.
    pub async fn start(self) -> Result<AsyncPostgresTransaction<'a>, Error> {
        let Self { builder, statements, canceller } = self;
        let transaction = builder.start().await?;
        Ok(AsyncPostgresTransaction { transaction, statements, canceller })
    }
}

impl fmt::Debug for AsyncPostgresTransactionBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPostgresTransactionBuilder").finish_non_exhaustive()
    }
}
