//! How many connections to open, and when.
//!
//! Nobody connects for himself. A shortage (borrowers in line, or fewer connections than the minimum) asks
//! for growth; connects in flight never exceed those who wait plus what is missing, and one that nobody
//! needs any more when its turn comes is not begun. Demand ramps up: one connect at first, then twice as
//! many with each that succeeds while somebody still waits, so a spike that returning connections can
//! serve does not inflate the pool. Connects that are late, or lost in an [outage](super::outage), stand in
//! nobody's way.

use super::job::{Job, Replaces};
use super::outage::{Leave, Outage};
use super::shared::Raw;
use super::{connector, quarantine};
use crate::clock::Tick;
use crate::error::NotReady;
use crate::manager::Manager;
use crate::sync::{Arc, AtomicUsize, Ordering};
use std::time::Duration;

/// A connect that takes longer than this no longer keeps others from being begun.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) outage: Outage,
    in_flight: AtomicUsize,
    /// Those of them that others need not wait for, at the housekeeper's last visit.
    lost: AtomicUsize,
    /// How many connects for borrowers may be in flight.
    ramp: AtomicUsize,
    /// So many connections are to be opened at the start.
    warm_up: AtomicUsize,
}

// O11 throughout: these figures steer; no memory is reached through them. `in_flight` is exact because
// every change of it is a read-modify-write.
impl Growth {
    pub(crate) fn new(initial_size: usize) -> Self {
        Self {
            outage: Outage::default(),
            in_flight: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            ramp: AtomicUsize::new(1),
            warm_up: AtomicUsize::new(initial_size),
        }
    }

    /// The settings have changed: what was to be opened at the start does not matter any more.
    pub(crate) fn forget_start(&self) {
        self.warm_up.store(0, Ordering::Relaxed); // O11
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed) // O11
    }

    /// So many of the connects in flight stand in nobody's way.
    pub(crate) fn note_lost(&self, lost: usize) {
        self.lost.store(lost, Ordering::Relaxed); // O11
    }

    /// Counts one more in flight, if fewer than `allowed` are, beside the lost, and the server is up; or as
    /// a probe, if it is down and the time has come.
    fn reserve(&self, allowed: usize, now: Tick) -> bool {
        let allowed = match self.outage.leave(now, self.in_flight()) {
            Leave::Free => allowed.saturating_add(self.lost.load(Ordering::Relaxed)), // O11
            Leave::Probe { seen } if self.outage.begin_probe(seen, now) => usize::MAX,
            Leave::Probe { .. } | Leave::None => return false,
        };
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < allowed).then_some(n + 1)) // O11
            .is_ok()
    }

    /// Takes that back: there is no room.
    fn give_up(&self, now: Tick) {
        self.release();
        self.outage.call_off(now);
    }

    pub(crate) fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed); // O11
    }

    /// Gives one connect up if more are in flight than `wanted`.
    fn spare(&self, wanted: usize) -> bool {
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n > wanted).then(|| n - 1)) // O11
            .is_ok()
    }

    fn widen(&self, still_waiting: bool, concurrency: usize) {
        let ramp = self.ramp.load(Ordering::Relaxed); // O11
        let ramp = if still_waiting { ramp.saturating_mul(2).min(concurrency) } else { 1 };
        self.ramp.store(ramp, Ordering::Relaxed); // O11
    }

    /// A connect has failed, or as good as failed: the ramp begins anew.
    pub(crate) fn narrow(&self) {
        self.ramp.store(1, Ordering::Relaxed); // O11
    }

    /// Lets one more begin if those in flight are taking long.
    pub(crate) fn lose_patience(&self, now: Tick, concurrency: usize) {
        if self.in_flight() > 0 && self.outage.since_begun(now) >= PATIENCE {
            let ramp = self.in_flight().saturating_add(1).min(concurrency);
            self.ramp.fetch_max(ramp, Ordering::Relaxed); // O11
        }
    }
}

/// How many connects should be in flight: those who wait, and what is missing to the minimum.
fn wanted<M: Manager>(raw: &Raw<M>) -> (usize, usize) {
    let shared = raw.context();
    let settings = shared.settings.load();
    let gauges = raw.gauges();
    let open = open(raw);
    let warm_up = shared.growth.warm_up.load(Ordering::Relaxed); // O11
    if warm_up > 0 && open >= warm_up.min(settings.max_size) {
        shared.growth.warm_up.store(0, Ordering::Relaxed); // O11
    }
    let missing = settings.min_size.max(warm_up).saturating_sub(open);
    let missing_idle = settings.min_idle.saturating_sub(gauges.idle);
    let room = settings.max_size.saturating_sub(open);
    // Who is on his way into the line, or has not yet looked up, is served by what is idle.
    (gauges.waiting.saturating_sub(gauges.idle), missing.max(missing_idle).min(room))
}

