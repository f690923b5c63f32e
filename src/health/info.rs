//! What the pool knows of a connection.

use crate::clock::Tick;
use std::time::Duration;

/// What the pool knows of a connection. Durations come from one read of a coarse clock and may lag
/// by some tens of milliseconds.
///
/// To test a strategy, make one up:
///
/// ```
/// use caliburn::health::{ConnectionInfo, HealthStrategy, PingOnBorrow, Verdict};
/// use std::time::Duration;
///
/// let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
/// let info = ConnectionInfo::made_up(minute).with_idle(second);
/// assert_eq!(PingOnBorrow::default().on_borrow(&info), Verdict::Ping);
///
/// let info = info.with_uses(7).with_jitter(0.5).with_lag(1);
/// assert_eq!((info.age(), info.idle()), (minute, second));
/// assert_eq!((info.uses(), info.is_used_since_check()), (7, true));
/// assert!((info.jitter() - 0.5).abs() < 0.01);
/// // A ping has found another connection dead since this one was checked.
/// assert_eq!(info.pool_generation() - info.generation(), 1);
/// assert!(info.since_check() >= info.idle() && info.since_error().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    pub(crate) record: Record,
    pub(crate) luck: Luck,
    pub(crate) now: Tick,
    pub(crate) last_used: Tick,
    /// Zero: none was reported.
    pub(crate) last_error: Tick,
    pub(crate) uses: u64,
    pub(crate) pool_generation: u64,
}

/// The part of it that lies beside the connection. The rest changes with time, and others know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) born: Tick,
    pub(crate) last_checked: Tick,
    /// Its uses when it last answered; `u64::MAX` if that is not to be relied upon.
    pub(crate) uses_when_checked: u64,
    pub(crate) generation: u64,
}

/// A connection's jitter for life: a share of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Luck(pub(super) u32);

impl Luck {
    /// `share` is from 0 to 1.
    pub(crate) fn of(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32)
    }
}

impl Record {
    /// Of a connection opened `now`.
    pub(crate) fn newborn(now: Tick, generation: u64) -> Self {
        Self { born: now, last_checked: now, uses_when_checked: 0, generation }
    }

    /// That it could be opened does not tell that it works.
    pub(crate) fn distrust(&mut self) {
        self.uses_when_checked = u64::MAX;
    }
}

impl ConnectionInfo {
    /// Makes up a connection of `age`, never lent or pinged since it was opened.
    pub fn made_up(age: Duration) -> Self {
        let now = Tick(1 << 62);
        let born = Tick(now.0.saturating_sub(nanos(age)));
        Self { now, ..Self::newborn(born, 0) }
    }

    pub(crate) fn newborn(now: Tick, generation: u64) -> Self {
        Self {
            record: Record::newborn(now, generation),
            luck: Luck::of(0.0),
            now,
            last_used: now,
            last_error: Tick(0),
            uses: 0,
            pool_generation: generation,
        }
    }

    /// The same, but returned `idle` ago.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.last_used = Tick(self.now.0.saturating_sub(nanos(idle)));
        self
    }

    /// The same, but lent `uses` times.
    #[must_use]
    pub fn with_uses(mut self, uses: u64) -> Self {
        self.uses = uses;
        self
    }

    /// The same, but with `share`, from 0 to 1, as its [`jitter`](Self::jitter).
    #[must_use]
    pub fn with_jitter(mut self, share: f64) -> Self {
        self.luck = Luck::of(share);
        self
    }

    /// The same, but `generations` behind its pool.
    #[must_use]
    pub fn with_lag(mut self, generations: u64) -> Self {
        self.pool_generation = self.record.generation + generations;
        self
    }

    /// Returns the time since the connection was opened.
    pub fn age(&self) -> Duration {
        self.now.since(self.record.born)
    }

    /// Returns the time since the last return, or since the connection was opened.
    pub fn idle(&self) -> Duration {
        self.now.since(self.last_used)
    }

    /// Returns the time since a ping or a reset last succeeded, or since the connection was opened.
    pub fn since_check(&self) -> Duration {
        self.now.since(self.record.last_checked)
    }

    /// Returns whether the connection was lent since a ping or a reset last succeeded, or since it
    /// was opened. While other connections fail their pings, this is also true of a fresh
    /// connection that has not answered a ping.
    pub fn is_used_since_check(&self) -> bool {
        self.uses != self.record.uses_when_checked
    }

    /// Returns the number of loans.
    pub fn uses(&self) -> u64 {
        self.uses
    }

    /// Returns the time since a borrower last [suspected](crate::PooledConnection::suspect) the
    /// connection.
    pub fn since_error(&self) -> Option<Duration> {
        (self.last_error > Tick(0)).then(|| self.now.since(self.last_error))
    }

    /// Returns the pool's generation when the connection was opened or last pinged.
    pub fn generation(&self) -> u64 {
        self.record.generation
    }

    /// Returns the pool's generation now. It rises when a connection of the newest generation is
    /// found dead.
    pub fn pool_generation(&self) -> u64 {
        self.pool_generation
    }

    /// Returns a number from 0 to 1, drawn evenly when the connection was opened: for limits that
    /// must not strike all connections at once.
    pub fn jitter(&self) -> f64 {
        f64::from(self.luck.0) / f64::from(u32::MAX)
    }
}

/// A duration in nanoseconds; beyond `u64` it is `u64::MAX`, no limit.
pub(super) const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}
