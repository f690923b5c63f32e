//! From a function that makes objects to a pool of them.

use super::handle::ObjectPool;
use super::place::{Raw, Reset, Shared};
use crate::config::Settings;
use crate::error::ConfigError;
use crate::fork;
use crate::pool::ground::caught::Foreign;
use crate::raw::RawPool;
use crate::raw::bitmap::Bitmap;
use crate::sync::{Arc, Weak, thread};
use std::fmt;

impl<T: Send + 'static> ObjectPool<T> {
    /// Builds a pool of at most `max_size` objects that `make` makes. None is made yet.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError`] if `max_size` is 0, or greater than
    /// [`MAX_CAPACITY`](crate::MAX_CAPACITY).
    ///
    /// ```
    /// let pool = caliburn::ObjectPool::new(8, || String::with_capacity(100))?;
    /// pool.get()?.push_str("songs");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        max_size: usize,
        make: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        Self::builder(max_size).build(make)
    }

    /// Starts building a pool of at most `max_size` objects; [`ObjectPool`] has an
    /// [example](ObjectPool).
    pub fn builder(max_size: usize) -> ObjectPoolBuilder<T> {
        ObjectPoolBuilder::new(max_size)
    }
}

/// Builds an [`ObjectPool`], whose page has an [example](ObjectPool).
#[must_use]
pub struct ObjectPoolBuilder<T: Send + 'static> {
    max_size: usize,
    reset: Option<Reset<T>>,
}

impl<T: Send + 'static> ObjectPoolBuilder<T> {
    pub(crate) fn new(max_size: usize) -> Self {
        Self { max_size, reset: None }
    }

    /// Sets the function that makes a returned object fit for the next borrower. If it returns
    /// `false`, or panics, the object is dropped. It runs on the thread that returns the object and
    /// should not block. Default: none, objects are lent as they come back.
    ///
    /// `ObjectPool` has an [example](ObjectPool).
    pub fn reset(mut self, reset: impl Fn(&mut T) -> bool + Send + Sync + 'static) -> Self {
        self.reset = Some(Box::new(reset));
        self
    }

    /// Builds the pool. `make` makes its objects, on the threads of borrowers.
    ///
    /// `ObjectPool` has an [example](ObjectPool).
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError`] if `max_size` is 0, or greater than
    /// [`MAX_CAPACITY`](crate::MAX_CAPACITY).
    pub fn build(
        self,
        make: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<ObjectPool<T>, ConfigError> {
        self.build_fallible(move || Ok(make()))
    }

    /// As [`build`](Self::build), with a function that may fail: its error goes to the borrower for
    /// whom the object was to be made.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError`] if `max_size` is 0, or greater than
    /// [`MAX_CAPACITY`](crate::MAX_CAPACITY).
    pub fn build_fallible<E>(
        self,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<ObjectPool<T, E>, ConfigError> {
        let Self { max_size, reset } = self;
        ConfigError::of(Settings::check_size(max_size).into_iter().collect())?;
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let stripes = Bitmap::stripes_for(max_size, threads);
        let shared = Shared::new(reset.map(Foreign::new));
        let raw = RawPool::build(max_size as u32, stripes, shared);
        let weak: Weak<Raw<T>> = Arc::downgrade(&raw);
        fork::enroll(weak);
        Ok(ObjectPool::adopt(raw, Box::new(make)))
    }
}

impl<T: Send + 'static> fmt::Debug for ObjectPoolBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPoolBuilder")
            .field("max_size", &self.max_size)
            .field("resets", &self.reset.is_some())
            .finish()
    }
}
