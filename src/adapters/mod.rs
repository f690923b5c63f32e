//! Managers for drivers that exist, one file per driver crate, each behind a feature of that crate's name.
//!
//! They are written on the public API only, so each is also an example of how to write one.

#[cfg(feature = "bb8")]
pub mod bb8;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "mysql_async")]
pub mod mysql_async;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "r2d2")]
pub mod r2d2;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redis-tokio")]
pub mod redis_tokio;
#[cfg(feature = "rusqlite")]
pub mod rusqlite;
#[cfg(feature = "tokio-postgres")]
pub mod tokio_postgres;

#[cfg(any(feature = "mysql_async", feature = "redis-tokio", feature = "tokio-postgres"))]
mod entered;
#[cfg(feature = "mysql_async")]
mod mysql_async_connection;
#[cfg(feature = "mysql")]
mod mysql_connection;
#[cfg(any(feature = "mysql", feature = "mysql_async"))]
mod mysql_session;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
mod postgres_messages;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
mod postgres_route;
#[cfg(feature = "tokio-postgres")]
mod postgres_session;
#[cfg(any(feature = "postgres", feature = "tokio-postgres"))]
mod postgres_tap;
#[cfg(feature = "redis")]
mod redis_session;
#[cfg(feature = "redis")]
mod redis_target;
