//! Pages to read before the first deployment, and for those who want to know why.
//!
//! | to decide | to look up | to understand |
//! |---|---|---|
//! | [choosing a strategy](strategies) | [PostgreSQL](postgresql), [MySQL](mysql) | [the algorithm](algorithm) |
//! | [tuning]: settings, sizes, fairness | [Redis](redis), [SQLite](sqlite) | [what it costs](benchmarks) |
//! | [runtimes, threads, forks](runtimes) | [configuration files](configuration) | [contributing] |
//! | [when the server fails](failures) | [coming from another pool](migrating) | [what has changed](changelog) |
//! | [watching a pool](operating) | | |
//!
//! # Words
//!
//! A *slot* is a place for one connection; there are as many as the pool's *capacity*. A connection
//! is *idle*, *lent* or in *maintenance* (being pinged, reset or closed by a *worker*). A
//! *borrower* has one on *loan*, through a *guard*; dropping the guard is the *return*. A *waiter*
//! stands in line, and is *granted* a slot by hand-off. A *manager* connects, pings, resets and
//! closes; a *strategy* judges. To *evict* a connection is to close it because of a verdict. What
//! outlives its limit is *quarantined*.

/// The strategies, and how to combine them.
#[doc = include_str!("guide/strategies.md")]
pub mod strategies {}

/// What can be set, how many connections, which fairness.
#[doc = include_str!("guide/tuning.md")]
pub mod tuning {}

/// Where connections live; futures that are dropped or not polled; forks.
#[doc = include_str!("guide/runtimes.md")]
pub mod runtimes {}

/// What the pool does when something fails, in figures; what is guaranteed, and what is not.
#[doc = include_str!("guide/failures.md")]
pub mod failures {}

/// Health, figures, events: what a pool says of itself.
#[doc = include_str!("guide/operating.md")]
pub mod operating {}

/// What a loan costs, beside other pools, and how that is measured.
#[cfg_attr(not(doctest), doc = include_str!("../benches/README.md"))]
pub mod benchmarks {}

/// The mechanism, its states, orderings and proofs.
#[cfg_attr(not(doctest), doc = include_str!("raw/README.md"))]
pub mod algorithm {}

/// Where things are in the source, and how to add to it.
#[cfg_attr(not(doctest), doc = include_str!("../CONTRIBUTING.md"))]
pub mod contributing {}

/// What has changed, version by version.
#[cfg_attr(not(doctest), doc = include_str!("../CHANGELOG.md"))]
pub mod changelog {}

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
