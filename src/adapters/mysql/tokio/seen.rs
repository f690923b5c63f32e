//! Watches the calls that are made on a connection for tasks.

use super::cancel::Running;
use crate::adapters::mysql::session::errors::is_farewell;
use crate::adapters::mysql::session::line::Line;
use crate::adapters::mysql::session::proof::Ping;
use crate::adapters::mysql::session::statement::{Effect, ROLLBACK};
use crate::adapters::mysql::session::watch::{Call, End, Flags, Watch};
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, OkPacket, Result, Row, Transaction, TxOpts};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

/// What the driver's calls return.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What is known of a session, and of the call that is being made.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) watch: Watch,
    /// A call has succeeded, and the driver has kept the last word of the server's answer.
    answered: Option<(Call, Kind)>,
    /// A transaction is open that its borrower has left.
    must_roll_back: bool,
    /// A call was dropped half-way, or may have been, out of sight: the driver may hand its answer
    /// to the next one.
    may_be_out_of_step: bool,
    pub(super) running: Running,
    pub(super) line: Line,
    pub(super) response_timeout: Option<Duration>,
}

/// What must be done before a call.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// Nothing: the session was given up.
    fails: bool,
    rolls_back: bool,
    asks: bool,
}

impl Before {
    async fn make(self, on: &mut impl Queryable) -> Result<()> {
        if self.fails {
            return Err(DriverError::ConnectionClosed.into());
        }
        if self.asks {
            let ping = Ping::new();
            let row: Option<Row> = match on.query_first(ping.sql()).await {
                // Nothing is wrong with the question: the refusal is of what came before.
                Err(Error::Server(error)) if !is_farewell(error.code) => None,
                answer => answer?,
            };
            if !ping.is_answered_by(row.and_then(|mut row| row.take_opt(0)?.ok())) {
                return Err(DriverError::PacketOutOfOrder.into());
            }
        }
        if self.rolls_back { on.query_drop(ROLLBACK).await } else { Ok(()) }
    }
}

/// What is known of a call before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A statement, with what its text tells. The server's answer tells how the session stands.
    Text(Effect),
    /// A prepared statement: only the answer tells.
    Prepared,
    /// One that has shown itself to be a [usual](Executed) one.
    Usual,
    /// Ends a transaction, as the session is set to.
    Commit,
    /// Any statement, whose answer has begun: its caller reads the rest, out of sight.
    Rows,
    /// Not a statement: it changes nothing, and the answer tells nothing.
    Aside,
}

/// The outcome of a prepared statement, whose text the driver does not show.
pub(super) struct Executed<T> {
    pub(super) value: T,
    /// It took parameters, or answered with one set of rows: so it was none that locks or drops
    /// something, chooses a database, or ends the session. (A procedure may.)
    pub(super) is_usual: bool,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum TxEnd {
    Commit,
    Rollback,
}

impl Kind {
    fn effect(self) -> Effect {
        match self {
            Self::Text(effect) => effect,
            Self::Usual | Self::Aside => Effect::Keeps,
            Self::Commit => Effect::MayChain,
            Self::Prepared | Self::Rows => Effect::Unknown,
        }
    }

    /// With what its answer has shown.
    fn seen_by(self, ok: &OkPacket<'_>) -> Self {
        // More than one without a word of it may be the tables of a database.
        let has_changed_rows = ok.affected_rows() == 1 || ok.info_ref().is_some();
        let has_lost_database = ok.status_flags().contains(StatusFlags::SERVER_STATUS_DB_DROPPED);
        match self {
            Self::Prepared if has_changed_rows && !has_lost_database => Self::Usual,
            kind => kind,
        }
    }

    /// If the server has refused it.
    fn effect_of_failure(self) -> Effect {
        match self {
            Self::Text(effect) => effect,
            Self::Prepared | Self::Usual | Self::Commit | Self::Rows => Effect::Unknown,
            Self::Aside => Effect::Keeps,
        }
    }
}

impl Seen {
    pub(super) fn new(
        watch: Watch,
        running: Running,
        line: Line,
        response_timeout: Option<Duration>,
    ) -> Self {
        Self {
            watch,
            answered: None,
            must_roll_back: false,
            may_be_out_of_step: false,
            running,
            line,
            response_timeout,
        }
    }

