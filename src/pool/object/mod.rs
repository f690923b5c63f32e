//! A pool of plain objects, on the same slots and with the same line as a pool of connections, and
//! without all that is between them there: no manager, no health, no clock on the way, no thread.

mod build;
mod error;
mod guard;
mod handle;
mod place;
mod stats;

pub use build::ObjectPoolBuilder;
pub use error::ObjectError;
pub use guard::Object;
pub use handle::ObjectPool;
pub use stats::ObjectStats;
