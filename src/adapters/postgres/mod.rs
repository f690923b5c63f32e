//! PostgreSQL, for threads and for tasks.
//!
//! | | for threads | for tasks |
//! |---|---|---|
//! | feature | `postgres` | `tokio-postgres` |
//! | driver | [postgres](https://docs.rs/postgres) | [tokio-postgres](https://docs.rs/tokio-postgres) |
//! | manager | [`PostgresManager`] | [`AsyncPostgresManager`] |
//! | borrowed | [`PostgresClient`] | [`AsyncPostgresClient`] |
//! | to cancel a query | [`PostgresCancelToken`] | [`AsyncPostgresCancelToken`] |
//!
//! See also the [page on PostgreSQL](crate::guide::postgresql).

#[cfg(feature = "postgres")]
mod blocking;
mod messages;
mod route;
#[cfg(feature = "tokio-postgres")]
mod session;
mod tap;
#[cfg(feature = "tokio-postgres")]
mod tokio;

#[cfg(feature = "postgres")]
pub use self::blocking::{PostgresCancelToken, PostgresClient, PostgresManager};
pub use self::route::CLEAN_SESSION;
#[cfg(feature = "tokio-postgres")]
pub use self::tokio::{AsyncPostgresCancelToken, AsyncPostgresClient, AsyncPostgresManager};
