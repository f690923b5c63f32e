//! MySQL and MariaDB, for threads and for tasks.
//!
//! | | for threads | for tasks |
//! |---|---|---|
//! | feature | `mysql` | `mysql_async` |
//! | driver | [mysql](https://docs.rs/mysql) | [mysql_async](https://docs.rs/mysql_async) |
//! | manager | [`MysqlManager`] | [`AsyncMysqlManager`] |
//! | borrowed | [`MysqlConnection`] | [`AsyncMysqlConnection`] |
//!
//! See also the [page on MySQL](crate::guide::mysql).

#[cfg(feature = "mysql")]
mod blocking;
#[cfg(feature = "mysql")]
mod blocking_connection;
mod session;
#[cfg(feature = "mysql_async")]
mod tokio;
#[cfg(feature = "mysql_async")]
mod tokio_connection;

#[cfg(feature = "mysql")]
pub use self::blocking::MysqlManager;
#[cfg(feature = "mysql")]
pub use self::blocking_connection::MysqlConnection;
#[cfg(feature = "mysql_async")]
pub use self::tokio::AsyncMysqlManager;
#[cfg(feature = "mysql_async")]
pub use self::tokio_connection::AsyncMysqlConnection;
