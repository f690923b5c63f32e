//! Connections that are to go though nothing is wrong with them.

use super::ground::park::block_on;
use super::handle::Pool;
use super::service::enqueue;
use super::state::invalid::Replacing;
use super::upkeep::sweep;
use crate::clock::Tick;
use crate::health::{ConnectionInfo, EvictionCause};
use crate::manager::Manager;
use crate::stats::Ledger;
use std::time::Duration;

impl<M: Manager> Pool<M> {
    /// Replaces all connections that are open now, or being opened, for example since credentials,
    /// addresses or a schema have changed. Blocks up to `timeout` while that goes on. No `get` that
    /// begins after this has returned lends one of them. Returns how many borrowers hold on to;
    /// those are closed on their return.
    ///
    /// A connection goes once its replacement is open or, where `max_size` has no room for both, a
    /// few at a time
    /// ([`maintenance_concurrency`](crate::Settings::maintenance_concurrency)); until then it is
    /// lent as before. What is still open when the time is up is not lent any more, so a `timeout`
    /// of zero invalidates at once. If several callers invalidate, each waits for what was open
    /// when it came.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use std::time::Duration;
    /// fn password_has_changed<M: Manager>(pool: &Pool<M>) {
    ///     let held = pool.invalidate(Duration::from_secs(10));
    ///     println!("{held} of the old connections are still held");
    /// }
    /// ```
    pub fn invalidate(&self, timeout: Duration) -> usize {
        let Some((then, _replacing)) = self.begin_to_replace() else { return 0 };
        let clock = &self.state().clock;
        if self.state().is_manual() {
            self.maintain();
        } else {
            block_on(self.until_replaced(then), clock, clock.now() + timeout);
        }
        self.refuse(then)
    }

    /// [`invalidate`](Self::invalidate) for tasks. If the future is dropped half-way, the rest is
    /// replaced all the same, and lent until it is.
    pub async fn invalidate_async(&self, timeout: Duration) -> usize {
        let Some((then, _replacing)) = self.begin_to_replace() else { return 0 };
        let state = self.state();
        state.timeout(state.clock.now() + timeout, self.until_replaced(then)).await;
        self.refuse(then)
    }

    /// `None`: the connections are another process's.
    fn begin_to_replace(&self) -> Option<(Tick, Replacing<'_>)> {
        if self.raw.is_inherited() {
            return None;
        }
        let state = self.state();
        // A connect that begins in this very moment counts as new.
        let then = state.clock.now();
        let replacing = state.invalid.replace_before(then);
        self.raw.advance_epoch();
        sweep::ask(&self.raw);
        state.ring.ring();
        Some((then, replacing))
    }

    async fn until_replaced(&self, then: Tick) {
        let state = self.state();
        let is_over = || self.older(then) == 0 || self.raw.is_closed();
        state.events.wait_until(|| is_over().then_some(())).await
    }

    fn older(&self, then: Tick) -> usize {
        self.raw.ledgers().filter(|ledger: &&Ledger| ledger.is_older_than(then)).count()
    }

    fn refuse(&self, then: Tick) -> usize {
        let state = self.state();
        state.invalid.refuse_before(then);
        self.raw.advance_epoch();
        // What lies idle goes.
        if self.older(then) > 0 {
            sweep::ask(&self.raw);
            if state.is_manual() { self.maintain() } else { state.ring.ring() }
        }
        self.raw.ledgers().filter(|ledger| ledger.is_older_than(then) && ledger.is_lent()).count()
    }

    /// Evicts those idle connections for which `predicate` returns true, and returns how many. It
    /// is called once for each connection that is idle when its turn comes; meanwhile that is not
    /// lent. What is lent is not looked at. The minimum is opened again.
    ///
    /// # Panics
    ///
    /// Panics if `predicate` does; the connections stay.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use std::time::Duration;
    /// fn drop_the_old<M: Manager>(pool: &Pool<M>) -> usize {
    ///     pool.evict_where(|_, info| info.age() > Duration::from_secs(3600))
    /// }
    /// ```
    pub fn evict_where(
        &self,
        mut predicate: impl FnMut(&mut M::Connection, &ConnectionInfo) -> bool,
    ) -> usize {
        if self.raw.is_inherited() {
            return 0;
        }
        let (raw, state) = (&self.raw, self.state());
        let mut evicted = 0;
        for index in 0..raw.capacity() as u32 {
            // Taken before the connection stops being idle, so that it is never missing.
            let _briefly_out = state.service.take_briefly();
            let Some(mut slot) = raw.claim_idle_at(index) else { continue };
            let (entry, ledger) = slot.parts();
            entry.refresh(ledger, state.generation.get(), state.clock.now());
            if predicate(&mut entry.connection, &entry.info) {
                enqueue::close(slot, EvictionCause::Invalidated);
                evicted += 1;
            }
        }
        if state.is_manual() {
            self.maintain();
        }
        evicted
    }
}
