//! What a pool for threads lends: a client of the driver's, and all that the adapter keeps for it.

use super::blocking_cancel::{Canceller, PostgresCancelToken};
use super::blocking_transaction::{PostgresTransaction, PostgresTransactionBuilder};
use super::errors::out_of_step;
use super::options::Options;
use super::probe::{Probe, RENEW, ROLLBACK, STATEMENTS, UNLISTEN, close_strays};
use super::statements::{Statements, cached, the_cause};
use super::tap::Tap;
use crate::Deadline;
use crate::adapters::Reset;
use crate::adapters::idle::{Idle, Occasion};
#[cfg(unix)]
use crate::adapters::socket::{Leash, Sight, Socket, Tied};
use ::postgres::fallible_iterator::FallibleIterator as _;
use ::postgres::types::{ToSql, Type};
use ::postgres::{Client, Config, Error, Row, SimpleQueryMessage, Statement};
#[cfg(target_os = "linux")]
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::fmt;
use std::ops::{Deref, DerefMut};
#[cfg(unix)]
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pooled connection: derefs to a [`postgres::Client`], and keeps prepared statements from one
/// loan to the next ([`prepare_cached`](Self::prepare_cached)).
///
/// ```no_run
/// # use caliburn::adapters::postgres::PostgresClient;
/// # fn example(client: &mut PostgresClient) -> Result<(), postgres::Error> {
/// let find = client.prepare_cached("SELECT title FROM song WHERE id = $1")?;
/// let row = client.query_one(&find, &[&7_i64])?;
/// // After a change of the tables, say: later queries are prepared anew.
/// client.clear_statement_cache();
/// # let _ = row;
/// # Ok(())
/// # }
/// ```
///
/// Where a function wants the driver's client, or a `GenericClient`, pass `&mut **client`. When the
/// client goes back, the pool ends the session's subscriptions and drops notifications that were
/// not fetched.
///
/// Do not swap clients (`std::mem::swap`), in hooks neither: what the adapter knows of a session
/// stays with the guard.
pub struct PostgresClient {
    /// Dropped before the client, whose own drop waits for all that is still unanswered.
    pub(super) line: Line,
    pub(super) client: Client,
    pub(super) statements: Statements,
    pub(super) idle: Idle,
    #[cfg(unix)]
    pub(super) socket: Option<Arc<Socket>>,
}

cached!(PostgresClient, client, true, [&mut self] self);

impl PostgresClient {
    /// As [`Client::cancel_token`], which it replaces: `cancel_query` needs a connector for TLS
    /// only if the manager does, and has a time limit.
    pub fn cancel_token(&self) -> PostgresCancelToken {
        self.line.canceller.token()
    }

