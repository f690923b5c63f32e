#![doc = include_str!("../README.md")]
// Badges that name the feature which an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod adapters;
mod clock;
mod config;
mod data;
pub mod error;
mod fork;
#[cfg(doc)]
pub mod guide;
pub mod health;
mod hooks;
mod manager;
mod no_unwind;
mod pool;
mod raw;
pub mod stats;
mod sync;

pub use clock::{Clock, Deadline, MockClock};
#[cfg(feature = "serde")]
pub use config::PoolConfig;
pub use config::{Fairness, MAX_CAPACITY, PingOn, Settings};
pub use data::ConnectionData;
pub use error::{BuildError, ConfigError, GetError, ManagerError, NotReady, TryGetError};
pub use health::{ConnectionInfo, EvictionCause, HealthStrategy, Verdict};
pub use hooks::{HookError, Metadata};
pub use manager::{AsyncManager, BlockingManager, BoxFuture, ErrorClass, Face, Manager};
pub use pool::{Builder, CloseReport, Pool, PooledConnection};
pub use stats::Stats;
