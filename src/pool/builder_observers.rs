//! The builder's methods for those who watch.

use super::builder::Builder;
use super::ground::sampling::Sampling;
use crate::manager::Manager;
use crate::observe::Observer;

/// # Observers
impl<M: Manager> Builder<M> {
    /// Adds an observer, which is told what happens in the pool: see [`observe`](crate::observe).
    /// Several are told one after the other. Default: none, and no event is made.
    ///
    /// ```
    /// # use caliburn::{Builder, Manager};
    /// # fn watch<M: Manager>(builder: Builder<M>) -> Builder<M> {
    /// builder.observer(|event: &caliburn::observe::Event| println!("{event}"))
    /// # }
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Measures how long one loan in `every` lasts, rounded up to a power of two, for
    /// [`Stats::use_time`](crate::Stats::use_time). A loan that is measured takes the slow path,
    /// out and back, for some 100 ns more. Default: none is measured.
    ///
    /// ```
    /// # use caliburn::{Builder, Manager};
    /// # fn watch<M: Manager>(builder: Builder<M>) -> Builder<M> {
    /// builder.sample_use_time(1024)
    /// # }
    /// ```
    pub fn sample_use_time(mut self, every: u64) -> Self {
        self.sampling = Sampling::one_in(every);
        self
    }

    /// Keeps the latest `count` events, for [`Pool::recent_events`](crate::Pool::recent_events).
    /// They take some 100 bytes each, and there are 65,536 at most. Default: 0.
    pub fn record_events(mut self, count: usize) -> Self {
        self.events_kept = count;
        self
    }
}
