//! What the tests share: fake managers, and a fault bench with real sockets.

mod fake;
mod faults;
#[cfg(unix)]
pub mod fork;
pub mod harness;
pub mod hostile;
#[cfg(any(
    all(feature = "mysql", feature = "mysql_async"),
    all(feature = "postgres", feature = "tokio-postgres"),
    feature = "redis-tokio"
))]
pub mod hostile_faces;
#[cfg(all(feature = "mysql", feature = "mysql_async"))]
pub mod my;
pub mod my_fake;
#[cfg(all(feature = "postgres", feature = "tokio-postgres"))]
pub mod pg;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
pub mod pg_fake;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
pub mod pg_hostile;
#[cfg(all(feature = "postgres", feature = "tokio-postgres"))]
pub mod pg_pretence;
pub mod proxy;
mod quiet;
#[cfg(feature = "redis-tokio")]
pub mod redis_faces;
pub mod relay;
pub mod resp;
pub mod server;
pub mod servers;
mod watch;
pub mod wire;

pub use fake::*;
pub use faults::*;
pub use quiet::*;
pub use watch::Watch;
