//! Redis for tasks on tokio, by way of [redis](https://docs.rs/redis).

use super::errors::{check_timeout, classify, out_of_time, unexpected};
use super::link::Unasked;
use super::pulse::Question;
use super::role;
use super::sentinel::{Role, Sentinels, Watch};
use super::target::Target;
use super::tokio_connection::AsyncRedisConnection;
use super::tokio_open::Opened;
use super::url::IntoServer;
use crate::adapters::addresses::share;
use crate::adapters::doubt::Doubt;
use crate::adapters::idle::Occasion;
use crate::adapters::race::{HEAD_START, race};
use crate::adapters::runtime::Runtimes;
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager, RoleDoubt, RoleReport};
use redis::io::AsyncDNSResolver;
use redis::{AsyncConnectionConfig, Pipeline, RedisError, RedisResult};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// What the driver gives a connection unless told otherwise.
const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Opens connections to one Redis server, or to another server that speaks its protocol.
///
/// A borrower finds its connection as good as new: an open transaction is discarded, watched keys
/// are unwatched, the database is that of the URL, timeouts are those of the manager. The
/// connection notes the commands that pass over it, so a loan that left nothing costs no round
/// trip. What cannot be undone, such as a subscription or another user, makes the pool close the
/// connection on its return.
///
/// A borrower's future may be dropped in the middle of a command: the driver keeps requests and
/// answers in step, and the pool waits for the orphaned answer before it lends the connection
/// again, `reset_timeout` at most. Dropping the future of a command that waits at the server
/// (`BLPOP` and the like) costs the connection. So does a command that ran into its timeout, and so
/// do more than 4 MiB that no borrower waits for, unless the connection has TLS.
///
/// Wrong credentials, a database that the server does not have and a server that is no Redis are
/// [permanent](ErrorClass::Permanent) errors: borrowers get them at once. A server that refuses,
/// loads its data, or has too many clients is a transient error.
///
/// If the name of the server has several addresses, they race as in RFC 8305, the one that last
/// served first: a silent address costs at most a quarter of a second. The adapter reads at most 64
/// KiB before the server has answered the greeting; this limit does not hold with TLS, where the
/// server has shown its certificate by then.
///
/// Connections live on the tokio runtime given to [`runtime`](Self::runtime); without one, on that
/// of the last borrower that waited for a connection, or on that on which the manager was made; if
/// there is none, on a runtime of the crate's own. The pool replaces a connection whose runtime is
/// gone or no longer driven. With a response timeout, commands must be awaited on a tokio runtime
/// too.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::redis::{AsyncRedisManager, Sentinels};
/// use redis::{AsyncCommands, AsyncConnectionConfig};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = AsyncRedisManager::from_url("redis://127.0.0.1/?protocol=resp3")?
///     .response_timeout(Some(Duration::from_secs(2)))
///     .config(AsyncConnectionConfig::new().set_push_sender(|_push| Ok::<(), &str>(())))
///     .runtime(tokio::runtime::Handle::current());
/// let pool = Pool::builder_async(manager).max_size(8).build()?;
///
/// let mut conn = pool.get_async().await?;
/// let plays: u64 = conn.incr("plays", 1).await?;
/// let all: Vec<u64> = redis::cmd("MGET").arg(&["plays"]).query_async(&mut *conn).await?;
///
/// // The master that sentinels name.
/// let sentinels = Sentinels::new("music", ["redis://10.0.0.1:26379"])?;
/// let manager = AsyncRedisManager::sentinel(sentinels)?;
/// # let _ = (plays, all, manager);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct AsyncRedisManager {
    target: Target,
    watch: Option<Watch>,
    config: AsyncConnectionConfig,
    resolver: Option<Arc<dyn AsyncDNSResolver>>,
    response_timeout: Option<Duration>,
    runtimes: Runtimes,
    doubt: Doubt,
}

impl AsyncRedisManager {
    /// Connects to the server at a URL, `redis://user:password@host:6379/0`, or at anything else
    /// that the driver takes for one. For TLS, enable it in the driver and use `rediss://`, or pass
    /// the [`ConnectionInfo`](redis::ConnectionInfo) of a client with certificates.
    ///
    /// # Errors
    ///
    /// Returns an error that does not repeat the URL if it makes no sense.
    pub fn new(server: impl IntoServer) -> RedisResult<Self> {
        Ok(Self::of(Target::new(server)?, None))
    }

    /// Connects to the server that sentinels name. Each connect asks them again; they share its
    /// limit.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting makes no sense.
    pub fn sentinel(sentinels: Sentinels) -> RedisResult<Self> {
        let (target, watch) = sentinels.into_targets()?;
        Ok(Self::of(target, Some(watch)))
    }

