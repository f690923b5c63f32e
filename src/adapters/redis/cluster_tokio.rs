//! Redis clusters for tasks on tokio, by way of [redis](https://docs.rs/redis).

use super::cluster::config;
use super::errors::{check_timeout, classify, without_runtime};
use super::session::{Answer, Request, Session};
use super::url::{IntoServer, connection_info};
use super::watched::watched_async;
use crate::adapters::idle::Idle;
use crate::adapters::runtime::{Home, Runtimes};
use crate::{AsyncManager, Deadline, ErrorClass, Face, Manager};
use redis::aio::ConnectionLike;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Opens connections to a Redis cluster. Each one connects to every node that is needed.
///
/// The driver finds out which node serves what, follows redirections and reconnects to lost nodes.
/// The pool closes a connection on which a borrower has left anything behind, a dropped future
/// included, and one on which a `WATCH` or `MULTI` ended in another request, as that request may
/// have gone to another node.
///
/// Connections live where those of [`AsyncRedisManager`](super::AsyncRedisManager) do.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::redis::AsyncRedisClusterManager;
/// use redis::AsyncCommands;
/// use redis::cluster::ClusterClient;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let nodes = ["redis://10.0.0.1/", "redis://10.0.0.2/"];
/// let manager = AsyncRedisClusterManager::new(nodes)?
///     .response_timeout(Some(Duration::from_secs(2)))
///     .runtime(tokio::runtime::Handle::current());
/// let pool = Pool::builder_async(manager).max_size(8).build()?;
///
/// let mut conn = pool.get_async().await?;
/// let plays: u64 = conn.incr("plays", 1).await?;
///
/// // With settings of the driver's.
/// let client = ClusterClient::builder(nodes).read_from_replicas().build()?;
/// let manager = AsyncRedisClusterManager::of(client);
/// # let _ = (plays, manager);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct AsyncRedisClusterManager {
    client: ClusterClient,
    response_timeout: Option<Duration>,
    runtimes: Runtimes,
}

impl AsyncRedisClusterManager {
    /// Connects to the cluster to which `nodes` belong; some of its nodes are enough.
    ///
    /// # Errors
    ///
    /// Returns an error that does not repeat the URLs if one of them makes no sense.
    pub fn new<T: IntoServer>(nodes: impl IntoIterator<Item = T>) -> RedisResult<Self> {
        let nodes = nodes.into_iter().map(connection_info);
        Ok(Self::of(ClusterClient::new(nodes.collect::<RedisResult<Vec<_>>>()?)?))
    }

    /// Connects to the cluster of `client`, which has settings of its own.
    pub fn of(client: ClusterClient) -> Self {
        Self { client, response_timeout: None, runtimes: Runtimes::here() }
    }

    /// Sets how long a node may take to answer. Default: as the client says.
    ///
    /// A zero timeout makes every connect fail permanently.
    pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets the runtime on which all connections live. See
    /// [`AsyncRedisManager::runtime`](super::AsyncRedisManager::runtime).
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtimes.choose(handle);
        self
    }

    async fn open(&self, deadline: &Deadline) -> RedisResult<ClusterConnection> {
        check_timeout(self.response_timeout)?;
        let config = config(deadline.remaining(), self.response_timeout);
        self.client.get_async_connection_with_config(config).await
    }
}

impl Manager for AsyncRedisClusterManager {
    type Connection = AsyncRedisClusterConnection;
    type Error = RedisError;

    fn has_broken(&self, connection: &mut AsyncRedisClusterConnection) -> bool {
        let occasion = connection.idle.occasion();
        !connection.session.is_clean() || connection.home.fails(occasion)
    }

    fn needs_ping(&self, connection: &mut AsyncRedisClusterConnection) -> bool {
        connection.home.is_in_doubt()
    }

    fn may_wait_here(&self, face: Face) -> bool {
        self.runtimes.may_wait_here(face)
    }

    fn classify(&self, error: &RedisError) -> ErrorClass {
        classify(error)
    }

    fn ping_is_cancel_safe(&self) -> bool {
        true
    }
}

impl AsyncManager for AsyncRedisClusterManager {
    async fn connect(&self, deadline: &Deadline) -> RedisResult<AsyncRedisClusterConnection> {
        let (opened, home) = self.runtimes.run(|| self.open(deadline)).await;
        let (session, idle) = (Session::of_cluster(), Idle::now());
        Ok(AsyncRedisClusterConnection { driver: opened?, session, home, idle })
    }

    /// Asks all nodes to which there is a connection.
    async fn ping(
        &self,
        connection: &mut AsyncRedisClusterConnection,
        _: &Deadline,
    ) -> RedisResult<()> {
        let (home, ping) = (&connection.home, redis::cmd("PING"));
        let pinged = home.run(ping.exec_async(&mut connection.driver)).await;
        pinged.unwrap_or_else(|| Err(without_runtime()))
    }
}

impl fmt::Debug for AsyncRedisClusterManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRedisClusterManager")
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

/// The pooled connection: a [`ClusterConnection`] that remembers what its borrower did with it.
///
/// ```no_run
/// # use caliburn::adapters::redis::AsyncRedisClusterConnection;
/// use redis::AsyncCommands;
/// use redis::cluster_async::ClusterConnection;
///
/// async fn count(
///     mut conn: AsyncRedisClusterConnection,
/// ) -> redis::RedisResult<ClusterConnection> {
///     let _plays: u64 = conn.incr("plays", 1).await?;
///     // The pool closes a connection whose driver was used; this one was detached.
///     let _skips: u64 = conn.driver().clone().incr("skips", 1).await?;
///     Ok(conn.into_driver())
/// }
/// ```
pub struct AsyncRedisClusterConnection {
    driver: ClusterConnection,
    session: Session,
    home: Arc<Home>,
    idle: Idle,
}

impl AsyncRedisClusterConnection {
    /// Returns the driver's own connection. The adapter cannot see what happens there, so the pool
    /// closes the connection on its return; a clone stays open until it is dropped.
    pub fn driver(&mut self) -> &mut ClusterConnection {
        self.session.spoil();
        &mut self.driver
    }

    /// Returns the driver's own connection for good, of a connection that was
    /// [detached](crate::PooledConnection::detach).
    pub fn into_driver(self) -> ClusterConnection {
        self.driver
    }

    fn ask(&mut self, request: &Request) {
        self.session.ask(request);
    }

    fn answer<T: Answer>(&mut self, request: &Request, answer: &RedisResult<T>) {
        self.session.answer(request, answer);
    }
}

impl ConnectionLike for AsyncRedisClusterConnection {
    watched_async!(req_packed_command, req_packed_commands);

    fn get_db(&self) -> i64 {
        self.driver.get_db()
    }
}

impl fmt::Debug for AsyncRedisClusterConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRedisClusterConnection")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
