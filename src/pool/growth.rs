//! How many connections to open, and when.
//!
//! Nobody connects for himself. A shortage (borrowers in line, or fewer connections than the minimum) asks
//! for growth; connects in flight never exceed those who wait plus what is missing, and one that nobody
//! needs any more when its turn comes is not begun. Demand ramps up: one connect at first, then twice as
//! many with each that succeeds while somebody still waits, so a spike that returning connections can
//! serve does not inflate the pool.

use super::connector;
use super::job::{Job, Replaces};
use super::shared::Raw;
use crate::clock::Tick;
use crate::error::NotReady;
use crate::manager::Manager;
use crate::sync::{
    Arc, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering, PoisonError,
};
use std::time::Duration;

/// The wait after the first failure, doubled with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
/// The longest wait between attempts.
const MAX_BACK_OFF: Duration = Duration::from_secs(1);
/// A connect that takes longer than this no longer keeps others from being begun.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Growth {
    in_flight: AtomicUsize,
    /// How many connects for borrowers may be in flight.
    ramp: AtomicUsize,
    failures: AtomicU32,
    /// Not before this moment.
    retry_at: AtomicU64,
    /// When a connect was last begun.
    begun_at: AtomicU64,
    /// The last failure will not pass by itself.
    permanent: AtomicBool,
    /// So many connections are to be opened at the start.
    warm_up: AtomicUsize,
    /// When those in flight ought to be over.
    limits: Mutex<Vec<Tick>>,
}

// O11 throughout: these figures steer; no memory is reached through them. `in_flight` is exact because
// every change of it is a read-modify-write.
impl Growth {
    pub(crate) fn new(initial_size: usize) -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            ramp: AtomicUsize::new(1),
            failures: AtomicU32::new(0),
            retry_at: AtomicU64::new(0),
            begun_at: AtomicU64::new(0),
            permanent: AtomicBool::new(false),
            warm_up: AtomicUsize::new(initial_size),
            limits: Mutex::new(Vec::new()),
        }
    }

    /// A connect that ought to be over by `limit` has been begun.
    pub(crate) fn begun(&self, limit: Tick) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).push(limit);
    }

    /// It is over.
    pub(crate) fn ended(&self, limit: Tick) {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = limits.iter().position(|known| *known == limit) {
            limits.swap_remove(index);
        }
    }

    /// How many connects ought to be over and are not.
    pub(crate) fn overdue(&self, now: Tick) -> usize {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.iter().filter(|limit| **limit <= now).count()
    }

    /// The settings have changed: what was to be opened at the start does not matter any more.
    pub(crate) fn forget_start(&self) {
        self.warm_up.store(0, Ordering::Relaxed); // O11
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed) // O11
    }

    /// When the next attempt may be made.
    pub(crate) fn retry_at(&self) -> Tick {
        Tick(self.retry_at.load(Ordering::Relaxed)) // O11
    }

    /// The last attempt failed for good, and it is too early for another.
    pub(crate) fn is_hopeless(&self, now: Tick) -> bool {
        self.permanent.load(Ordering::Relaxed) && now < self.retry_at() // O11
    }

    pub(crate) fn is_permanent_failure(&self) -> bool {
        self.permanent.load(Ordering::Relaxed) // O11
    }

    fn reserve(&self, allowed: usize) -> bool {
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < allowed).then_some(n + 1)) // O11
            .is_ok()
    }

    pub(crate) fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed); // O11
    }

    /// Gives one connect up if more are in flight than `wanted`.
    pub(crate) fn spare(&self, wanted: usize) -> bool {
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n > wanted).then(|| n - 1)) // O11
            .is_ok()
    }

    pub(crate) fn succeeded(&self, still_waiting: bool, concurrency: usize) {
        self.failures.store(0, Ordering::Relaxed); // O11
        self.retry_at.store(0, Ordering::Relaxed); // O11
        self.permanent.store(false, Ordering::Relaxed); // O11
        let ramp = self.ramp.load(Ordering::Relaxed); // O11
        let ramp = if still_waiting { ramp.saturating_mul(2).min(concurrency) } else { 1 };
        self.ramp.store(ramp, Ordering::Relaxed); // O11
    }

    pub(crate) fn failed(&self, now: Tick, permanent: bool) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16); // O11
        let wait = (FIRST_BACK_OFF * (1 << failures.min(16))).min(MAX_BACK_OFF);
        let wait = wait.mul_f64(0.5 + 0.5 * super::shared::random_share());
        self.ramp.store(1, Ordering::Relaxed); // O11
        self.permanent.store(permanent, Ordering::Relaxed); // O11
        self.retry_at.store((now + wait).0, Ordering::Relaxed); // O11
    }

    /// Lets one more begin if those in flight are taking long.
    pub(crate) fn lose_patience(&self, now: Tick, concurrency: usize) {
        let begun = Tick(self.begun_at.load(Ordering::Relaxed)); // O11
        if self.in_flight() > 0 && now.since(begun) >= PATIENCE {
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
    } else if raw.is_closed() || raw.context().growth.is_permanent_failure() {
        Some(Err(not_ready(raw)))
    } else {
        None
    }
}

