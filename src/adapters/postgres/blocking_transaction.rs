//! Transactions for threads that use their connection's statements.

use super::blocking_cancel::{Canceller, PostgresCancelToken};
use super::statements::{Statements, cached, the_cause};
use ::postgres::types::{ToSql, Type};
use ::postgres::{Error, IsolationLevel, Row, Statement, Transaction, TransactionBuilder};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A transaction: derefs to the driver's [`Transaction`], and uses the statements that its
/// connection keeps. Dropping it without a commit rolls back.
///
/// Where a function wants the driver's transaction, or a `GenericClient`, pass `&mut *transaction`.
pub struct PostgresTransaction<'a> {
    transaction: Transaction<'a>,
    statements: &'a Statements,
    canceller: &'a Canceller,
}

cached!(PostgresTransaction<'_>, transaction, false, [&mut self] self);

impl PostgresTransaction<'_> {
    /// As [`Transaction::commit`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error.
    pub fn commit(self) -> Result<(), Error> {
        self.transaction.commit()
    }

    /// As [`Transaction::rollback`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error.
    pub fn rollback(self) -> Result<(), Error> {
        self.transaction.rollback()
    }

    /// As [`Transaction::transaction`]: a savepoint.
    ///
    /// # Errors
    ///
    /// Returns the driver's error.
    pub fn transaction(&mut self) -> Result<PostgresTransaction<'_>, Error> {
        let transaction = self.transaction.transaction()?;
        let (statements, canceller) = (self.statements, self.canceller);
        Ok(PostgresTransaction { transaction, statements, canceller })
    }

    /// As [`Transaction::savepoint`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error.
    pub fn savepoint(&mut self, name: impl Into<String>) -> Result<PostgresTransaction<'_>, Error> {
        let transaction = self.transaction.savepoint(name)?;
        let (statements, canceller) = (self.statements, self.canceller);
        Ok(PostgresTransaction { transaction, statements, canceller })
    }

    /// As [`PostgresClient::cancel_token`](super::PostgresClient::cancel_token).
    pub fn cancel_token(&self) -> PostgresCancelToken {
        self.canceller.token()
    }
}

impl<'a> Deref for PostgresTransaction<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

impl<'a> DerefMut for PostgresTransaction<'a> {
    fn deref_mut(&mut self) -> &mut Transaction<'a> {
        &mut self.transaction
    }
}

impl fmt::Debug for PostgresTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction").finish_non_exhaustive()
    }
}

/// The options of a transaction: the driver's [`TransactionBuilder`].
#[must_use = "a transaction begins with `start`"]
pub struct PostgresTransactionBuilder<'a> {
    pub(super) builder: TransactionBuilder<'a>,
    pub(super) statements: &'a Statements,
    pub(super) canceller: &'a Canceller,
}

impl<'a> PostgresTransactionBuilder<'a> {
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
    pub fn start(self) -> Result<PostgresTransaction<'a>, Error> {
        let Self { builder, statements, canceller } = self;
        let transaction = builder.start()?;
        Ok(PostgresTransaction { transaction, statements, canceller })
    }
}

impl fmt::Debug for PostgresTransactionBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransactionBuilder").finish_non_exhaustive()
    }
}
