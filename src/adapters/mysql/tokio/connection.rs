//! A connection of the driver for tasks, and what becomes of its session while it is on loan.

use super::cancel::{Canceller, Running};
use super::seen::{Answer, Executed, Kind, Seen};
use super::transaction::AsyncMysqlTransaction;
use crate::RoleReport;
use crate::adapters::idle::{Idle, Occasion};
use crate::adapters::mysql::session::line::Line;
use crate::adapters::mysql::session::proof::{Found, Ping, Proof, ProofRow, set_autocommit};
use crate::adapters::mysql::session::role::{self, ROLE};
use crate::adapters::mysql::session::statement::Effect;
use crate::adapters::mysql::session::watch::{End, Watch};
use crate::adapters::runtime::Home;
use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, DriverError, Opts, Result, Row, TxOpts, from_row_opt};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// The pooled connection: derefs to the driver's [`Conn`], and knows the state of its session.
///
/// The driver closes a connection if a request is dropped before its answer has begun to arrive,
/// and reads the rest of an answer before the next request. But it forgets to do so after a request
/// that first had to tidy up after another (to read a second result, or to roll back a dropped
/// [`Transaction`](mysql_async::Transaction)); the next request would then get the answer to the
/// dropped one. So this type watches. After a call that was dropped, or may have been on the
/// driver's own [`Conn`], the next call of the same loan, `COMMIT` included, first asks a question
/// of its own, which costs a round trip. If the next answer is not the right one, this call and all
/// later ones of the loan fail.
///
/// With its own methods of [`Queryable`], and a [transaction](Self::start_transaction) that is
/// ended, a return costs nothing: the server's last answer tells whether a transaction is open, and
/// the text of a statement tells that it was a usual one, which sets no variables, chooses no other
/// database, locks no tables and calls no procedure.
///
/// The driver does not show the text of prepared statements. A prepared statement counts as usual
/// if it took parameters, returned one set of rows, or changed rows: one row, or more if the server
/// says how many matched. So do not prepare statements with parameters that change the session
/// (`SET … = ?`, `CALL … (?)`): the adapter sees only whether they left a transaction open or
/// changed `autocommit`.
///
/// Each of these costs one round trip on the way back, off the borrower's task:
///
/// - any other prepared statement, and one that the server refuses;
/// - a call that was dropped half-way;
/// - [`query_iter`](Queryable::query_iter) and [`exec_iter`](Queryable::exec_iter);
/// - a plain `COMMIT` where the session's `completion_type` is not `NO_CHAIN`;
/// - every use of the driver's own [`Conn`] (`"SELECT 1".fetch(&mut **conn)`).
///
/// That round trip rolls back, releases table locks, returns to the first database, and checks that
/// questions and answers are in step; if they are not, the pool closes the connection.
///
/// The adapter cannot see what a stored function or a trigger sets. If it sets `completion_type` to
/// `RELEASE`, the next plain `COMMIT` ends the session, and the next borrower may be the first to
/// notice.
///
/// The server would go on with a query whose call was dropped. If it has not ended after 50 ms, the
/// pool ends its session (`KILL`) from a second connection.
pub struct AsyncMysqlConnection {
    conn: Conn,
    seen: Seen,
    home: Arc<Home>,
    idle: Idle,
}

impl AsyncMysqlConnection {
    /// Of a session that was just opened.
    pub(super) async fn new(
        conn: Conn,
        line: Line,
        home: Arc<Home>,
        canceller: Arc<Canceller>,
        response_timeout: Option<Duration>,
    ) -> Result<Self> {
        let running = Running::new(canceller, Arc::clone(&home), &conn, line.clone());
        let seen = Seen::new(Watch::new(), running, line, response_timeout);
        let mut this = Self { conn, seen, home, idle: Idle::now() };
        this.settle().await?;
        Ok(this)
    }

    /// The pool asks.
    pub(super) fn has_broken(&mut self) -> bool {
        let occasion = self.idle.occasion();
        if occasion != Occasion::Return {
            self.seen.catch_up(&self.conn);
            self.seen.watch.lend();
        }
        self.is_broken()
            || self.home.fails(occasion)
            || occasion == Occasion::LoanAfterIdling && self.seen.line.is_dead()
    }

    /// Where it lives.
    pub(super) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    fn is_broken(&self) -> bool {
        self.seen.watch.is_broken() || self.conn.is_disconnected()
    }

    pub(super) fn watch(&mut self) -> &Watch {
        self.seen.catch_up(&self.conn);
        &self.seen.watch
    }

    /// The pool asks once hooks have been run.
    pub(super) fn is_open_after_hook(&mut self) -> bool {
        self.seen.catch_up(&self.conn);
        self.seen.watch.is_open_after_hook()
    }

    /// It says goodbye as well as it can.
    pub(super) async fn disconnect(self) {
        let _ = self.home.run(self.conn.disconnect()).await;
    }

    pub(super) fn line(&self) -> &Line {
        &self.seen.line
    }

    /// The pool's own ping: asks for a number.
    pub(super) async fn check(&mut self) -> Result<()> {
        self.seen.catch_up(&self.conn);
        let ping = Ping::new();
        let call = self.seen.watch.begin(Effect::Keeps);
        let row = self.only_row(&ping.sql()).await?;
        self.seen.watch.end(call, End::InStep { has_failed: false });
        let number = row.and_then(|mut row| row.take_opt(0)?.ok());
        if ping.is_answered_by(number) {
            return Ok(());
        }
        self.seen.watch.give_up();
        Err(DriverError::PacketOutOfOrder.into())
    }

