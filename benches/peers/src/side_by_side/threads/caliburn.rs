//! caliburn: `get`, which waits, and `try_get`, which does not.

use super::ForThreads;
use crate::side_by_side::object::Object;
use caliburn::health::HealthStrategy;
use caliburn::{BlockingManager, Builder, Deadline, Manager, Pool};
use std::convert::Infallible;
use std::time::Duration;

/// A manager for objects that need no care.
#[derive(Debug)]
pub struct Objects;

impl Manager for Objects {
    type Connection = Box<Object>;
    type Error = Infallible;
}

impl BlockingManager for Objects {
    fn connect(&self, _: &Deadline) -> Result<Box<Object>, Infallible> {
        Ok(Object::boxed())
    }

    fn ping(&self, _: &mut Box<Object>, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A pool with all its connections open.
pub(crate) fn pool(
    size: usize,
    strategy: impl HealthStrategy,
    settings: impl FnOnce(Builder<Objects>) -> Builder<Objects>,
) -> Pool<Objects> {
    let builder = Pool::builder(Objects).max_size(size).min_size(size).health(strategy);
    settings(builder).wait_ready(Duration::from_secs(5)).build().expect("objects always connect")
}

/// Borrows by `get`.
#[derive(Debug)]
pub struct Get(Pool<Objects>);

impl Get {
    /// Without a strategy.
    pub fn new(size: usize) -> Self {
        Self::judged(size, ())
    }

    /// With a strategy.
    pub fn judged(size: usize, strategy: impl HealthStrategy) -> Self {
        Self(pool(size, strategy, |builder| builder))
    }

    /// With settings of its own.
    pub fn with(size: usize, settings: impl FnOnce(Builder<Objects>) -> Builder<Objects>) -> Self {
        Self(pool(size, (), settings))
    }
}

impl ForThreads for Get {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.get().expect("an object before the timeout"))
    }
}

/// Borrows by `try_get`.
#[derive(Debug)]
pub struct TryGet(Pool<Objects>);

impl TryGet {
    /// Without a strategy.
    pub fn new(size: usize) -> Self {
        Self(pool(size, (), |builder| builder))
    }
}

impl ForThreads for TryGet {
    fn borrow<R>(&self, held: impl FnOnce(&mut Object) -> R) -> R {
        held(&mut self.0.try_get().expect("an idle object"))
    }
}
