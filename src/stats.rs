//! What a pool counts: gauges, counters, a histogram of waits, and who holds what.
//!
//! Counting causes no contention. The owner of a slot is the only writer of its ledger, so a
//! checkout costs plain loads and stores on a line that the borrower owns anyway. Slow paths use
//! shared relaxed counters.

mod borrower;
mod histogram;
mod ledger;
mod pool_health;
mod slot_info;

pub use borrower::Borrower;
pub(crate) use borrower::{Signature, cut};
pub use histogram::Histogram;
pub(crate) use histogram::Recorder;
pub use ledger::{Call, Holder, Overrun};
pub(crate) use ledger::{Ledger, Noted, Priority, Running};
pub use pool_health::{Defect, PoolHealth};
pub use slot_info::{SlotInfo, SlotState};

use crate::error::Counts;
use crate::health::EvictionCause;
use crate::sync::Relaxed;
use std::fmt;

/// A counter that any thread may raise.
#[derive(Debug, Default)]
pub(crate) struct Counter(Relaxed<u64>);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// The shared counters of the slow paths, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) waits: Counter,
    pub(crate) waits_in_vain: Counter,
    /// Loans to borrowers that have stood in line; counted before the loan.
    pub(crate) late_checkouts: Counter,
    /// The most loans to others that a snapshot has shown.
    direct_checkouts: Relaxed<u64>,
    pub(crate) timeouts: Counter,
    pub(crate) refusals: Counter,
    pub(crate) shed: Counter,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) connects_skipped: Counter,
    pub(crate) connects_held: Counter,
    pub(crate) pings: Counter,
    pub(crate) ping_failures: Counter,
    pub(crate) pings_cancelled: Counter,
    pub(crate) resets: Counter,
    pub(crate) closes: Counter,
    pub(crate) launch_failures: Counter,
    pub(crate) detached: Counter,
    pub(crate) added: Counter,
    pub(crate) sweeps: Counter,
    pub(crate) evictions: [Counter; EvictionCause::ALL.len()],
    pub(crate) cancellations: Counter,
    pub(crate) outages: Counter,
    pub(crate) leaks: Counter,
    pub(crate) nested_gets: Counter,
    pub(crate) wait_time: Recorder,
    pub(crate) use_time: Recorder,
    pub(crate) connect_time: Recorder,
    pub(crate) ping_time: Recorder,
    pub(crate) reset_time: Recorder,
}

impl Counters {
    /// If loans are measured, their histogram is there from the beginning: a return allocates
    /// nothing.
    pub(crate) fn new(measures_loans: bool) -> Self {
        let counters = Self::default();
        if measures_loans {
            counters.use_time.prepare();
        }
        counters
    }

    /// Of so many loans, those to borrowers that have not stood in line. A borrower that is about
    /// to have its connection is counted as one that has: so this never falls.
    pub(crate) fn direct_checkouts(&self, checkouts: u64) -> u64 {
        self.direct_checkouts.raise(checkouts.saturating_sub(self.late_checkouts.get()));
        self.direct_checkouts.get()
    }
}

