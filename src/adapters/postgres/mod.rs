//! PostgreSQL, for threads and for tasks.
//!
//! | | for threads | for tasks |
//! |---|---|---|
//! | feature | `postgres` | `tokio-postgres` |
//! | driver | [postgres][blocking] | [tokio-postgres][async] |
//! | manager | [`PostgresManager`] | [`AsyncPostgresManager`] |
//! | pool of it | [`Pool`] | [`AsyncPool`] |
//! | guard | [`Connection`] | [`AsyncConnection`] |
//! | derefs to | [`PostgresClient`] | [`AsyncPostgresClient`] |
//! | transaction | [`PostgresTransaction`] | [`AsyncPostgresTransaction`] |
//! | to cancel a query | [`PostgresCancelToken`] | [`AsyncPostgresCancelToken`] |
//! | notifications | the driver's | [`AsyncPostgresNotifications`] |
//!
//! [blocking]: https://docs.rs/postgres
//! [async]: https://docs.rs/tokio-postgres
//!
//! See also the [page on PostgreSQL](crate::guide::postgresql).

#[cfg(feature = "postgres")]
mod blocking;
#[cfg(feature = "postgres")]
mod blocking_cancel;
#[cfg(feature = "postgres")]
mod blocking_client;
#[cfg(feature = "postgres")]
mod blocking_tls;
#[cfg(feature = "postgres")]
mod blocking_transaction;
#[cfg(feature = "tokio-postgres")]
mod cancel;
#[cfg(feature = "tokio-postgres")]
mod client;
mod connectors;
mod course;
#[cfg(feature = "tokio-postgres")]
mod driver;
mod errors;
mod greeting;
#[cfg(all(target_os = "linux", feature = "postgres"))]
mod local;
mod messages;
mod named;
#[cfg(feature = "tokio-postgres")]
mod notifications;
mod options;
mod probe;
mod reach;
mod role;
#[cfg(feature = "tokio-postgres")]
mod session;
mod statements;
mod tap;
mod tapped;
#[cfg(feature = "tokio-postgres")]
mod tls;
#[cfg(feature = "tokio-postgres")]
mod tokio;
#[cfg(feature = "tokio-postgres")]
mod transaction;
mod transactions;

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use self::{
    blocking::PostgresManager,
    blocking_cancel::PostgresCancelToken,
    blocking_client::PostgresClient,
    blocking_transaction::{PostgresTransaction, PostgresTransactionBuilder},
};
#[cfg(feature = "tokio-postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio-postgres")))]
pub use self::{
    cancel::AsyncPostgresCancelToken,
    client::AsyncPostgresClient,
    notifications::AsyncPostgresNotifications,
    tokio::AsyncPostgresManager,
    transaction::{AsyncPostgresTransaction, AsyncPostgresTransactionBuilder},
};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use ::postgres;
#[cfg(feature = "tokio-postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio-postgres")))]
pub use ::tokio_postgres;

pool_of!(PostgresManager, "postgres", for "threads": Pool, Connection);
pool_of!(AsyncPostgresManager, "tokio-postgres", for "tasks": AsyncPool, AsyncConnection);
