//! Transactions for tasks that use their connection's statements.

use super::cancel::{AsyncPostgresCancelToken, Canceller};
use super::statements::{Statements, cached, the_cause};
use super::transactions::transactions;
use std::fmt;
use std::ops::{Deref, DerefMut};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, IsolationLevel, Row, Statement, Transaction, TransactionBuilder};

transactions!(
    AsyncPostgresTransaction,
    AsyncPostgresTransactionBuilder,
    AsyncPostgresClient,
    AsyncPostgresCancelToken,
    "&*transaction",
    async await
);

cached!(AsyncPostgresTransaction<'_>, transaction, false, [&self] self, async await);
