//! What all parts of one pool share: the context of its [`RawPool`].

use super::growth::Growth;
use super::job::{Errands, Job, Lane};
use super::notices::Notices;
use super::quarantine::Late;
use super::timers::Timers;
use crate::clock::{Clock, Tick};
use crate::config::Settings;
use crate::error::ManagerError;
use crate::health::{ConnectionInfo, EvictionCause, HealthStrategy, Occasions, Validity};
use crate::manager::{BoxFuture, Driver, Manager};
use crate::raw::slots::Occupied;
use crate::raw::{PoolHooks, RawPool};
use crate::stats::{Counters, Evictions, Ledger, Stats};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, Weak, thread};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::marker::PhantomData;
use std::time::Duration;

/// The house that connections of manager `M` live in.
pub(crate) struct Pooled<M>(PhantomData<M>);

pub(crate) type Raw<M> = RawPool<Pooled<M>>;
pub(crate) type Slot<M> = Occupied<Pooled<M>>;

impl<M: Manager> PoolHooks for Pooled<M> {
    type Value = Entry<M::Connection>;
    type Ledger = Ledger;
    type Context = Shared<M>;

    fn on_orphan(slot: Slot<M>) {
        Job::close(slot, EvictionCause::PoolClosed);
    }

    #[inline(always)]
    fn on_return(slot: Slot<M>) {
        super::release::on_return(slot);
    }

    fn now(shared: &Shared<M>) -> u64 {
        shared.clock.now().0
    }

    fn on_torn_down(shared: &Shared<M>) {
        shared.notices.post();
    }
}

/// Until when a connection need not be judged: the strategy's [`Validity`], as moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fit {
    until: Tick,
    /// In transitions of the slot's ledger.
    until_transition: u64,
    /// The pool's.
    epoch: u64,
}

impl Fit {
    /// As judged after so many `transitions`.
    pub(crate) fn of(info: &ConnectionInfo, term: Validity, transitions: u64, epoch: u64) -> Self {
        Self {
            until: Tick(info.now.0.saturating_add(term.time)),
            // A loan and a return each.
            until_transition: term
                .uses
                .saturating_mul(2)
                .saturating_add(transitions.next_multiple_of(2)),
            epoch,
        }
    }

    /// After so many `transitions`, in that epoch of the pool.
    #[inline(always)]
    pub(crate) fn holds(&self, now: Tick, transitions: u64, epoch: u64) -> bool {
        now < self.until && transitions < self.until_transition && epoch == self.epoch
    }
}

/// A connection and what is known of it.
pub(crate) struct Entry<C> {
    pub(crate) connection: C,
    pub(crate) fit: Fit,
    /// To be pinged before its next loan, whatever the strategy says then.
    pub(crate) ping_due: bool,
    /// Up to date only when [`refresh`]ed.
    pub(crate) info: ConnectionInfo,
    /// The slot's checkouts before this connection came.
    checkouts_before: u64,
    /// Upgradable as long as a replacement is being opened.
    pub(crate) replacement: Weak<()>,
}

impl<C> Entry<C> {
    pub(crate) fn newborn(connection: C, ledger: &Ledger, now: Tick, generation: u64) -> Self {
        ledger.begin(now);
        let luck = (random_share() * f64::from(u32::MAX)) as u32;
        Self {
            connection,
            fit: Fit::default(),
            ping_due: false,
            info: ConnectionInfo::newborn(now, generation, luck),
            checkouts_before: ledger.checkouts(),
            replacement: Weak::new(),
        }
    }

    /// Has it pinged before its next loan.
    pub(crate) fn suspect(&mut self) {
        self.ping_due = true;
        self.fit = Fit::default();
    }

    /// A ping, sent in a pool of that `generation`, has been answered.
    pub(crate) fn has_answered(&mut self, now: Tick, generation: u64) {
        self.info.last_checked = now;
        self.info.generation = generation;
        self.ping_due = false;
        self.fit = Fit::default();
    }

    /// It has never been lent.
    pub(crate) fn is_unused(&self, ledger: &Ledger) -> bool {
        ledger.checkouts() == self.checkouts_before
    }
}

/// Brings what is known of a connection up to date, where it lies.
pub(crate) fn refresh<'a, M: Manager>(
    entry: &'a mut Entry<M::Connection>,
    ledger: &Ledger,
    shared: &Shared<M>,
    now: Tick,
) -> &'a ConnectionInfo {
    let (info, before) = (&mut entry.info, entry.checkouts_before);
    bring_up_to_date(info, before, ledger, shared, now);
    info
}

/// The same for somebody who only looks: a copy.
pub(crate) fn info_at<M: Manager>(
    entry: &Entry<M::Connection>,
    ledger: &Ledger,
    shared: &Shared<M>,
    now: Tick,
) -> ConnectionInfo {
    let mut info = entry.info.clone();
    bring_up_to_date(&mut info, entry.checkouts_before, ledger, shared, now);
    info
}

/// What changes with time: the slot's ledger knows its uses, the pool the rest.
fn bring_up_to_date<M: Manager>(
    info: &mut ConnectionInfo,
    checkouts_before: u64,
    ledger: &Ledger,
    shared: &Shared<M>,
    now: Tick,
) {
    info.now = now;
    info.last_used = ledger.last_changed();
    info.uses = ledger.checkouts() - checkouts_before;
    info.pool_generation = shared.generation();
}

