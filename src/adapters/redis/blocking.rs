//! Redis for threads, by way of [redis](https://docs.rs/redis).

use super::session::{Request, Session};
use super::target::{Target, check_timeout, classify, out_of_time, refusal};
use crate::{BlockingManager, Deadline, ErrorClass, Manager};
use redis::{
    Cmd, Connection, ConnectionLike, IntoConnectionInfo, Pipeline, RedisError, RedisResult, Value,
};
use std::fmt;
use std::time::Duration;

/// Opens connections to one Redis server, or to what speaks its protocol.
///
/// A borrower finds its connection as if it were new: a transaction left open is discarded, keys
/// watched are unwatched, the database is the one of the URL, timeouts are those of the manager.
/// The connection notes the commands that pass over it, so one that needs none of this costs no
/// round trip on its way back. What cannot be undone so, such as a subscription or another user,
/// has the connection closed when it comes back.
///
/// A command that ran into its timeout, or otherwise did not get the whole of its answer, costs the
/// connection: the late answer reaches nobody.
///
/// Wrong credentials, a database that the server does not have and a server that is no Redis are
/// [permanent](ErrorClass::Permanent) errors: borrowers learn of them at once. One that refuses,
/// loads its data, or has too many clients is a transient one.
///
/// The limit of a connect covers all of it but the look-up of a name; if the name has several
/// addresses, it starts anew with each. Over a Unix socket it covers the greeting only.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::redis::RedisManager;
/// use redis::Commands;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = RedisManager::new("redis://127.0.0.1/")?
///     .response_timeout(Some(Duration::from_secs(2)));
/// let pool = Pool::builder(manager).max_size(8).build()?;
///
/// let mut conn = pool.get()?;
/// let plays: u64 = conn.incr("plays", 1)?;
/// # let _ = plays;
/// # Ok(())
/// # }
/// ```
#[must_use]
#[derive(Debug)]
pub struct RedisManager {
    target: Target,
    response_timeout: Option<Duration>,
}

impl RedisManager {
    /// The server at a URL, `redis://user:password@host:6379/0`, or at anything else that the
    /// driver takes for one. For TLS, enable it in the driver and use `rediss://`, or the
    /// [`ConnectionInfo`](redis::ConnectionInfo) of a client with certificates.
    ///
    /// # Errors
    ///
    /// If the URL makes no sense. The error does not repeat it.
    pub fn new(server: impl IntoConnectionInfo) -> RedisResult<Self> {
        Ok(Self { target: Target::new(server)?, response_timeout: None })
    }

    /// How long a command may wait for each piece of its answer, and to be sent, before it fails
    /// and the connection is lost. Default: for ever, as it is the driver's. Commands that wait on
    /// purpose, such as `BLPOP`, need more than they wait.
    ///
    /// A zero timeout makes every connect fail permanently.
    pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Commands to send on each new connection before it is lent. Called again, it replaces what
    /// was given before. If one is refused, the connect fails.
    ///
    /// ```
    /// # use caliburn::adapters::redis::RedisManager;
    /// # fn main() -> redis::RedisResult<()> {
    /// let manager = RedisManager::new("redis://127.0.0.1/")?
    ///     .on_connect(redis::pipe().cmd("CLIENT").arg("SETNAME").arg("web"));
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_connect(mut self, commands: &Pipeline) -> Self {
        self.target.on_connect = commands.clone();
        self
    }
}

impl Manager for RedisManager {
    type Connection = RedisConnection;
    type Error = RedisError;

    fn has_broken(&self, connection: &mut RedisConnection) -> bool {
        let session = &connection.session;
        !connection.driver.is_open() || session.is_unfit() || session.is_unanswered()
    }

    fn needs_reset(&self, connection: &mut RedisConnection) -> bool {
        !connection.session.is_clean()
    }

    fn classify(&self, error: &RedisError) -> ErrorClass {
        classify(error)
    }
}

impl BlockingManager for RedisManager {
    fn connect(&self, deadline: &Deadline) -> RedisResult<RedisConnection> {
        check_timeout(self.response_timeout)?;
        let mut driver = self.target.client.get_connection_with_timeout(left(deadline)?)?;
        let (greeting, unimportant) = self.target.greeting();
        let answers = converse(&mut driver, &greeting, deadline)?;
        refusal(&answers[..answers.len() - unimportant])?;
        let mut connection = RedisConnection {
            driver,
            session: Session::default(),
            database: self.target.session.db(),
        };
        self.restore_timeouts(&mut connection)?;
        Ok(connection)
    }

