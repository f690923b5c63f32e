//! One pool in one setting, with so many borrowers who ask in one way: what all its slices came to.

use crate::pools::{Contender, Query};
use caliburn_benches::harness::*;

pub(crate) struct Cell<'a> {
    pub(crate) who: &'a Contender,
    pub(crate) count: usize,
    pub(crate) query: Query,
    pub(crate) record: Record<Turns, ()>,
}

impl Cell<'_> {
    fn median(&self, figure: fn(&Turns) -> f64) -> f64 {
        let figures = self.record.of(|outcome| figure(&outcome.figure));
        figures.into_iter().collect::<Spread>().median()
    }

    /// Turns per second.
    pub(crate) fn rate(&self) -> f64 {
        self.median(Turns::per_second)
    }

    /// What the borrower with the fewest turns had of an even share.
    pub(crate) fn least(&self) -> f64 {
        self.median(Turns::least)
    }

    /// Microseconds for each turn.
    pub(crate) fn cpu(&self) -> f64 {
        self.median(Turns::cpu_micros)
    }

    /// Round by round, as what disturbs one slice disturbs its neighbours too.
    pub(crate) fn ratios(&self, to: &Self) -> Spread {
        let [own, other] = [self, to].map(|cell| cell.record.of(|o| o.figure.per_second()));
        own.iter().zip(other).map(|(own, other)| own / other).collect()
    }

    /// Microseconds that this share of all turns did not exceed, each.
    pub(crate) fn within<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let mut all = Histogram::default();
        self.record.outcomes.iter().for_each(|outcome| all.add(&outcome.figure.waits));
        shares.map(|share| all.micros_at(share))
    }
}
