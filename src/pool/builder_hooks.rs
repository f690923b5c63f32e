//! The builder's methods for hooks.

use super::builder::Builder;
use crate::hooks::{self, HookError, Metadata};
use crate::manager::{AsyncManager, BlockingManager, BoxFuture};

/// The methods for drivers that block; each adds to the list of its name.
macro_rules! blocking {
    ($($(#[$docs:meta])* $name:ident;)+) => {
        $(
            $(#[$docs])*
            pub fn $name(
                mut self,
                hook: impl Fn(&mut M::Connection, &mut Metadata<'_>) -> Result<(), HookError>
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.hooks.$name.push(hooks::blocking::<M>(hook));
                self
            }
        )+
    };
}

/// The methods for drivers whose calls are futures.
macro_rules! awaited {
    ($($(#[$docs:meta])* $name:ident, to $list:ident;)+) => {
        $(
            $(#[$docs])*
            pub fn $name(
                mut self,
                hook: impl for<'a> Fn(
                    &'a mut M::Connection,
                    Metadata<'a>,
                ) -> BoxFuture<'a, Result<(), HookError>>
                + Send
                + Sync
                + 'static,
            ) -> Self {
                self.hooks.$list.push(Box::new(hook));
                self
            }
        )+
    };
}

/// # Hooks
///
/// A hook is code that runs on each connection, on a worker or, before a loan, on the borrower's
/// thread. Several hooks of a kind run in the order in which they were added. A hook that panics
/// has failed.
impl<M: BlockingManager> Builder<M> {
    blocking! {
        /// Adds a hook that runs once on each new connection, within `connect_timeout`. If it
        /// fails, the connect fails. It runs again after each reset that [renews the
        /// session](crate::Manager::renews_session).
        ///
        /// ```
        /// # #[cfg(feature = "rusqlite")] {
        /// use caliburn::Pool;
        /// use caliburn::adapters::sqlite::SqliteManager;
        ///
        /// let pool = Pool::builder(SqliteManager::shared_memory("hooks"))
        ///     .after_connect(|conn, _| Ok(conn.pragma_update(None, "foreign_keys", true)?))
        ///     .build();
        /// # assert!(pool.unwrap().get().is_ok());
        /// # }
        /// ```
        after_connect;

        /// Adds a hook that runs once before each loan, after the ping if one is due, and within
        /// its `ping_timeout`, on the borrower's thread or a worker's. If it fails, the pool evicts
        /// the connection, and the borrower goes on to the next one. Settings that the hook changes
        /// are there for the borrower; a transaction or a request that it leaves open
        /// [is reset](crate::Manager::needs_reset_after_hook) first.
        ///
        /// With such a hook each loan takes the slow path, and [`try_get`](crate::Pool::try_get)
        /// lends only connections that a worker has prepared within the last second.
        ///
        /// ```
        /// # #[cfg(feature = "rusqlite")] {
        /// use caliburn::Pool;
        /// use caliburn::adapters::sqlite::SqliteManager;
        ///
        /// let pool = Pool::builder(SqliteManager::shared_memory("hooks"))
        ///     .before_acquire(|conn, metadata| {
        ///         let age = metadata.info().age();
        ///         if conn.is_busy() { Err(format!("busy, {age:?} old").into()) } else { Ok(()) }
        ///     })
        ///     .build();
        /// # assert!(pool.unwrap().get().is_ok());
        /// # }
        /// ```
        before_acquire;

        /// Adds a hook that runs once after each loan, after the reset if one is due, and within
        /// its `reset_timeout`, on a worker's thread. If it fails, the pool evicts the connection.
        /// What it leaves open [is reset](crate::Manager::needs_reset_after_hook) once more. It
        /// does not run on connections that have broken, or were discarded or detached.
        ///
        /// ```
        /// # #[cfg(feature = "rusqlite")] {
        /// use caliburn::Pool;
        /// use caliburn::adapters::sqlite::SqliteManager;
        ///
        /// let pool = Pool::builder(SqliteManager::shared_memory("hooks"))
        ///     .on_return(|conn, _| Ok(conn.execute_batch("PRAGMA optimize")?))
        ///     .build();
        /// # assert!(pool.unwrap().get().is_ok());
        /// # }
        /// ```
        on_return;
    }
}

impl<M: AsyncManager> Builder<M> {
    awaited! {
        /// As [`after_connect`](Self::after_connect), for a driver whose calls are futures.
        ///
        /// ```
        /// # use caliburn::{AsyncManager, Builder};
        /// # struct Conn;
        /// # impl Conn {
        /// #     async fn execute(&mut self, _: &str) -> Result<(), std::io::Error> { Ok(()) }
        /// # }
        /// # fn example<M: AsyncManager<Connection = Conn>>(builder: Builder<M>) -> Builder<M> {
        /// builder.after_connect_async(|conn, _| {
        ///     Box::pin(async move { Ok(conn.execute("SET search_path = songs").await?) })
        /// })
        /// # }
        /// ```
        after_connect_async, to after_connect;

        /// As [`before_acquire`](Self::before_acquire), for a driver whose calls are futures.
        before_acquire_async, to before_acquire;

        /// As [`on_return`](Self::on_return), for a driver whose calls are futures.
        on_return_async, to on_return;
    }
}
