//! A connection of the driver for tasks, and what becomes of its session while it is on loan.

use super::session::{Proof, ProofRow, is_farewell, set_autocommit};
use crate::adapters::idle::Idle;
use crate::adapters::runtime::Home;
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::{AsQuery, FromRow, Queryable, StatementLike};
use mysql_async::{
    BinaryProtocol, ChangeUserOpts, Conn, DriverError, Error, Params, QueryResult, Result,
    Statement, TextProtocol,
};
use std::fmt;
use std::future::Future;
use std::mem::replace;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;

type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The driver's connection, and what is known of its session.
///
/// The driver gives a connection up if a request is dropped before its answer has begun to arrive,
/// and reads what is left of an answer before the next request. But it forgets that it must when a
/// request had first to tidy up after another (to read a second result, to roll back a
/// [`Transaction`](mysql_async::Transaction) that was dropped), and then the next request would be
/// given the answer to the one that was dropped. So this wrapper watches.
///
/// On its own methods of [`Queryable`] a loan costs nothing on return: the server's last answer
/// tells whether a transaction is open. After an error of the server's, which does not tell; after
/// a call that was dropped half-way; after [`query_iter`](Queryable::query_iter),
/// [`exec_iter`](Queryable::exec_iter), [`exec_batch`](Queryable::exec_batch) and
/// [`prep`](Queryable::prep); and after all that goes to the driver's own [`Conn`], to which this
/// derefs ([`start_transaction`](Conn::start_transaction), `"SELECT 1".fetch(&mut **conn)`), the
/// connection pays one round trip on its way back, off the borrower's task. It rolls back, and
/// shows that questions and answers are in step; if they are not, the connection is closed.
pub struct AsyncMysqlConnection {
    conn: Conn,
    /// Every answer has been read to its end, and the last one told how things stand.
    is_sure: bool,
    is_broken: bool,
    /// As it was when the connection was opened.
    is_autocommit: bool,
    proofs: u64,
    home: Arc<Home>,
    idle: Idle,
}

impl AsyncMysqlConnection {
    pub(super) fn new(conn: Conn, home: Arc<Home>) -> Self {
        let flags = conn.last_ok_packet().map(|ok| ok.status_flags());
        let is_autocommit =
            flags.is_none_or(|flags| flags.contains(StatusFlags::SERVER_STATUS_AUTOCOMMIT));
        let idle = Idle::now();
        Self { conn, is_sure: true, is_broken: false, is_autocommit, proofs: 0, home, idle }
    }

    /// The pool asks.
    pub(super) fn has_broken(&mut self) -> bool {
        let occasion = self.idle.occasion();
        self.is_broken() || self.home.fails(occasion)
    }

    /// It says goodbye as well as it can.
    pub(super) async fn disconnect(self) {
        let _ = self.home.run(self.conn.disconnect()).await;
    }

    fn is_broken(&self) -> bool {
        self.is_broken || self.conn.is_disconnected()
    }

    /// The next borrower would find it as the first one did.
    pub(super) fn is_clean(&self) -> bool {
        let flags = self.conn.last_ok_packet().map(|ok| ok.status_flags());
        self.is_sure
            && flags.is_some_and(|flags| {
                !flags.contains(StatusFlags::SERVER_STATUS_IN_TRANS)
                    && flags.contains(StatusFlags::SERVER_STATUS_AUTOCOMMIT) == self.is_autocommit
            })
    }

    /// Makes sure.
    pub(super) async fn settle(&mut self) -> Result<()> {
        self.is_sure = false;
        self.proofs += 1;
        let proof = Proof::new(self.proofs);
        let mut result = self.conn.query_iter(proof.sql()).await?;
        let mut rows = Vec::new();
        while !result.is_empty() {
            rows.extend(result.try_collect::<ProofRow>().await?);
        }
        drop(result);
        let is_autocommit = proof.check(&rows).ok_or(DriverError::PacketOutOfOrder)?;
        if is_autocommit != self.is_autocommit {
            self.conn.query_drop(set_autocommit(self.is_autocommit)).await?;
        }
        self.is_sure = true;
        Ok(())
    }

    /// Has the server forget all about the session, and prepares it anew.
    pub(super) async fn renew(&mut self) -> Result<()> {
        self.is_sure = false;
        if !self.conn.reset().await? {
            self.conn.change_user(ChangeUserOpts::default()).await?;
        }
        self.is_sure = true;
        Ok(())
    }

