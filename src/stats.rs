//! Counting without contention.
//!
//! Whoever holds a slot is the only writer of its [`Ledger`], so what happens on every checkout is a plain
//! load and store on a line that the borrower owns anyway. Slow roads use shared relaxed counters.

mod histogram;
mod ledger;

pub use histogram::Histogram;
pub(crate) use histogram::Recorder;
pub use ledger::{Call, Holder, Overrun};
pub(crate) use ledger::{Ledger, Noted, Priority, Running};

use crate::error::Counts;
use crate::health::EvictionCause;
use crate::sync::{AtomicU64, Ordering};
use std::fmt;

/// A counter that many may raise.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        // O11: a count.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        // O11
        self.0.load(Ordering::Relaxed)
    }
}

/// The shared counters of the slow roads, on lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) waits: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) refusals: Counter,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) connects_skipped: Counter,
    pub(crate) pings: Counter,
    pub(crate) ping_failures: Counter,
    pub(crate) pings_cancelled: Counter,
    pub(crate) resets: Counter,
    pub(crate) closes: Counter,
    pub(crate) detached: Counter,
    pub(crate) sweeps: Counter,
    pub(crate) evictions: [Counter; EvictionCause::ALL.len()],
    pub(crate) wait_time: Recorder,
}

/// A snapshot of a pool.
///
/// At rest everything agrees: `idle + lent + opening + maintenance + quarantined + vacant + retired =
/// capacity`, and `checkouts = returns + lent`. While connections move, each figure is true of some moment within the
/// call, but they need not be true of the same one: `lent` is what the other gauges leave of the capacity,
/// so it absorbs the difference.
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
    /// Slots; fixed at construction.
    pub capacity: usize,
    /// The limit on connections now.
    pub max_size: usize,
    /// Open connections: idle, lent, under maintenance, or in quarantine with a call other than a connect.
    pub size: usize,
    /// Open connections that nobody holds.
    pub idle: usize,
    /// Connections held by borrowers. One whose guard was forgotten counts here for good.
    pub lent: usize,
    /// Connections being opened.
    pub opening: usize,
    /// Connections being pinged, reset or closed, or queued for it.
    pub maintenance: usize,
    /// Slots whose call into the manager has outlived its limit: they serve nobody until it comes back.
    /// See [`Pool::overruns`](crate::Pool::overruns).
    pub quarantined: usize,
    /// Slots in which a connection might be opened.
    pub vacant: usize,
    /// Slots out of use because of a lowered limit, or because the pool is closed.
    pub retired: usize,
    /// Borrowers in line.
    pub waiting: usize,
    /// Their nodes in the waiting room, with those of borrowers that left and were not yet cleared away.
    pub waiter_nodes: usize,

    /// Connections lent, ever.
    pub checkouts: u64,
    /// Connections that came back, ever.
    pub returns: u64,
    /// Borrowers that had to wait.
    pub waits: u64,
    /// Borrowers that went away because their time was up.
    pub timeouts: u64,
    /// Borrowers refused because too many were waiting.
    pub refusals: u64,
    /// Connections opened.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Connects that were asked for and not begun, because nobody needed them any more.
    pub connects_skipped: u64,
    /// Pings.
    pub pings: u64,
    /// Pings that failed.
    pub ping_failures: u64,
    /// Pings dropped half-way, because the borrower or the runtime went away.
    pub pings_cancelled: u64,
    /// Resets.
    pub resets: u64,
    /// Connections closed by the pool.
    pub closes: u64,
    /// Connections taken out of the pool by their borrowers.
    pub detached: u64,
    /// Passes of the housekeeper over the idle connections.
    pub sweeps: u64,
    /// Connections discarded to be closed, by cause.
    pub evictions: Evictions,
    /// How long those who waited did so, in nanoseconds.
    pub wait_time: Histogram,
}

impl Stats {
    pub(crate) fn counts(&self) -> Counts {
        let Self { max_size, idle, lent, opening, maintenance, quarantined, waiting, .. } = *self;
        Counts { max_size, idle, lent, opening, maintenance, quarantined, waiting }
    }
}

/// Evictions by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions([u64; EvictionCause::ALL.len()]);

impl Evictions {
    pub(crate) fn of(counters: &[Counter; EvictionCause::ALL.len()]) -> Self {
        Self(std::array::from_fn(|cause| counters[cause].get()))
    }

    /// How many connections were evicted for this cause.
    pub fn by(&self, cause: EvictionCause) -> u64 {
        self.0[cause as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Causes and counts.
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
        let Self { checkouts, returns, waits, timeouts, refusals, .. } = self;
        writeln!(
            f,
            "checkouts    {checkouts} ({returns} returned, {waits} waited, {timeouts} timed out, \
             {refusals} refused)"
        )?;
        let Self { connects, connect_failures, connects_skipped, closes, detached, .. } = self;
        writeln!(
            f,
            "connects     {connects} ({connect_failures} failed, {connects_skipped} spared); \
             {closes} closed, {detached} detached"
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