    /// Takes note of what the last answer has said.
    pub(super) fn catch_up(&mut self, conn: &Conn) {
        let Some((call, kind)) = self.answered.take() else { return };
        let Some(ok) = conn.last_ok_packet() else { return };
        let (kind, flags) = (kind.seen_by(ok), ok.status_flags());
        let flags = Flags {
            is_in_transaction: flags.contains(StatusFlags::SERVER_STATUS_IN_TRANS),
            is_autocommit: flags.contains(StatusFlags::SERVER_STATUS_AUTOCOMMIT),
        };
        // The session's settings have had another one begin.
        self.must_roll_back |= kind == Kind::Commit && flags.is_in_transaction;
        self.watch.end_with(call.with(kind.effect()), flags);
    }

    /// From here on calls are made out of sight, and may be dropped there.
    pub(super) fn lose_sight(&mut self) {
        self.watch.lose_sight();
        self.may_be_out_of_step = true;
    }

    pub(super) fn roll_back_later(&mut self) {
        self.must_roll_back = true;
        self.watch.lose_sight();
    }

    /// A proof has shown that nothing is open or under way.
    pub(super) fn settled(&mut self) {
        self.answered = None;
        self.must_roll_back = false;
        self.may_be_out_of_step = false;
        self.running.end();
    }

    fn before(&self) -> Before {
        Before {
            fails: self.watch.is_broken(),
            rolls_back: self.must_roll_back,
            asks: self.may_be_out_of_step,
        }
    }

    /// Makes a call, and remembers what came of it.
    pub(super) fn observe<'a: 'b, 'b, Q: Queryable, T: Send + 'b>(
        &'a mut self,
        on: &'a mut Q,
        kind: Kind,
        call: impl FnOnce(&'a mut Q) -> Answer<'b, T> + Send + 'b,
    ) -> Answer<'b, T> {
        let before = self.before();
        Box::pin(self.watched(kind, async move {
            before.make(on).await?;
            call(on).await
        }))
    }

    /// Executes a prepared statement, and remembers what it has shown of itself.
    pub(super) fn execute<'a: 'b, 'b, Q: Queryable, T: Send + 'b>(
        &'a mut self,
        on: &'a mut Q,
        call: impl FnOnce(&'a mut Q) -> Answer<'b, Executed<T>> + Send + 'b,
    ) -> Answer<'b, T> {
        let before = self.before();
        Box::pin(async move {
            let call = async move {
                before.make(on).await?;
                call(on).await
            };
            let Executed { value, is_usual } = self.watched(Kind::Prepared, call).await?;
            if is_usual && let Some((_, kind)) = &mut self.answered {
                *kind = Kind::Usual;
            }
            Ok(value)
        })
    }

    /// Begins a transaction of the driver's.
    pub(super) async fn begin<'a>(
        &mut self,
        on: &'a mut Conn,
        options: TxOpts,
    ) -> Result<Transaction<'a>> {
        let before = self.before();
        let begin = async move {
            before.make(on).await?;
            on.start_transaction(options).await
        };
        self.watched(Kind::Text(Effect::Begins), begin).await
    }

    /// Ends one.
    pub(super) async fn end(&mut self, mut transaction: Transaction<'_>, end: TxEnd) -> Result<()> {
        let before = self.before();
        let end = async move {
            before.make(&mut transaction).await?;
            match end {
                TxEnd::Commit => transaction.commit().await,
                TxEnd::Rollback => transaction.rollback().await,
            }
        };
        self.watched(Kind::Commit, end).await
    }

    /// If the call is dropped, or panics, the session stays uncertain.
    pub(super) async fn watched<T>(
        &mut self,
        kind: Kind,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let observed = self.watch.begin(kind.effect());
        if kind != Kind::Aside {
            self.running.begin();
        }
        self.may_be_out_of_step = true;
        let outcome = match self.response_timeout {
            None => call.await,
            Some(timeout) => match tokio::time::timeout(timeout, call).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    self.watch.give_up();
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
            },
        };
        self.running.end();
        self.may_be_out_of_step = false;
        match &outcome {
            Ok(_) if matches!(kind, Kind::Aside | Kind::Rows) => {
                self.must_roll_back = false;
                self.watch.end(observed, End::InStep { has_failed: false });
            }
            Ok(_) => {
                self.must_roll_back = false;
                self.answered = Some((observed, kind));
            }
            Err(Error::Server(error)) if is_farewell(error.code) => {
                self.watch.end(observed, End::Broken);
            }
            Err(Error::Server(_)) => {
                let failed = observed.with(kind.effect_of_failure());
                self.watch.end(failed, End::InStep { has_failed: true });
            }
            Err(Error::Driver(DriverError::PacketOutOfOrder)) => self.watch.give_up(),
            Err(_) => {}
        }
        outcome
    }
}