    /// Makes a call that reads its answer to the end, and remembers what came of it.
    fn observe<'a: 'b, 'b, T: 'b>(
        &'a mut self,
        call: impl FnOnce(&'a mut Conn) -> Call<'b, T>,
    ) -> Call<'b, T> {
        let Self { conn, is_sure, is_broken, .. } = self;
        // A call that is dropped, or that panics, leaves it so.
        let was_sure = replace(is_sure, false);
        let call = call(conn);
        Box::pin(async move {
            let outcome = call.await;
            match &outcome {
                Ok(_) => *is_sure = was_sure,
                Err(Error::Server(error)) => {
                    *is_sure = was_sure;
                    *is_broken |= is_farewell(error.code);
                }
                Err(_) => {}
            }
            outcome
        })
    }
}

impl Queryable for AsyncMysqlConnection {
    fn ping(&mut self) -> Call<'_, ()> {
        self.observe(Queryable::ping)
    }

    fn query_iter<'a, Q>(&'a mut self, query: Q) -> Call<'a, QueryResult<'a, 'static, TextProtocol>>
    where
        Q: AsQuery + 'a,
    {
        (**self).query_iter(query)
    }

    fn prep<'a, Q: AsQuery + 'a>(&'a mut self, query: Q) -> Call<'a, Statement> {
        // The answer is taken for one that tells how things stand, which it does not.
        (**self).prep(query)
    }

    fn close(&mut self, stmt: Statement) -> Call<'_, ()> {
        self.observe(|conn| conn.close(stmt))
    }

    fn exec_iter<'a: 's, 's, Q, P>(
        &'a mut self,
        stmt: Q,
        params: P,
    ) -> Call<'s, QueryResult<'a, 'static, BinaryProtocol>>
    where
        Q: StatementLike + 's,
        P: Into<Params>,
    {
        (**self).exec_iter(stmt, params)
    }

    fn exec_batch<'a: 'b, 'b, S, P, I>(&'a mut self, stmt: S, params_iter: I) -> Call<'b, ()>
    where
        S: StatementLike + 'b,
        I: IntoIterator<Item = P> + Send + 'b,
        I::IntoIter: Send,
        P: Into<Params> + Send,
    {
        (**self).exec_batch(stmt, params_iter)
    }

    fn query<'a, T, Q>(&'a mut self, query: Q) -> Call<'a, Vec<T>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
    {
        self.observe(|conn| conn.query(query))
    }

    fn query_first<'a, T, Q>(&'a mut self, query: Q) -> Call<'a, Option<T>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
    {
        self.observe(|conn| conn.query_first(query))
    }

    fn query_fold<'a, T, F, Q, U>(&'a mut self, query: Q, init: U, f: F) -> Call<'a, U>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
        F: FnMut(U, T) -> U + Send + 'a,
        U: Send + 'a,
    {
        self.observe(|conn| conn.query_fold(query, init, f))
    }

    fn query_drop<'a, Q: AsQuery + 'a>(&'a mut self, query: Q) -> Call<'a, ()> {
        self.observe(|conn| conn.query_drop(query))
    }

    fn exec<'a: 'b, 'b, T, S, P>(&'a mut self, stmt: S, params: P) -> Call<'b, Vec<T>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
    {
        self.observe(|conn| conn.exec(stmt, params))
    }

    fn exec_first<'a: 'b, 'b, T, S, P>(&'a mut self, stmt: S, params: P) -> Call<'b, Option<T>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
    {
        self.observe(|conn| conn.exec_first(stmt, params))
    }

    fn exec_fold<'a: 'b, 'b, T, S, P, U, F>(
        &'a mut self,
        stmt: S,
        params: P,
        init: U,
        f: F,
    ) -> Call<'b, U>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
        F: FnMut(U, T) -> U + Send + 'a,
        U: Send + 'a,
    {
        self.observe(|conn| conn.exec_fold(stmt, params, init, f))
    }

    fn exec_drop<'a: 'b, 'b, S, P>(&'a mut self, stmt: S, params: P) -> Call<'b, ()>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
    {
        self.observe(|conn| conn.exec_drop(stmt, params))
    }
}

impl Deref for AsyncMysqlConnection {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for AsyncMysqlConnection {
    /// From here on nobody watches: the connection is reset on return.
    fn deref_mut(&mut self) -> &mut Conn {
        self.is_sure = false;
        &mut self.conn
    }
}

impl From<AsyncMysqlConnection> for Conn {
    /// For a connection that was [detached](crate::PooledConnection::detach).
    fn from(connection: AsyncMysqlConnection) -> Self {
        connection.conn
    }
}

impl fmt::Debug for AsyncMysqlConnection {
    /// Without the options, which contain the password; the driver's own `Debug` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncMysqlConnection")
            .field("id", &self.conn.id())
            .field("is_sure", &self.is_sure)
            .field("is_broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}
