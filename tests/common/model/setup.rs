//! What a pool is built with.

use crate::common::Fake;
use caliburn::health::{AgeEviction, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use caliburn::{Clock, MockClock, Pool};
use std::time::Duration;

pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which strategy the pool has. The first two judge nothing that is about to be lent, so the model
/// knows exactly who gets what; with the others it checks that the accounts agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Health {
    None,
    Sweep,
    PingAlways,
    PingSometimes,
    Uses,
    PingAfterFailure,
}

/// What the pool is built with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub capacity: usize,
    pub max_size: usize,
    pub min_size: usize,
    pub max_waiters: usize,
    pub health: Health,
}

impl Setup {
    /// Any four numbers make a valid setup.
    pub fn of(capacity: u8, max_size: u8, min_size: u8, kind: u8) -> Self {
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
        Self { capacity, max_size, min_size, max_waiters, health }
    }

    pub(super) fn is_exact(&self) -> bool {
        matches!(self.health, Health::None | Health::Sweep)
    }

    pub(super) fn build(&self, fake: &Fake) -> (Pool<Fake>, MockClock) {
        let (clock, hand) = Clock::mock();
        let builder = Pool::builder(fake.clone())
            .manual_maintenance()
            .clock(clock)
            .capacity(self.capacity)
            .max_size(self.max_size)
            .min_size(self.min_size)
            .max_waiters(self.max_waiters)
            .idle_timeout(Some(IDLE_TIMEOUT));
        let builder = match self.health {
            Health::None => builder,
            Health::Sweep => builder.health(PeriodicSweep::every(Duration::from_secs(10))),
            Health::PingAlways => builder.health(PingOnBorrow::always()),
            Health::PingSometimes => builder.health(PingOnBorrow::default()),
            Health::Uses => builder.health(AgeEviction::unlimited().max_uses(2)),
            Health::PingAfterFailure => builder.health(PingAfterFailure),
        };
        (builder.build().unwrap(), hand)
    }
}