    /// The server's role.
    pub(super) async fn role(&mut self) -> Result<RoleReport> {
        self.seen.catch_up(&self.conn);
        let call = self.seen.watch.begin(Effect::Keeps);
        let row = self.only_row(ROLE).await?;
        self.seen.watch.end(call, End::InStep { has_failed: false });
        Ok(role::read(row.and_then(|mut row| row.take_opt(0)?.ok())))
    }

    /// The answer to a question that has only one. More rows may be without end, and the driver
    /// would read them all.
    async fn only_row(&mut self, sql: &str) -> Result<Option<Row>> {
        let mut result = self.conn.query_iter(sql).await?;
        let mut only = None;
        while let Some(row) = result.next().await? {
            if only.replace(row).is_some() {
                return Err(DriverError::PacketOutOfOrder.into());
            }
        }
        // A set after it would be another one's answer.
        if result.is_empty() { Ok(only) } else { Err(DriverError::PacketOutOfOrder.into()) }
    }

    /// Makes sure.
    pub(super) async fn settle(&mut self) -> Result<Found> {
        self.seen.watch.lose_sight();
        let found = self.prove().await?;
        if self.seen.watch.has_settled_hook(&found) {
            self.seen.settled();
            return Ok(found);
        }
        if !self.seen.watch.was_lent() {
            self.seen.watch.adopt(found.clone());
            self.seen.settled();
            return Ok(found);
        }
        if !found.is_of(self.seen.watch.home()) {
            return Err(DriverError::ConnectionClosed.into());
        }
        let is_autocommit = self.seen.watch.home().is_autocommit;
        if found.is_autocommit != is_autocommit {
            self.conn.query_drop(set_autocommit(is_autocommit)).await?;
        }
        self.seen.watch.settle(&found);
        self.seen.settled();
        Ok(found)
    }

    /// Ends what is open, and shows that answers are in step.
    async fn prove(&mut self) -> Result<Found> {
        let proof = Proof::new();
        let watch = &self.seen.watch;
        let home = watch.expected();
        let mut result = self.conn.query_iter(proof.sql(home)).await?;
        let mut rows = Vec::new();
        while !result.is_empty() {
            // More rows than the one that is right may be without end.
            while rows.len() <= 1
                && let Some(row) = result.next().await?
            {
                rows.push(from_row_opt::<ProofRow>(row));
            }
            if rows.len() > 1 {
                return Err(DriverError::PacketOutOfOrder.into());
            }
        }
        drop(result);
        proof.check(rows).ok_or_else(|| DriverError::PacketOutOfOrder.into())
    }

    /// Has the server forget all about a session that was [settled](Self::settle), and prepares it
    /// anew.
    pub(super) async fn renew(&mut self, settled: &Found, opts: &Opts) -> Result<()> {
        self.seen.watch.lose_sight();
        let database = opts.db_name().filter(|name| !name.is_empty());
        let home = self.seen.watch.home();
        let is_back = home.database.is_some();
        let is_none = database.is_none() && !settled.has_database();
        if !settled.is_renewable(home) {
            return Err(DriverError::ConnectionClosed.into());
        }
        // With a change of user, even to the same one, the database is chosen anew.
        if !(is_back || is_none) || !self.conn.reset().await? {
            self.conn.change_user(ChangeUserOpts::default()).await?;
        }
        self.seen.watch.renew();
        self.seen.settled();
        Ok(())
    }

    /// Begins a transaction, with [an example](AsyncMysqlTransaction). A dropped transaction is
    /// rolled back before the next call.
    ///
    /// It replaces the driver's [`Conn::start_transaction`], which cannot tell the pool how its
    /// transaction has ended.
    ///
    /// # Errors
    ///
    /// Returns the error of the server or the connection.
    pub async fn start_transaction(
        &mut self,
        options: TxOpts,
    ) -> Result<AsyncMysqlTransaction<'_>> {
        AsyncMysqlTransaction::begin(&mut self.conn, &mut self.seen, options).await
    }

    pub(super) fn observe<'a: 'b, 'b, T: Send + 'b>(
        &'a mut self,
        kind: Kind,
        call: impl FnOnce(&'a mut Conn) -> Answer<'b, T> + Send + 'b,
    ) -> Answer<'b, T> {
        self.seen.catch_up(&self.conn);
        self.seen.observe(&mut self.conn, kind, call)
    }

    pub(super) fn execute<'a: 'b, 'b, T: Send + 'b>(
        &'a mut self,
        call: impl FnOnce(&'a mut Conn) -> Answer<'b, Executed<T>> + Send + 'b,
    ) -> Answer<'b, T> {
        self.seen.catch_up(&self.conn);
        self.seen.execute(&mut self.conn, call)
    }
}

impl Deref for AsyncMysqlConnection {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for AsyncMysqlConnection {
    /// From here on statements go unseen, so the connection is reset on return.
    fn deref_mut(&mut self) -> &mut Conn {
        self.seen.catch_up(&self.conn);
        self.seen.lose_sight();
        &mut self.conn
    }
}

impl From<AsyncMysqlConnection> for Conn {
    /// For a connection that was [detached](crate::PooledConnection::detach).
    fn from(mut connection: AsyncMysqlConnection) -> Self {
        connection.seen.running.end();
        connection.conn
    }
}

impl fmt::Debug for AsyncMysqlConnection {
    /// Without the options, which contain the password; the driver's own `Debug` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncMysqlConnection")
            .field("id", &self.conn.id())
            .field("is_sure", &self.seen.watch.is_sure())
            .field("is_broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}
