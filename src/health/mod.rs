//! Health: strategies judge, the pool acts.
//!
//! The pool asks a strategy before each loan, after each return, and for each idle connection in
//! the sweep. The strategy gets a [`ConnectionInfo`], answers with a [`Verdict`] and does no I/O,
//! so the same strategy serves threads, tasks and the sweep. Combine strategies as a tuple, of
//! which the worst verdict wins; to choose one at run time, use `Box<dyn HealthStrategy>`.
//!
//! ```
//! use caliburn::health::{ConnectionInfo, EvictionCause, HealthStrategy, Verdict};
//!
//! /// Never lends a connection more than a thousand times, and pings it every hundredth time.
//! struct Thousand;
//!
//! impl HealthStrategy for Thousand {
//!     fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
//!         match info.uses() {
//!             1000.. => Verdict::Evict(EvictionCause::Strategy),
//!             n if n % 100 == 99 => Verdict::Ping,
//!             _ => Verdict::Keep,
//!         }
//!     }
//! }
//! ```

mod age;
mod info;
mod strategies;
mod validity;

pub use age::AgeEviction;
pub use info::ConnectionInfo;
pub(crate) use info::{Luck, Record};
pub use strategies::{PeriodicSweep, PingAfterFailure, PingOnBorrow};
pub use validity::Validity;

use std::fmt;
use std::ops::BitOr;
use std::time::Duration;

/// A strategy's answer. The greater verdict wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The connection is fit to be lent.
    Keep,
    /// The connection must be pinged before its next loan.
    Ping,
    /// The connection must be closed.
    Evict(EvictionCause),
}

/// Why the pool closed a connection. [`Evictions`](crate::stats::Evictions) counts them.
///
/// ```
/// # use caliburn::EvictionCause;
/// assert_eq!(EvictionCause::MaxLifetime.as_str(), "max lifetime");
/// assert!(EvictionCause::PingFailed.is_broken());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum EvictionCause {
    /// It reached the end of its lifetime.
    MaxLifetime,
    /// It was idle for too long.
    IdleTimeout,
    /// It was lent as often as it may be.
    MaxUses,
    /// A strategy written by the user evicted it.
    Strategy,
    /// A ping failed, timed out or panicked.
    PingFailed,
    /// A ping was cancelled half-way.
    PingCancelled,
    /// The driver reported that it was broken.
    Broken,
    /// It could not be reset on its return.
    ResetFailed,
    /// A [hook](crate::Builder::before_acquire) failed on it.
    HookFailed,
    /// Its borrower panicked while holding it, or a callback panicked on it.
    Panicked,
    /// Its borrower [discarded](crate::PooledConnection::discard) it.
    Discarded,
    /// It was open when [`Pool::invalidate`](crate::Pool::invalidate) was called, or
    /// [`Pool::evict_where`](crate::Pool::evict_where) chose it.
    Invalidated,
    /// The pool's limit was lowered.
    Surplus,
    /// Fewer connections were in use at once than were open, for a
    /// [`shrink_window`](crate::Settings::shrink_window).
    Unneeded,
    /// The pool was closed.
    PoolClosed,
}

impl EvictionCause {
    /// All causes, in order.
    pub const ALL: [Self; 15] = [
        Self::MaxLifetime,
        Self::IdleTimeout,
        Self::MaxUses,
        Self::Strategy,
        Self::PingFailed,
        Self::PingCancelled,
        Self::Broken,
        Self::ResetFailed,
        Self::HookFailed,
        Self::Panicked,
        Self::Discarded,
        Self::Invalidated,
        Self::Surplus,
        Self::Unneeded,
        Self::PoolClosed,
    ];

    /// Returns whether the connection is unusable. The pool then drops it without
    /// [closing](crate::BlockingManager::close) it gracefully.
    pub const fn is_broken(self) -> bool {
        matches!(self, Self::Broken | Self::PingFailed | Self::PingCancelled | Self::ResetFailed)
    }

