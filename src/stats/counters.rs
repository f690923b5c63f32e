//! The counters behind a snapshot.

use super::histogram::Recorder;
use crate::health::EvictionCause;
use crate::sync::Relaxed;

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
    pub(crate) hopeless: Counter,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) connects_skipped: Counter,
    pub(crate) connects_held: Counter,
    pub(crate) growth_decisions: Counter,
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
