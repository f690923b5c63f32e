//! Lending nothing for a while.

use super::handle::Pool;
use super::state::pooled::Raw;
use super::supply::speed;
use super::upkeep::usage;
use super::work::worker;
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::sync::PoisonError;

impl<M: Manager> Pool<M> {
    /// Pauses the pool, for example while a server is restarted or fails over: from now on it lends
    /// nothing. Whoever asks for a connection waits, within its own limit, until the pool is
    /// [resumed](Self::resume), and keeps its place. What is on loan stays there. The
    /// [reserve](Self::reserved) goes on lending: an administrator may look at the server through
    /// it. Does not block. A second call does nothing.
    ///
    /// Upkeep goes on: sweeps ping what is idle, what is dead or too old is replaced, and
    /// `min_size` and `min_idle` are kept. But the pool opens nothing for those that wait, as it
    /// could not lend it; it gives up connects that were asked for and not begun.
    /// [`resume`](Self::resume) asks for them. To close what is open, too,
    /// [`change`](Self::change) `max_size` and `min_size` to 0: then no sweep and no waiter opens
    /// anything.
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
        let is_new = self.turn_door(|raw| {
            let is_new = !raw.is_paused();
            if is_new {
                raw.pause();
            }
            is_new
        });
        if is_new {
            self.state().note(EventKind::Paused);
            // A round that began before may be granting; and wakers are foreign code.
            self.raw.dispatch();
        }
    }

    /// Goes on after a [`pause`](Self::pause): those that wait are served in order, and what they
    /// need is opened. Does not block.
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
        let was_paused = self.turn_door(|raw| {
            let was_paused = raw.is_paused();
            if was_paused {
                raw.resume();
            }
            was_paused
        });
        if was_paused {
            speed::forget(self.state());
            self.state().note(EventKind::Resumed);
            self.raw.dispatch();
            // For those that wait nothing was opened meanwhile.
            worker::grow(&self.raw);
            usage::resumed(&self.raw);
        }
    }

    /// Returns whether the pool is [paused](Self::pause); [`resume`](Self::resume) has an
    /// [example](Self::resume).
    pub fn is_paused(&self) -> bool {
        self.raw.is_paused()
    }

    /// One caller at a time. False: the pool is the parent process's.
    fn turn_door(&self, turn: impl FnOnce(&Raw<M>) -> bool) -> bool {
        if self.raw.is_inherited() {
            return false;
        }
        let _door = self.state().door.lock().unwrap_or_else(PoisonError::into_inner);
        turn(&self.raw)
    }
}