    fn of(target: Target, watch: Option<Watch>) -> Self {
        Self {
            target,
            watch,
            config: AsyncConnectionConfig::new(),
            resolver: None,
            response_timeout: Some(DEFAULT_RESPONSE_TIMEOUT),
            runtimes: Runtimes::here(),
            doubt: Doubt::default(),
        }
    }

    /// Connects to the server at `url`, as [`new`](Self::new) does.
    ///
    /// # Errors
    ///
    /// Returns an error that does not repeat the URL if it makes no sense.
    pub fn from_url(url: &str) -> RedisResult<Self> {
        Self::new(url)
    }

    /// Sets how long a command may take before it fails and the pool closes the connection.
    /// Commands that wait on purpose, such as `BLPOP`, need more than they wait. Default: 500 ms,
    /// as in the driver.
    ///
    /// A zero timeout makes every connect fail permanently.
    pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets commands to send on each new connection before it is lent. A second call replaces the
    /// commands of the first. If the server refuses one, or the answers have more than 64 KiB, the
    /// connect fails.
    ///
    /// ```
    /// # use caliburn::adapters::redis::AsyncRedisManager;
    /// # fn main() -> redis::RedisResult<()> {
    /// let manager = AsyncRedisManager::new("redis://127.0.0.1/")?
    ///     .after_connect(redis::pipe().cmd("CLIENT").arg("SETNAME").arg("web"));
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn after_connect(mut self, commands: &Pipeline) -> Self {
        self.target.after_connect = commands.clone();
        self
    }

    /// Sets other options of the driver, such as where pushed messages go. The manager ignores
    /// three of them: the two timeouts, for which there are
    /// [`response_timeout`](Self::response_timeout) and the pool's
    /// [`connect_timeout`](crate::Settings::connect_timeout), and the resolver, for which there is
    /// [`resolver`](Self::resolver).
    pub fn config(mut self, config: AsyncConnectionConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets what resolves names. Default: the system, on a thread of the runtime.
    ///
    /// ```
    /// use caliburn::adapters::redis::AsyncRedisManager;
    /// use redis::RedisResult;
    /// use redis::io::AsyncDNSResolver;
    /// use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    ///
    /// type Addresses<'a> = Box<dyn Iterator<Item = SocketAddr> + Send + 'a>;
    ///
    /// struct Local;
    ///
    /// impl AsyncDNSResolver for Local {
    ///     fn resolve<'a, 'b: 'a>(
    ///         &'a self,
    ///         _: &'b str,
    ///         port: u16,
    ///     ) -> redis::RedisFuture<'a, Addresses<'a>> {
    ///         let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    ///         Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addresses<'_>) })
    ///     }
    /// }
    ///
    /// # fn main() -> RedisResult<()> {
    /// let manager = AsyncRedisManager::new("redis://cache.internal/")?.resolver(Local);
    /// # let _ = manager;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolver(mut self, resolver: impl AsyncDNSResolver) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Sets the runtime on which all connections live. Default: see [above](Self).
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtimes.choose(handle);
        self
    }

    async fn open(&self, deadline: &Deadline) -> RedisResult<Opened> {
        check_timeout(self.response_timeout)?;
        let config = self.config.clone().set_connection_timeout(None).set_response_timeout(None);
        match &self.watch {
            None => self.open_at(&self.target, &config, deadline.remaining()).await,
            Some(watch) => self.open_watched(watch, &config, deadline).await,
        }
    }

    async fn open_at(
        &self,
        target: &Target,
        config: &AsyncConnectionConfig,
        left: Duration,
    ) -> RedisResult<Opened> {
        target.open_async(config, self.resolver.as_deref(), left).await
    }

    /// Sentinels are raced; what the first says that knows is tried. If it is of no use, the others
    /// are raced once more.
    async fn open_watched(
        &self,
        watch: &Watch,
        config: &AsyncConnectionConfig,
        deadline: &Deadline,
    ) -> RedisResult<Opened> {
        let plain = AsyncConnectionConfig::new().set_connection_timeout(None);
        let plain = &plain.set_response_timeout(None);
        let mut search = watch.search();
        loop {
            let left = deadline.remaining() / 2;
            let ask = |(number, sentinel): (usize, _)| async move {
                let mut opened = self.open_at(sentinel, plain, left).await?;
                let answers = opened.driver.send_packed_commands(&watch.question(), 0, 1).await?;
                Ok((watch.read(answers)?, number))
            };
            let asked: Vec<_> = search.unasked.iter().copied().map(ask).collect();
            let head_start = HEAD_START.min(share(left, asked.len() + 1));
            let (place, number) = match race(asked, head_start, |_: &RedisError| false).await {
                Some(Ok(named)) => named,
                Some(Err(error)) => return Err(search.failure(Some(error))),
                None => return Err(search.failure(None)),
            };
            if search.is_new(number, &place) {
                let target = self.target.moved_to(place.clone());
                let left = search.share(deadline.remaining());
                let opened = timeout(left, self.open_in_role(&target, config, left)).await;
                match opened.unwrap_or_else(|_| Err(out_of_time())) {
                    Ok(opened) => {
                        search.succeeded(number);
                        return Ok(opened);
                    }
                    Err(error) => search.failed(place, error),
                }
            }
        }
    }

