//! A snapshot of a pool's gauges and counters, and what lies between two.

use super::evictions::Evictions;
use super::histogram::Histogram;
use crate::error::Counts;
use std::fmt;
use std::time::Duration;

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
    /// How long it takes from one connection that is handed to a waiter to the next, as long as a
    /// line stands. `None`: not enough was handed over lately to tell, or it was forgotten, as it
    /// is by a pause, by an outage, and when none was handed over for long.
    pub hand_over_interval: Option<Duration>,
    /// For how long a connection is out for each that is handed to a waiter: a loan, and the way to
    /// the next borrower. Learnt from the line alone, where every connection is in use all the
    /// time, and as well known as [`hand_over_interval`](Self::hand_over_interval).
    pub usual_hold_time: Option<Duration>,
    /// The shortest that this was lately. It is forgotten within some hours, and when the pool has
    /// [another manager](crate::Pool::switch_manager).
    pub shortest_hold_time: Option<Duration>,
    /// How long a connect usually takes. `None`: none has succeeded since the pool was built, or
    /// since it has another manager.
    pub usual_connect_time: Option<Duration>,

    /// How long ago the pool was built. In an [interval](Self::since), how long that is.
    pub uptime: Duration,
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
    /// Borrowers refused because they could not be [served in
    /// time](crate::Settings::deadline_admission).
    pub hopeless: u64,
    /// Connections opened.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Connects that were requested but not begun, because they were no longer needed.
    pub connects_skipped: u64,
    /// Times that the [governor](crate::ConnectGovernor) held a connect back, so that the pool had
    /// to stand in its line.
    pub connects_held: u64,
    /// Decisions to open connections because borrowers waited: each is an
    /// [event](crate::observe::EventKind::GrowthDecided) that says why.
    pub growth_decisions: u64,
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
                retired waiting waiter_nodes is_paused hand_over_interval usual_hold_time
                shortest_hold_time usual_connect_time;
            counters: uptime checkouts direct_checkouts returns waits waits_in_vain cancellations
                timeouts refusals shed hopeless connects connect_failures connects_skipped
                connects_held growth_decisions outages pings ping_failures pings_cancelled resets
                closes added detached launch_failures leaks nested_gets sweeps;
            parts: evictions wait_time use_time connect_time ping_time reset_time
        }
    }

    /// Returns how many connections are handed to waiters per second, as long as a line stands, if
    /// that is known: see [`hand_over_interval`](Self::hand_over_interval).
    ///
    /// ```
    /// # fn show<M: caliburn::Manager>(pool: &caliburn::Pool<M>) {
    /// let stats = pool.stats();
    /// if let Some(rate) = stats.hand_over_rate() {
    ///     println!("{} wait, for about {:.1} s", stats.waiting, stats.waiting as f64 / rate);
    /// }
    /// # }
    /// ```
    pub fn hand_over_rate(&self) -> Option<f64> {
        self.hand_over_interval.map(|interval| 1.0 / interval.as_secs_f64())
    }

    pub(crate) fn counts(&self) -> Counts {
        let Self { max_size, idle, lent, opening, maintenance, quarantined, .. } = *self;
        let Self { waiting, is_paused, .. } = *self;
        Counts { max_size, idle, lent, opening, maintenance, quarantined, waiting, is_paused }
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
        let Self { checkouts, returns, waits, waits_in_vain, timeouts, refusals, .. } = self;
        let Self { shed, hopeless, .. } = self;
        writeln!(
            f,
            "checkouts    {checkouts} ({returns} returned, {waits} waited, {waits_in_vain} of them \
             in vain, {timeouts} timed out, {refusals} refused, {shed} turned away, {hopeless} \
             hopeless)"
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
