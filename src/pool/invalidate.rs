//! Replacing and evicting connections on demand, though nothing is wrong with them.

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
    /// Replaces all connections that are open, or being opened, when it is called, those of the
    /// [reserve](Self::reserved) too: for example, after credentials, addresses or a schema have
    /// changed. Blocks until that is done, up to `timeout`. A `get` that begins after this call has
    /// returned gets none of the old connections. Returns how many of them are still on loan; the
    /// pool closes those on their return.
    ///
    /// The pool closes a connection when its replacement is open; where `max_size` has no room for
    /// both, it replaces a few at a time
    /// ([`maintenance_concurrency`](crate::Settings::maintenance_concurrency)). Until then it lends
    /// the connection as before. When the time is up, it lends none of the remaining ones any more,
    /// so a `timeout` of zero invalidates at once. If several callers invalidate, each waits for
    /// the connections that were open when it began.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use std::time::Duration;
    /// fn password_has_changed<M: Manager>(pool: &Pool<M>) {
    ///     let held = pool.invalidate(Duration::from_secs(10));
    ///     println!("{held} of the old connections are still on loan");
    /// }
    /// ```
    pub fn invalidate(&self, timeout: Duration) -> usize {
        if self.raw.is_inherited() {
            return 0;
        }
        let deadline = self.state().clock.now() + timeout;
        let begun: Vec<_> = self.whole().map(Self::begin_to_replace).collect();
        self.replace_all(begun, deadline)
    }

    /// [`invalidate`](Self::invalidate) for tasks. If the future is dropped midway, the pool still
    /// replaces the remaining connections, and lends them until then.
    ///
    /// ```
    /// # use caliburn::{AsyncManager, Pool};
    /// # use std::time::Duration;
    /// async fn password_has_changed<M: AsyncManager>(pool: &Pool<M>) {
    ///     let held = pool.invalidate_async(Duration::from_secs(10)).await;
    ///     println!("{held} of the old connections are still on loan");
    /// }
    /// ```
    pub async fn invalidate_async(&self, timeout: Duration) -> usize {
        if self.raw.is_inherited() {
            return 0;
        }
        let deadline = self.state().clock.now() + timeout;
        let begun: Vec<_> = self.whole().map(Self::begin_to_replace).collect();
        self.replace_all_async(begun, deadline).await
    }

    /// Replaces what is out of date, until `deadline`; from then on lends none of it. Returns how
    /// many are still on loan. `begun` is of the [whole](Self::whole).
    pub(super) fn replace_all(&self, begun: Vec<Replacing<'_>>, deadline: Tick) -> usize {
        let replace = |(pool, replacing): (&Self, Replacing<'_>)| {
            if pool.state().is_manual() {
                pool.maintain();
            } else {
                block_on(pool.until_replaced(replacing.era), &pool.state().clock, deadline);
            }
            pool.refuse(&replacing)
        };
        self.whole().zip(begun).map(replace).sum()
    }

    /// The same for tasks.
    pub(super) async fn replace_all_async(
        &self,
        begun: Vec<Replacing<'_>>,
        deadline: Tick,
    ) -> usize {
        let mut held = 0;
        for (pool, replacing) in self.whole().zip(begun) {
            pool.state().timeout(deadline, pool.until_replaced(replacing.era)).await;
            held += pool.refuse(&replacing);
        }
        held
    }

    /// From now on what is open, or being opened, is to be replaced; not in the reserve.
    pub(super) fn begin_to_replace(&self) -> Replacing<'_> {
        let state = self.state();
        let replacing = state.invalid.replace(|| self.raw.begin_era());
        sweep::ask(&self.raw);
        state.ring.ring();
        replacing
    }

    async fn until_replaced(&self, era: u64) {
        let state = self.state();
        let is_over = || self.older(era) == 0 || self.raw.is_closed();
        state.events.wait_until(|| is_over().then_some(())).await
    }

    fn older(&self, era: u64) -> usize {
        self.raw.ledgers().filter(|ledger: &&Ledger| ledger.stamp().is_older_than(era)).count()
    }

    fn refuse(&self, replacing: &Replacing<'_>) -> usize {
        let (state, era) = (self.state(), replacing.era);
        self.raw.refuse_before(era);
        // What lies idle goes.
        if self.older(era) > 0 {
            sweep::ask(&self.raw);
            if state.is_manual() { self.maintain() } else { state.ring.ring() }
        }
        self.raw
            .ledgers()
            .filter(|ledger| ledger.stamp().is_older_than(era) && ledger.is_lent())
            .count()
    }

    /// Evicts the idle connections for which `predicate` returns true, none of them from the
    /// [reserve](Self::reserved), and returns how many. The
    /// pool calls `predicate` once for each connection that is idle when its turn comes, and does
    /// not lend that connection meanwhile. It passes over connections on loan. It opens new
    /// connections where fewer than the minimum remain.
    ///
    /// # Panics
    ///
    /// Panics if `predicate` panics. The pool keeps the connection that it was called with.
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
            let info = entry.info(ledger, state.generation.get(), state.clock.now());
            if predicate(&mut entry.connection, &info) {
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
