//! Redis for tasks on tokio, by way of [redis](https://docs.rs/redis).

use super::session::{Request, Session, unexpected};
use super::target::{Target, check_timeout, classify, refusal};
use crate::adapters::idle::Idle;
use crate::adapters::runtime::{Home, Runtimes};
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Cmd, IntoConnectionInfo, Pipeline, RedisError, RedisFuture, RedisResult,
    Value,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// What the driver gives a connection unless told otherwise.
const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Opens connections to one Redis server, or to what speaks its protocol.
///
/// A borrower finds its connection as if it were new: a transaction left open is discarded, keys
/// watched are unwatched, the database is the one of the URL, timeouts are those of the manager.
/// The connection notes the commands that pass over it, so one that needs none of this costs no
/// round trip on its way back. What cannot be undone so, such as a subscription or another user,
/// has the connection closed when it comes back.
///
/// A borrower's future may be dropped in the middle of a command: the driver keeps requests and
/// answers in step, and the connection waits for the orphaned answer before it is lent again,
/// `reset_timeout` at most. A command that waits at the server (`BLPOP` and its like) would keep it
/// waiting, so dropping one costs the connection. So does a command that ran into its timeout.
///
/// Wrong credentials, a database that the server does not have and a server that is no Redis are
/// [permanent](ErrorClass::Permanent) errors: borrowers learn of them at once. One that refuses,
/// loads its data, or has too many clients is a transient one.
///
/// Connections live on the tokio runtime on which [`new`](Self::new) was called, or the one given
/// to [`runtime`](Self::runtime). With a response timeout, commands must be awaited on a tokio
/// runtime too.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::redis::AsyncRedisManager;
/// use redis::AsyncCommands;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = AsyncRedisManager::new("redis://127.0.0.1/")?;
/// let pool = Pool::builder_async(manager).max_size(8).build()?;
///
/// let mut conn = pool.get_async().await?;
/// let plays: u64 = conn.incr("plays", 1).await?;
/// let all: Vec<u64> = redis::cmd("MGET").arg(&["plays"]).query_async(&mut *conn).await?;
/// # let _ = (plays, all);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct AsyncRedisManager {
    target: Target,
    config: AsyncConnectionConfig,
    response_timeout: Option<Duration>,
    runtimes: Runtimes,
}

impl AsyncRedisManager {
    /// The server at a URL, `redis://user:password@host:6379/0`, or at anything else that the
    /// driver takes for one. For TLS, enable it in the driver and use `rediss://`, or the
    /// [`ConnectionInfo`](redis::ConnectionInfo) of a client with certificates.
    ///
    /// # Errors
    ///
    /// If the URL makes no sense. The error does not repeat it.
    pub fn new(server: impl IntoConnectionInfo) -> RedisResult<Self> {
        Ok(Self {
            target: Target::new(server)?,
            config: AsyncConnectionConfig::new(),
            response_timeout: Some(DEFAULT_RESPONSE_TIMEOUT),
            runtimes: Runtimes::here(),
        })
    }

    /// How long a command may take before it fails and the connection is lost. Default 500 ms, as
    /// it is the driver's. Commands that wait on purpose, such as `BLPOP`, need more than they
    /// wait.
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
    /// # use caliburn::adapters::redis::AsyncRedisManager;
    /// # fn main() -> redis::RedisResult<()> {
    /// let manager = AsyncRedisManager::new("redis://127.0.0.1/")?
    ///     .on_connect(redis::pipe().cmd("CLIENT").arg("SETNAME").arg("web"));
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_connect(mut self, commands: &Pipeline) -> Self {
        self.target.on_connect = commands.clone();
        self
    }

    /// What else the driver can be told: who resolves names, where pushed messages go. Its two
    /// timeouts are not used; [`response_timeout`](Self::response_timeout) and the pool's
    /// [`connect_timeout`](crate::Settings::connect_timeout) stand in for them.
    pub fn config(mut self, config: AsyncConnectionConfig) -> Self {
        self.config = config;
        self
    }

    /// Where connections live. Default: the runtime on which [`new`](Self::new) was called. Without
    /// any, every connect fails for good.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtimes.choose(handle);
        self
    }

    async fn open(&self) -> RedisResult<MultiplexedConnection> {
        check_timeout(self.response_timeout)?;
        let config = self.config.clone().set_connection_timeout(None).set_response_timeout(None);
        let client = &self.target.client;
        let mut unhurried = client.get_multiplexed_async_connection_with_config(&config).await?;
        self.greet(&mut unhurried).await?;
        Ok(unhurried)
    }

    async fn greet(&self, driver: &mut MultiplexedConnection) -> RedisResult<()> {
        let (greeting, unimportant) = self.target.greeting();
        let mut commands = greeting.cmd_iter();
        // By itself: a server without room for more clients refuses it and hangs up, and of answers
        // to several commands the driver would then say only that some are missing.
        if let Some(first) = commands.next() {
            refusal([&driver.send_packed_command(first).await?])?;
        }
        let mut rest = redis::pipe();
        commands.for_each(|command| {
            rest.add_command(command.clone());
        });
        if rest.is_empty() {
            return Ok(());
        }
        let answers = driver.send_packed_commands(&rest, 0, rest.len()).await?;
        refusal(&answers[..answers.len().saturating_sub(unimportant)])
    }

    /// The same connection, for borrowers.
    fn hurried(&self, unhurried: &MultiplexedConnection) -> MultiplexedConnection {
        let mut driver = unhurried.clone();
        if let Some(timeout) = self.response_timeout {
            driver.set_response_timeout(timeout);
        }
        driver
    }
}