    fn ping(&self, connection: &mut RedisConnection, deadline: &Deadline) -> RedisResult<()> {
        refusal(&converse(&mut connection.driver, redis::pipe().cmd("PING"), deadline)?)?;
        self.restore_timeouts(connection)
    }

    fn reset(&self, connection: &mut RedisConnection, deadline: &Deadline) -> RedisResult<()> {
        let repairs = connection.session.repairs(connection.database);
        if !repairs.is_empty() {
            let answers = converse(&mut connection.driver, &repairs, deadline)?;
            connection.session.judge(answers)?;
        }
        self.restore_timeouts(connection)?;
        connection.session = Session::default();
        Ok(())
    }

    /// Has the server close the connection, so that it has done so before there is another.
    fn close(&self, mut connection: RedisConnection, deadline: &Deadline) {
        let _ = converse(&mut connection.driver, redis::pipe().cmd("QUIT"), deadline);
    }
}

impl RedisManager {
    fn restore_timeouts(&self, connection: &mut RedisConnection) -> RedisResult<()> {
        connection.driver.set_read_timeout(self.response_timeout)?;
        connection.driver.set_write_timeout(self.response_timeout)
    }
}

/// Sends all commands at once and reads an answer for each.
fn converse(
    driver: &mut Connection,
    commands: &Pipeline,
    deadline: &Deadline,
) -> RedisResult<Vec<Value>> {
    driver.set_write_timeout(Some(left(deadline)?))?;
    driver.send_packed_command(&commands.get_packed_pipeline())?;
    let mut answers = Vec::new();
    while answers.len() < commands.len() {
        driver.set_read_timeout(Some(left(deadline)?))?;
        match driver.recv_response() {
            Ok(Value::Push { .. }) => {}
            Ok(answer) => answers.push(answer),
            // Why the server hung up says more than that it did.
            Err(error) => return refusal(&answers).and(Err(error)),
        }
    }
    Ok(answers)
}

/// What is left of a limit; sockets know no limit of nothing.
fn left(deadline: &Deadline) -> RedisResult<Duration> {
    Some(deadline.remaining()).filter(|left| !left.is_zero()).ok_or_else(out_of_time)
}

/// What is pooled: a [`redis::Connection`] that remembers what its borrower did with it.
///
/// It takes all commands, pipelines and scripts, as the driver's own does, and so does a borrowed
/// one. For what else the driver's connection can do, there is [`driver`](Self::driver).
pub struct RedisConnection {
    driver: Connection,
    session: Session,
    database: i64,
}

impl RedisConnection {
    /// How long a command may wait for each piece of its answer, for this loan. See
    /// [`RedisManager::response_timeout`].
    ///
    /// # Errors
    ///
    /// If it is nothing at all.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) -> RedisResult<()> {
        self.session.set_timeouts();
        self.driver.set_read_timeout(timeout)
    }

    /// How long a command may wait to be sent, for this loan.
    ///
    /// # Errors
    ///
    /// If it is nothing at all.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) -> RedisResult<()> {
        self.session.set_timeouts();
        self.driver.set_write_timeout(timeout)
    }

    /// The driver's own connection: to subscribe, to listen, to send without waiting for an answer.
    /// Nobody sees what happens there, so the connection is closed when it comes back.
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
        &mut self.driver
    }

    /// The driver's own connection, for good: of one that was
    /// [detached](crate::PooledConnection::detach).
    pub fn into_driver(self) -> Connection {
        self.driver
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        let request = Request::packed(self.session, packed, 1);
        self.session.ask(&request);
        let answer = self.driver.req_packed_command(packed);
        self.session.answer(&request, &answer);
        answer
    }

    fn req_packed_commands(
        &mut self,
        packed: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let request = Request::packed(self.session, packed, offset.saturating_add(count));
        self.session.ask(&request);
        let answers = self.driver.req_packed_commands(packed, offset, count);
        self.session.answer(&request, &answers);
        answers
    }

    fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        let request = Request::command(self.session, command);
        self.session.ask(&request);
        let answer = self.driver.req_command(command);
        self.session.answer(&request, &answer);
        answer
    }

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
