//! Lending nothing for a while.

use super::handle::Pool;
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::sync::{MutexGuard, PoisonError};

impl<M: Manager> Pool<M> {
    /// Pauses the pool, for example while a server is restarted or fails over: from now on it lends
    /// nothing. Whoever asks for a connection waits, within its own limit, until the pool is
    /// [resumed](Self::resume), and keeps its place. What is on loan stays there, and upkeep goes
    /// on; [`change`](Self::change) `max_size` to 0 to close what is open, too. Does not block. A
    /// second call does nothing.
    ///
    /// A `get` that begins after this call has returned waits. One that began before, and already
    /// has its connection pinged or a connection granted to it, still gets that.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use std::time::Duration;
    /// fn fail_over<M: Manager>(pool: &Pool<M>, with_new_server: M) {
    ///     pool.pause();
    ///     // Borrowers wait; none of them sees an error of the old server.
    ///     let switched = pool.switch_manager(with_new_server, Duration::from_secs(10));
    ///     pool.resume();
    ///     if let Err(error) = switched {
    ///         eprintln!("{error:#}");
    ///     }
    /// }
    /// ```
    pub fn pause(&self) {
        if let Some(_changing) = self.begin_to_change()
            && !self.raw.is_paused()
        {
            self.raw.pause();
            self.state().note(EventKind::Paused);
        }
    }

    /// Goes on after a [`pause`](Self::pause): those that wait are served in order. Does not block.
    /// Does nothing if the pool is not paused.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// fn go_on<M: Manager>(pool: &Pool<M>) {
    ///     if pool.is_paused() {
    ///         pool.resume();
    ///     }
    /// }
    /// ```
    pub fn resume(&self) {
        if let Some(_changing) = self.begin_to_change()
            && self.raw.is_paused()
        {
            self.state().note(EventKind::Resumed);
            self.raw.resume();
        }
    }

    /// Returns whether the pool is [paused](Self::pause); [`resume`](Self::resume) has an
    /// [example](Self::resume).
    pub fn is_paused(&self) -> bool {
        self.raw.is_paused()
    }

    /// `None`: the pool is the parent process's.
    fn begin_to_change(&self) -> Option<MutexGuard<'_, ()>> {
        if self.raw.is_inherited() {
            return None;
        }
        Some(self.state().changing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
