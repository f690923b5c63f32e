//! The reserve: a second pool beside the first, so that nothing that ordinary callers do, neither
//! what they hold nor how many of them wait, is in the way of those that are let into it.
//!
//! It is built of the same [parts](super::assembly) as its pool. A handle of the pool leads to it;
//! no slot and no thread of the one knows the other. What concerns both is done to each in turn.

use super::builder::Builder;
use super::handle::Pool;
use crate::manager::Manager;

impl<M: Manager> Builder<M> {
    /// Sets how many connections the pool keeps beside its own, as a reserve, for health checks and
    /// administrators: at most [`MAX_CAPACITY`](crate::MAX_CAPACITY). Callers that borrow from the
    /// pool never get one of them. Default: 0, no reserve.
    ///
    /// They are opened at the start and kept open, in addition to `max_size`: the server must admit
    /// `max_size` + `reserved` connections. [`Pool::reserved`] lends them.
    ///
    /// ```
    /// # use caliburn::{Builder, Manager};
    /// # fn size<M: Manager>(builder: Builder<M>) -> Builder<M> {
    /// builder.max_size(16).reserved(2)
    /// # }
    /// ```
    pub fn reserved(mut self, reserved: usize) -> Self {
        self.reserved = reserved;
        self
    }
}

impl<M: Manager> Pool<M> {
    /// Returns the pool's reserve, if it was built with [one](crate::Builder::reserved): a pool of
    /// its own, with its own line, on which all methods of a pool work. Its callers wait for each
    /// other, but never for callers of the pool.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use std::time::Duration;
    /// /// Whether the server can be reached, even if all of `pool` is lent and many callers wait.
    /// fn can_be_reached<M: Manager>(pool: &Pool<M>) -> bool {
    ///     let pool = pool.reserved().unwrap_or(pool);
    ///     pool.get_timeout(Duration::from_millis(500)).is_ok()
    /// }
    /// ```
    ///
    /// The reserve has the pool's manager, strategy, hooks, observers, clock and spawner. It opens,
    /// pings and closes its connections by itself, within limits of its own: a
    /// `connect_concurrency` of 4 is one of 4 for each. Only `maintenance_concurrency` is 1, so
    /// that `invalidate` and `switch_manager` replace one connection after the other; a reserve of
    /// one lends none meanwhile. It [turns nobody away](crate::Shedding),
    /// however [little time](crate::Settings::deadline_admission) there is.
    ///
    /// | concerns the pool and its reserve | concerns the pool alone |
    /// |---|---|
    /// | `close`, `close_within`, `until_closed`, the last handle's drop | `pause`, `resume` |
    /// | `invalidate`, `switch_manager` | `evict_where`, `add` |
    /// | `set`, `change`, but for sizes and what is said above | `stats`, `health`, `slots` |
    /// | `ready`, [`wait_ready`](crate::Builder::wait_ready) | `holders`, `overruns` |
    /// | `maintain`, `sweep`, `recent_events` | `settings`, `capacity`, `manager` |
    ///
    /// A method of the reserve concerns the reserve alone, but for `recent_events`. Its sizes can
    /// be changed, up to the number that it was built with; a change of the pool's settings
    /// overwrites the others. A reserve that is closed by itself stays closed. A clone of the
    /// reserve does not keep the pool open, and is closed with it. A reserve has no reserve.
    ///
    /// An [`Event`](crate::observe::Event) says whether it happened in the reserve.
    /// [Exporters](crate::export) report it beside the pool.
    pub fn reserved(&self) -> Option<&Self> {
        self.reserve.as_deref()
    }

    /// The pool, then its reserve.
    pub(super) fn whole(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.reserved())
    }
}