    async fn open_in_role(
        &self,
        target: &Target,
        config: &AsyncConnectionConfig,
        left: Duration,
    ) -> RedisResult<Opened> {
        let mut opened = self.open_at(target, config, left).await?;
        let mut commands = redis::pipe();
        self.sought().add_question(&mut commands);
        let answers = opened.driver.send_packed_commands(&commands, 0, 1).await?;
        self.sought().check(answers.first())?;
        Ok(opened)
    }

    fn sought(&self) -> Role {
        self.watch.as_ref().map_or(Role::Any, |watch| watch.role)
    }

    fn unasked(&self) -> Unasked {
        if self.target.is_secured() {
            Unasked::Anything
        } else if self.target.speaks_resp3() {
            Unasked::Pushes
        } else {
            Unasked::Nothing
        }
    }
}

impl FromStr for AsyncRedisManager {
    type Err = RedisError;

    fn from_str(url: &str) -> RedisResult<Self> {
        Self::from_url(url)
    }
}

impl Manager for AsyncRedisManager {
    type Connection = AsyncRedisConnection;
    type Error = RedisError;

    fn has_broken(&self, connection: &mut AsyncRedisConnection) -> bool {
        let occasion = connection.idle.occasion();
        let unasked = self.unasked();
        if connection.session.take_refusal() {
            self.doubt.tell();
        }
        connection.session.is_unfit()
            || connection.line.is_gone()
            || unasked == Unasked::Nothing && connection.has_heard_more()
            || connection.home.fails(occasion)
            || occasion == Occasion::LoanAfterIdling && connection.line.link.has_ended(unasked)
    }

    fn needs_ping(&self, connection: &mut AsyncRedisConnection) -> bool {
        connection.home.is_in_doubt()
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
    }

    fn needs_reset(&self, connection: &mut AsyncRedisConnection) -> bool {
        if !connection.idle.was_lent() {
            connection.session.adopt();
        }
        !connection.session.is_clean()
    }

    fn needs_reset_after_hook(&self, connection: &mut AsyncRedisConnection) -> bool {
        connection.session.is_open()
    }

    fn classify(&self, error: &RedisError) -> ErrorClass {
        classify(error)
    }

    fn tell_doubts(&self, doubt: RoleDoubt) {
        self.doubt.set(doubt);
    }

    fn ping_is_cancel_safe(&self) -> bool {
        true
    }
}

impl AsyncManager for AsyncRedisManager {
    async fn connect(&self, deadline: &Deadline) -> RedisResult<AsyncRedisConnection> {
        let (opened, home) = self.runtimes.run(|| self.open(deadline)).await;
        let (timeout, database) = (self.response_timeout, self.target.session.db());
        Ok(AsyncRedisConnection::new(opened?, timeout, database, self.sought(), home))
    }

    async fn ping(&self, connection: &mut AsyncRedisConnection, _: &Deadline) -> RedisResult<()> {
        let (mut commands, question) = (redis::pipe(), Question::new());
        question.add_to(&mut commands, connection.pulse);
        self.sought().add_question(&mut commands);
        connection.ask_for_the_pool();
        let answers = connection.send(&commands).await?;
        question.check(answers.first().ok_or_else(unexpected)?, connection.pulse)?;
        self.sought().check(answers.get(1))?;
        connection.settle();
        Ok(())
    }

    async fn reset(&self, connection: &mut AsyncRedisConnection, _: &Deadline) -> RedisResult<()> {
        connection.ask_for_the_pool();
        if let Some(repairs) = connection.session.repairs(connection.database, connection.pulse) {
            let answers = connection.send(&repairs.commands).await?;
            repairs.judge(&answers)?;
        }
        connection.renew(self.response_timeout);
        Ok(())
    }

    /// Has the server close the connection, so that it has done so before there is another.
    async fn close(&self, mut connection: AsyncRedisConnection, _: &Deadline) {
        connection.ask_for_the_pool();
        let (home, quit) = (connection.home.clone(), redis::cmd("QUIT"));
        let _ = home.run(connection.unhurried.send_packed_command(&quit)).await;
    }

    async fn role(
        &self,
        connection: &mut AsyncRedisConnection,
        _: &Deadline,
    ) -> RedisResult<RoleReport> {
        connection.ask_for_the_pool();
        let report = role::read(&connection.send(&role::question()).await?)?;
        connection.settle();
        Ok(report)
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
