//! What a pool for tasks lends: a client of the driver's, and all that the adapter keeps for it.

use super::cancel::AsyncPostgresCancelToken;
use super::notifications::AsyncPostgresNotifications;
use super::options::Options;
use super::probe::{Probe, RENEW, ROLLBACK, STATEMENTS, UNLISTEN, close_strays};
use super::session::Session;
use super::statements::{Statements, cached, the_cause};
use super::transaction::{AsyncPostgresTransaction, AsyncPostgresTransactionBuilder};
use crate::adapters::Reset;
use crate::adapters::idle::{Idle, Occasion};
use crate::adapters::runtime::Home;
#[cfg(unix)]
use crate::adapters::socket::{Sight, Socket};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error, Row, SimpleQueryMessage, Statement};

/// The pooled connection: derefs to a [`tokio_postgres::Client`], and keeps prepared statements
/// from one loan to the next ([`prepare_cached`](Self::prepare_cached)).
///
/// Where a function wants the driver's client, or a `GenericClient`, pass `&**client`. A task of
/// its runtime drives the connection. A client that is dropped outside of a pool ends at once.
///
/// ```no_run
/// # use caliburn::adapters::postgres::AsyncPostgresClient;
/// # async fn example(client: &AsyncPostgresClient) -> Result<(), tokio_postgres::Error> {
/// let find = client.prepare_cached("SELECT title FROM song WHERE id = $1").await?;
/// let row = client.query_one(&find, &[&7_i64]).await?;
/// // After a change of the tables, say: later queries are prepared anew.
/// client.clear_statement_cache();
/// # let _ = row;
/// # Ok(())
/// # }
/// ```
///
/// Do not keep a `RowStream` or the like when the client goes back: the driver delivers the rows
/// left in it before the next borrower's answers, so the next borrower would wait for them to be
/// read.
///
/// The pool replaces a session that has prepared more than 1024 statements beyond the cached ones
/// and has executed none of them. A future dropped in the moment when its answer arrives leaves its
/// statement behind, and no borrower may own such a statement any more.
///
/// Do not swap clients (`std::mem::swap`), in hooks neither: what the adapter knows of a session
/// stays with the guard.
pub struct AsyncPostgresClient {
    pub(super) client: Client,
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) home: Arc<Home>,
    pub(super) idle: Idle,
    #[cfg(unix)]
    pub(super) socket: Option<Arc<Socket>>,
}

cached!(AsyncPostgresClient, client, true, [&self] self, async await);

impl AsyncPostgresClient {
    /// As [`Client::cancel_token`], which it replaces: `cancel_query` needs a connector for TLS
    /// only if the manager does, and has a time limit.
    pub fn cancel_token(&self) -> AsyncPostgresCancelToken {
        self.session.canceller().token()
    }

