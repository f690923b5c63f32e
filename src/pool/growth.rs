//! How many connections to open, and when.
//!
//! Nobody connects for himself. A shortage (borrowers in line, or fewer connections than the minimum) asks
//! for growth; connects in flight never exceed those who wait plus what is missing, and one that nobody
//! needs any more when its turn comes is not begun. Demand ramps up: one connect at first, then twice as
//! many with each that succeeds while somebody still waits, so a spike that returning connections can
//! serve does not inflate the pool. Connects that are [stuck](quarantine::Stuck) stand in nobody's way.
//!
//! One thread decides at a time; another that asks meanwhile has it look again. The gauges change under its
//! eyes, but only so that it begins too little and is asked again: a slot becomes vacant before its connect
//! is counted off, and a fresh connection idle.

use super::job::{Job, Replaces};
use super::outage::{Outage, Permit};
use super::shared::Raw;
use super::{connector, quarantine};
use crate::clock::Tick;
use crate::error::NotReady;
use crate::manager::Manager;
use crate::stats::Ledger;
use crate::sync::{
    Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, TryLockError, thread,
};
use std::time::Duration;

/// A connect that takes longer than this no longer keeps others from being begun.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often to try for the decision whether a connect is still needed.
const PATIENT_TRIES: usize = 100;

#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) outage: Outage,
    /// Connects asked for and not over. Whoever sees one counted off sees what became of its slot.
    in_flight: AtomicUsize,
    /// Those of them that are about to be given up.
    spared: AtomicUsize,
    /// How many connects for borrowers may be in flight.
    ramp: AtomicUsize,
    /// So many connections are to be opened at the start.
    warm_up: AtomicUsize,
    /// Some connect was taking long at the housekeeper's last visit: it is worth looking which.
    has_old: AtomicBool,
    /// Held by whoever decides.
    deciding: Mutex<()>,
    /// Somebody has asked since the one who decides last looked.
    asked: AtomicBool,
}

// O11 where nothing else is said: those figures steer; no memory is reached through them.
impl Growth {
    pub(crate) fn new(initial_size: usize) -> Self {
        Self {
            outage: Outage::default(),
            in_flight: AtomicUsize::new(0),
            spared: AtomicUsize::new(0),
            ramp: AtomicUsize::new(1),
            warm_up: AtomicUsize::new(initial_size),
            has_old: AtomicBool::new(false),
            deciding: Mutex::new(()),
            asked: AtomicBool::new(false),
        }
    }

    /// The settings have changed: what was to be opened at the start does not matter any more.
    pub(crate) fn forget_start(&self) {
        self.warm_up.store(0, Ordering::Relaxed); // O11
    }

    pub(crate) fn in_flight(&self) -> usize {
        // O9: the gauges that are read after this show what became of those counted off.
        self.in_flight.load(Ordering::Acquire)
    }

    /// One is over, and what it leaves behind is there to be seen.
    pub(crate) fn release(&self) {
        // O9
        self.in_flight.fetch_sub(1, Ordering::Release);
    }

    /// Whether a connect takes long.
    pub(crate) fn note_old(&self, has_old: bool) {
        self.has_old.store(has_old, Ordering::Relaxed); // O11
    }

    /// What was found superfluous has been given up.
    pub(crate) fn end_sparing(&self) {
        self.spared.fetch_sub(1, Ordering::Relaxed); // O11
    }

    /// Somebody waits for a decision.
    fn is_asked(&self) -> bool {
        // O9: a read-modify-write, so that it comes before or after that of the one who asks.
        self.asked.fetch_or(false, Ordering::AcqRel)
    }

