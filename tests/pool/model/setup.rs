//! What a pool is built with.

use crate::common::Fake;
use caliburn::health::{AgeEviction, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use caliburn::{Builder, Clock, Fairness, Manager, MockClock, Pool};
use std::ops::Range;
use std::time::Duration;

/// How long newcomers may go first, where they may.
const PATIENCE: Duration = Duration::from_millis(50);

pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which strategy the pool has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Health {
    None,
    Sweep,
    PingAlways,
    PingSometimes,
    Uses,
    PingAfterFailure,
}

/// What the pool is built with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) capacity: usize,
    pub(crate) max_size: usize,
    pub(crate) min_size: usize,
    pub(crate) max_waiters: usize,
    pub(crate) health: Health,
    pub(crate) fairness: Fairness,
    /// Who has been called is not polled before the operations say so: what it was handed may
    /// lapse. Otherwise it is polled in time.
    pub(crate) is_lazy: bool,
    /// The driver may hear that connections are dead.
    pub(crate) hears: bool,
}

impl Setup {
    /// Numbers of a strategy and the room for those who wait: of strategies that judge nothing that
    /// is about to be lent, of those that do, and of both.
    pub(crate) const THAT_JUDGE_NOTHING: Range<u8> = 0..8;
    pub(crate) const THAT_JUDGE: Range<u8> = 8..16;
    pub(crate) const ALL: Range<u8> = 0..16;
    /// Numbers of manners in which the model knows who is next, and of the others.
    pub(crate) const EXACT: Range<u8> = 0..8;
    pub(crate) const INEXACT: Range<u8> = 8..16;
    pub(crate) const ANY: Range<u8> = 0..16;
    /// Of those, where whoever came first is served first, though it may sleep.
    pub(crate) const SLEEPY: Range<u8> = 9..11;

    /// The last of the four numbers, of these two.
    pub(crate) fn kind(strategy: u8, manner: u8) -> u8 {
        strategy + manner * 16
    }

    /// Any four numbers make a valid setup.
    pub(crate) fn of(capacity: u8, max_size: u8, min_size: u8, kind: u8) -> Self {
        let capacity = usize::from(capacity) % 4 + 1;
        let max_size = usize::from(max_size) % capacity + 1;
        let min_size = usize::from(min_size) % (max_size + 1);
        let max_waiters = if kind & 1 == 0 { usize::MAX } else { 2 };
        let health = match kind / 2 % 8 {
            0 | 1 => Health::None,
            2 | 3 => Health::Sweep,
            4 => Health::PingAlways,
            5 => Health::PingSometimes,
            6 => Health::Uses,
            _ => Health::PingAfterFailure,
        };
        let (at_once, patient) =
            (Fairness::BoundedBarging(Duration::ZERO), Fairness::BoundedBarging(PATIENCE));
        let (fairness, is_lazy, hears) = match kind / 16 {
            0..=5 => (Fairness::Fifo, false, false),
            6 | 7 => (at_once, false, false),
            8 => (Fairness::Fifo, false, true),
            9 => (Fairness::Fifo, true, false),
            10 => (Fairness::Fifo, true, false),
            11 => (Fairness::Fifo, true, true),
            12 => (patient, false, false),
            13 => (patient, false, true),
            14 => (patient, true, false),
            _ => (patient, true, true),
        };
        Self { capacity, max_size, min_size, max_waiters, health, fairness, is_lazy, hears }
    }

    /// The strategy may object to what is about to be lent.
    pub(super) fn judges(&self) -> bool {
        !matches!(self.health, Health::None | Health::Sweep)
    }

    /// Newcomers may go first.
    pub(super) fn is_patient(&self) -> bool {
        self.fairness == Fairness::BoundedBarging(PATIENCE)
    }

    /// The model knows who gets what. Otherwise it checks that the accounts agree, that nobody gets
    /// what is of no use, and that in the end everybody is served.
    pub(super) fn is_exact(&self) -> bool {
        !(self.judges() || self.is_patient() || self.is_lazy || self.hears)
    }

    pub(super) fn build(&self, fake: &Fake) -> (Pool<Fake>, MockClock) {
        let (clock, hand) = Clock::mock();
        let builder = Pool::builder(fake.clone()).manual_maintenance().clock(clock);
        (self.apply_to(builder).build().unwrap(), hand)
    }

    pub(super) fn apply_to<M: Manager>(&self, builder: Builder<M>) -> Builder<M> {
        let builder = builder
            .capacity(self.capacity)
            .max_size(self.max_size)
            .min_size(self.min_size)
            .max_waiters(self.max_waiters)
            .fairness(self.fairness)
            .idle_timeout(Some(IDLE_TIMEOUT));
        match self.health {
            Health::None => builder,
            Health::Sweep => builder.health(PeriodicSweep::every(Duration::from_secs(10))),
            Health::PingAlways => builder.health(PingOnBorrow::always()),
            Health::PingSometimes => builder.health(PingOnBorrow::default()),
            Health::Uses => builder.health(AgeEviction::unlimited().max_uses(2)),
            Health::PingAfterFailure => builder.health(PingAfterFailure),
        }
    }
}
