//! MySQL and MariaDB, for threads and for tasks.
//!
//! | | for threads | for tasks |
//! |---|---|---|
//! | feature | `mysql` | `mysql_async` |
//! | driver | [mysql](https://docs.rs/mysql) | [mysql_async](https://docs.rs/mysql_async) |
//! | manager | [`MysqlManager`] | [`AsyncMysqlManager`] |
//! | pool | [`Pool`] | [`AsyncPool`] |
//! | guard | [`Connection`] | [`AsyncConnection`] |
//! | derefs to | [`MysqlConnection`] | [`AsyncMysqlConnection`] |
//!
//! See also the [page on MySQL](crate::guide::mysql).

#[cfg(feature = "mysql")]
mod blocking;
mod session;
#[cfg(feature = "mysql_async")]
mod tokio;

#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub use self::blocking::{MysqlConnection, MysqlManager, MysqlTransaction};
pub use self::session::url::UrlError;
#[cfg(feature = "mysql_async")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql_async")))]
pub use self::tokio::{AsyncMysqlConnection, AsyncMysqlManager, AsyncMysqlTransaction};
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub use ::mysql;
#[cfg(feature = "mysql_async")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql_async")))]
pub use ::mysql_async;

pool_of!(MysqlManager, "mysql", for "threads": Pool, Connection);
pool_of!(AsyncMysqlManager, "mysql_async", for "tasks": AsyncPool, AsyncConnection);