    /// Returns the cause in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxLifetime => "max lifetime",
            Self::IdleTimeout => "idle timeout",
            Self::MaxUses => "max uses",
            Self::Strategy => "strategy",
            Self::PingFailed => "ping failed",
            Self::PingCancelled => "ping cancelled",
            Self::Broken => "broken",
            Self::ResetFailed => "reset failed",
            Self::HookFailed => "hook failed",
            Self::Panicked => "panicked",
            Self::Discarded => "discarded",
            Self::Invalidated => "invalidated",
            Self::Surplus => "surplus",
            Self::Unneeded => "unneeded",
            Self::PoolClosed => "pool closed",
        }
    }
}

impl fmt::Display for EvictionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The occasions on which the pool asks a strategy.
///
/// ```
/// # use caliburn::health::Occasions;
/// let occasions = Occasions::BORROW | Occasions::SWEEP;
/// assert!(occasions.intersects(Occasions::SWEEP) && !occasions.intersects(Occasions::RETURN));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasions(u8);

impl Occasions {
    /// Never.
    pub const NONE: Self = Self(0);
    /// Before a connection is lent.
    pub const BORROW: Self = Self(1);
    /// After it has come back.
    pub const RETURN: Self = Self(2);
    /// In the sweep.
    pub const SWEEP: Self = Self(4);
    /// Always.
    pub const ALL: Self = Self(7);

    /// Returns whether any of `other` is among these.
    #[inline(always)]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Occasions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Judges connections. The [module](self) has a short example; this one uses every method:
///
/// ```
/// use caliburn::health::{ConnectionInfo, EvictionCause, HealthStrategy, Occasions, Verdict};
/// use std::time::Duration;
///
/// /// Pings connections whose borrower had an error, and closes those older than a day.
/// struct Wary;
///
/// const DAY: Duration = Duration::from_secs(24 * 3600);
///
/// impl HealthStrategy for Wary {
///     fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
///         let is_stale = info.since_check() > Duration::from_secs(60);
///         if is_stale { Verdict::Ping } else { Verdict::Keep }
///     }
///
///     fn on_return(&self, info: &ConnectionInfo) -> Verdict {
///         match info.since_error() {
///             Some(time) if time < Duration::from_secs(10) => Verdict::Ping,
///             _ => Verdict::Keep,
///         }
///     }
///
///     fn on_sweep(&self, info: &ConnectionInfo) -> Verdict {
///         match info.age() > DAY {
///             true => Verdict::Evict(EvictionCause::MaxLifetime),
///             false => Verdict::Keep,
///         }
///     }
///
///     fn retires_in(&self, info: &ConnectionInfo) -> Option<(Duration, EvictionCause)> {
///         Some((DAY.saturating_sub(info.age()), EvictionCause::MaxLifetime))
///     }
///
///     fn sweep_interval(&self) -> Option<Duration> {
///         Some(Duration::from_secs(60))
///     }
///
///     fn occasions(&self) -> Occasions {
///         Occasions::ALL
///     }
/// }
/// ```
///
/// A strategy that panics costs the connection it was asked about, nothing else.
pub trait HealthStrategy: Send + Sync + 'static {
    /// Asked before each loan. `Ping`: the connection is pinged first, and closed if that fails.
    fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
        let _ = info;
        Verdict::Keep
    }

    /// Asked after each return. `Ping`: the connection is pinged before its next loan.
    fn on_return(&self, info: &ConnectionInfo) -> Verdict {
        let _ = info;
        Verdict::Keep
    }

    /// Asked for each idle connection in each sweep. `Ping`: a worker pings the connection now.
    fn on_sweep(&self, info: &ConnectionInfo) -> Verdict {
        let _ = info;
        Verdict::Keep
    }

    /// Returns for how long from now both [`on_borrow`](Self::on_borrow) and
    /// [`on_return`](Self::on_return) would answer `Keep` for this connection, while it is merely
    /// lent and returned. Until then the pool does not ask them. Default: [`Validity::NONE`], which
    /// is always right.
    ///
    /// ```
    /// use caliburn::health::{ConnectionInfo, EvictionCause, HealthStrategy, Validity, Verdict};
    ///
    /// struct Thousand;
    ///
    /// impl HealthStrategy for Thousand {
    ///     fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
    ///         let is_worn = info.uses() >= 1_000;
    ///         if is_worn { Verdict::Evict(EvictionCause::Strategy) } else { Verdict::Keep }
    ///     }
    ///
    ///     fn valid_for(&self, info: &ConnectionInfo) -> Validity {
    ///         Validity::uses(1_000 - info.uses().min(1_000))
    ///     }
    /// }
    /// ```
    fn valid_for(&self, info: &ConnectionInfo) -> Validity {
        let _ = info;
        Validity::NONE
    }

    /// Returns when the pool should begin to replace this connection, counted from now, and why: so
    /// that the replacement is open in time, even if the connection is never idle. Default: `None`,
    /// never.
    ///
    /// Once that time has passed, the pool opens a replacement, if there is room, and closes the
    /// connection on its return. Without room it closes a few such connections at a time.
    fn retires_in(&self, info: &ConnectionInfo) -> Option<(Duration, EvictionCause)> {
        let _ = info;
        None
    }

    /// Returns the time between two sweeps, if it matters to this strategy. The pool calls this
    /// once, when it is built. Default: `None`.
    fn sweep_interval(&self) -> Option<Duration> {
        None
    }

    /// Returns on which occasions to ask the strategy; the others cost nothing. It must always
    /// return the same. Default: [`Occasions::ALL`].
    fn occasions(&self) -> Occasions {
        Occasions::ALL
    }
}

