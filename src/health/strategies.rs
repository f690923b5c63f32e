//! Strategies that ping: before a loan, periodically, or after a failure.

use super::info::nanos;
use super::{ConnectionInfo, HealthStrategy, Occasions, Validity, Verdict};
use std::time::Duration;

/// What has answered within this time, and was not lent since, is not pinged again.
const JUST: Duration = Duration::from_millis(100);

/// Pings a connection before it is lent, unless it was used or has answered a moment ago.
///
/// The borrower's thread or task pings if the manager is of its kind and there is time for a whole
/// ping (see also [`Settings::ping_on`](crate::Settings::ping_on)); else a worker pings. If the
/// ping fails, the pool closes the connection, and the borrower goes on to the next one within its
/// deadline.
///
/// ```
/// # use caliburn::health::PingOnBorrow;
/// # use std::time::Duration;
/// let careful = PingOnBorrow::default(); // skipped within 500 ms of the last use
/// let paranoid = PingOnBorrow::always();
/// let relaxed = PingOnBorrow::skip_if_used_within(Duration::from_secs(5));
/// # let _ = (careful, paranoid, relaxed);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PingOnBorrow {
    /// In nanoseconds.
    window: u64,
}

impl PingOnBorrow {
    /// Pings before every loan, unless the connection has just answered: it was opened, reset or
    /// pinged within the last 100 ms and has not been lent since. As
    /// [`try_get`](crate::Pool::try_get) never pings, it succeeds only within that time.
    pub const fn always() -> Self {
        Self { window: 0 }
    }

    /// Skips the ping for a connection used, or pinged, reset or opened, less than `window` ago.
    pub const fn skip_if_used_within(window: Duration) -> Self {
        Self { window: nanos(window) }
    }
}

impl Default for PingOnBorrow {
    /// A window of 500 ms.
    fn default() -> Self {
        Self::skip_if_used_within(Duration::from_millis(500))
    }
}

impl PingOnBorrow {
    /// What is left of the window, in nanoseconds.
    fn left(&self, info: &ConnectionInfo) -> u64 {
        let last_sign_of_life = info.last_used.max(info.record.last_checked);
        let silent = info.now.0.saturating_sub(last_sign_of_life.0);
        self.window.saturating_sub(silent)
    }

    /// Whether it has answered for its next borrower.
    fn has_just_answered(info: &ConnectionInfo) -> bool {
        !info.is_used_since_check() && info.since_check() < JUST
    }
}

impl HealthStrategy for PingOnBorrow {
    fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
        let is_alive = self.left(info) > 0 || Self::has_just_answered(info);
        if is_alive { Verdict::Keep } else { Verdict::Ping }
    }

    fn valid_for(&self, info: &ConnectionInfo) -> Validity {
        Validity::time(Duration::from_nanos(self.left(info)))
    }

    fn occasions(&self) -> Occasions {
        Occasions::BORROW
    }
}

/// Pings idle connections in the background; the pool replaces dead ones.
///
/// Borrowers pay nothing, but may still meet a connection that died since the last sweep.
#[derive(Clone, Copy, Debug)]
pub struct PeriodicSweep {
    interval: Duration,
}

impl PeriodicSweep {
    /// Sweeps every `interval`. [`Settings::sweep_interval`](crate::Settings::sweep_interval)
    /// overrides it.
    pub const fn every(interval: Duration) -> Self {
        Self { interval }
    }
}

impl Default for PeriodicSweep {
    /// Every 60 s.
    fn default() -> Self {
        Self::every(Duration::from_secs(60))
    }
}

impl HealthStrategy for PeriodicSweep {
    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        Verdict::Ping
    }

    fn sweep_interval(&self) -> Option<Duration> {
        Some(self.interval)
    }

    fn occasions(&self) -> Occasions {
        Occasions::SWEEP
    }
}

/// After one connection is found dead, pings all older ones before reuse.
///
/// When a connection is found dead the pool's generation goes up, and connections of an older
/// generation are pinged before their next loan. So a restarted server costs at most one failed
/// use, not one for each pooled connection, and healthy times cost nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct PingAfterFailure;

impl HealthStrategy for PingAfterFailure {
    #[inline]
    fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
        if info.generation() < info.pool_generation { Verdict::Ping } else { Verdict::Keep }
    }

    fn on_sweep(&self, info: &ConnectionInfo) -> Verdict {
        self.on_borrow(info)
    }

    /// A rise of the generation ends every validity.
    fn valid_for(&self, info: &ConnectionInfo) -> Validity {
        if self.on_borrow(info) == Verdict::Keep { Validity::UNLIMITED } else { Validity::NONE }
    }

    fn occasions(&self) -> Occasions {
        Occasions::BORROW | Occasions::SWEEP
    }
}
