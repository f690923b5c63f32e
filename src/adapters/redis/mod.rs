//! Redis, for threads and for tasks.
//!
//! | | for threads | for tasks on tokio |
//! |---|---|---|
//! | feature | `redis` | `redis-tokio`, which includes `redis` |
//! | driver | [redis](https://docs.rs/redis) | [redis](https://docs.rs/redis), its `aio` module |
//! | manager | [`RedisManager`] | [`AsyncRedisManager`] |
//! | borrowed | [`RedisConnection`] | [`AsyncRedisConnection`] |
//! | pool | [`Pool`] | [`AsyncPool`] |
//! | by way of [`Sentinels`] | [`RedisManager::sentinel`] | [`AsyncRedisManager::sentinel`] |
//! | feature for clusters | `redis-cluster` | `redis-cluster-tokio` |
//! | manager of a cluster | `RedisClusterManager` | `AsyncRedisClusterManager` |
//!
//! See also the [page on Redis](crate::guide::redis).

mod addresses;
#[cfg(any(unix, feature = "redis-tokio"))]
mod answers;
mod blocking;
mod blocking_connection;
mod blocking_open;
#[cfg(feature = "redis-cluster")]
mod cluster;
#[cfg(feature = "redis-cluster-tokio")]
mod cluster_tokio;
mod errors;
mod link;
mod pulse;
mod role;
mod sentinel;
mod session;
mod talk;
mod target;
#[cfg(feature = "redis-tokio")]
mod tokio;
#[cfg(feature = "redis-tokio")]
mod tokio_connection;
#[cfg(feature = "redis-tokio")]
mod tokio_open;
mod url;
mod watched;
#[cfg(feature = "redis-tokio")]
mod wire;

pub use self::blocking::RedisManager;
pub use self::blocking_connection::RedisConnection;
#[cfg(feature = "redis-cluster")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
pub use self::cluster::{RedisClusterConnection, RedisClusterManager};
#[cfg(feature = "redis-cluster-tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster-tokio")))]
pub use self::cluster_tokio::{AsyncRedisClusterConnection, AsyncRedisClusterManager};
pub use self::sentinel::Sentinels;
#[cfg(feature = "redis-tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-tokio")))]
pub use self::tokio::AsyncRedisManager;
#[cfg(feature = "redis-tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis-tokio")))]
pub use self::tokio_connection::AsyncRedisConnection;
pub use self::url::IntoServer;

/// The driver.
pub use ::redis;

pool_of!(RedisManager, "redis", for "threads": Pool, Connection);
pool_of!(AsyncRedisManager, "redis-tokio", for "tasks": AsyncPool, AsyncConnection);
