//! The housekeeper's visit to one pool: deadlines, surplus, the sweep, growth.
//!
//! It plans, and connectors act: no driver is called here. At most `maintenance_concurrency` connections
//! are out of service at once; what is left over waits for the next visit.

use super::growth::Replacement;
use super::job::{Job, Replaces};
use super::quarantine::{Late, Stuck};
use super::shared::{Raw, Slot};
use super::{growth, verdict};
use crate::clock::Tick;
use crate::health::{EvictionCause, Verdict};
use crate::manager::Manager;
use crate::raw::waiter::wake_all;
use crate::sync::{Arc, MutexGuard, Ordering, PoisonError};
use std::time::Duration;

/// How often idle connections are looked at when nobody says otherwise.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// Passes are not begun more often: the housekeeper has others to look after.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// The least time between passes that were begun because a connection was found dead.
const AFTER_BAD_NEWS: Duration = Duration::from_secs(1);

/// Where the current pass stands.
#[derive(Debug)]
pub(crate) struct Sweep {
    last: Tick,
    /// The pool's generation when it was begun.
    generation: u64,
    /// Slots still to be judged.
    left: Vec<u32>,
    /// Those whose connections are to be replaced as soon as a connect is allowed.
    postponed: Vec<u32>,
    /// Idle connections may be closed down to the minimum.
    may_shrink: bool,
}

impl Sweep {
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            last: now,
            generation: 0,
            left: Vec::new(),
            postponed: Vec::new(),
            may_shrink: false,
        }
    }

    fn begin<M: Manager>(&mut self, raw: &Raw<M>, now: Tick) {
        self.last = now;
        self.generation = raw.context().generation();
        self.left = (0..raw.capacity() as u32).rev().collect();
        self.postponed.clear();
        self.may_shrink = true;
        raw.context().counters.sweeps.add();
    }
}

fn lock<M: Manager>(raw: &Raw<M>) -> MutexGuard<'_, Sweep> {
    raw.context().sweeping.lock().unwrap_or_else(PoisonError::into_inner)
}

fn interval<M: Manager>(raw: &Raw<M>) -> Duration {
    let shared = raw.context();
    let wanted = shared.settings.load().sweep_interval.or(shared.strategy_interval);
    wanted.unwrap_or(DEFAULT_INTERVAL).max(MIN_INTERVAL)
}

/// Begins a pass although none is due.
pub(crate) fn begin<M: Manager>(raw: &Raw<M>) {
    lock(raw).begin(raw, raw.context().clock.now());
}

/// Wakes the futures whose time has come.
pub(crate) fn fire_timers<M: Manager>(raw: &Raw<M>) -> Tick {
    let shared = raw.context();
    let now = shared.clock.now();
    wake_all(shared.timers.take_due(now));
    now
}

/// Does what is due, and says when to come again.
pub(crate) fn visit<M: Manager>(raw: &Arc<Raw<M>>) -> Tick {
    let shared = raw.context();
    let now = fire_timers(raw);
    if raw.next_deadline() <= now.0 {
        raw.expire(now.0);
    }
    let mut next = Tick::NEVER;
    if raw.is_closed() {
        shared.note_visit_after_close();
    } else {
        shed(raw);
        next = pass(raw, now);
        if raw.gauges().waiting > 0 {
            shared.growth.lose_patience(now, shared.settings.load().connect_concurrency);
        }
        let outage = &shared.growth.outage;
        let is_growing = shared.growth.in_flight() > 0;
        shared.growth.note_old(is_growing && Stuck::now(raw, now).old > 0);
        if outage.retry_at() > now {
            next = next.min(outage.retry_at());
        }
    }
    growth::grow(raw);
    // For those who looked while something was between two gauges.
    shared.notices.post();
    announce(raw, next)
}

/// Tells those who note deadlines when the next visit will be, and looks once more at those noted before.
fn announce<M: Manager>(raw: &Raw<M>, next: Tick) -> Tick {
    let shared = raw.context();
    let noted = |raw: &Raw<M>| shared.timers.next().min(Tick(raw.next_deadline()));
    let next = next.min(noted(raw));
    // O8: pairs with `ring_before`.
    shared.next_visit.swap(next.0, Ordering::AcqRel);
    next.min(noted(raw))
}

