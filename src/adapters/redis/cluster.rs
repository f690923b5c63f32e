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

/// Opens connections to a Redis cluster: each is one to every node that is needed.
///
/// The driver finds out which node serves what, follows redirections and reconnects to nodes that
/// it has lost. A connection on which a borrower has left anything behind is closed when it comes
/// back; so is one that saw a `WATCH` or a `MULTI` whose end was another request, as that may have
/// gone to another node.
///
/// # Limits
///
/// The driver takes limits for each node and each piece of an answer, no more: a cluster whose
/// nodes trickle can outlast them. So a worker makes the pings, never a borrower, and what outlives
/// its limit is [quarantined](crate::Stats::quarantined).
///
/// ```no_run
/// use caliburn::Pool;
/// use caliburn::adapters::redis::RedisClusterManager;
/// use redis::Commands;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let nodes = ["redis://10.0.0.1/", "redis://10.0.0.2/"];
/// let pool = Pool::builder(RedisClusterManager::new(nodes)?).max_size(8).build()?;
///
/// let mut conn = pool.get()?;
/// let plays: u64 = conn.incr("plays", 1)?;
/// # let _ = plays;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct RedisClusterManager {
    client: ClusterClient,
    response_timeout: Option<Duration>,
}

impl RedisClusterManager {
    /// The cluster that some of its nodes tell of.
    ///
    /// # Errors
    ///
    /// Returns an error that does not repeat the URLs if one of them makes no sense.
    pub fn new<T: IntoServer>(nodes: impl IntoIterator<Item = T>) -> RedisResult<Self> {
        let nodes = nodes.into_iter().map(connection_info);
        Ok(Self::of(ClusterClient::new(nodes.collect::<RedisResult<Vec<_>>>()?)?))
    }

    /// The cluster of a client with settings of its own.
    pub fn of(client: ClusterClient) -> Self {
        Self { client, response_timeout: None }
    }

    /// How long a command may wait for each piece of its answer. Default: as the client says.
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

/// What is pooled: a [`ClusterConnection`] that remembers what its borrower did with it.
pub struct RedisClusterConnection {
    driver: ClusterConnection,
    session: Session,
}

impl RedisClusterConnection {
    /// Several commands at once, each to the node that serves it. One that fails costs the
    /// connection: it is closed when it comes back.
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

    /// The driver's own connection. What happens there is not seen, so the connection is closed
    /// when it comes back.
    pub fn driver(&mut self) -> &mut ClusterConnection {
        self.session.spoil();
        &mut self.driver
    }

    /// The driver's own connection, for good: of one that was
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
