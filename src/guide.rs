//! What to decide before the first deployment, what to look up later, and how it works.
//!
// In the repository the links lead to files, here to pages: of two definitions the first counts.
//! [strategies]: crate::guide::strategies
//! [postgresql]: crate::guide::postgresql
//! [mysql]: crate::guide::mysql
//! [algorithm]: crate::guide::algorithm
//! [tuning]: crate::guide::tuning
//! [redis]: crate::guide::redis
//! [sqlite]: crate::guide::sqlite
//! [benchmarks]: crate::guide::benchmarks
//! [runtimes]: crate::guide::runtimes
//! [configuration]: crate::guide::configuration
//! [contributing]: crate::guide::contributing
//! [failures]: crate::guide::failures
//! [migrating]: crate::guide::migrating
//! [changelog]: crate::guide::changelog
//! [operating]: crate::guide::operating
//! [objects]: crate::guide::objects
//! [endpoints]: crate::guide::endpoints
//!
#![doc = include_str!("guide/README.md")]

/// The strategies, and how to combine them.
#[doc = include_str!("guide/strategies.md")]
pub mod strategies {}

/// Settings, number of connections, fairness.
#[doc = include_str!("guide/tuning.md")]
pub mod tuning {}

/// Where connections live; dropped and unpolled futures; forks.
#[doc = include_str!("guide/runtimes.md")]
pub mod runtimes {}

/// What the pool does when something fails, with figures; guarantees and non-guarantees.
#[doc = include_str!("guide/failures.md")]
pub mod failures {}

/// Primary and replicas: a pool for each, and a router above them.
#[doc = include_str!("guide/endpoints.md")]
pub mod endpoints {}

/// Health, figures, events: what a pool reports about itself.
#[doc = include_str!("guide/operating.md")]
pub mod operating {}

/// Pools of objects that need no server.
#[doc = include_str!("guide/objects.md")]
pub mod objects {}

/// What a loan costs, compared with other pools, and how it is measured.
#[cfg_attr(not(doctest), doc = include_str!("../benches/README.md"))]
pub mod benchmarks {}

/// The mechanism: a picture, its states, orderings and proofs.
///
// In the repository the pages show the picture as a file. Here it is part of the page, above the
// text, so that it has the colours of the theme. In the text there is an empty picture instead: of
// two definitions the first counts.
/// <div>
#[cfg_attr(not(doctest), doc = include_str!("raw/checkout.svg"))]
/// </div>
///
/// [picture]: data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'%20height='0'/%3E
///
#[cfg_attr(not(doctest), doc = include_str!("raw/README.md"))]
pub mod algorithm {}

/// The layout of the source, and how to add to it.
///
/// <div>
#[cfg_attr(not(doctest), doc = include_str!("raw/checkout.svg"))]
/// </div>
///
/// [picture]: data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'%20height='0'/%3E
///
#[cfg_attr(not(doctest), doc = include_str!("../CONTRIBUTING.md"))]
pub mod contributing {}

/// Changes in each version.
#[cfg_attr(not(doctest), doc = include_str!("../CHANGELOG.md"))]
pub mod changelog {}

/// A pool's configuration from TOML, JSON and environment variables.
#[cfg_attr(any(not(doctest), feature = "serde"), doc = include_str!("guide/configuration.md"))]
pub mod configuration {}

/// SQLite: size, strategy, limits, what comes back clean, pitfalls.
#[cfg_attr(any(not(doctest), feature = "rusqlite"), doc = include_str!("guide/sqlite.md"))]
pub mod sqlite {}

/// PostgreSQL: size, strategy, limits, what comes back clean, pitfalls.
#[cfg_attr(
    any(not(doctest), all(feature = "postgres", feature = "tokio-postgres")),
    doc = include_str!("guide/postgresql.md")
)]
pub mod postgresql {}

/// MySQL and MariaDB: size, strategy, limits, what comes back clean, pitfalls.
#[cfg_attr(
    any(not(doctest), all(feature = "mysql", feature = "mysql_async")),
    doc = include_str!("guide/mysql.md")
)]
pub mod mysql {}

/// Redis: size, strategy, limits, what comes back clean, pitfalls.
#[cfg_attr(
    any(not(doctest), all(feature = "redis", feature = "redis-tokio")),
    doc = include_str!("guide/redis.md")
)]
pub mod redis {}

/// From r2d2, bb8, deadpool, sqlx or Nimue: code before and after, and names of settings.
///
#[cfg_attr(
    any(
        not(doctest),
        all(feature = "r2d2", feature = "bb8", feature = "rusqlite", feature = "tokio-postgres")
    ),
    doc = include_str!("guide/migrating.md")
)]
pub mod migrating {}
