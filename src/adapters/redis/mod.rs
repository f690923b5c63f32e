//! Redis, for threads and for tasks.
//!
//! | | for threads | for tasks on tokio |
//! |---|---|---|
//! | feature | `redis` | `redis-tokio`, which includes `redis` |
//! | driver | [redis](https://docs.rs/redis) | [redis](https://docs.rs/redis), its `aio` module |
//! | manager | [`RedisManager`] | [`AsyncRedisManager`] |
//! | borrowed | [`RedisConnection`] | [`AsyncRedisConnection`] |
//!
//! See also the [page on Redis](crate::guide::redis).

mod blocking;
mod session;
mod target;
#[cfg(feature = "redis-tokio")]
mod tokio;

pub use self::blocking::{RedisConnection, RedisManager};
#[cfg(feature = "redis-tokio")]
pub use self::tokio::{AsyncRedisConnection, AsyncRedisManager};