/// Goes on with the pass, or begins one that is due; says when the next is.
fn pass<M: Manager>(raw: &Arc<Raw<M>>, now: Tick) -> Tick {
    // Somebody else sweeping by hand does it as well.
    let Ok(mut sweep) = raw.context().sweeping.try_lock() else { return Tick::NEVER };
    let interval = interval(raw);
    // Bad news calls for a look at the others, though not for one after the other.
    let interval = if raw.context().generation() == sweep.generation {
        interval
    } else {
        interval.min(AFTER_BAD_NEWS)
    };
    if now >= sweep.last + interval && sweep.left.is_empty() {
        sweep.begin(raw, now);
    }
    if sweep.may_shrink {
        sweep.may_shrink = shrink(raw, now);
    }
    while has_room(raw)
        && let Some(index) = sweep.postponed.pop()
    {
        if !look_at(raw, index, now) {
            sweep.postponed.push(index);
            break;
        }
    }
    while has_room(raw)
        && let Some(index) = sweep.left.pop()
    {
        if !look_at(raw, index, now) {
            sweep.postponed.push(index);
        }
    }
    // A pass that is not over goes on as soon as there is room, of which the housekeeper is told.
    if sweep.left.is_empty() { sweep.last + interval } else { Tick::NEVER }
}

/// Connections open and not about to be closed.
fn open<M: Manager>(raw: &Raw<M>) -> usize {
    growth::open(raw).saturating_sub(raw.context().errands.closing())
}

/// Another connection may be taken out of service.
fn has_room<M: Manager>(raw: &Raw<M>) -> bool {
    let shared = raw.context();
    let limit = shared.settings.load().maintenance_concurrency;
    let busy = shared.errands.upkeep();
    busy < limit || busy.saturating_sub(Late::now(raw, shared.clock.now()).upkeep) < limit
}

/// Judges the connection at `index`, if nobody holds it. False: it is to be replaced, though not just now.
fn look_at<M: Manager>(raw: &Raw<M>, index: u32, now: Tick) -> bool {
    raw.claim_idle_at(index).is_none_or(|slot| judge(raw, slot, now))
}

fn judge<M: Manager>(raw: &Raw<M>, mut slot: Slot<M>, now: Tick) -> bool {
    let shared = raw.context();
    let (entry, ledger) = slot.parts();
    match verdict::on_sweep(entry, ledger, raw, now) {
        Verdict::Keep => drop(slot),
        Verdict::Ping => Job::ping(slot, None),
        Verdict::Evict(cause) => {
            let settings = shared.settings.load();
            let is_needed = open(raw) <= settings.min_size || raw.gauges().idle < settings.min_idle;
            if !is_needed {
                Job::close(slot, cause);
            } else if slot.value().replacement.strong_count() == 0 {
                let attempt = Arc::new(());
                slot.value_mut().replacement = Arc::downgrade(&attempt);
                let (index, born) = (slot.index(), slot.value().info.born);
                // It stays in service until its replacement is there.
                drop(slot);
                let old = Replaces { index, born, cause, _attempt: attempt };
                match growth::replace(raw, old) {
                    Replacement::Begun => {}
                    Replacement::NotNow => return false,
                    // The old one goes first, and growth sees to the rest.
                    Replacement::NoRoom(old) => old.close(raw),
                }
            }
        }
    }
    true
}

/// Idle connections and when they were last used, longest idle first.
fn longest_idle<M: Manager>(raw: &Raw<M>) -> Vec<(Tick, u32)> {
    let mut idle: Vec<_> = (0..raw.capacity() as u32)
        .filter_map(|index| {
            let slot = raw.claim_idle_at(index)?;
            Some((slot.ledger().last_changed(), index))
        })
        .collect();
    idle.sort_unstable();
    idle
}

/// Closes what has been idle for too long, down to the minimum. True if there is more to do.
fn shrink<M: Manager>(raw: &Raw<M>, now: Tick) -> bool {
    let settings = raw.context().settings.load();
    let Some(timeout) = settings.idle_timeout else { return false };
    let surplus = |raw: &Raw<M>| {
        let open = open(raw);
        let idle = raw.gauges().idle;
        open.saturating_sub(settings.min_size).min(idle.saturating_sub(settings.min_idle))
    };
    if surplus(raw) == 0 {
        return false;
    }
    for (last_used, index) in longest_idle(raw) {
        if now.since(last_used) <= timeout || surplus(raw) == 0 {
            return false;
        }
        if !has_room(raw) {
            return true;
        }
        if let Some(slot) = raw.claim_idle_at(index)
            && slot.ledger().last_changed() == last_used
        {
            Job::close(slot, EvictionCause::IdleTimeout);
        }
    }
    false
}

/// Closes idle connections above a lowered limit, longest idle first.
pub(crate) fn shed<M: Manager>(raw: &Raw<M>) {
    if !raw.is_in_debt() {
        return;
    }
    for (_, index) in longest_idle(raw) {
        if !raw.take_debt() {
            return;
        }
        match raw.claim_idle_at(index) {
            Some(slot) => Job::retire(slot),
            None => raw.return_debt(),
        }
    }
}
