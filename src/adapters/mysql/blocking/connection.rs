//! A connection of the blocking driver, and what becomes of its session while it is on loan.

use super::cancel::Ending;
use super::statements::Statements;
use crate::adapters::idle::{Idle, Occasion};
use crate::adapters::mysql::session::errors::is_farewell;
use crate::adapters::mysql::session::line::{Limit, Line};
use crate::adapters::mysql::session::proof::{Found, Ping, Proof, ProofRow, set_autocommit};
use crate::adapters::mysql::session::role::{self, ROLE};
use crate::adapters::mysql::session::statement::Effect;
use crate::adapters::mysql::session::watch::{End, Watch};
use crate::{Deadline, RoleReport};
use mysql::prelude::{AsStatement, Protocol, Queryable};
use mysql::{
    Binary, ChangeUserOpts, Conn, DriverError, Error, Opts, Params, QueryResult, Result, Row, Text,
    from_row_opt,
};
use std::fmt;
use std::io;
use std::mem::take;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// The pooled connection: derefs to the driver's [`Conn`], and knows the state of its session.
///
/// The driver reports neither an open transaction nor an answer left unread after a failure (after
/// a read timeout the next query would get the answer to the last one). So this type watches the
/// text of each statement. With its own methods of [`Queryable`], and a
/// [transaction](Self::start_transaction) that is ended, a return costs nothing as long as each
/// statement was a usual one: one at a time, and none that sets variables, chooses another
/// database, locks tables or calls a procedure.
///
/// Anything else costs one round trip on the way back, off the borrower's thread:
/// [`query_iter`](Queryable::query_iter) and [`exec_iter`](Queryable::exec_iter), whose rows are
/// read out of sight, and every use of the driver's own [`Conn`] (`"SELECT 1".fetch(&mut **conn)`).
/// That round trip rolls back, releases table locks, returns to the first database, and checks that
/// questions and answers are in step; if they are not, the pool closes the connection.
///
/// If the options set a read timeout, it may have struck out of sight. Then the next call of the
/// same loan first asks a question of its own, which costs a round trip. If the next answer is not
/// the right one, this call and all later ones of the loan fail.
///
/// The adapter cannot see what a stored function or a trigger sets. If it sets `completion_type`,
/// the next plain `COMMIT` or `ROLLBACK` may begin another transaction or end the session, and the
/// next borrower finds it so. A [transaction](Self::start_transaction), or `COMMIT AND NO CHAIN NO
/// RELEASE`, ends as it should in any case.
pub struct MysqlConnection {
    conn: Conn,
    watch: Watch,
    statements: Statements,
    idle: Idle,
    line: Line,
    ending: Ending,
    response_timeout: Option<Duration>,
    /// A read may have timed out, out of sight: the driver may hand its answer to the next call.
    may_be_out_of_step: bool,
}

impl MysqlConnection {
    /// Of a session that has been prepared for its first borrower.
    pub(super) fn new(
        conn: Conn,
        line: Line,
        ending: Ending,
        response_timeout: Option<Duration>,
    ) -> Result<Self> {
        let watch = Watch::new();
        let (statements, idle) = (Statements::default(), Idle::now());
        let may_be_out_of_step = false;
        let mut this = Self {
            conn,
            watch,
            statements,
            idle,
            line,
            ending,
            response_timeout,
            may_be_out_of_step,
        };
        let found = this.prove()?;
        this.watch.adopt(found);
        Ok(this)
    }

