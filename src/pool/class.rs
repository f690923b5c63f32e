//! Classes of borrowers, each with a share of the connections when there are too few for all.

use super::borrow::fast_path::{FastPath, Lending};
use super::builder::Builder;
use super::handle::Pool;
use crate::manager::Manager;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

/// # Classes of borrowers
impl<M: Manager> Builder<M> {
    /// Adds a class of borrowers, such as a tenant or batch jobs, with a share of the connections:
    /// see [`Pool::class`]. Of two classes that wait, one of weight 3 is handed three connections
    /// for each that one of weight 1 is handed. What a class does not ask for the others share.
    ///
    /// Borrowers that name no class belong to `"ordinary"`, whose weight is 1 unless it is set
    /// here. A class that is there already gets the new weight. At most 64 classes, with weights
    /// from 1 to 1,000. In a pool with several classes [`fairness`](Self::fairness) is
    /// [`Fifo`](crate::Fairness::Fifo) within each, whatever is set, and
    /// [`max_waiters`](Self::max_waiters) is a limit on each. Default: one class.
    ///
    /// ```
    /// # use caliburn::{Builder, Manager};
    /// # fn divide<M: Manager>(builder: Builder<M>) -> Builder<M> {
    /// builder.class("ordinary", 3).class("batch", 1)
    /// # }
    /// ```
    pub fn class(mut self, name: impl Into<String>, weight: u32) -> Self {
        self.classes.set(name.into(), weight);
        self
    }
}

/// # Classes of borrowers
impl<M: Manager> Pool<M> {
    /// Borrows as one of a class that the [builder](Builder::class) was told of; `None` if there is
    /// none of this name.
    ///
    /// A class matters to borrowers that must wait: the dispatcher hands them connections by stride
    /// scheduling, so that each class has its share however many of another stand in line. A
    /// borrower that finds an idle connection takes it, whatever its class, at the same cost.
    ///
    /// ```
    /// # use caliburn::{GetError, Manager, Pool};
    /// # fn report<M: Manager>(pool: &Pool<M>) -> Result<(), GetError<M::Error>> {
    /// let batch = pool.class("batch").expect("the builder was told of it");
    /// let connection = batch.get()?;
    /// # drop(connection);
    /// # Ok(())
    /// # }
    /// ```
    pub fn class(&self, name: &str) -> Option<Class<'_, M>> {
        self.state().classes.number_of(name).map(|number| Class { pool: self, number })
    }

    /// Returns the classes with their figures, the ordinary one first.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # fn print<M: Manager>(pool: &Pool<M>) {
    /// for class in pool.classes() {
    ///     println!("{class}"); // batch, weight 1: 12 waiting, 3400 served in line
    /// }
    /// # }
    /// ```
    pub fn classes(&self) -> Vec<ClassInfo> {
        let each = self.state().classes.iter().enumerate().map(|(number, (name, weight))| {
            let (waiting, served) = self.raw.share(number);
            ClassInfo { name: name.to_owned(), weight, waiting, served }
        });
        each.collect()
    }
}

/// A pool as one [class](Pool::class) of borrowers sees it: a reference that borrows for the class.
///
/// ```
/// # use caliburn::{GetError, Manager, Pool};
/// # async fn serve<M: Manager>(pool: &Pool<M>) -> Result<(), GetError<M::Error>> {
/// let web = pool.class("web").expect("the builder was told of it");
/// let connection = web.get_async().await?; // Or `get()`, on a thread.
/// # drop(connection);
/// # Ok(())
/// # }
/// ```
pub struct Class<'a, M: Manager> {
    pool: &'a Pool<M>,
    number: u8,
}

impl<'a, M: Manager> Class<'a, M> {
    /// As [`Pool::get`], for this class.
    ///
    /// # Errors
    ///
    /// Returns [`GetError`](crate::GetError), as [`Pool::get`] does.
    #[track_caller]
    pub fn get(&self) -> Lending<M> {
        self.pool.lend(None, Location::caller(), self.number)
    }

    /// As [`Pool::get_timeout`], for this class.
    ///
    /// # Errors
    ///
    /// Returns [`GetError`](crate::GetError), as [`Pool::get`] does.
    #[track_caller]
    pub fn get_timeout(&self, timeout: Duration) -> Lending<M> {
        self.pool.lend(Some(timeout), Location::caller(), self.number)
    }

    /// As [`Pool::get_async`], for this class.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled again after it was ready.
    ///
    /// # Errors
    ///
    /// Returns [`GetError`](crate::GetError), as [`Pool::get`] does.
    #[track_caller]
    pub fn get_async(&self) -> impl Future<Output = Lending<M>> + Send + use<'a, M> {
        self.lend_async(None, Location::caller())
    }

    /// As [`Pool::get_timeout_async`], for this class.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled again after it was ready.
    ///
    /// # Errors
    ///
    /// Returns [`GetError`](crate::GetError), as [`Pool::get`] does.
    #[track_caller]
    pub fn get_timeout_async(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Lending<M>> + Send + use<'a, M> {
        self.lend_async(Some(timeout), Location::caller())
    }

    // Not the pool's own way, where class and limit are constants that its future need not keep.
    #[inline]
    fn lend_async(
        &self,
        timeout: Option<Duration>,
        borrower: &'static Location<'static>,
    ) -> impl Future<Output = Lending<M>> + Send + use<'a, M> {
        let Self { pool, number } = *self;
        FastPath::new(&pool.raw, borrower, move |taken| {
            pool.get_slowly_async(taken, timeout, borrower, number)
        })
    }
}

impl<M: Manager> Clone for Class<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Manager> Copy for Class<'_, M> {}

impl<M: Manager> fmt::Debug for Class<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Class").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A class of borrowers and its figures: see [`Pool::classes`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassInfo {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// How many of it wait now.
    pub waiting: usize,
    /// How many connections were handed to borrowers of it that waited in line; one that a task did
    /// not take in time, and that went back, counts too. Zero in a pool of one class, where nothing
    /// is divided.
    pub served: u64,
}

impl fmt::Display for ClassInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, weight, waiting, served } = self;
        write!(f, "{name}, weight {weight}: {waiting} waiting, {served} served in line")
    }
}
