#![doc = include_str!("../README.md")]

pub mod adapters;
mod clock;
mod config;
mod error;
#[cfg(doc)]
pub mod guide;
pub mod health;
mod manager;
mod pool;
mod quietly;
mod raw;
mod stats;
mod sync;

pub use clock::{Clock, Deadline, MockClock};
pub use config::{Fairness, MAX_CAPACITY, PingOn, Settings};
pub use error::{
    BuildError, ConfigError, Counts, GetError, ManagerError, NotReady, Phase, Problem, TryGetError,
};
pub use health::{ConnectionInfo, EvictionCause, HealthStrategy, Verdict};
pub use manager::{AsyncManager, BlockingManager, ErrorClass, Manager};
pub use pool::{Builder, CloseReport, Pool, PooledConnection};
pub use stats::{Call, Evictions, Histogram, Holder, Overrun, Stats};