    /// As [`Client::transaction`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error if it could not be begun.
    pub fn transaction(&mut self) -> Result<PostgresTransaction<'_>, Error> {
        self.build_transaction().start()
    }

    /// As [`Client::build_transaction`].
    pub fn build_transaction(&mut self) -> PostgresTransactionBuilder<'_> {
        let builder = self.client.build_transaction();
        let (statements, canceller) = (&self.statements, &self.line.canceller);
        PostgresTransactionBuilder { builder, statements, canceller }
    }

    /// Forgets all statements that this connection keeps, and closes them.
    pub fn clear_statement_cache(&self) {
        self.statements.forget();
    }

    pub(super) fn has_broken(&mut self) -> bool {
        let occasion = self.idle.occasion();
        let tap = &self.line.tap;
        let is_unfit = || tap.is_stuck() || self.statements.are_spoilt();
        self.client.is_closed()
            || tap.is_gone()
            || occasion == Occasion::Return && is_unfit()
            || occasion == Occasion::LoanAfterIdling && self.has_hung_up()
    }

    #[cfg(unix)]
    fn has_hung_up(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.look() == Sight::HungUp)
    }

    #[cfg(not(unix))]
    fn has_hung_up(&self) -> bool {
        false
    }

    pub(super) fn ping(&mut self, deadline: &Deadline) -> Result<(), Error> {
        if !self.line.tap.is_attached() {
            return self.client.is_valid(deadline.remaining());
        }
        let until = Instant::now() + deadline.remaining();
        self.within(until, |client| client.client.check_connection())
    }

    pub(super) fn within<T>(&mut self, until: Instant, call: impl FnOnce(&mut Self) -> T) -> T {
        self.line.tap.set_limit(Some(until));
        let _asks = self.line.tap.ask_for_the_pool();
        #[cfg(unix)]
        let leash = self.leash(until);
        let result = call(self);
        #[cfg(unix)]
        drop(leash);
        self.line.tap.set_limit(None);
        result
    }

    pub(super) fn make_clean(
        &mut self,
        options: &Options<Config>,
        until: Instant,
    ) -> Result<(), Error> {
        let (tap, grace) = (self.line.tap.clone(), options.cancel_after);
        tap.come_back();
        if !tap.is_attached() {
            if self.or_cancelled(grace, until, Self::roll_back_blindly)? {
                // Where nothing is seen, it is not known what the request has hit, or will.
                return Err(out_of_step());
            }
        } else if !tap.is_in_order() {
            // All that is still under way is answered before this.
            let grace = grace.filter(|_| tap.is_busy());
            if self.or_cancelled(grace, until, |this| this.client.check_connection())? {
                // The request has reached the server by now: if it comes too late, this is all that
                // it can hit.
                self.client.check_connection()?;
            }
            if tap.may_be_out_of_step() {
                self.roll_back_blindly()?;
            } else if tap.is_in_transaction() {
                self.client.batch_execute(ROLLBACK)?;
            }
            tap.settle();
        }
        let has_listened = tap.listens() || !tap.is_attached();
        // What a hook has made of a session that was never lent is meant to be.
        let reset = if self.idle.was_lent() { options.reset } else { Reset::Transaction };
        let mut there = None;
        if reset == Reset::Session {
            there = Some(self.client.simple_query(RENEW)?);
            self.idle.renew();
        } else if tap.listens() {
            self.client.batch_execute(UNLISTEN)?;
        }
        if has_listened {
            tap.has_ended_listening();
            let mut left = self.client.notifications();
            while left.iter().next()?.is_some() {}
        }
        self.close_strays(there, reset)
    }

    /// Waits for `work`. After the grace, if there is one, has the server give up what keeps it:
    /// true.
    fn or_cancelled(
        &mut self,
        grace: Option<Duration>,
        until: Instant,
        work: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let Some(grace) = grace else { return work(self).map(|()| false) };
        let cancelling = self.line.canceller.cancel_after(grace);
        work(self)?;
        match cancelling {
            Some(cancelling) => cancelling.end(until).ok_or_else(out_of_step),
            None => Ok(false),
        }
    }

    fn roll_back_blindly(&mut self) -> Result<(), Error> {
        let probe = Probe::new();
        let mut answer = self.client.simple_query(&probe.sql());
        if answer.as_ref().is_err_and(Probe::is_too_early) {
            self.client.batch_execute(ROLLBACK)?;
            answer = self.client.simple_query(&probe.sql());
        }
        probe.check(&answer?)
    }

    fn close_strays(
        &mut self,
        there: Option<Vec<SimpleQueryMessage>>,
        reset: Reset,
    ) -> Result<(), Error> {
        let tap = self.line.tap.clone();
        let (are_too_many, strays) = tap.named(|named| (named.are_too_many(), named.strays()));
        let there = match there {
            _ if are_too_many => self.client.simple_query(STATEMENTS)?,
            Some(there) => there,
            None => return Ok(()),
        };
        if let Some(close) = close_strays(&there, &strays, reset) {
            self.client.batch_execute(&close)?;
            self.statements.trust();
        }
        tap.named(|named| named.are_tidied());
        Ok(())
    }

    pub(super) fn close(self, deadline: &Deadline) {
        let until = Instant::now() + deadline.remaining();
        self.line.cancel_in_the_background();
        self.line.tap.set_limit(Some(until));
        #[cfg(unix)]
        let _leash = self.leash(until);
        // The server has nothing to say to a goodbye.
        let _ = self.client.close();
        // But its session ends a moment later, and the next one is to begin no sooner.
        #[cfg(target_os = "linux")]
        if let Some(socket) = &self.socket {
            await_end(socket, until);
        }
    }

    /// For what no limit holds otherwise.
    #[cfg(unix)]
    fn leash(&self, until: Instant) -> Option<Leash> {
        let socket = self.socket.clone().filter(|_| !self.line.tap.is_attached());
        socket.and_then(|socket| Leash::until(until, Tied::Known(socket)).ok())
    }
}

impl Deref for PostgresClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for PostgresClient {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl fmt::Debug for PostgresClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresClient").field("tap", &self.line.tap).finish_non_exhaustive()
    }
}

/// Waits until the peer has hung up.
#[cfg(target_os = "linux")]
fn await_end(socket: &Socket, until: Instant) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else { return };
        let mut polled = [PollFd::new(socket, PollFlags::RDHUP)];
        if poll(&mut polled, Some(&left)) != Err(Errno::INTR) {
            return;
        }
    }
}

/// When dropped, hangs up: from then on nothing is waited for. What the server is busy with it is
/// asked to give up.
pub(super) struct Line {
    pub(super) tap: Tap,
    pub(super) canceller: Canceller,
}

impl Line {
    fn cancel_in_the_background(&self) {
        if self.tap.is_busy() {
            drop(self.canceller.cancel_after(Duration::ZERO));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cancel_in_the_background();
        self.tap.set_limit(Some(Instant::now()));
    }
}
