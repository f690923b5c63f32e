// In the repository the front page's links lead to files. Here the same names lead to pages: of two
// definitions the first counts.
//! [guide]: crate::guide
//! [failures]: crate::guide::failures
//! [benchmarks]: crate::guide::benchmarks
//! [algorithm]: crate::guide::algorithm
//! [contributing]: crate::guide::contributing
//! [changelog]: crate::guide::changelog
//! [sqlite]: crate::guide::sqlite
//! [postgresql]: crate::guide::postgresql
//! [mysql]: crate::guide::mysql
//! [redis]: crate::guide::redis
//! [migrating]: crate::guide::migrating
//! [configuration]: crate::guide::configuration
//!
#![cfg_attr(
    any(not(doctest), all(feature = "postgres", feature = "tokio-postgres")),
    doc = include_str!("../README.md")
)]
// Badges that name the feature which an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod adapters;
mod clock;
mod config;
mod data;
mod driver;
pub mod error;
mod fork;
#[cfg(doc)]
pub mod guide;
pub mod health;
mod hooks;
mod manager;
mod no_unwind;
pub mod observe;
mod pool;
mod raw;
mod role;
pub mod router;
pub mod stats;
mod sync;

pub use clock::{Clock, Deadline, MockClock};
#[cfg(feature = "serde")]
pub use config::PoolConfig;
pub use config::{Fairness, MAX_CAPACITY, PingOn, Settings, Shedding};
pub use data::ConnectionData;
pub use error::{
    AddError, BuildError, ConfigError, GetError, ManagerError, NotReady, SwitchError, TryGetError,
};
pub use health::{ConnectionInfo, EvictionCause, HealthStrategy, Verdict};
pub use hooks::{HookError, Metadata};
pub use manager::{AsyncManager, BlockingManager, BoxFuture, ErrorClass, Face, Manager};
pub use pool::export::{self, Prometheus};
pub use pool::{
    Builder, Class, ClassInfo, CloseReport, ConnectGovernor, ConnectGovernorBuilder, GovernorStats,
    Object, ObjectError, ObjectPool, ObjectPoolBuilder, ObjectStats, Pool, PooledConnection,
};
pub use role::{Role, RoleDoubt, RoleReport};
pub use router::{RouteError, Router, RouterBuilder, Target};
pub use stats::Stats;
