//! Pages to read before the first deployment: one for each database, one on configuration files,
//! and one for those who come from another pool.

/// A pool's configuration from TOML, JSON and environment variables.
#[cfg_attr(any(not(doctest), feature = "serde"), doc = include_str!("guide/configuration.md"))]
pub mod configuration {}

/// How to size a pool, which strategy to pick, and what to know of SQLite.
#[cfg_attr(any(not(doctest), feature = "rusqlite"), doc = include_str!("guide/sqlite.md"))]
pub mod sqlite {}

/// How to size a pool, which strategy to pick, and what to know of PostgreSQL.
#[cfg_attr(
    any(not(doctest), all(feature = "postgres", feature = "tokio-postgres")),
    doc = include_str!("guide/postgresql.md")
)]
pub mod postgresql {}

/// How to size a pool, which strategy to pick, and what to know of MySQL and MariaDB.
#[cfg_attr(
    any(not(doctest), all(feature = "mysql", feature = "mysql_async")),
    doc = include_str!("guide/mysql.md")
)]
pub mod mysql {}

/// How to size a pool, which strategy to pick, and what to know of Redis.
#[cfg_attr(
    any(not(doctest), all(feature = "redis", feature = "redis-tokio")),
    doc = include_str!("guide/redis.md")
)]
pub mod redis {}

/// The same code before and after, and which setting became which.
#[cfg_attr(
    any(
        not(doctest),
        all(feature = "r2d2", feature = "bb8", feature = "rusqlite", feature = "tokio-postgres")
    ),
    doc = include_str!("guide/migrating.md")
)]
pub mod migrating {}
