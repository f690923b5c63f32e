//! Redis clusters for threads, by way of [redis](https://docs.rs/redis).

use super::errors::{check_timeout, classify, out_of_time};
use super::session::{Answer, Request, Session};
use super::url::{IntoServer, connection_info};
use super::watched::watched;
use crate::{BlockingManager, Deadline, ErrorClass, Manager};
use redis::cluster::{ClusterClient, ClusterConfig, ClusterConnection, ClusterPipeline};
use redis::{
    Cmd, ConnectionLike, FromRedisValue, RedisError, RedisResult, Value, from_redis_value,
};
use std::fmt;
use std::io;
use std::time::Duration;

/// Opens connections to a Redis cluster. Each one connects to every node that is needed.
///
/// The driver finds out which node serves what, follows redirections and reconnects to lost nodes.
/// The pool closes a connection on which a borrower has left anything behind, and one on which a
/// `WATCH` or `MULTI` ended in another request, as that request may have gone to another node.
///
/// # Limits
///
/// The driver has limits only for each node and each piece of an answer, so a cluster whose nodes
/// trickle can outlast them. Therefore a worker makes the pings, never a borrower, and the pool
/// [quarantines](crate::Stats::quarantined) what outlives its limit.
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::redis::RedisClusterManager;
/// use redis::Commands;
/// use redis::cluster::ClusterClient;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let nodes = ["redis://10.0.0.1/", "redis://10.0.0.2/"];
/// let manager = RedisClusterManager::new(nodes)?
///     .response_timeout(Some(Duration::from_secs(2)));
/// let pool = Pool::builder(manager).max_size(8).build()?;
///
/// let mut conn = pool.get()?;
/// let plays: u64 = conn.incr("plays", 1)?;
///
/// // With settings of the driver's.
/// let client = ClusterClient::builder(nodes).read_from_replicas().build()?;
/// let manager = RedisClusterManager::of(client);
/// # let _ = (plays, manager);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct RedisClusterManager {
    client: ClusterClient,
    response_timeout: Option<Duration>,
}

impl RedisClusterManager {
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
        Self { client, response_timeout: None }
    }

    /// Sets how long a command may wait for each piece of its answer. Default: as the client says.
    ///
    /// A zero timeout makes every connect fail permanently.
    pub fn response_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.response_timeout = timeout;
        self
    }
}

/// Limits that the driver takes.
pub(super) fn config(left: Duration, response_timeout: Option<Duration>) -> ClusterConfig {
    let config = ClusterConfig::new().set_connection_timeout(left);
    match response_timeout {
        Some(timeout) => config.set_response_timeout(timeout),
        None => config,
    }
}

impl Manager for RedisClusterManager {
    type Connection = RedisClusterConnection;
    type Error = RedisError;

    fn has_broken(&self, connection: &mut RedisClusterConnection) -> bool {
        !connection.session.is_clean()
    }

    fn classify(&self, error: &RedisError) -> ErrorClass {
        classify(error)
    }

    fn may_ping_here(&self) -> bool {
        false
    }
}

impl BlockingManager for RedisClusterManager {
    fn connect(&self, deadline: &Deadline) -> RedisResult<RedisClusterConnection> {
        check_timeout(self.response_timeout)?;
        let left = deadline.remaining();
        if left.is_zero() {
            return Err(out_of_time());
        }
        let config = config(left, self.response_timeout);
        let driver = self.client.get_connection_with_config(config)?;
        Ok(RedisClusterConnection { driver, session: Session::of_cluster() })
    }

    /// Asks all nodes to which there is a connection.
    fn ping(&self, connection: &mut RedisClusterConnection, _: &Deadline) -> RedisResult<()> {
        if ConnectionLike::check_connection(&mut connection.driver) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::NotConnected).into())
        }
    }
}

impl fmt::Debug for RedisClusterManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClusterManager")
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

/// The pooled connection: a [`ClusterConnection`] that remembers what its borrower did with it.
///
/// ```no_run
/// # use caliburn::adapters::redis::RedisClusterConnection;
/// use redis::cluster::{ClusterConnection, cluster_pipe};
///
/// fn count(mut conn: RedisClusterConnection) -> redis::RedisResult<ClusterConnection> {
///     // Each command goes to the node that serves it.
///     let (_plays, _skips): (u64, u64) =
///         conn.query(cluster_pipe().cmd("INCR").arg("plays").cmd("INCR").arg("skips"))?;
///     // The pool closes a connection whose driver was used; this one was detached.
///     let _is_connected = redis::ConnectionLike::check_connection(conn.driver());
///     Ok(conn.into_driver())
/// }
/// ```
pub struct RedisClusterConnection {
    driver: ClusterConnection,
    session: Session,
}

impl RedisClusterConnection {
    /// Sends several commands at once, each to the node that serves it. If it fails, the pool
    /// closes the connection on its return.
    ///
    /// # Errors
    ///
    /// Returns the driver's error, as [`ClusterPipeline::query`] does.
    pub fn query<T: FromRedisValue>(&mut self, pipeline: &ClusterPipeline) -> RedisResult<T> {
        let request = Request::scattered(self.session, pipeline.cmd_iter());
        let answer = self.run(&request, |driver| pipeline.query::<Value>(driver));
        if answer.is_err() {
            // The driver stops at the first node that fails it and leaves the answers of the others
            // unread. A refusal is no better: it may be that of a node just connected to.
            self.session.spoil();
        }
        Ok(from_redis_value(answer?)?)
    }

    /// Returns the driver's own connection. The adapter cannot see what happens there, so the pool
    /// closes the connection on its return.
    pub fn driver(&mut self) -> &mut ClusterConnection {
        self.session.spoil();
        &mut self.driver
    }

    /// Returns the driver's own connection for good, of a connection that was
    /// [detached](crate::PooledConnection::detach).
    pub fn into_driver(self) -> ClusterConnection {
        self.driver
    }

    fn run<T: Answer>(
        &mut self,
        request: &Request,
        call: impl FnOnce(&mut ClusterConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        self.session.ask(request);
        let answer = call(&mut self.driver);
        self.session.answer(request, &answer);
        answer
    }
}

impl ConnectionLike for RedisClusterConnection {
    watched!();

    fn get_db(&self) -> i64 {
        self.driver.get_db()
    }

    fn supports_pipelining(&self) -> bool {
        self.driver.supports_pipelining()
    }

    fn check_connection(&mut self) -> bool {
        ConnectionLike::check_connection(&mut self.driver)
    }

    fn is_open(&self) -> bool {
        self.driver.is_open()
    }
}

impl fmt::Debug for RedisClusterConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisClusterConnection")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
