//! A connection of the blocking driver, and what becomes of its session while it is on loan.

use super::session::{Proof, ProofRow, is_farewell, is_harmless, set_autocommit};
use mysql::prelude::{AsStatement, FromRow, Protocol, Queryable};
use mysql::{
    Binary, Conn, DriverError, Error, FromRowError, Params, QueryResult, Result, Statement, Text,
    from_row, from_row_opt,
};
use std::fmt;
use std::mem::replace;
use std::ops::{Deref, DerefMut};
use std::result::Result as StdResult;

/// The driver's connection, and what is known of its session.
///
/// The driver does not tell whether a transaction is open, nor whether an answer was left unread by
/// a failure (after a read timeout the next query would be given the answer to the last one). So
/// this wrapper watches. On its own methods of [`Queryable`], a loan costs nothing on return as
/// long as each statement was a usual one (`SELECT`, `INSERT`, `UPDATE`, `DELETE`, `REPLACE`,
/// `SHOW`, `WITH`; one at a time). After anything else the connection pays one round trip on its
/// way back, off the borrower's thread: after [`query_iter`](Queryable::query_iter) and
/// [`exec_iter`](Queryable::exec_iter), whose rows are read out of sight, and after all that goes
/// to the driver's own [`Conn`], to which this derefs
/// ([`start_transaction`](Conn::start_transaction), `"SELECT 1".fetch(&mut **conn)`). It rolls
/// back, and shows that questions and answers are in step; if they are not, the connection is
/// closed.
pub struct MysqlConnection {
    conn: Conn,
    /// No transaction is open, and every answer has been read to its end.
    is_sure: bool,
    is_broken: bool,
    /// A statement has been prepared that is not harmless; which one is executed is not looked at.
    has_unusual_statement: bool,
    /// As it was when the connection was opened.
    is_autocommit: bool,
    proofs: u64,
}

