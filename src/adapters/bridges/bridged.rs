//! A foreign manager's connection, and where it lives.

use crate::adapters::idle::{Idle, Occasion};
use crate::adapters::runtime::Home;
#[cfg(feature = "deadpool")]
use crate::adapters::runtime::poll_once;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
#[cfg(feature = "deadpool")]
use std::task::{Context, Poll, Waker};

/// The connection that the bridges for tasks pool: derefs to the foreign manager's connection.
///
/// Call its methods and pass references to it as if it were the connection itself. Only a *generic*
/// parameter (`impl ConnectionLike`, `impl Executor`) takes one asterisk more: `&mut **conn`.
///
/// ```
/// # use caliburn::{AsyncManager, Manager, PooledConnection};
/// use caliburn::adapters::bridges::Bridged;
///
/// /// Takes a connection out of the pool for good, without the bridge.
/// fn keep<M: Manager<Connection = Bridged<C>>, C>(conn: PooledConnection<M>) -> C {
///     PooledConnection::detach(conn).into_inner()
/// }
/// ```
pub struct Bridged<C> {
    /// `None` once it is being taken out.
    connection: Option<C>,
    home: Arc<Home>,
    idle: Idle,
    farewell: Option<Farewell<C>>,
    #[cfg(feature = "deadpool")]
    pub(super) metrics: ::deadpool::managed::Metrics,
}

/// What the manager wants to do with a connection that leaves the pool.
pub(super) type Farewell<C> = Box<dyn FnOnce(&mut C) + Send + Sync>;

impl<C> Bridged<C> {
    /// A connection that was just opened in `home`.
    pub(super) fn new(connection: C, home: Arc<Home>, farewell: Option<Farewell<C>>) -> Self {
        Self {
            connection: Some(connection),
            home,
            idle: Idle::now(),
            farewell,
            #[cfg(feature = "deadpool")]
            metrics: ::deadpool::managed::Metrics::default(),
        }
    }

    /// Returns the connection itself, for example of one that was
    /// [detached](crate::PooledConnection::detach).
    pub fn into_inner(mut self) -> C {
        match self.leave() {
            Some(connection) => connection,
            None => unreachable!("it is taken out once"),
        }
    }

    fn leave(&mut self) -> Option<C> {
        let mut connection = self.connection.take()?;
        if let Some(farewell) = self.farewell.take() {
            farewell(&mut connection);
        }
        Some(connection)
    }

    /// Why the pool asks about it, which it does once before and once after each loan.
    pub(super) fn occasion(&mut self) -> Occasion {
        self.idle.occasion()
    }

    /// Whether it is of no use where it is wanted.
    pub(super) fn is_stranded(&self, occasion: Occasion) -> bool {
        self.home.fails(occasion)
    }

    /// Whether only a ping can tell that.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.home.is_in_doubt()
    }

    /// Does `work` where the connection lives. `None`: its runtime is gone, or not driven.
    pub(super) async fn at_home<'a, F: Future>(
        &'a mut self,
        work: impl FnOnce(&'a mut C) -> F,
    ) -> Option<F::Output> {
        let (connection, home) = (self.connection.as_mut(), &self.home);
        match connection {
            Some(connection) => home.run(work(connection)).await,
            None => None,
        }
    }

    /// Does `work` where the connection lives, if it waits for nothing. `None`: it does.
    #[cfg(feature = "deadpool")]
    pub(super) fn at_once<'a, F: Future>(
        &'a mut self,
        work: impl FnOnce(&'a mut C) -> F,
    ) -> Option<F::Output> {
        let _entered = self.home.enter();
        let work = work(self.connection.as_mut()?);
        match poll_once(work, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

impl<C> Deref for Bridged<C> {
    type Target = C;

    fn deref(&self) -> &C {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("it is taken out last"),
        }
    }
}

impl<C> DerefMut for Bridged<C> {
    fn deref_mut(&mut self) -> &mut C {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("it is taken out last"),
        }
    }
}

impl<C> AsRef<C> for Bridged<C> {
    fn as_ref(&self) -> &C {
        self
    }
}

impl<C> AsMut<C> for Bridged<C> {
    fn as_mut(&mut self) -> &mut C {
        self
    }
}

impl<C> Drop for Bridged<C> {
    /// In its runtime's context, which its own destructor may want.
    fn drop(&mut self) {
        if self.connection.is_some() {
            let home = Arc::clone(&self.home);
            let _entered = home.enter();
            drop(self.leave());
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for Bridged<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