    fn try_decide(&self) -> Option<MutexGuard<'_, ()>> {
        match self.deciding.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
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

/// What there is and what there should be.
struct Shortage {
    in_flight: usize,
    /// Open connections.
    open: usize,
    /// How many more there should be.
    missing: usize,
    /// Who waits and will not be served by what is idle.
    waiting: usize,
}

impl Shortage {
    fn of<M: Manager>(raw: &Raw<M>) -> Self {
        let shared = raw.context();
        let settings = shared.settings.load();
        // Before, or a connection that has just been opened would be seen nowhere; and after, or a slot
        // that has just been claimed would pass for a connection.
        let in_flight = shared.growth.in_flight();
        let gauges = raw.gauges();
        let in_flight = in_flight.max(shared.growth.in_flight());
        let occupied =
            raw.capacity().saturating_sub(gauges.vacant + gauges.retired + raw.torn_down());
        let open = occupied.saturating_sub(in_flight);
        let warm_up = shared.growth.warm_up.load(Ordering::Relaxed); // O11
        let floor = settings.min_size.max(warm_up.min(settings.max_size));
        let missing_idle = settings.min_idle.saturating_sub(gauges.idle);
        let room = settings.max_size.saturating_sub(open);
        Self {
            in_flight,
            open,
            missing: floor.saturating_sub(open).max(missing_idle).min(room),
            // Who is on his way into the line, or has not yet looked up, is served by what is idle.
            waiting: gauges.waiting.saturating_sub(gauges.idle),
        }
    }
}

/// Open connections, whoever has them.
pub(crate) fn open<M: Manager>(raw: &Raw<M>) -> usize {
    Shortage::of(raw).open
}

/// Whether no connection is open that may yet serve somebody.
pub(crate) fn is_out<M: Manager>(raw: &Raw<M>) -> bool {
    let shared = raw.context();
    let late = quarantine::Late::now(raw, shared.clock.now());
    let lost = shared.errands.closing() + (late.tending - late.closes);
    // The count may be one too low for a moment, so it is not the only witness.
    open(raw) <= lost && raw.gauges().idle == 0 && !raw.ledgers().any(Ledger::is_lent)
}

/// Whether the first connections are open, or never will be. `None`: not yet.
pub(crate) fn is_ready<M: Manager>(raw: &Raw<M>) -> Option<Result<(), NotReady<M::Error>>> {
    let growth = &raw.context().growth;
    let Shortage { missing, .. } = Shortage::of(raw);
    if missing == 0 {
        Some(Ok(()))
    } else if raw.is_closed() || growth.outage.is_permanent() {
        Some(Err(not_ready(raw)))
    } else {
        None
    }
}

/// How far the start has come.
pub(crate) fn not_ready<M: Manager>(raw: &Raw<M>) -> NotReady<M::Error> {
    let Shortage { open, missing, .. } = Shortage::of(raw);
    NotReady { open, wanted: open + missing, cause: raw.context().last_connect_failure.load_full() }
}

/// Whether the caller's connect in flight is not needed any more. If so he must give it up and
/// [say so](Growth::end_sparing).
pub(crate) fn is_superfluous<M: Manager>(raw: &Raw<M>) -> bool {
    let growth = &raw.context().growth;
    let now = raw.context().clock.now();
    // Without waiting for long: the one who decides may be further down on this very stack, in a waker.
    let deciding = (0..PATIENT_TRIES).find_map(|_| {
        let deciding = growth.try_decide();
        if deciding.is_none() {
            thread::yield_now();
        }
        deciding
    });
    if deciding.is_none() {
        return false;
    }
    let Shortage { in_flight, missing, waiting, .. } = Shortage::of(raw);
    let in_flight = in_flight.saturating_sub(growth.spared.load(Ordering::Relaxed)); // O11
    let wanted = waiting.saturating_add(missing);
    // Those that take long are nobody's hope.
    let is_superfluous = in_flight > wanted
        && in_flight > wanted.saturating_add(quarantine::Stuck::now(raw, now).old);
    if is_superfluous {
        growth.spared.fetch_add(1, Ordering::Relaxed); // O11
    }
    drop(deciding);
    if growth.is_asked() {
        raw.context().ring();
    }
    is_superfluous
}

/// A connect has become a connection, and somebody has it.
pub(crate) fn opened<M: Manager>(raw: &Raw<M>) {
    let shared = raw.context();
    shared.growth.release();
    shared.growth.widen(raw.gauges().waiting > 0, shared.settings.load().connect_concurrency);
}

/// Has as many connects begun as are wanted and allowed.
pub(crate) fn grow<M: Manager>(raw: &Arc<Raw<M>>) {
    let growth = &raw.context().growth;
    // O9: either this comes before the last look of the one who decides, or after he has let go.
    growth.asked.swap(true, Ordering::AcqRel);
    while growth.is_asked()
        && let Some(deciding) = growth.try_decide()
    {
        // O9
        growth.asked.swap(false, Ordering::AcqRel);
        while !raw.is_closed() && grow_by_one(raw) {}
        drop(deciding);
    }
    connector::pump(raw);
}

fn grow_by_one<M: Manager>(raw: &Arc<Raw<M>>) -> bool {
    let growth = &raw.context().growth;
    let ramp = growth.ramp.load(Ordering::Relaxed); // O11
    let shortage = Shortage::of(raw);
    let Shortage { open, missing, waiting, .. } = shortage;
    let warm_up = growth.warm_up.load(Ordering::Relaxed); // O11
    if missing == 0 && open >= warm_up {
        growth.forget_start();
    }
    let wanted = missing.saturating_add(waiting.min(ramp));
    let begun = begin(raw, shortage.in_flight, wanted);
    begun.is_ok_and(|(slot, permit)| {
        Job::open(slot, None, permit);
        true
    })
}

type Vacant<M> = crate::raw::slots::Vacant<super::shared::Pooled<M>>;

/// Why no connect is begun.
enum Refusal {
    /// It is not wanted, or not allowed at this moment.
    NoLeave,
    /// There is no slot for it.
    NoSlot,
}

/// A slot to open a connection in and leave to do so, if fewer than `wanted` are in flight and the limits and
/// the server allow it. It is counted.
fn begin<M: Manager>(
    raw: &Raw<M>,
    in_flight: usize,
    wanted: usize,
) -> Result<(Vacant<M>, Permit), Refusal> {
    let shared = raw.context();
    let (growth, settings) = (&shared.growth, shared.settings.load());
    let now = shared.clock.now();
    if wanted == 0 {
        return Err(Refusal::NoLeave);
    }
    let has_old = growth.has_old.load(Ordering::Relaxed); // O11
    let lost = if has_old { quarantine::Stuck::now(raw, now).lost } else { 0 };
    let fresh = in_flight.saturating_sub(lost.min(settings.connect_concurrency));
    let permit = growth.outage.permit(now, fresh, settings.connect_timeout);
    let permit = permit.ok_or(Refusal::NoLeave)?;
    if !permit.is_probe() && fresh >= wanted.min(settings.connect_concurrency) {
        return Err(Refusal::NoLeave);
    }
    growth.in_flight.fetch_add(1, Ordering::Relaxed); // O11
    let Some(slot) = raw.claim_vacant() else {
        growth.release();
        growth.outage.call_off(permit, now);
        return Err(Refusal::NoSlot);
    };
    growth.outage.begun(permit, now);
    Ok((slot, permit))
}

/// What came of an attempt to [`replace`] a connection.
pub(crate) enum Replacement {
    /// A connect has been begun.
    Begun,
    /// No connect is allowed at this moment.
    NotNow,
    /// There is no room for both.
    NoRoom(Replaces),
}

/// Has a replacement opened beside a connection that is to go.
pub(crate) fn replace<M: Manager>(raw: &Raw<M>, old: Replaces) -> Replacement {
    let growth = &raw.context().growth;
    let Some(_deciding) = growth.try_decide() else { return Replacement::NotNow };
    match begin(raw, growth.in_flight(), usize::MAX) {
        Ok((slot, permit)) => {
            Job::open(slot, Some(old), permit);
            Replacement::Begun
        }
        // Room that another connect has taken may come back.
        Err(Refusal::NoSlot) if growth.in_flight() == 0 => Replacement::NoRoom(old),
        Err(_) => Replacement::NotNow,
    }
}
