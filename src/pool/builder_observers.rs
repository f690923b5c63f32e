//! The builder's methods for observers.

use super::builder::Builder;
use super::ground::sampling::Sampling;
use crate::manager::Manager;
use crate::observe::Observer;

/// # Observers
impl<M: Manager> Builder<M> {
    /// Adds an observer, which receives the pool's events: see [`observe`](crate::observe). Several
    /// observers are called one after the other. Default: none.
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

    /// Measures how long one loan in `every` lasts, for
    /// [`Stats::use_time`](crate::Stats::use_time). `every` is rounded up to a power of two. A
    /// measured loan takes the slow path, out and back, for about 100 ns more. Default: no loan is
    /// measured.
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

    /// Notes with each loan which thread or, in tokio, which task holds it (with feature `tokio`,
    /// or one that needs it), for [`Pool::holders`](crate::Pool::holders), and detects nested
    /// checkouts: a borrower that holds a connection and waits for another. It is told as an
    /// [event](crate::observe::EventKind::NestedGet); and if all connections are held by such
    /// borrowers, so that none would ever come back, the one that closes the circle gets
    /// [`GetError::Deadlock`](crate::GetError::Deadlock) at once. The pool looks when a `get`
    /// begins to wait, and takes it that a borrower that waits returns nothing meanwhile: do not
    /// use this where guards are handed to other threads, or where a task waits for several things
    /// at once (`join!`, `select!`). What [`get_many`](crate::Pool::get_many) has gathered is not
    /// looked at. Each loan then takes the slow path, out and back, and allocates, for some 200 ns
    /// more. Default: off.
    ///
    /// ```
    /// # use caliburn::{Builder, Manager};
    /// # fn watch<M: Manager>(builder: Builder<M>) -> Builder<M> {
    /// builder.identify_borrowers()
    /// # }
    /// ```
    pub fn identify_borrowers(mut self) -> Self {
        self.identifies = true;
        self
    }

    /// Keeps the latest `count` events, those of the [reserve](Self::reserved) among them, for
    /// [`Pool::recent_events`](crate::Pool::recent_events). Each takes about 100 bytes; the pool
    /// keeps at most 65,536. Default: 0.
    ///
    /// ```
    /// # use caliburn::{Builder, Manager};
    /// # fn watch<M: Manager>(builder: Builder<M>) -> Builder<M> {
    /// builder.record_events(256)
    /// # }
    /// ```
    pub fn record_events(mut self, count: usize) -> Self {
        self.events_kept = count;
        self
    }
}