/// A snapshot of a pool.
///
/// While another manager is [tried](crate::Pool::switch_manager), its connection counts as opening
/// and, if it is not kept, as in maintenance, beside the slots.
///
/// At rest everything agrees: `idle + lent + opening + maintenance + quarantined + vacant + retired
/// = capacity`; and `checkouts = returns + lent`, but for connections that were handed to tasks
/// which have not been polled since. While connections move, each figure is true of some moment
/// within the call, but not all of the same moment. A connection that is being judged, or is on its
/// way from one state to the next, counts nowhere.
///
/// A connection counts as lent, and no longer as opening, before its borrower has it; so a borrower
/// that reads the stats when it is served finds itself counted.
///
/// ```
/// # fn show<M: caliburn::Manager>(pool: &caliburn::Pool<M>) {
/// let stats = pool.stats();
/// println!("{stats}");
/// assert!(stats.idle <= stats.size);
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Number of slots, fixed at construction.
    pub capacity: usize,
    /// Current limit on connections.
    pub max_size: usize,
    /// Open connections: idle, lent, in maintenance, or quarantined in a call other than a connect.
    pub size: usize,
    /// Open connections that are free to be lent.
    pub idle: usize,
    /// Connections held by borrowers, whom [`Pool::holders`](crate::Pool::holders) names, or handed
    /// to a task that has not been polled since. A connection whose guard was forgotten counts here
    /// for good.
    pub lent: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Connections being pinged, reset or closed, or queued for it.
    pub maintenance: usize,
    /// Slots whose call into the manager has outlived its limit. They are out of service until the
    /// call returns. See [`Pool::overruns`](crate::Pool::overruns).
    pub quarantined: usize,
    /// Empty slots in which a connection may be opened.
    pub vacant: usize,
    /// Slots out of use because of a lowered limit, or because the pool is closed.
    pub retired: usize,
    /// Borrowers that wait in line. A [`get_many`](crate::Pool::get_many) is one of them, also
    /// while it waits for its turn.
    pub waiting: usize,
    /// Whether the pool is [paused](crate::Pool::pause).
    pub is_paused: bool,
    /// Nodes in the waiting room: the borrowers that wait, and those that have left and were not
    /// yet cleared away.
    pub waiter_nodes: usize,

    /// Connections lent. This count and those below run from when the pool was built.
    pub checkouts: u64,
    /// Those of them whose borrowers did not have to stand in line. Of all, the share that the pool
    /// is large enough for: if it falls while the server is not slower, more connections would
    /// help.
    pub direct_checkouts: u64,
    /// Connections returned.
    pub returns: u64,
    /// Borrowers that had to stand in line, each counted once however often.
    pub waits: u64,
    /// Waiters that left without a connection, because of a timeout, a cancellation or an error.
    pub waits_in_vain: u64,
    /// Waiters that left because their future was dropped.
    pub cancellations: u64,
    /// Borrowers whose timeout passed.
    pub timeouts: u64,
    /// Borrowers refused because too many were waiting already.
    pub refusals: u64,
    /// Borrowers [turned away](crate::Shedding) because the line was too slow for all.
    pub shed: u64,
    /// Connections opened.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Connects that were requested but not begun, because they were no longer needed.
    pub connects_skipped: u64,
    /// Times that the [governor](crate::ConnectGovernor) held a connect back, so that the pool had
    /// to stand in its line.
    pub connects_held: u64,
    /// Outages: times that connecting began to fail, or fresh connections were dead.
    pub outages: u64,
    /// Pings.
    pub pings: u64,
    /// Pings that failed.
    pub ping_failures: u64,
    /// Pings dropped half-way, because the borrower or the runtime was gone.
    pub pings_cancelled: u64,
    /// Resets.
    pub resets: u64,
    /// Connections closed by the pool.
    pub closes: u64,
    /// Connections taken out of the pool by their borrowers.
    pub detached: u64,
    /// Connections [added](crate::Pool::add) that were opened elsewhere.
    pub added: u64,
    /// Tasks that the [spawner](crate::Builder::spawner) did not run: it panicked, dropped the
    /// task, or did not poll it within a second. Threads of the pool's own did the work.
    pub launch_failures: u64,
    /// Loans that lasted longer than [`leak_threshold`](crate::Settings::leak_threshold).
    pub leaks: u64,
    /// Borrowers that held a connection when they began to wait for another. Counted only if the
    /// pool [identifies](crate::Builder::identify_borrowers) borrowers.
    pub nested_gets: u64,
    /// Sweeps over the idle connections.
    pub sweeps: u64,
    /// Connections evicted, by cause.
    pub evictions: Evictions,
    /// How long borrowers stood in line, until they had a connection or left. Recorded when they
    /// leave the line.
    pub wait_time: Histogram,
    /// How long [measured](crate::Builder::sample_use_time) loans lasted.
    pub use_time: Histogram,
    /// How long connects took, with their hooks.
    pub connect_time: Histogram,
    /// How long successful pings took.
    pub ping_time: Histogram,
    /// How long successful resets took, with their hooks.
    pub reset_time: Histogram,
}

