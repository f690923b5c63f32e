//! A borrowed connection, for threads.

use super::errors::{check_timeout, out_of_time};
use super::link::{Link, after};
use super::pulse::Pulse;
use super::sentinel::Role;
use super::session::{Answer, Request, Session};
use super::watched::watched;
use crate::adapters::idle::Idle;
use redis::{Cmd, Connection, ConnectionLike, RedisResult, Value};
use std::fmt;
use std::time::Duration;

/// The pooled connection: a [`redis::Connection`] that remembers what its borrower did with it.
///
/// It takes all commands, pipelines and scripts, as the driver's connection does; so does a guard.
/// For everything else there is [`driver`](Self::driver).
///
/// ```no_run
/// # use caliburn::adapters::redis::Connection;
/// use caliburn::PooledConnection;
/// use redis::Commands;
/// use std::time::Duration;
///
/// fn next_job(mut conn: Connection) -> redis::RedisResult<redis::Connection> {
///     // For this loan only: longer than the server waits.
///     conn.set_response_timeout(Some(Duration::from_secs(7)))?;
///     let _job: Option<(String, String)> = conn.blpop("jobs", 5.0)?;
///     // Out of the pool, for good.
///     Ok(PooledConnection::detach(conn).into_driver())
/// }
/// ```
pub struct RedisConnection {
    pub(super) driver: Connection,
    pub(super) link: Link,
    pub(super) session: Session,
    pub(super) idle: Idle,
    pub(super) database: i64,
    pub(super) pulse: Pulse,
    response_timeout: Option<Duration>,
}

impl RedisConnection {
    pub(super) fn new(
        driver: Connection,
        link: Link,
        pulse: Pulse,
        database: i64,
        role: Role,
    ) -> Self {
        let (session, idle) = (Session::new(role == Role::Master), Idle::now());
        Self { driver, link, session, idle, database, pulse, response_timeout: None }
    }

    /// Without a look at the socket.
    pub(super) fn is_known_to_be_dead(&self) -> bool {
        !self.driver.is_open() || self.session.is_unfit() || self.session.is_unanswered()
    }

    /// Sets how long a command may take, for this loan. See [`RedisManager::response_timeout`].
    ///
    /// # Errors
    ///
    /// Returns an error if `timeout` is zero.
    ///
    /// [`RedisManager::response_timeout`]: super::RedisManager::response_timeout
    pub fn set_response_timeout(&mut self, timeout: Option<Duration>) -> RedisResult<()> {
        check_timeout(timeout)?;
        self.session.set_timeouts();
        self.limit_commands(timeout)
    }

    pub(super) fn limit_commands(&mut self, timeout: Option<Duration>) -> RedisResult<()> {
        self.response_timeout = timeout;
        if self.link.is_known() {
            return Ok(());
        }
        self.limit_pieces()
    }

    /// Where the socket is not known to us, or what is done there is not seen, it is up to the
    /// system to limit each read and write.
    fn limit_pieces(&mut self) -> RedisResult<()> {
        self.driver.set_read_timeout(self.response_timeout)?;
        self.driver.set_write_timeout(self.response_timeout)
    }

    /// A command of a borrower's.
    fn run<T: Answer>(
        &mut self,
        request: &Request,
        call: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        self.session.ask(request);
        let limit = self.link.limit(self.response_timeout.and_then(after));
        let mut answer = call(&mut self.driver);
        let is_kept = limit.end();
        if !is_kept {
            answer = answer.map_err(|_| out_of_time());
        }
        self.session.answer(request, &answer);
        if !is_kept {
            self.session.spoil();
        }
        answer
    }

    /// Returns the driver's own connection: to subscribe, to listen, to send without waiting for an
    /// answer. The adapter cannot see what happens there, so the pool closes the connection on its
    /// return.
    ///
    /// ```no_run
    /// # use caliburn::{Pool, adapters::redis::RedisManager};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(RedisManager::new("redis://127.0.0.1/")?).build()?;
    /// let mut conn = pool.get()?;
    /// let mut news = conn.driver().as_pubsub();
    /// news.subscribe("news")?;
    /// let message: String = news.get_message()?.get_payload()?;
    /// # let _ = message;
    /// # Ok(())
    /// # }
    /// ```
    pub fn driver(&mut self) -> &mut Connection {
        self.session.spoil();
        let _ = self.limit_pieces();
        &mut self.driver
    }

    /// Returns the driver's own connection for good, of a connection that was
    /// [detached](crate::PooledConnection::detach). Each of its reads and writes times out after
    /// the response timeout.
    pub fn into_driver(mut self) -> Connection {
        let _ = self.limit_pieces();
        self.driver
    }
}

impl ConnectionLike for RedisConnection {
    watched!();

    fn get_db(&self) -> i64 {
        self.database
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.driver.is_open()
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection")
            .field("database", &self.database)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