    /// The pool asks.
    pub(super) fn has_broken(&mut self) -> bool {
        let occasion = self.idle.occasion();
        if occasion != Occasion::Return {
            self.watch.lend();
        }
        let is_broken =
            self.watch.is_broken() || occasion == Occasion::LoanAfterIdling && self.line.is_dead();
        if is_broken {
            self.line.cut();
        }
        is_broken
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The pool asks once hooks have been run.
    pub(super) fn is_open_after_hook(&mut self) -> bool {
        self.watch.is_open_after_hook()
    }

    /// The pool's own calls end at its limits.
    pub(super) fn within<T>(
        &mut self,
        deadline: &Deadline,
        call: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let limit = self.line.within(deadline.remaining())?;
        let outcome = call(self);
        judge(&mut self.watch, Some(limit), outcome)
    }

    /// Before a borrower's call.
    ///
    /// # Errors
    ///
    /// Returns an error if the session was given up, or its next answer is another call's.
    fn make_sure(&mut self) -> Result<()> {
        if take(&mut self.may_be_out_of_step)
            && let Err(error) = self.ping()
        {
            self.watch.give_up();
            return Err(match error {
                // Nothing is wrong with the question: the refusal is of what came before.
                Error::MySqlError(error) if !is_farewell(error.code) => {
                    DriverError::PacketOutOfSync.into()
                }
                error => error,
            });
        }
        match self.watch.is_broken() {
            true => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
            false => Ok(()),
        }
    }

    /// From here on calls are made out of sight. Only after a read that has timed out is there a
    /// next answer.
    fn lose_sight(&mut self) {
        self.watch.lose_sight();
        self.may_be_out_of_step = self.ending.opts.get_read_timeout().is_some();
    }

    /// For a borrower's call.
    fn limit(&self) -> Result<Option<Limit>> {
        let within = |timeout| self.line.within(timeout);
        Ok(self.response_timeout.map(within).transpose()?)
    }

    /// The driver says goodbye.
    pub(super) fn close(self, deadline: &Deadline) {
        let _limit = self.line.within(deadline.remaining());
        drop(self.conn);
    }

    /// Asks for a number.
    pub(super) fn ping(&mut self) -> Result<()> {
        let ping = Ping::new();
        let call = self.watch.begin(Effect::Keeps);
        let outcome = only_row(&mut self.conn, &ping.sql());
        self.watch.end(call, end_of(&outcome));
        let number = outcome?.and_then(|mut row| row.take_opt(0)?.ok());
        if ping.is_answered_by(number) {
            return Ok(());
        }
        self.watch.give_up();
        Err(DriverError::PacketOutOfSync.into())
    }

    /// The server's role.
    pub(super) fn role(&mut self) -> Result<RoleReport> {
        let call = self.watch.begin(Effect::Keeps);
        let outcome = only_row(&mut self.conn, ROLE);
        self.watch.end(call, end_of(&outcome));
        Ok(role::read(outcome?.and_then(|mut row| row.take_opt(0)?.ok())))
    }

    /// Makes sure.
    pub(super) fn settle(&mut self) -> Result<Found> {
        self.watch.lose_sight();
        let found = self.prove()?;
        self.may_be_out_of_step = false;
        if self.watch.has_settled_hook(&found) {
            return Ok(found);
        }
        if !self.watch.was_lent() {
            self.watch.adopt(found.clone());
            return Ok(found);
        }
        if !found.is_of(self.watch.home()) {
            return Err(DriverError::SetupError.into());
        }
        let is_autocommit = self.watch.home().is_autocommit;
        if found.is_autocommit != is_autocommit {
            self.conn.query_drop(set_autocommit(is_autocommit))?;
        }
        self.watch.settle(&found);
        Ok(found)
    }

    /// Has the server forget all about a session that was [settled](Self::settle), and prepares it
    /// anew.
    pub(super) fn renew(&mut self, settled: &Found, opts: &Opts) -> Result<()> {
        self.watch.lose_sight();
        let database = opts.get_db_name().filter(|name| !name.is_empty());
        let home = self.watch.home();
        let is_back = home.database.is_some();
        let is_none = database.is_none() && !settled.has_database();
        if !settled.is_renewable(home) {
            return Err(DriverError::SetupError.into());
        }
        if is_back || is_none {
            self.conn.reset()?;
        } else {
            // With a change of user, even to the same one, the database is chosen anew.
            self.conn.change_user(ChangeUserOpts::DEFAULT)?;
            for statement in opts.get_init() {
                self.conn.query_drop(statement)?;
            }
        }
        self.statements = Statements::default();
        self.watch.renew();
        Ok(())
    }

    /// Makes a call that reads its answer to the end, and remembers what came of it.
    pub(super) fn observe<T>(
        &mut self,
        effect: Effect,
        call: impl FnOnce(&mut Conn) -> Result<T>,
    ) -> Result<T> {
        self.make_sure()?;
        let limit = self.limit()?;
        let observed = self.watch.begin(effect);
        let outcome = call(&mut self.conn);
        self.watch.end(observed, end_of(&outcome));
        let outcome = judge(&mut self.watch, limit, outcome);
        if outcome.as_ref().is_err_and(is_late) {
            self.ending.end(self.conn.connection_id(), &self.line);
        }
        outcome
    }

    /// Makes a call whose answer is read by the caller, out of sight.
    pub(super) fn out_of_sight<'a, T>(
        &'a mut self,
        call: impl FnOnce(&'a mut Conn) -> Result<T>,
    ) -> Result<T> {
        self.make_sure()?;
        let limit = self.limit()?;
        self.lose_sight();
        let Self { conn, watch, ending, line, .. } = self;
        let number = conn.connection_id();
        let outcome = judge(watch, limit, call(conn));
        if outcome.as_ref().is_err_and(is_late) {
            ending.end(number, line);
        }
        outcome
    }

    pub(super) fn text<T>(
        &mut self,
        sql: &str,
        read: impl FnOnce(&mut QueryResult<'_, '_, '_, Text>) -> Result<T>,
    ) -> Result<T> {
        self.observe(Effect::of(sql), |conn| {
            let mut result = conn.query_iter(sql)?;
            let value = read(&mut result);
            drain(result).and(value)
        })
    }

    pub(super) fn binary<T>(
        &mut self,
        statement: &impl AsStatement,
        params: impl Into<Params>,
        read: impl FnOnce(&mut QueryResult<'_, '_, '_, Binary>) -> Result<T>,
    ) -> Result<T> {
        let statement = statement.as_statement(self)?;
        self.observe(self.statements.effect_of(statement.id()), |conn| {
            let mut result = conn.exec_iter(&*statement, params)?;
            let value = read(&mut result);
            drain(result).and(value)
        })
    }

    pub(super) fn connection(&mut self) -> &mut Self {
        self
    }

    pub(super) fn statements(&mut self) -> &mut Statements {
        &mut self.statements
    }

    /// Ends what is open, and shows that answers are in step.
    fn prove(&mut self) -> Result<Found> {
        let proof = Proof::new();
        let home = self.watch.expected();
        let mut result = self.conn.query_iter(proof.sql(home))?;
        let mut rows = Vec::new();
        while read_some(&mut result, &mut rows)? {}
        if rows.len() > 1 {
            return Err(leave(result));
        }
        let rows = rows.into_iter().map(from_row_opt::<ProofRow>).collect();
        proof.check(rows).ok_or_else(|| DriverError::PacketOutOfSync.into())
    }
}

/// The answer to a question that has only one.
fn only_row(conn: &mut Conn, sql: &str) -> Result<Option<Row>> {
    let mut result = conn.query_iter(sql)?;
    let mut rows = Vec::new();
    while read_some(&mut result, &mut rows)? {}
    if rows.len() > 1 { Err(leave(result)) } else { Ok(rows.pop()) }
}

/// Reads the next set of an answer that has one row in all. Whether there is more to read, and may
/// be: more rows may be without end.
fn read_some(result: &mut QueryResult<'_, '_, '_, Text>, rows: &mut Vec<Row>) -> Result<bool> {
    let Some(mut set) = result.iter() else { return Ok(false) };
    while let Some(row) = set.next() {
        rows.push(row?);
        if rows.len() > 1 {
            std::mem::forget(set);
            return Ok(false);
        }
    }
    Ok(true)
}

/// The driver would read all that there is when it drops this: it is kept from it, and can be asked
/// nothing any more.
fn leave(result: QueryResult<'_, '_, '_, Text>) -> Error {
    std::mem::forget(result);
    DriverError::PacketOutOfSync.into()
}

/// A call that was late leaves a connection of no more use, whatever it answered.
fn judge<T>(watch: &mut Watch, limit: Option<Limit>, outcome: Result<T>) -> Result<T> {
    if limit.is_none_or(Limit::end) {
        return outcome;
    }
    watch.give_up();
    outcome.map_err(|_| io::Error::from(io::ErrorKind::TimedOut).into())
}

/// Whether the server may be at work on the query yet.
fn is_late(error: &Error) -> bool {
    let kind = match error {
        Error::IoError(error) => Some(error.kind()),
        Error::CodecError(error) => {
            let source = std::error::Error::source(error);
            source.and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind)
        }
        _ => None,
    };
    matches!(kind, Some(io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock))
}

/// Reads what is left of an answer. What the server has to say against a later part of it is
/// dropped, as the driver does.
fn drain<P: Protocol>(mut result: QueryResult<'_, '_, '_, P>) -> Result<()> {
    while let Some(set) = result.iter() {
        for row in set {
            if let Err(error) = row
                && end_of_error(&error) == End::Broken
            {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn end_of<T>(outcome: &Result<T>) -> End {
    match outcome {
        Ok(_) => End::InStep { has_failed: false },
        Err(error) => end_of_error(error),
    }
}

fn end_of_error(error: &Error) -> End {
    let is_fatal = match error {
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
    };
    if is_fatal { End::Broken } else { End::InStep { has_failed: true } }
}

impl Deref for MysqlConnection {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for MysqlConnection {
    /// From here on statements go unseen, so the connection is reset on return.
    fn deref_mut(&mut self) -> &mut Conn {
        self.lose_sight();
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
            .field("is_sure", &self.watch.is_sure())
            .field("is_broken", &self.watch.is_broken())
            .finish_non_exhaustive()
    }
}
