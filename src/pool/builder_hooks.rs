//! The builder's methods for hooks.

use super::builder::Builder;
use crate::hooks::{self, HookError, Metadata};
use crate::manager::{AsyncManager, BlockingManager, BoxFuture};

/// # Hooks
///
/// A hook is code that runs on each connection, on a worker or, before a loan, on the borrower's
/// thread. Several hooks of a kind run in the order in which they were added. A hook that panics
/// has failed.
impl<M: BlockingManager> Builder<M> {
    /// Adds a hook that runs once on each new connection, within `connect_timeout`. If it fails,
    /// the connect fails. It runs again after each reset that [renews the
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
    pub fn after_connect(
        mut self,
        hook: impl Fn(&mut M::Connection, &mut Metadata<'_>) -> Result<(), HookError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.hooks.after_connect.push(hooks::blocking::<M>(hook));
        self
    }

    /// Adds a hook that runs once before each loan, after the ping if one is due, and within its
    /// `ping_timeout`, on the borrower's thread or a worker's. If it fails, the pool evicts the
    /// connection, and the borrower goes on to the next one. Settings that the hook changes are
    /// there for the borrower; a transaction or a request that it leaves open
    /// [is reset](crate::Manager::needs_reset_after_hook) first.
    ///
    /// With such a hook each loan takes the slow path, and [`try_get`](crate::Pool::try_get) lends
    /// only connections that a worker has prepared within the last second.
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
    pub fn before_acquire(
        mut self,
        hook: impl Fn(&mut M::Connection, &mut Metadata<'_>) -> Result<(), HookError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.hooks.before_acquire.push(hooks::blocking::<M>(hook));
        self
    }

    /// Adds a hook that runs once after each loan, after the reset if one is due, and within its
    /// `reset_timeout`, on a worker's thread. If it fails, the pool evicts the connection. What it
    /// leaves open [is reset](crate::Manager::needs_reset_after_hook) once more. It does not run on
    /// connections that have broken, or were discarded or detached.
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
    pub fn on_return(
        mut self,
        hook: impl Fn(&mut M::Connection, &mut Metadata<'_>) -> Result<(), HookError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.hooks.on_return.push(hooks::blocking::<M>(hook));
        self
    }
}

impl<M: AsyncManager> Builder<M> {
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
    pub fn after_connect_async(
        mut self,
        hook: impl for<'a> Fn(
            &'a mut M::Connection,
            Metadata<'a>,
        ) -> BoxFuture<'a, Result<(), HookError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.hooks.after_connect.push(Box::new(hook));
        self
    }

    /// As [`before_acquire`](Self::before_acquire), for a driver whose calls are futures.
    pub fn before_acquire_async(
        mut self,
        hook: impl for<'a> Fn(
            &'a mut M::Connection,
            Metadata<'a>,
        ) -> BoxFuture<'a, Result<(), HookError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.hooks.before_acquire.push(Box::new(hook));
        self
    }

    /// As [`on_return`](Self::on_return), for a driver whose calls are futures.
    pub fn on_return_async(
        mut self,
        hook: impl for<'a> Fn(
            &'a mut M::Connection,
            Metadata<'a>,
        ) -> BoxFuture<'a, Result<(), HookError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.hooks.on_return.push(Box::new(hook));
        self
    }
}