/// Open connections, whoever has them.
pub(crate) fn open<M: Manager>(raw: &Raw<M>) -> usize {
    let gauges = raw.gauges();
    let closed =
        gauges.vacant + gauges.retired + raw.torn_down() + raw.context().growth.in_flight();
    raw.capacity().saturating_sub(closed)
}

/// Whether the first connections are open, or never will be. `None`: not yet.
pub(crate) fn is_ready<M: Manager>(raw: &Raw<M>) -> Option<Result<(), NotReady<M::Error>>> {
    let (_, missing) = wanted(raw);
    if missing == 0 {
        Some(Ok(()))
    } else if raw.is_closed() || raw.context().growth.outage.is_permanent() {
        Some(Err(not_ready(raw)))
    } else {
        None
    }
}

/// How far the start has come.
pub(crate) fn not_ready<M: Manager>(raw: &Raw<M>) -> NotReady<M::Error> {
    let (_, missing) = wanted(raw);
    let open = open(raw);
    NotReady { open, wanted: open + missing, cause: raw.context().last_connect_failure.load_full() }
}

/// Gives one connect back if it is not needed any more.
pub(crate) fn spare<M: Manager>(raw: &Raw<M>) -> bool {
    let growth = &raw.context().growth;
    let (waiting, missing) = wanted(raw);
    let wanted = waiting.saturating_add(missing);
    if growth.in_flight() <= wanted {
        return false;
    }
    // Those that are stuck are nobody's hope.
    let now = raw.context().clock.now();
    let stuck = quarantine::lost_connects(raw, now, Outage::long_before(now));
    let is_spared = growth.spare(wanted.saturating_add(stuck));
    if is_spared {
        growth.outage.call_off(now);
    }
    is_spared
}

/// A connect in flight, begun at `begun`, has become a connection.
pub(crate) fn opened<M: Manager>(raw: &Raw<M>, begun: Tick) {
    let shared = raw.context();
    shared.growth.release();
    shared.growth.outage.succeeded(begun, shared.clock.now());
    // One of those who wait is about to be served.
    shared.growth.widen(raw.gauges().waiting > 1, shared.settings.load().connect_concurrency);
}

/// Has as many connects begun as are wanted and allowed.
pub(crate) fn grow<M: Manager>(raw: &Arc<Raw<M>>) {
    while !raw.is_closed() && grow_by_one(raw) {}
    connector::pump(raw);
}

fn grow_by_one<M: Manager>(raw: &Arc<Raw<M>>) -> bool {
    let shared = raw.context();
    let growth = &shared.growth;
    let (waiting, missing) = wanted(raw);
    let ramp = growth.ramp.load(Ordering::Relaxed); // O11
    let concurrency = shared.settings.load().connect_concurrency;
    let allowed = missing.saturating_add(waiting.min(ramp)).min(concurrency);
    if allowed == 0 {
        return false;
    }
    let now = shared.clock.now();
    if !growth.reserve(allowed, now) {
        return false;
    }
    let Some(slot) = raw.claim_vacant() else {
        growth.give_up(now);
        return false;
    };
    growth.outage.begun(now);
    Job::open(slot, None);
    true
}

/// Has a replacement opened beside a connection that is to go. It comes back if there is no room for
/// both; nothing happens if no connect is allowed now.
pub(crate) fn replace<M: Manager>(raw: &Raw<M>, old: Replaces) -> Result<(), Replaces> {
    let shared = raw.context();
    let growth = &shared.growth;
    let now = shared.clock.now();
    if !growth.reserve(shared.settings.load().connect_concurrency, now) {
        // Not now: the old one stays until the next sweep.
        return Ok(());
    }
    match raw.claim_vacant() {
        Some(slot) => {
            growth.outage.begun(now);
            Job::open(slot, Some(old));
        }
        None => {
            growth.give_up(now);
            // Room that another connect has taken may come back.
            return if growth.in_flight() > 0 { Ok(()) } else { Err(old) };
        }
    }
    Ok(())
}
