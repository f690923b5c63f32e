//! What a pool tells an operator.

use super::handle::Pool;
use super::slots;
use super::snapshot;
use super::state::pooled::Raw;
use super::supply::overruns;
use super::supply::shortage::{Shortage, is_out};
use super::work::launch;
use crate::clock::Tick;
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::observe::Event;
use crate::stats::{Defect, Holder, Ledger, Overrun, PoolHealth, SlotInfo, Stats};
use crate::sync::Arc;
use std::time::Duration;

impl<M: Manager> Pool<M> {
    /// Returns a snapshot of gauges and counters. The [reserve](Self::reserved) has its own, as it
    /// has its own health, holders and slots.
    pub fn stats(&self) -> Stats {
        snapshot::stats(&self.raw)
    }

    /// Returns the latest events, oldest first, as many as
    /// [`record_events`](crate::Builder::record_events) keeps: a flight recorder, to read when
    /// something went wrong.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// fn work<M: Manager>(pool: &Pool<M>) {
    ///     let Err(error) = pool.get() else { return };
    ///     eprintln!("{error:#}");
    ///     for event in pool.recent_events() {
    ///         eprintln!("{event}");
    ///     }
    /// }
    /// ```
    pub fn recent_events(&self) -> Vec<Event> {
        self.state().journal.recent()
    }

    /// Returns which borrowers hold connections now, since when, and where they asked for them.
    pub fn holders(&self) -> Vec<Holder> {
        let now = self.state().clock.tick();
        self.raw.ledgers().filter_map(|ledger: &Ledger| ledger.holder(now)).collect()
    }

    /// Returns a look at each slot, in order: what a picture of the pool is drawn from.
    ///
    /// It claims no slot, so it delays no borrower, and costs a look at each slot. At rest it
    /// agrees with [`stats`](Self::stats); while connections move, each slot is seen at a moment of
    /// its own, and one that is changing its state may be seen as [`InTransit`] or, if it has no
    /// connection, as [`Opening`].
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// use caliburn::stats::SlotState;
    ///
    /// fn picture<M: Manager>(pool: &Pool<M>) -> String {
    ///     for (number, slot) in pool.slots().iter().enumerate() {
    ///         if let SlotState::Lent(holder) = &slot.state {
    ///             println!("slot {number}: {holder}");
    ///         }
    ///     }
    ///     // Such as "lliiv": two are lent, two idle, one is vacant.
    ///     pool.slots().iter().map(|slot| &slot.state.as_str()[..1]).collect()
    /// }
    /// ```
    ///
    /// [`InTransit`]: crate::stats::SlotState::InTransit
    /// [`Opening`]: crate::stats::SlotState::Opening
    pub fn slots(&self) -> Vec<SlotInfo> {
        slots::slots(&self.raw)
    }

    /// Returns the calls into the manager that have outlived their limit, then the tasks that the
    /// [spawner](crate::Builder::spawner) has not run. Until such a call returns, it occupies a
    /// thread, and its slot stays [in quarantine](Stats::quarantined). Only blocking calls can
    /// overrun, as the pool drops futures at their limit. It soon runs the work of such tasks
    /// itself ([`launch_failures`](Stats::launch_failures)).
    pub fn overruns(&self) -> Vec<Overrun> {
        [overruns::overruns(&self.raw), launch::overruns(&self.raw)].concat()
    }

    /// Returns whether the pool can serve borrowers, and if not, why. It does not ask the server:
    /// the pool notices a server that has gone when a connection is next used, pinged or looked at.
    /// To check the server itself use [`ready`](Self::ready) at the start, and later a strategy
    /// that sweeps.
    ///
    /// A failure counts only while attempts confirm it. The pool makes one each second as long as a
    /// borrower or the minimum needs a connection; if it has made none for 5 s, it knows of nothing
    /// that is wrong.
    pub fn health(&self) -> PoolHealth<M::Error> {
        if self.is_closed() {
            return PoolHealth::Closed;
        }
        if self.is_paused() || self.state().settings.load().max_size == 0 {
            return PoolHealth::Paused;
        }
        let (outage, overdue) = (outage(&self.raw), self.overruns());
        if let Some((since, cause)) = &outage
            && is_out(&self.raw)
        {
            return PoolHealth::Down { since: *since, cause: cause.clone() };
        }
        let stats = snapshot::stats_of_slots(&self.raw);
        let in_service = stats.idle + stats.lent + stats.opening + stats.maintenance + stats.vacant;
        if in_service == 0
            && let Some(since) = overdue.iter().map(|overrun| overrun.since).max()
        {
            return PoolHealth::Down { since, cause: Some(Arc::new(ManagerError::TimedOut)) };
        }
        let Shortage { missing, .. } = Shortage::of(&self.raw);
        let defects: Vec<_> = [
            outage.map(|(since, cause)| Defect::CannotConnect { since, cause }),
            (missing > 0).then_some(Defect::BelowMinimum { missing }),
            (!overdue.is_empty()).then_some(Defect::Overdue(overdue)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if defects.is_empty() { PoolHealth::Ok } else { PoolHealth::Degraded(defects) }
    }
}

/// While there is demand, an attempt is made each second. A failure that none has confirmed for
/// this long tells nothing about the server.
const FRESH: Duration = Duration::from_secs(5);

/// For how long connecting has failed, and why.
type Outage<E> = (Duration, Option<Arc<ManagerError<E>>>);

/// The outage that goes on, if there is one.
fn outage<M: Manager>(raw: &Raw<M>) -> Option<Outage<M::Error>> {
    let (state, now) = (raw.context(), raw.context().clock.now());
    let since: Tick = state.supply.failing_since()?;
    // Nobody has needed a connection since: the server may be back for long.
    let is_idle = state.service.connecting() == 0;
    let is_stale = is_idle && state.supply.pace(|pace| pace.backoff.since_begun(now)) > FRESH;
    (!is_stale).then(|| (now.since(since), state.last_connect_failure.load_full()))
}
