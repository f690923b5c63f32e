//! Transactions for threads that use their connection's statements.

use super::blocking_cancel::{Canceller, PostgresCancelToken};
use super::statements::{Statements, cached, the_cause};
use super::transactions::transactions;
use ::postgres::types::{ToSql, Type};
use ::postgres::{Error, IsolationLevel, Row, Statement, Transaction, TransactionBuilder};
use std::fmt;
use std::ops::{Deref, DerefMut};

transactions!(
    PostgresTransaction,
    PostgresTransactionBuilder,
    PostgresClient,
    PostgresCancelToken,
    "&mut *transaction"
);

cached!(PostgresTransaction<'_>, transaction, false, [&mut self] self);