impl Stats {
    /// Returns what has happened since `earlier`, a snapshot of the same pool: counters and
    /// histograms are those of the interval, gauges those of `self`.
    ///
    /// This takes the place of a reset that would lose what other threads count meanwhile. Each
    /// event falls into one interval: the intervals between consecutive snapshots add up to the
    /// whole. Each reader of a pool has its own intervals.
    ///
    /// A figure that is smaller than in `earlier`, which is then not an earlier one, counts as
    /// zero.
    ///
    /// ```
    /// # use caliburn::{Manager, Pool};
    /// # use std::thread;
    /// # use std::time::Duration;
    /// fn report_each_minute<M: Manager>(pool: &Pool<M>) {
    ///     let mut last = pool.stats();
    ///     loop {
    ///         thread::sleep(Duration::from_secs(60));
    ///         let now = pool.stats();
    ///         let minute = now.since(&last);
    ///         let p99 = minute.wait_time.quantile(0.99);
    ///         println!("{} loans, {} timeouts; p99 {p99:?}", minute.checkouts, minute.timeouts);
    ///         last = now;
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        /// Each counter less what it was. The gauges are named, too: so no field is forgotten.
        macro_rules! difference {
            (gauges: $($gauge:ident)+; counters: $($counter:ident)+; parts: $($part:ident)+) => {
                Self {
                    $($gauge: self.$gauge,)+
                    $($counter: self.$counter.saturating_sub(earlier.$counter),)+
                    $($part: self.$part.since(&earlier.$part),)+
                }
            };
        }
        difference! {
            gauges: capacity max_size size idle lent opening maintenance quarantined vacant
                retired waiting waiter_nodes is_paused;
            counters: checkouts direct_checkouts returns waits waits_in_vain cancellations
                timeouts refusals shed connects connect_failures connects_skipped connects_held
                outages pings
                ping_failures pings_cancelled resets closes added detached launch_failures leaks
                nested_gets sweeps;
            parts: evictions wait_time use_time connect_time ping_time reset_time
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let Self { max_size, idle, lent, opening, maintenance, quarantined, .. } = *self;
        let Self { waiting, is_paused, .. } = *self;
        Counts { max_size, idle, lent, opening, maintenance, quarantined, waiting, is_paused }
    }
}

/// Evictions by cause.
///
/// ```
/// # use caliburn::{EvictionCause, Stats};
/// fn report(stats: &Stats) {
///     println!("{} evicted, {} of them broken", stats.evictions.total(),
///         stats.evictions.by(EvictionCause::Broken));
///     for (cause, count) in stats.evictions.iter().filter(|(_, count)| *count > 0) {
///         let note = if cause.is_broken() { " (dead)" } else { "" };
///         println!("{count:6} {}{note}", cause.as_str());
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions([u64; EvictionCause::ALL.len()]);

impl Evictions {
    pub(crate) fn of(counters: &[Counter; EvictionCause::ALL.len()]) -> Self {
        Self(std::array::from_fn(|cause| counters[cause].get()))
    }

    /// Returns how many connections were evicted for `cause`.
    pub fn by(&self, cause: EvictionCause) -> u64 {
        self.0[cause as usize]
    }

    /// Returns how many connections were evicted in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// As [`Stats::since`]: returns the evictions since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|cause| self.0[cause].saturating_sub(earlier.0[cause])))
    }

    /// Returns each cause with its count.
    pub fn iter(&self) -> impl Iterator<Item = (EvictionCause, u64)> {
        EvictionCause::ALL.into_iter().zip(self.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Evictions {
    /// As a map from cause to count.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(cause, count)| (cause.as_str(), count)))
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, max_size, idle, lent, opening, maintenance, quarantined, waiting, .. } =
            self;
        writeln!(
            f,
            "connections  {size} of {max_size}: {idle} idle, {lent} lent, {maintenance} in \
             maintenance; {opening} opening; {quarantined} quarantined; {waiting} waiting"
        )?;
        let Self { checkouts, returns, waits, waits_in_vain, timeouts, refusals, shed, .. } = self;
        writeln!(
            f,
            "checkouts    {checkouts} ({returns} returned, {waits} waited, {waits_in_vain} of them \
             in vain, {timeouts} timed out, {refusals} refused, {shed} turned away)"
        )?;
        let Self { connects, connect_failures, connects_skipped, connects_held, .. } = self;
        let Self { closes, detached, .. } = self;
        writeln!(
            f,
            "connects     {connects} ({connect_failures} failed, {connects_skipped} skipped, \
             {connects_held} held back); {closes} closed, {detached} detached"
        )?;
        let Self { pings, ping_failures, pings_cancelled, resets, sweeps, evictions, .. } = self;
        write!(
            f,
            "health       {pings} pings ({ping_failures} failed, {pings_cancelled} cancelled), \
             {resets} resets, {sweeps} sweeps, {} evictions",
            evictions.total()
        )?;
        for (n, (cause, count)) in evictions.iter().filter(|(_, count)| *count > 0).enumerate() {
            write!(f, "{}{count} {cause}", if n == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}
