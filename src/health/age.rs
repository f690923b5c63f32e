//! The strategy that looks at the calendar.

use super::{ConnectionInfo, EvictionCause, HealthStrategy, Occasions, Verdict};
use std::time::Duration;

/// Closes connections that have lived, lain idle or been used for long enough.
///
/// Limits are looked at on borrow, on return and on each sweep, so a busy connection does not outlive its
/// lifetime by more than one loan. Each connection draws a share of the last tenth of its lifetime at birth
/// ([`jitter`](Self::jitter)), so those opened together do not expire together.
///
/// Its `idle_timeout` is a judgement on the connection (a firewall may have forgotten it): it strikes
/// below the pool's minimum too, and what it takes there is replaced. To shrink a pool after a peak use
/// [`Settings::idle_timeout`](crate::Settings::idle_timeout), which spares the minimum.
///
/// ```
/// # use caliburn::health::AgeEviction;
/// # use std::time::Duration;
/// let strategy = AgeEviction::default()
///     .max_lifetime(Duration::from_secs(3600))
///     .max_uses(50_000);
/// # let _ = strategy;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AgeEviction {
    max_lifetime: Option<Duration>,
    jitter: f64,
    idle_timeout: Option<Duration>,
    max_uses: Option<u64>,
}

impl Default for AgeEviction {
    /// A lifetime of 30 minutes less up to a tenth, and no other limit.
    fn default() -> Self {
        Self {
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            jitter: 0.1,
            idle_timeout: None,
            max_uses: None,
        }
    }
}

impl AgeEviction {
    /// No limit at all: add your own.
    pub const fn unlimited() -> Self {
        Self { max_lifetime: None, jitter: 0.1, idle_timeout: None, max_uses: None }
    }

    /// How long a connection may live.
    pub const fn max_lifetime(mut self, limit: Duration) -> Self {
        self.max_lifetime = Some(limit);
        self
    }

    /// The share of its lifetime, from 0 to 1, up to which a connection may fall short of it.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self
    }

    /// How long a connection may lie idle.
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// How often a connection may be lent.
    pub const fn max_uses(mut self, limit: u64) -> Self {
        self.max_uses = Some(limit);
        self
    }

    fn judge(&self, info: &ConnectionInfo, idle: Duration) -> Verdict {
        if let Some(limit) = self.max_lifetime
            && info.age >= limit.mul_f64(1.0 - self.jitter * info.jitter)
        {
            return Verdict::Evict(EvictionCause::MaxLifetime);
        }
        if self.idle_timeout.is_some_and(|limit| idle > limit) {
            return Verdict::Evict(EvictionCause::IdleTimeout);
        }
        if self.max_uses.is_some_and(|limit| info.uses >= limit) {
            return Verdict::Evict(EvictionCause::MaxUses);
        }
        Verdict::Keep
    }
}

impl HealthStrategy for AgeEviction {
    #[inline]
    fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
        self.judge(info, info.idle)
    }

    fn on_return(&self, info: &ConnectionInfo) -> Verdict {
        // What comes back was in use.
        self.judge(info, Duration::ZERO)
    }

    fn on_sweep(&self, info: &ConnectionInfo) -> Verdict {
        self.judge(info, info.idle)
    }

    fn occasions(&self) -> Occasions {
        Occasions::ALL
    }
}
