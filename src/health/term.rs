//! How long a good opinion lasts.

use super::info::nanos;
use super::{ConnectionInfo, HealthStrategy, Occasions};
use std::time::Duration;

/// For how long a strategy is sure to [`Keep`](Verdict::Keep) a connection that is merely lent and returned.
///
/// Until then the strategy is not asked on borrow and on return, which makes a checkout about as cheap as
/// without a strategy. A term ends early if the pool's [generation](ConnectionInfo::pool_generation) rises, and
/// when the connection has been pinged or its borrower suspects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// In nanoseconds.
    pub(crate) time: u64,
    pub(crate) uses: u64,
}

impl Term {
    /// None at all: the strategy is asked every time.
    pub const NONE: Self = Self { time: 0, uses: 0 };
    /// Until something happens to the connection.
    pub const UNLIMITED: Self = Self { time: u64::MAX, uses: u64::MAX };

    /// So long from now. The pool goes by a coarse clock, which may lag by some tens of milliseconds.
    #[must_use]
    pub const fn time(time: Duration) -> Self {
        Self { time: nanos(time), uses: u64::MAX }
    }

    /// So many loans from now.
    #[must_use]
    pub const fn uses(uses: u64) -> Self {
        Self { time: u64::MAX, uses }
    }

    /// The shorter of the two, in both respects.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { time: self.time.min(other.time), uses: self.uses.min(other.uses) }
    }

    /// That of a strategy, which counts only if it is asked on borrow or return at all.
    pub(crate) fn of(strategy: &dyn HealthStrategy, info: &ConnectionInfo) -> Self {
        if strategy.occasions().intersects(Occasions::BORROW | Occasions::RETURN) {
            strategy.term(info)
        } else {
            Self::UNLIMITED
        }
    }
}
