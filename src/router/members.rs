//! Who belongs to a router: endpoints that come and go.

use super::endpoint::Endpoint;
use super::error::RouterError;
use super::handle::Router;
use super::publish::{announce, show};
use super::state::{Book, Record};
use crate::error::BuildError;
use crate::manager::Manager;
use crate::role::Role;
use crate::sync::Arc;
use crate::{Builder, Pool};
use std::fmt;

/// Measured, of the loans of a pool that does not measure any: one in so many.
const SAMPLE: u64 = 4;

/// A pool for an endpoint: a [`Pool`], or a [`Builder`] of one.
///
/// A builder that measures no loans is set to [measure](Builder::sample_use_time) one in four, by
/// which the router chooses between endpoints. Of a pool that was built without, the router knows
/// only how many borrowers are there.
pub struct EndpointPool<M: Manager>(Source<M>);

enum Source<M: Manager> {
    Built(Pool<M>),
    ToBuild(Box<Builder<M>>),
}

impl<M: Manager> From<Pool<M>> for EndpointPool<M> {
    fn from(pool: Pool<M>) -> Self {
        Self(Source::Built(pool))
    }
}

impl<M: Manager> From<Builder<M>> for EndpointPool<M> {
    fn from(builder: Builder<M>) -> Self {
        Self(Source::ToBuild(Box::new(builder)))
    }
}

impl<M: Manager> fmt::Debug for EndpointPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Built(pool) => pool.fmt(f),
            Source::ToBuild(builder) => builder.fmt(f),
        }
    }
}

impl<M: Manager> EndpointPool<M> {
    pub(super) fn build(self) -> Result<Pool<M>, BuildError<M::Error>> {
        match self.0 {
            Source::Built(pool) => Ok(pool),
            Source::ToBuild(builder) if builder.sampling.is_on() => builder.build(),
            Source::ToBuild(builder) => builder.sample_use_time(SAMPLE).build(),
        }
    }
}

impl<M: Manager> Router<M> {
    /// Adds an endpoint, which serves at once. Its role is what its manager says when it is first
    /// asked, or `role` if the manager cannot tell.
    ///
    /// ```
    /// # use caliburn::{BlockingManager, Pool, Role, Router};
    /// # fn grow<M: BlockingManager>(router: &Router<M>, db4: M) {
    /// router.add("db4", Role::Replica, Pool::builder(db4).max_size(16)).unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RouterError`] if there is an endpoint of that name, if the pool cannot be built,
    /// or in a forked child.
    pub fn add(
        &self,
        name: impl Into<Arc<str>>,
        role: Role,
        pool: impl Into<EndpointPool<M>>,
    ) -> Result<(), RouterError<M::Error>> {
        let name = name.into();
        if self.state.is_inherited() {
            return Err(RouterError::Forked);
        }
        // Not built in vain, as a rule.
        if self.pool(&name).is_some() {
            return Err(RouterError::DuplicateName(name));
        }
        let pool = match pool.into().build() {
            Ok(pool) => pool,
            Err(error) => return Err(RouterError::Build { endpoint: name, error }),
        };
        let endpoint = Arc::new(Endpoint::new(name, pool, role));
        let (name, now) = (Arc::clone(&endpoint.name), self.state.clock.now());
        let is_new = self.change(|book| {
            let is_new = book.records.iter().all(|record| record.endpoint.name != name);
            if is_new {
                book.records.push(Record::new(Arc::clone(&endpoint), now));
            }
            is_new
        });
        if is_new { Ok(()) } else { Err(RouterError::DuplicateName(name)) }
    }

    /// Sends no more borrowers to the endpoint of that name; those that wait there go to another
    /// one. Connections on loan stay. Does not block; [`stats`](Self::stats) tells when none is
    /// lent any more. Returns whether there is such an endpoint.
    ///
    /// ```
    /// # use caliburn::{Manager, Router};
    /// # use std::time::Duration;
    /// /// For an upgrade of the server, for example.
    /// fn take_out<M: Manager>(router: &Router<M>, name: &str) {
    ///     router.drain(name);
    ///     if let Some(pool) = router.remove(name) {
    ///         println!("{}", pool.close_within(Duration::from_secs(30)));
    ///     }
    /// }
    /// ```
    pub fn drain(&self, name: &str) -> bool {
        self.set_draining(name, true)
    }

    /// Undoes [`drain`](Self::drain). Returns whether there is such an endpoint.
    ///
    /// ```
    /// # use caliburn::{Manager, Router};
    /// # fn upgraded<M: Manager>(router: &Router<M>) {
    /// router.restore("db3");
    /// # }
    /// ```
    pub fn restore(&self, name: &str) -> bool {
        self.set_draining(name, false)
    }

    /// Removes the endpoint of that name, and returns its pool. Borrowers that wait there go to
    /// another endpoint. If the pool is dropped, and has no other handle, it is closed;
    /// [`drain`](Self::drain) has an [example](Self::drain).
    pub fn remove(&self, name: &str) -> Option<Pool<M>> {
        if self.state.is_inherited() {
            return None;
        }
        let removed = self.change(|book| {
            let named = |record: &Record<M>| &*record.endpoint.name == name;
            let at = book.records.iter().position(named)?;
            Some(book.records.remove(at))
        })?;
        Some(removed.endpoint.pool.clone())
    }

    fn set_draining(&self, name: &str, is_draining: bool) -> bool {
        if self.state.is_inherited() {
            return false;
        }
        self.change(|book| {
            let mut records = book.records.iter_mut();
            let found = records.find(|record| &*record.endpoint.name == name);
            found.map(|record| record.is_draining = is_draining).is_some()
        })
    }

    /// Changes the book, and publishes what has come of it.
    fn change<T>(&self, change: impl FnOnce(&mut Book<M>) -> T) -> T {
        let state = &self.state;
        let mut book = state.book();
        let answer = change(&mut book);
        let replaced = show(state, &mut book, state.clock.now());
        drop(book);
        announce(state, replaced);
        state.ring.ring();
        answer
    }
}
