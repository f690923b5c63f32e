//! A borrowed connection, for tasks.

use super::errors::without_runtime;
use super::pulse::Pulse;
use super::sentinel::Role;
use super::session::{Answer, Request, Session};
use super::tokio_open::{Line, Opened};
use super::watched::watched_async;
use crate::adapters::idle::Idle;
use crate::adapters::runtime::Home;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The pooled connection: a [`MultiplexedConnection`] that remembers what its borrower did with it.
///
/// It takes all commands, pipelines and scripts, as the driver's connection does: where a function
/// wants one, pass `&mut *conn`. It cannot be cloned, so no borrower keeps access to it. For
/// everything else there is [`driver`](Self::driver).
///
/// ```no_run
/// # use caliburn::adapters::redis::AsyncConnection;
/// use caliburn::PooledConnection;
/// use redis::AsyncCommands;
/// use redis::aio::MultiplexedConnection;
/// use std::time::Duration;
///
/// async fn next_job(mut conn: AsyncConnection) -> redis::RedisResult<MultiplexedConnection> {
///     // For this loan only: longer than the server waits.
///     conn.set_response_timeout(Duration::from_secs(7));
///     let _job: Option<(String, String)> = conn.blpop("jobs", 5.0).await?;
///     // Two requests at once, by two clones that end with the loan.
///     let (mut one, mut other) = (conn.driver().clone(), conn.driver().clone());
///     let _: (u64, u64) = tokio::try_join!(one.incr("a", 1), other.incr("b", 1))?;
///     // Out of the pool, for good.
///     Ok(PooledConnection::detach(conn).into_driver())
/// }
/// ```
pub struct AsyncRedisConnection {
    driver: MultiplexedConnection,
    /// The same without a response timeout, for the pool, which has limits of its own.
    pub(super) unhurried: MultiplexedConnection,
    pub(super) line: Line,
    pub(super) session: Session,
    pub(super) database: i64,
    pub(super) pulse: Pulse,
    pub(super) home: Arc<Home>,
    pub(super) idle: Idle,
    /// How much had come when the last answer was complete. `None`: one is due.
    heard: Option<usize>,
}

impl AsyncRedisConnection {
    pub(super) fn new(
        opened: Opened,
        response_timeout: Option<Duration>,
        database: i64,
        role: Role,
        home: Arc<Home>,
    ) -> Self {
        let Opened { driver, line, pulse } = opened;
        let mut connection = Self {
            unhurried: driver.clone(),
            driver,
            line,
            session: Session::new(role == Role::Master),
            database,
            pulse,
            home,
            idle: Idle::now(),
            heard: None,
        };
        connection.renew(response_timeout);
        connection
    }

    /// As a borrower is to find it.
    pub(super) fn renew(&mut self, response_timeout: Option<Duration>) {
        self.driver = self.unhurried.clone();
        if let Some(timeout) = response_timeout {
            self.driver.set_response_timeout(timeout);
        }
        self.session = self.session.renewed();
        self.settle();
    }

    /// Asks on the pool's behalf, where the connection lives.
    pub(super) async fn send(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let driver = &mut self.unhurried;
        let answers = driver.send_packed_commands(commands, 0, commands.len());
        self.home.run(answers).await.unwrap_or_else(|| Err(without_runtime()))
    }

    /// Something is about to be asked for a borrower.
    fn ask(&mut self, request: &Request) {
        self.session.ask(request);
        self.heard = None;
        self.line.lift_bound();
    }

    fn answer<T: Answer>(&mut self, request: &Request, answer: &RedisResult<T>) {
        self.session.answer(request, answer);
        self.settle();
    }

    /// Something is about to be asked for the pool.
    pub(super) fn ask_for_the_pool(&mut self) {
        self.heard = None;
        self.line.bound();
    }

    /// All that was asked has been answered.
    pub(super) fn settle(&mut self) {
        self.heard = Some(self.line.heard());
        // The driver's own connection may be in other hands.
        if self.session.is_unfit() {
            return;
        }
        self.line.lift_bound();
        self.line.bound_if_silent();
    }

    /// Whether something has come since, though the driver may have dropped it.
    pub(super) fn has_heard_more(&self) -> bool {
        self.heard.is_some_and(|heard| heard != self.line.heard())
    }

    /// Sets how long a command may take, for this loan. See
    /// [`AsyncRedisManager::response_timeout`](super::AsyncRedisManager::response_timeout).
    pub fn set_response_timeout(&mut self, timeout: Duration) {
        self.session.set_timeouts();
        self.driver.set_response_timeout(timeout);
    }

    /// Returns the driver's own connection: to subscribe, or to share it among tasks during the
    /// loan. The adapter cannot see what happens there, so the pool closes the connection on its
    /// return, and with it all clones.
    pub fn driver(&mut self) -> &mut MultiplexedConnection {
        self.session.spoil();
        self.line.lift_bound();
        &mut self.driver
    }

    /// Returns the driver's own connection for good, of a connection that was
    /// [detached](crate::PooledConnection::detach).
    pub fn into_driver(self) -> MultiplexedConnection {
        self.line.lift_bound();
        self.line.leave_alone();
        self.driver
    }
}

impl ConnectionLike for AsyncRedisConnection {
    watched_async!(send_packed_command, send_packed_commands);

    fn get_db(&self) -> i64 {
        self.database
    }
}

impl fmt::Debug for AsyncRedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRedisConnection")
            .field("database", &self.database)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
