//! How long a `Keep` stands.

use super::info::nanos;
use std::time::Duration;

/// For how long a strategy is sure to [`Keep`](super::Verdict::Keep) a connection that is merely
/// lent and returned.
///
/// Until then the strategy is not asked on borrow and on return, which makes a checkout about as
/// cheap as without a strategy. A validity ends early if the pool's
/// [generation](super::ConnectionInfo::pool_generation) rises or its settings are changed, and when
/// the connection has been pinged or its borrower suspects it.
///
/// ```
/// # use caliburn::health::Validity;
/// # use std::time::Duration;
/// // Ten more loans, but no longer than a minute.
/// let both = Validity::uses(10).min(Validity::time(Duration::from_secs(60)));
/// # let _ = both;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// In nanoseconds.
    pub(crate) time: u64,
    pub(crate) uses: u64,
}

impl Validity {
    /// No validity: the pool asks the strategy every time.
    pub const NONE: Self = Self { time: 0, uses: 0 };
    /// Valid until something happens to the connection.
    pub const UNLIMITED: Self = Self { time: u64::MAX, uses: u64::MAX };

    /// Valid for `time` from now. The pool reads a coarse clock, which may lag by some tens of
    /// milliseconds.
    #[must_use]
    pub const fn time(time: Duration) -> Self {
        Self { time: nanos(time), uses: u64::MAX }
    }

    /// Valid for `uses` loans from now.
    #[must_use]
    pub const fn uses(uses: u64) -> Self {
        Self { time: u64::MAX, uses }
    }

    /// Returns the shorter of the two, in time and in uses.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { time: self.time.min(other.time), uses: self.uses.min(other.uses) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{
        AgeEviction, ConnectionInfo, HealthStrategy, PingAfterFailure, PingOnBorrow, Verdict,
        validity_of,
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// Whatever the connection's age, idle time and uses: a strategy keeps it throughout the
    /// validity, lent or idle.
    fn stands_by_its_validity(strategy: &dyn HealthStrategy) {
        for (age, idle, uses) in (0..200).map(|n| (n % 10, n / 10 % 10, n % 7)) {
            let info = ConnectionInfo::made_up(SECOND * age)
                .with_idle(SECOND * idle.min(age))
                .with_uses(uses.into())
                .with_lag(u64::from(uses == 6))
                .with_jitter(0.5);
            let validity = validity_of(strategy, &info);
            let mut later = info.clone();
            for loans in 0..validity.uses.min(12) {
                later.uses = info.uses + loans;
                for seconds in 0..12 {
                    let passed = seconds * 1_000_000_000;
                    later.now.0 = info.now.0 + passed;
                    if passed < validity.time {
                        assert_eq!(strategy.on_borrow(&later), Verdict::Keep, "{info:?} {later:?}");
                        assert_eq!(strategy.on_return(&later), Verdict::Keep, "{info:?} {later:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn each_strategy_keeps_a_connection_throughout_its_validity() {
        let aged = AgeEviction::unlimited().max_lifetime(SECOND * 8);
        stands_by_its_validity(&aged);
        stands_by_its_validity(&aged.idle_timeout(SECOND * 3).max_uses(5));
        stands_by_its_validity(&PingOnBorrow::skip_if_used_within(SECOND * 4));
        stands_by_its_validity(&PingOnBorrow::always());
        stands_by_its_validity(&PingAfterFailure);
        stands_by_its_validity(&(PingOnBorrow::default(), aged, PingAfterFailure));
        stands_by_its_validity(&());
    }

    #[test]
    fn a_validity_is_no_shorter_than_need_be() {
        let aged = AgeEviction::unlimited().max_lifetime(SECOND * 8).max_uses(5);
        let info = ConnectionInfo::made_up(SECOND * 3).with_uses(2);
        assert_eq!(aged.valid_for(&info), Validity::time(SECOND * 5).min(Validity::uses(3)));
        let pinged = PingOnBorrow::skip_if_used_within(SECOND * 4);
        assert_eq!(pinged.valid_for(&info.with_idle(SECOND)), Validity::time(SECOND * 3));
    }
}
