//! One pool in one setting, with so many borrowers who ask in one way: what all its slices came to.

use caliburn_peers::postgres::{Contender, Log, Query, Times, Which};
use std::fmt;
use std::time::Duration;

pub(crate) struct Cell {
    pub(crate) which: Which,
    pub(crate) count: usize,
    pub(crate) query: Query,
    slices: Vec<Slice>,
    /// How long all turns of all slices took, in nanoseconds.
    took: Vec<u64>,
    /// What caliburn counted itself.
    pub(crate) counts: Option<Counts>,
    /// All turns, those of the warm-ups too.
    pub(crate) turns: u64,
}

struct Slice {
    per_second: f64,
    cpu_per_turn: Duration,
    /// What the borrower with the fewest turns had of an even share.
    least: f64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) resets: u64,
    pub(crate) pings: u64,
    pub(crate) waits: u64,
}

impl Cell {
    pub(crate) fn new(which: Which, count: usize, query: Query) -> Self {
        let (slices, took) = (Vec::new(), Vec::new());
        Self { which, count, query, slices, took, counts: None, turns: 0 }
    }

    pub(crate) fn measure(&mut self, pool: &dyn Contender, times: Times) {
        let before = pool.stats();
        let log = pool.take_turns(self.count, self.query, times);
        if let (Some(before), Some(after)) = (before, pool.stats()) {
            let counts = self.counts.get_or_insert_default();
            counts.resets += after.resets - before.resets;
            counts.pings += after.pings - before.pings;
            counts.waits += after.waits - before.waits;
        }
        self.turns += log.all_turns;
        self.slices.push(Slice::of(&log, self.count));
        self.took.extend(log.took);
    }

    /// Turns per second, slice by slice.
    pub(crate) fn rates(&self) -> Vec<f64> {
        self.slices.iter().map(|slice| slice.per_second).collect()
    }

    pub(crate) fn rate(&self) -> f64 {
        median(self.rates())
    }

    pub(crate) fn least(&self) -> f64 {
        median(self.slices.iter().map(|slice| slice.least).collect())
    }

    pub(crate) fn cpu(&self) -> Duration {
        let cpu = self.slices.iter().map(|slice| slice.cpu_per_turn.as_secs_f64()).collect();
        Duration::from_secs_f64(median(cpu))
    }

    /// Of all turns: the time that this share of them did not exceed, each.
    pub(crate) fn within<const N: usize>(&self, shares: [f64; N]) -> [Duration; N] {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        shares.map(|share| {
            let place = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
            Duration::from_nanos(sorted.get(place).copied().unwrap_or(0))
        })
    }
}

impl Slice {
    fn of(log: &Log, borrowers: usize) -> Self {
        let turns = log.turns.max(1);
        Self {
            per_second: log.turns as f64 / log.measured.as_secs_f64(),
            cpu_per_turn: log.cpu.div_f64(turns as f64),
            least: (log.fewest * borrowers as u64) as f64 / turns as f64,
        }
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { which, count, query, .. } = self;
        write!(f, "{count} {}, {query}, {} {}", which.borrowers, which.pool, which.setting())
    }
}
