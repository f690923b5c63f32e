//! One pool in one setting, with so many borrowers who ask in one way: what all its slices came to.

use crate::pools::{Entrant, Query};
use caliburn_benches::harness::figures::Spread;
use caliburn_benches::harness::histogram::Histogram;
use caliburn_benches::harness::turns::{Times, Turns};
use std::fmt;
use std::rc::Rc;

pub(crate) struct Cell {
    pub(crate) who: Rc<Entrant>,
    pub(crate) count: usize,
    pub(crate) query: Query,
    slices: Vec<Turns>,
}

impl Cell {
    pub(crate) fn new(who: Rc<Entrant>, count: usize, query: Query) -> Self {
        Self { who, count, query, slices: Vec::new() }
    }

    pub(crate) fn measure(&mut self, times: Times) {
        self.slices.push(self.who.pool.take_turns(self.count, self.query, times));
    }

    fn median(&self, figure: fn(&Turns) -> f64) -> f64 {
        self.slices.iter().map(figure).collect::<Spread>().median()
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
        let pairs = self.slices.iter().zip(&to.slices);
        pairs.map(|(own, other)| own.per_second() / other.per_second()).collect()
    }

    /// Microseconds that this share of all turns did not exceed, each.
    pub(crate) fn within<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let mut all = Histogram::default();
        self.slices.iter().for_each(|slice| all.add(&slice.waits));
        shares.map(|share| all.micros_at(share))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, count, query, .. } = self;
        write!(f, "{count} {}, {query}, {} {}", who.face, who.name, who.setting)
    }
}
