//! Managers for existing drivers: one module per database, and [`bridges`] to the managers written
//! for other pools.
//!
//! | module | features | managers |
//! |---|---|---|
//! | [`sqlite`] | `rusqlite` | [`SqliteManager`](sqlite::SqliteManager) |
//! | [`postgres`] | `postgres`, `tokio-postgres` | [`PostgresManager`], [`AsyncPostgresManager`] |
//! | [`mysql`] | `mysql`, `mysql_async` | [`MysqlManager`], [`AsyncMysqlManager`] |
//! | [`redis`] | `redis`, `redis-tokio` | [`RedisManager`], [`AsyncRedisManager`] |
//! | [`sqlx`] | `sqlx` | [`SqlxManager`](sqlx::SqlxManager), for any database of sqlx |
//! | [`bridges`] | `r2d2` | [`R2d2Manager`], for any manager of r2d2 |
//! | | `bb8` | [`Bb8Manager`], for any manager of bb8 |
//! | | `deadpool` | [`DeadpoolManager`], for any manager of deadpool |
//!
//! [`PostgresManager`]: postgres::PostgresManager
//! [`AsyncPostgresManager`]: postgres::AsyncPostgresManager
//! [`MysqlManager`]: mysql::MysqlManager
//! [`AsyncMysqlManager`]: mysql::AsyncMysqlManager
//! [`RedisManager`]: redis::RedisManager
//! [`AsyncRedisManager`]: redis::AsyncRedisManager
//! [`R2d2Manager`]: bridges::R2d2Manager
//! [`Bb8Manager`]: bridges::Bb8Manager
//! [`DeadpoolManager`]: bridges::DeadpoolManager
//!
//! A module is named for its database, a feature for the driver it brings. Within a module the
//! names that begin with `Async` belong to the driver for tasks, the others to the driver for
//! threads. Threads and tasks can borrow from a pool of either.
//!
//! The managers use the public API only, so each is also an example of how to write one.

/// The pool of a database's manager, and what it lends.
#[cfg(any(
    feature = "mysql",
    feature = "mysql_async",
    feature = "postgres",
    feature = "redis",
    feature = "tokio-postgres"
))]
macro_rules! pool_of {
    ($manager:ident, $feature:literal, for $users:literal: $pool:ident, $connection:ident) => {
        #[doc = concat!("A pool for ", $users, ".")]
        #[cfg(feature = $feature)]
        #[cfg_attr(docsrs, doc(cfg(feature = $feature)))]
        pub type $pool = crate::Pool<$manager>;

        #[doc = concat!("What a [`", stringify!($pool), "`] lends.")]
        #[cfg(feature = $feature)]
        #[cfg_attr(docsrs, doc(cfg(feature = $feature)))]
        pub type $connection = crate::PooledConnection<$manager>;
    };
}

#[cfg(any(feature = "bb8", feature = "deadpool", feature = "r2d2"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "bb8", feature = "deadpool", feature = "r2d2"))))]
pub mod bridges;
#[cfg(any(feature = "mysql", feature = "mysql_async"))]
pub mod mysql;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
mod reset;
#[cfg(feature = "rusqlite")]
pub mod sqlite;
#[cfg(feature = "sqlx")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlx")))]
pub mod sqlx;

#[cfg(any(
    feature = "mysql",
    feature = "mysql_async",
    feature = "postgres",
    feature = "redis",
    feature = "tokio-postgres"
))]
mod addresses;
#[cfg(any(feature = "postgres", feature = "redis", feature = "tokio-postgres"))]
mod doubt;
#[cfg(any(feature = "mysql_async", feature = "redis-tokio", feature = "tokio-postgres"))]
mod race;

#[cfg(any(
    feature = "bb8",
    feature = "deadpool",
    feature = "mysql",
    feature = "mysql_async",
    feature = "postgres",
    feature = "redis",
    feature = "sqlx",
    feature = "tokio-postgres"
))]
#[cfg_attr(feature = "sqlx", allow(dead_code, reason = "alone it needs none of it"))]
mod idle;
#[cfg(any(
    feature = "bb8",
    feature = "deadpool",
    feature = "mysql_async",
    feature = "redis-tokio",
    feature = "sqlx",
    feature = "tokio-postgres"
))]
#[cfg_attr(feature = "sqlx", allow(dead_code, reason = "alone it needs little of it"))]
mod runtime;
#[cfg(all(
    unix,
    any(
        feature = "mysql",
        feature = "mysql_async",
        feature = "postgres",
        feature = "redis",
        feature = "tokio-postgres"
    )
))]
mod socket;

pub use self::reset::Reset;