/// For how long a strategy's `Keep` stands, which matters only if it is asked on borrow or return
/// at all.
pub(crate) fn validity_of(strategy: &dyn HealthStrategy, info: &ConnectionInfo) -> Validity {
    if strategy.occasions().intersects(Occasions::BORROW | Occasions::RETURN) {
        strategy.valid_for(info)
    } else {
        Validity::UNLIMITED
    }
}

/// No strategy: every connection is fit until its driver says otherwise.
impl HealthStrategy for () {
    fn valid_for(&self, _: &ConnectionInfo) -> Validity {
        Validity::UNLIMITED
    }

    fn occasions(&self) -> Occasions {
        Occasions::NONE
    }
}

impl HealthStrategy for Box<dyn HealthStrategy> {
    fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
        (**self).on_borrow(info)
    }

    fn on_return(&self, info: &ConnectionInfo) -> Verdict {
        (**self).on_return(info)
    }

    fn on_sweep(&self, info: &ConnectionInfo) -> Verdict {
        (**self).on_sweep(info)
    }

    fn valid_for(&self, info: &ConnectionInfo) -> Validity {
        (**self).valid_for(info)
    }

    fn retires_in(&self, info: &ConnectionInfo) -> Option<(Duration, EvictionCause)> {
        (**self).retires_in(info)
    }

    fn sweep_interval(&self) -> Option<Duration> {
        (**self).sweep_interval()
    }

    fn occasions(&self) -> Occasions {
        (**self).occasions()
    }
}

macro_rules! tuple {
    ($($strategy:ident),+) => {
        /// All of them are asked; the worst verdict wins.
        #[allow(non_snake_case)]
        impl<$($strategy: HealthStrategy),+> HealthStrategy for ($($strategy,)+) {
            fn on_borrow(&self, info: &ConnectionInfo) -> Verdict {
                let ($($strategy,)+) = self;
                Verdict::Keep$(.max($strategy.on_borrow(info)))+
            }

            fn on_return(&self, info: &ConnectionInfo) -> Verdict {
                let ($($strategy,)+) = self;
                Verdict::Keep$(.max($strategy.on_return(info)))+
            }

            fn on_sweep(&self, info: &ConnectionInfo) -> Verdict {
                let ($($strategy,)+) = self;
                Verdict::Keep$(.max($strategy.on_sweep(info)))+
            }

            fn valid_for(&self, info: &ConnectionInfo) -> Validity {
                let ($($strategy,)+) = self;
                Validity::UNLIMITED$(.min(validity_of($strategy, info)))+
            }

            fn retires_in(&self, info: &ConnectionInfo) -> Option<(Duration, EvictionCause)> {
                let ($($strategy,)+) = self;
                [$($strategy.retires_in(info)),+].into_iter().flatten().min()
            }

            fn sweep_interval(&self) -> Option<Duration> {
                let ($($strategy,)+) = self;
                [$($strategy.sweep_interval()),+].into_iter().flatten().min()
            }

            fn occasions(&self) -> Occasions {
                let ($($strategy,)+) = self;
                Occasions::NONE$( | $strategy.occasions())+
            }
        }
    };
}

tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);
tuple!(A, B, C, D, E, F);