/// Evenly from 0 to 1. `std` seeds each hasher differently, which is all the chance needed here.
pub(crate) fn random_share() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0u8);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Runs futures of an async manager.
pub(crate) type Spawner = Box<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// See the [module](self).
pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    pub(crate) driver: &'static dyn Driver<M>,
    pub(crate) strategy: Box<dyn HealthStrategy>,
    pub(crate) occasions: Occasions,
    pub(crate) strategy_interval: Option<Duration>,
    pub(crate) clock: Clock,
    /// Raised when a connection of the newest generation is found dead.
    pub(crate) generation: AtomicU64,
    pub(crate) discard_on_unwind: bool,

    pub(crate) settings: ArcSwap<Settings>,
    /// Held by whoever changes the settings.
    pub(crate) changing: Mutex<()>,
    pub(crate) counters: Counters,
    pub(crate) growth: Growth,
    /// What borrowers wait for.
    pub(crate) demand: Lane<M>,
    /// What nobody waits for.
    pub(crate) upkeep: Lane<M>,
    pub(crate) visits_since_close: AtomicUsize,
    /// A closed pool by hand is being drained.
    pub(crate) draining: AtomicBool,
    /// Connections queued for, or under, maintenance.
    pub(crate) errands: Errands,
    pub(crate) spawner: Option<Spawner>,
    pub(crate) timers: Timers,
    pub(crate) notices: Notices,
    /// Why the last connect failed, if it did.
    pub(crate) last_connect_failure: ArcSwapOption<ManagerError<M::Error>>,
    /// Why the last ping failed, if it did.
    pub(crate) last_ping_failure: ArcSwapOption<ManagerError<M::Error>>,
    pub(crate) sweeping: Mutex<super::sweep::Sweep>,
    /// When the housekeeper means to come by; whoever needs it earlier rings.
    pub(crate) next_visit: AtomicU64,
    /// The housekeeper's thread. Unset: everything is done by hand.
    pub(crate) housekeeper: OnceLock<thread::Thread>,
    /// `Pool` handles alive.
    pub(crate) handles: AtomicUsize,
}

impl<M: Manager> Shared<M> {
    /// Nobody works in the background: `maintain` does it all.
    pub(crate) fn is_by_hand(&self) -> bool {
        self.housekeeper.get().is_none()
    }

    /// The housekeeper has looked in on the closed pool.
    pub(crate) fn note_visit_after_close(&self) {
        // O11
        self.visits_since_close.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn visits_since_close(&self) -> usize {
        // O11
        self.visits_since_close.load(Ordering::Relaxed)
    }

    /// Nothing waits for a connector.
    pub(crate) fn has_no_jobs(&self) -> bool {
        self.demand.jobs.is_empty() && self.upkeep.jobs.is_empty()
    }

    /// Calls the housekeeper. Takes no lock and does not wait.
    pub(crate) fn ring(&self) {
        if let Some(thread) = self.housekeeper.get() {
            thread.unpark();
        }
    }

    /// Makes sure that the housekeeper comes by no later than `at`.
    pub(crate) fn ring_before(&self, at: Tick) {
        // O8: a read-modify-write, so that it comes either after the housekeeper's announcement and sees
        // it, or before and then the housekeeper sees the deadline that was noted before the ring.
        if self.next_visit.fetch_add(0, Ordering::AcqRel) > at.0 {
            self.ring();
        }
    }

    pub(crate) fn count_eviction(&self, cause: EvictionCause) {
        self.counters.evictions[cause as usize].add();
    }

    pub(crate) fn generation(&self) -> u64 {
        // O11: compared, never used to reach anything.
        self.generation.load(Ordering::Relaxed)
    }
}

/// A connection of `generation` was found dead: those of its age are suspect. One step per wave.
pub(crate) fn suspect_generation<M: Manager>(raw: &Raw<M>, generation: u64) {
    let newest = &raw.context().generation;
    // O11: the epoch makes it seen.
    let _ =
        newest.compare_exchange(generation, generation + 1, Ordering::Relaxed, Ordering::Relaxed);
    // Also if another was faster, who may not have come so far yet.
    raw.advance_epoch();
}

/// A snapshot. See [`Stats`] for what may disagree.
pub(crate) fn stats<M: Manager>(raw: &Raw<M>) -> Stats {
    let shared = raw.context();
    let counters = &shared.counters;
    let gauges = raw.gauges();
    let capacity = raw.capacity();
    let late = Late::now(raw, shared.clock.now());
    // O11: gauges.
    let opening = shared.growth.in_flight().saturating_sub(late.connects);
    let maintenance = shared.errands.all().saturating_sub(late.tending);
    let quarantined = late.connects + late.tending;
    let retired = gauges.retired + raw.torn_down();
    let out = gauges.idle + gauges.vacant + retired + opening + maintenance + quarantined;
    let lent = capacity.saturating_sub(out);
    Stats {
        capacity,
        max_size: shared.settings.load().max_size,
        size: gauges.idle + lent + maintenance + late.tending,
        idle: gauges.idle,
        lent,
        opening,
        maintenance,
        quarantined,
        vacant: gauges.vacant,
        retired,
        waiting: gauges.waiting,
        waiter_nodes: raw.queued(),
        checkouts: raw.ledgers().map(Ledger::checkouts).sum(),
        returns: raw.ledgers().map(Ledger::returns).sum(),
        waits: counters.waits.get(),
        timeouts: counters.timeouts.get(),
        refusals: counters.refusals.get(),
        connects: counters.connects.get(),
        connect_failures: counters.connect_failures.get(),
        connects_skipped: counters.connects_skipped.get(),
        pings: counters.pings.get(),
        ping_failures: counters.ping_failures.get(),
        pings_cancelled: counters.pings_cancelled.get(),
        resets: counters.resets.get(),
        closes: counters.closes.get(),
        detached: counters.detached.get(),
        sweeps: counters.sweeps.get(),
        evictions: Evictions::of(&counters.evictions),
        wait_time: counters.wait_time.snapshot(),
    }
}