/// How far the start has come.
pub(crate) fn not_ready<M: Manager>(raw: &Raw<M>) -> NotReady<M::Error> {
    let (_, missing) = wanted(raw);
    let open = open(raw);
    NotReady { open, wanted: open + missing, cause: raw.context().last_failure() }
}

/// Gives one connect back if it is not needed any more.
pub(crate) fn spare<M: Manager>(raw: &Raw<M>) -> bool {
    let (waiting, missing) = wanted(raw);
    raw.context().growth.spare(waiting.saturating_add(missing))
}

/// A connect in flight has become a connection.
pub(crate) fn opened<M: Manager>(raw: &Raw<M>) {
    let shared = raw.context();
    shared.growth.release();
    // One of those who wait is about to be served.
    shared.growth.succeeded(raw.gauges().waiting > 1, shared.settings.load().connect_concurrency);
}

/// Has as many connects begun as are wanted and allowed.
pub(crate) fn grow<M: Manager>(raw: &Arc<Raw<M>>) {
    let shared = raw.context();
    let growth = &shared.growth;
    let now = shared.clock.tick();
    while !raw.is_closed() {
        let (waiting, missing) = wanted(raw);
        let ramp = growth.ramp.load(Ordering::Relaxed); // O11
        let concurrency = shared.settings.load().connect_concurrency;
        let allowed = missing.saturating_add(waiting.min(ramp)).min(concurrency);
        // A connect that its driver keeps beyond its limit must not stand in the way of others.
        let allowed = allowed.saturating_add(if allowed > 0 { growth.overdue(now) } else { 0 });
        if allowed == 0 || (now < growth.retry_at() && shared.clock.now() < growth.retry_at()) {
            break;
        }
        if !growth.reserve(allowed) {
            break;
        }
        let Some(slot) = raw.claim_vacant() else {
            growth.release();
            break;
        };
        growth.begun_at.store(now.0, Ordering::Relaxed); // O11
        Job::open(slot, None);
    }
    connector::pump(raw);
}

/// Has a replacement opened beside a connection that is to go. It comes back if there is no room for
/// both; nothing happens if no connect is allowed now.
pub(crate) fn replace<M: Manager>(raw: &Raw<M>, old: Replaces) -> Result<(), Replaces> {
    let shared = raw.context();
    let growth = &shared.growth;
    let is_early = shared.clock.now() < growth.retry_at();
    if is_early || !growth.reserve(shared.settings.load().connect_concurrency) {
        // Not now: the old one stays until the next sweep.
        return Ok(());
    }
    match raw.claim_vacant() {
        Some(slot) => Job::open(slot, Some(old)),
        None => {
            growth.release();
            // Room that another connect has taken may come back.
            return if growth.in_flight() > 0 { Ok(()) } else { Err(old) };
        }
    }
    Ok(())
}