    /// As [`Client::transaction`].
    ///
    /// # Errors
    ///
    /// Returns the driver's error if it could not be begun.
    pub async fn transaction(&mut self) -> Result<AsyncPostgresTransaction<'_>, Error> {
        self.build_transaction().start().await
    }

    /// As [`Client::build_transaction`].
    pub fn build_transaction(&mut self) -> AsyncPostgresTransactionBuilder<'_> {
        let builder = self.client.build_transaction();
        let (statements, canceller) = (&self.statements, self.session.canceller());
        AsyncPostgresTransactionBuilder { builder, statements, canceller }
    }

    /// Returns the notifications that arrive during this loan, once the session listens.
    ///
    /// When the client goes back, the pool ends the session's subscriptions and drops notifications
    /// that were not fetched. While more than 1024 wait to be fetched, the oldest are dropped.
    ///
    /// ```no_run
    /// # use caliburn::adapters::postgres::AsyncPostgresClient;
    /// # async fn example(client: &AsyncPostgresClient) -> Result<(), tokio_postgres::Error> {
    /// client.batch_execute("LISTEN tide").await?;
    /// let mut notifications = client.notifications();
    /// while let Some(notification) = notifications.recv().await {
    ///     println!("{}", notification.payload());
    ///     while let Some(more) = notifications.try_recv() {
    ///         println!("{}", more.payload());
    ///     }
    ///     println!("{} lost so far", notifications.lost());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn notifications(&self) -> AsyncPostgresNotifications<'_> {
        AsyncPostgresNotifications { inbox: self.session.inbox() }
    }

    /// Forgets all statements that this connection keeps, and closes them.
    pub fn clear_statement_cache(&self) {
        self.statements.forget();
    }

    pub(super) fn has_broken(&mut self) -> bool {
        let occasion = self.idle.occasion();
        let tap = self.session.tap();
        if occasion != Occasion::Return {
            self.session.inbox().clear();
        }
        let is_unfit = || tap.is_stuck() || self.statements.are_spoilt();
        self.client.is_closed()
            || tap.is_gone()
            || occasion == Occasion::Return && is_unfit()
            || self.home.fails(occasion)
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

    pub(super) async fn make_clean(&mut self, options: &Options<Config>) -> Result<(), Error> {
        self.session.settle().await;
        let tap = self.session.tap();
        tap.come_back();
        if !tap.is_attached() {
            let rolled_back = self.roll_back_blindly();
            if self.or_cancelled(rolled_back, options.cancel_after).await? {
                // Where nothing is seen, it is not known what the request has hit, or will.
                return Err(super::errors::out_of_step());
            }
        } else if !tap.is_in_order() {
            // All that is still under way is answered before this.
            if self.or_cancelled(self.client.check_connection(), options.cancel_after).await? {
                // The request has reached the server by now: if it comes too late, this is all that
                // it can hit.
                self.client.check_connection().await?;
            }
            if tap.may_be_out_of_step() {
                self.roll_back_blindly().await?;
            } else if tap.is_in_transaction() {
                self.client.batch_execute(ROLLBACK).await?;
            }
            tap.settle();
        }
        // What a hook has made of a session that was never lent is meant to be.
        let reset = if self.idle.was_lent() { options.reset } else { Reset::Transaction };
        let mut there = None;
        if reset == Reset::Session {
            there = Some(self.client.simple_query(RENEW).await?);
            self.idle.renew();
        } else if tap.listens() {
            self.client.batch_execute(UNLISTEN).await?;
        }
        tap.has_ended_listening();
        self.session.inbox().clear();
        self.close_strays(there, reset).await
    }

    /// Waits for `work`. After the grace, if there is one, has the server give up what keeps it:
    /// true.
    async fn or_cancelled(
        &self,
        work: impl Future<Output = Result<(), Error>>,
        grace: Option<Duration>,
    ) -> Result<bool, Error> {
        let mut work = pin!(work);
        let Some(grace) = grace else { return work.await.map(|()| false) };
        if let Ok(result) = tokio::time::timeout(grace, &mut work).await {
            return result.map(|()| false);
        }
        // A server that cannot be reached for this may still answer.
        let _ = self.session.canceller().cancel().await;
        work.await.map(|()| true)
    }

    async fn roll_back_blindly(&self) -> Result<(), Error> {
        let probe = Probe::new();
        let mut answer = self.client.simple_query(&probe.sql()).await;
        if answer.as_ref().is_err_and(Probe::is_too_early) {
            self.client.batch_execute(ROLLBACK).await?;
            answer = self.client.simple_query(&probe.sql()).await;
        }
        probe.check(&answer?)
    }

    async fn close_strays(
        &self,
        there: Option<Vec<SimpleQueryMessage>>,
        reset: Reset,
    ) -> Result<(), Error> {
        let tap = self.session.tap();
        let (are_too_many, strays) = tap.named(|named| (named.are_too_many(), named.strays()));
        let there = match there {
            _ if are_too_many => self.client.simple_query(STATEMENTS).await?,
            Some(there) => there,
            None => return Ok(()),
        };
        if let Some(close) = close_strays(&there, &strays, reset) {
            self.client.batch_execute(&close).await?;
            self.statements.trust();
        }
        tap.named(|named| named.are_tidied());
        Ok(())
    }

    /// Says goodbye, to a server that is busy once it has been asked to give up what it is at.
    pub(super) async fn close(self) {
        let Self { client, session, .. } = self;
        session.cancel().await;
        drop(client);
        session.end().await;
    }
}

impl Deref for AsyncPostgresClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for AsyncPostgresClient {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl fmt::Debug for AsyncPostgresClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncPostgresClient")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