impl MysqlConnection {
    pub(super) fn new(conn: Conn) -> Result<Self> {
        let mut this = Self {
            conn,
            is_sure: false,
            is_broken: false,
            has_unusual_statement: false,
            is_autocommit: true,
            proofs: 0,
        };
        this.is_autocommit = this.prove()?;
        this.is_sure = true;
        Ok(this)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn is_sure(&self) -> bool {
        self.is_sure
    }

    pub(super) fn ping(&mut self) -> Result<()> {
        self.observe(true, Conn::ping)
    }

    /// Makes sure.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.prove()? != self.is_autocommit {
            self.conn.query_drop(set_autocommit(self.is_autocommit))?;
        }
        self.is_sure = true;
        Ok(())
    }

    /// Has the server forget all about the session, and prepares it anew.
    pub(super) fn renew(&mut self, prepare: impl FnOnce(&mut Conn) -> Result<()>) -> Result<()> {
        self.is_sure = false;
        self.conn.reset()?;
        self.has_unusual_statement = false;
        prepare(&mut self.conn)?;
        self.is_sure = true;
        Ok(())
    }

    /// Makes a call that reads its answer to the end, and remembers what came of it.
    fn observe<T>(
        &mut self,
        is_harmless: bool,
        call: impl FnOnce(&mut Conn) -> Result<T>,
    ) -> Result<T> {
        // A panic leaves it so.
        let was_sure = replace(&mut self.is_sure, false);
        let outcome = call(&mut self.conn);
        self.is_broken |= outcome.as_ref().is_err_and(is_fatal);
        self.is_sure = was_sure && is_harmless && self.is_autocommit && !self.is_broken;
        outcome
    }

    fn text<T>(
        &mut self,
        sql: &str,
        read: impl FnOnce(&mut QueryResult<'_, '_, '_, Text>) -> Result<T>,
    ) -> Result<T> {
        self.observe(is_harmless(sql), |conn| {
            let mut result = conn.query_iter(sql)?;
            let value = read(&mut result);
            drain(result).and(value)
        })
    }

    fn binary<T>(
        &mut self,
        statement: &impl AsStatement,
        params: impl Into<Params>,
        read: impl FnOnce(&mut QueryResult<'_, '_, '_, Binary>) -> Result<T>,
    ) -> Result<T> {
        let statement = statement.as_statement(self)?;
        self.observe(!self.has_unusual_statement, |conn| {
            let mut result = conn.exec_iter(&*statement, params)?;
            let value = read(&mut result);
            drain(result).and(value)
        })
    }

    /// Ends what is open, and shows that answers are in step; whether the session commits by
    /// itself.
    fn prove(&mut self) -> Result<bool> {
        self.proofs += 1;
        let proof = Proof::new(self.proofs);
        let mut result = self.conn.query_iter(proof.sql())?;
        let mut rows = Vec::new();
        while let Some(set) = result.iter() {
            for row in set {
                rows.push(from_row_opt::<ProofRow>(row?));
            }
        }
        proof.check(&rows).ok_or_else(|| DriverError::PacketOutOfSync.into())
    }
}

/// Reads what is left of an answer. What the server has to say against a later part of it is
/// dropped, as the driver does.
fn drain<P: Protocol>(mut result: QueryResult<'_, '_, '_, P>) -> Result<()> {
    while let Some(set) = result.iter() {
        for row in set {
            if let Err(error) = row
                && is_fatal(&error)
            {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Whether the connection is of no more use after this.
fn is_fatal(error: &Error) -> bool {
    match error {
        Error::MySqlError(error) => is_farewell(error.code),
        Error::FromValueError(_) | Error::FromRowError(_) | Error::UrlError(_) => false,
        // Mistakes that the driver finds before it sends anything.
        Error::DriverError(
            DriverError::MismatchedStmtParams(..)
            | DriverError::Params(_)
            | DriverError::MixedParams
            | DriverError::ReadOnlyTransNotSupported,
        ) => false,
        _ => true,
    }
}

impl Queryable for MysqlConnection {
    fn query_iter<Q: AsRef<str>>(&mut self, query: Q) -> Result<QueryResult<'_, '_, '_, Text>> {
        (**self).query_iter(query)
    }

    fn exec_iter<S, P>(&mut self, stmt: S, params: P) -> Result<QueryResult<'_, '_, '_, Binary>>
    where
        S: AsStatement,
        P: Into<Params>,
    {
        (**self).exec_iter(stmt, params)
    }

    fn exec_batch<S, P, I>(&mut self, stmt: S, params: I) -> Result<()>
    where
        S: AsStatement,
        P: Into<Params>,
        I: IntoIterator<Item = P>,
    {
        (**self).exec_batch(stmt, params)
    }

    fn prep<Q: AsRef<str>>(&mut self, query: Q) -> Result<Statement> {
        self.has_unusual_statement |= !is_harmless(query.as_ref());
        self.observe(true, |conn| conn.prep(query))
    }

    fn close(&mut self, stmt: Statement) -> Result<()> {
        self.observe(true, |conn| conn.close(stmt))
    }

    fn query_first<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> Result<Option<T>> {
        self.text(query.as_ref(), |rows| Ok(rows.next().transpose()?.map(from_row)))
    }

    fn query_first_opt<T, Q>(&mut self, query: Q) -> Result<Option<StdResult<T, FromRowError>>>
    where
        Q: AsRef<str>,
        T: FromRow,
    {
        self.text(query.as_ref(), |rows| Ok(rows.next().transpose()?.map(from_row_opt)))
    }

    fn query_fold<T, F, Q, U>(&mut self, query: Q, init: U, mut f: F) -> Result<U>
    where
        Q: AsRef<str>,
        T: FromRow,
        F: FnMut(U, T) -> U,
    {
        let f = |state, row: Result<_>| Ok(f(state, from_row(row?)));
        self.text(query.as_ref(), |rows| rows.try_fold(init, f))
    }

    fn query_fold_opt<T, F, Q, U>(&mut self, query: Q, init: U, mut f: F) -> Result<U>
    where
        Q: AsRef<str>,
        T: FromRow,
        F: FnMut(U, StdResult<T, FromRowError>) -> U,
    {
        let f = |state, row: Result<_>| Ok(f(state, from_row_opt(row?)));
        self.text(query.as_ref(), |rows| rows.try_fold(init, f))
    }

    fn query_drop<Q: AsRef<str>>(&mut self, query: Q) -> Result<()> {
        self.text(query.as_ref(), |_| Ok(()))
    }

    fn exec_first<T, S, P>(&mut self, stmt: S, params: P) -> Result<Option<T>>
    where
        S: AsStatement,
        P: Into<Params>,
        T: FromRow,
    {
        self.binary(&stmt, params, |rows| Ok(rows.next().transpose()?.map(from_row)))
    }

    fn exec_first_opt<T, S, P>(
        &mut self,
        stmt: S,
        params: P,
    ) -> Result<Option<StdResult<T, FromRowError>>>
    where
        S: AsStatement,
        P: Into<Params>,
        T: FromRow,
    {
        self.binary(&stmt, params, |rows| Ok(rows.next().transpose()?.map(from_row_opt)))
    }

    fn exec_fold<T, S, P, U, F>(&mut self, stmt: S, params: P, init: U, mut f: F) -> Result<U>
    where
        S: AsStatement,
        P: Into<Params>,
        T: FromRow,
        F: FnMut(U, T) -> U,
    {
        let f = |state, row: Result<_>| Ok(f(state, from_row(row?)));
        self.binary(&stmt, params, |rows| rows.try_fold(init, f))
    }

    fn exec_fold_opt<T, S, P, U, F>(&mut self, stmt: S, params: P, init: U, mut f: F) -> Result<U>
    where
        S: AsStatement,
        P: Into<Params>,
        T: FromRow,
        F: FnMut(U, StdResult<T, FromRowError>) -> U,
    {
        let f = |state, row: Result<_>| Ok(f(state, from_row_opt(row?)));
        self.binary(&stmt, params, |rows| rows.try_fold(init, f))
    }

    fn exec_drop<S: AsStatement, P: Into<Params>>(&mut self, stmt: S, params: P) -> Result<()> {
        self.binary(&stmt, params, |_| Ok(()))
    }
}

impl Deref for MysqlConnection {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for MysqlConnection {
    /// From here on nobody watches: the connection is reset on return.
    fn deref_mut(&mut self) -> &mut Conn {
        self.is_sure = false;
        &mut self.conn
    }
}

impl From<MysqlConnection> for Conn {
    /// For a connection that was [detached](crate::PooledConnection::detach).
    fn from(connection: MysqlConnection) -> Self {
        connection.conn
    }
}

impl fmt::Debug for MysqlConnection {
    /// Without the options, which contain the password; the driver's own `Debug` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlConnection")
            .field("id", &self.conn.connection_id())
            .field("is_sure", &self.is_sure)
            .field("is_broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}
