//! Eviction by age, idle time and uses.

use super::info::nanos;
use super::{ConnectionInfo, EvictionCause, HealthStrategy, Occasions, Validity, Verdict};
use std::time::Duration;

/// Closes connections that are too old, have been idle for too long, or have been lent too often.
///
/// It checks the limits on borrow, on return and on each sweep, so a busy connection does not
/// outlive its lifetime by more than one loan. The pool acts earlier by a [`lead`](Self::lead):
/// where its minimum needs the connection, or all others are lent, it opens the replacement first
/// and then closes the old connection, so that no borrower meets one that is too old. Each
/// connection draws its lifetime at birth, by default between two fifths of the longest and all of
/// it ([`jitter`](Self::jitter)), so that of connections opened together no more than a few end
/// together. The pool's draws keep away from each other, so the spread is more even than chance.
///
/// Its `idle_timeout` judges the connection (a firewall may have forgotten it): it applies below
/// the pool's minimum too, and what it closes there is replaced. To shrink a pool after a peak use
/// [`Settings::idle_timeout`](crate::Settings::idle_timeout), which keeps the minimum.
///
/// ```
/// # use caliburn::health::AgeEviction;
/// # use std::time::Duration;
/// let strategy = AgeEviction::default()
///     .max_lifetime(Duration::from_secs(3600))
///     .jitter(0.3) // each between 42 and 60 minutes
///     .lead(Duration::from_secs(60)) // its replacement is opened a minute before
///     .max_uses(50_000);
/// // Only what a firewall forgets:
/// let other = AgeEviction::unlimited().idle_timeout(Duration::from_secs(300));
/// # let _ = (strategy, other);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AgeEviction {
    // In nanoseconds; `u64::MAX` is no limit.
    max_lifetime: u64,
    jitter: f64,
    /// The part of the lifetime that chance decides on.
    spread: u64,
    /// How much earlier than borrowers the sweep evicts.
    lead: u64,
    idle_timeout: u64,
    max_uses: u64,
}

impl Default for AgeEviction {
    /// A lifetime of 12 to 30 minutes; no other limit.
    fn default() -> Self {
        Self::unlimited().max_lifetime(Duration::from_secs(30 * 60))
    }
}

impl AgeEviction {
    /// Has no limits; add your own.
    pub const fn unlimited() -> Self {
        let none = u64::MAX;
        Self {
            max_lifetime: none,
            jitter: 0.6,
            spread: 0,
            lead: 0,
            idle_timeout: none,
            max_uses: none,
        }
    }

    /// Sets how long a connection may live, and with it the [`lead`](Self::lead). Default: 30 min;
    /// of [`unlimited`](Self::unlimited): no limit.
    pub const fn max_lifetime(mut self, limit: Duration) -> Self {
        const MOST: u64 = 60_000_000_000;
        self.max_lifetime = nanos(limit);
        self.spread = (self.max_lifetime as f64 * self.jitter) as u64;
        let lead = self.max_lifetime / 20;
        self.lead = if lead < MOST { lead } else { MOST };
        self
    }

    /// Sets how long before the end of its life, at most half of it, the pool may replace a
    /// connection. It should be longer than the time between two sweeps, or borrowers may come
    /// first. Default: a twentieth of the lifetime, at most 60 s.
    pub const fn lead(mut self, lead: Duration) -> Self {
        self.lead = nanos(lead);
        self
    }

    /// Sets the largest share of its lifetime, from 0 to 1, by which a connection may live shorter.
    /// With the default of 0.6, connections opened together are replaced at no more than twice the
    /// average rate. Zero: all live equally long.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self.spread = (self.max_lifetime as f64 * self.jitter) as u64;
        self
    }

    /// Sets how long a connection may lie idle. Default: no limit.
    pub const fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = nanos(limit);
        self
    }

    /// Sets how often a connection may be lent. Default: no limit.
    pub const fn max_uses(mut self, limit: u64) -> Self {
        self.max_uses = limit;
        self
    }

    /// How long this connection may live.
    fn lifetime(&self, info: &ConnectionInfo) -> u64 {
        let share = (u128::from(self.spread) * u128::from(info.luck.0)) >> 32;
        self.max_lifetime.saturating_sub(share as u64)
    }

    /// The same, less so much of it as `lead` takes.
    fn lifetime_before(&self, info: &ConnectionInfo, lead: u64) -> u64 {
        let lifetime = self.lifetime(info);
        lifetime - lead.min(lifetime / 2)
    }

    fn judge(&self, info: &ConnectionInfo, idle: u64, lead: u64) -> Verdict {
        let lifetime = self.lifetime_before(info, lead);
        if self.max_lifetime < u64::MAX && age(info) >= lifetime {
            Verdict::Evict(EvictionCause::MaxLifetime)
        } else if idle > self.idle_timeout {
            Verdict::Evict(EvictionCause::IdleTimeout)
        } else if info.uses >= self.max_uses {
            Verdict::Evict(EvictionCause::MaxUses)
        } else {
            Verdict::Keep
        }
    }
}

fn age(info: &ConnectionInfo) -> u64 {
    info.now.0.saturating_sub(info.record.born.0)
}

fn idle(info: &ConnectionInfo) -> u64 {
    info.now.0.saturating_sub(info.last_used.0)
}

impl HealthStrategy for AgeEviction {
    fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
        self.judge(info, idle(info), 0)
    }

    fn on_return(&self, info: &ConnectionInfo) -> Verdict {
        // A connection that comes back was not idle.
        self.judge(info, 0, 0)
    }

    fn on_sweep(&self, info: &ConnectionInfo) -> Verdict {
        self.judge(info, idle(info), self.lead)
    }

    fn valid_for(&self, info: &ConnectionInfo) -> Validity {
        let mut time = self.idle_timeout.saturating_add(1).saturating_sub(idle(info));
        if self.max_lifetime < u64::MAX {
            time = time.min(self.lifetime(info).saturating_sub(age(info)));
        }
        Validity { time, uses: self.max_uses.saturating_sub(info.uses) }
    }

    fn retires_in(&self, info: &ConnectionInfo) -> Option<(Duration, EvictionCause)> {
        if self.max_lifetime == u64::MAX {
            return None;
        }
        let left = self.lifetime_before(info, self.lead).saturating_sub(age(info));
        Some((Duration::from_nanos(left), EvictionCause::MaxLifetime))
    }

    fn occasions(&self) -> Occasions {
        Occasions::ALL
    }
}