impl Manager for AsyncRedisManager {
    type Connection = AsyncRedisConnection;
    type Error = RedisError;

    fn has_broken(&self, connection: &mut AsyncRedisConnection) -> bool {
        let occasion = connection.idle.occasion();
        connection.session.is_unfit() || connection.home.fails(occasion)
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
    }

    fn needs_reset(&self, connection: &mut AsyncRedisConnection) -> bool {
        !connection.session.is_clean()
    }

    fn classify(&self, error: &RedisError) -> ErrorClass {
        classify(error)
    }

    fn ping_is_cancel_safe(&self) -> bool {
        true
    }
}

impl AsyncManager for AsyncRedisManager {
    async fn connect(&self, _: &Deadline) -> RedisResult<AsyncRedisConnection> {
        let (opened, home) = self.runtimes.run(|| self.open()).await;
        let unhurried = opened?;
        Ok(AsyncRedisConnection {
            driver: self.hurried(&unhurried),
            unhurried,
            session: Session::default(),
            database: self.target.session.db(),
            home,
            idle: Idle::now(),
        })
    }

    async fn ping(&self, connection: &mut AsyncRedisConnection, _: &Deadline) -> RedisResult<()> {
        match connection.unhurried.send_packed_command(&redis::cmd("PING")).await? {
            Value::SimpleString(_) => Ok(()),
            Value::ServerError(error) => Err(error.into()),
            other => Err(unexpected(&other)),
        }
    }

    async fn reset(&self, connection: &mut AsyncRedisConnection, _: &Deadline) -> RedisResult<()> {
        let repairs = connection.session.repairs(connection.database);
        if !repairs.is_empty() {
            let answers =
                connection.unhurried.send_packed_commands(&repairs, 0, repairs.len()).await?;
            connection.session.judge(answers)?;
        }
        connection.driver = self.hurried(&connection.unhurried);
        connection.session = Session::default();
        Ok(())
    }

    /// Has the server close the connection, so that it has done so before there is another.
    async fn close(&self, mut connection: AsyncRedisConnection, _: &Deadline) {
        let _ = connection.unhurried.send_packed_command(&redis::cmd("QUIT")).await;
    }
}

impl fmt::Debug for AsyncRedisManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRedisManager")
            .field("target", &self.target)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

/// What is pooled: a [`MultiplexedConnection`] that remembers what its borrower did with it.
///
/// It takes all commands, pipelines and scripts, as the driver's own does: where one is wanted,
/// give `&mut *conn`. It cannot be cloned, so no borrower keeps a hand on it. For what else the
/// driver's connection can do, there is [`driver`](Self::driver).
pub struct AsyncRedisConnection {
    driver: MultiplexedConnection,
    /// The same without a response timeout, for the pool, which has limits of its own.
    unhurried: MultiplexedConnection,
    session: Session,
    database: i64,
    home: Arc<Home>,
    idle: Idle,
}

impl AsyncRedisConnection {
    /// How long a command may take, for this loan. See [`AsyncRedisManager::response_timeout`].
    pub fn set_response_timeout(&mut self, timeout: Duration) {
        self.session.set_timeouts();
        self.driver.set_response_timeout(timeout);
    }

    /// The driver's own connection: to subscribe, or to share it among tasks for the length of the
    /// loan. Nobody sees what happens there, so the connection is closed when it comes back; a
    /// clone of it, when that is dropped too.
    pub fn driver(&mut self) -> &mut MultiplexedConnection {
        self.session.spoil();
        &mut self.driver
    }

    /// The driver's own connection, for good: of one that was
    /// [detached](crate::PooledConnection::detach).
    pub fn into_driver(self) -> MultiplexedConnection {
        self.driver
    }
}

impl ConnectionLike for AsyncRedisConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let request = Request::command(self.session, command);
            self.session.ask(&request);
            let answer = self.driver.send_packed_command(command).await;
            self.session.answer(&request, &answer);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let request = Request::pipeline(self.session, pipeline, offset.saturating_add(count));
            self.session.ask(&request);
            let answers = self.driver.send_packed_commands(pipeline, offset, count).await;
            self.session.answer(&request, &answers);
            answers
        })
    }

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
