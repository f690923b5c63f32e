//! Advice on the size of a pool, from what has happened in it lately.

use super::handle::Pool;
use crate::manager::Manager;
use crate::stats::Advice;
use crate::sync::PoisonError;

impl<M: Manager> Pool<M> {
    /// Returns what limits the pool now, and how many connections would do. Called often, it looks
    /// at the last 10 to 20 s; else at the time since it was last called; when called first, at all
    /// the time since the pool was built. For an interval of your own use
    /// [`Stats::advice`](crate::Stats::advice).
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// fn report<M: Manager>(pool: &Pool<M>) {
    ///     println!("{}", pool.advice());
    /// }
    /// ```
    pub fn advice(&self) -> Advice {
        let now = self.stats();
        if self.raw.is_inherited() {
            // Another thread may have held the lock when the process was forked.
            return now.advice();
        }
        let marks = &self.state().marks;
        let interval = marks.lock().unwrap_or_else(PoisonError::into_inner).interval(&now);
        interval.advice()
    }
}
