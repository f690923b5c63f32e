//! Settings: one validated struct, swapped whole at run time.

#[cfg(feature = "serde")]
mod choices;
#[cfg(feature = "serde")]
mod health;
#[cfg(feature = "serde")]
mod pool_config;
#[cfg(feature = "serde")]
mod reader;
mod shedding;
#[cfg(feature = "serde")]
mod value;

#[cfg(feature = "serde")]
pub use self::pool_config::PoolConfig;
pub use self::shedding::Shedding;

use crate::error::{ConfigError, Problem};
use std::time::Duration;

/// Maximum number of slots of a pool.
pub const MAX_CAPACITY: usize = 1 << 16;

/// Everything about a pool that can be changed while it runs.
///
/// [`Pool::change`](crate::Pool::change) changes some of them, [`Pool::set`](crate::Pool::set)
/// replaces them. New settings take effect together or, if they contradict each other, not at all.
///
/// ```
/// # fn tune<M: caliburn::Manager>(pool: &caliburn::Pool<M>) -> Result<(), caliburn::ConfigError> {
/// pool.change(|settings| {
///     settings.min_size = 30;
///     settings.max_size = 40;
/// })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Maximum number of connections open or opening, at most the pool's capacity. Default: 10.
    pub max_size: usize,
    /// Minimum number of open connections. Default: 0.
    pub min_size: usize,
    /// Minimum number of idle connections, kept ahead of demand as far as `max_size` allows.
    /// Default: 0.
    pub min_idle: usize,
    /// Limit on [`get`](crate::Pool::get) and [`get_async`](crate::Pool::get_async). Zero means no
    /// waiting, [`Duration::MAX`] no limit. Default: 30 s.
    pub checkout_timeout: Duration,
    /// Limit on opening one connection, more than zero. Default: 10 s.
    pub connect_timeout: Duration,
    /// Limit on one ping, more than zero. Default: 5 s.
    pub ping_timeout: Duration,
    /// Limit on one reset, more than zero. Default: 5 s.
    pub reset_timeout: Duration,
    /// Limit on closing one connection, more than zero. Default: 5 s.
    pub close_timeout: Duration,
    /// How long a connection may lie idle. The sweep closes those idle for longer, longest idle
    /// first, down to `min_size` and `min_idle`. `None` means no limit. Default: 600 s.
    pub idle_timeout: Option<Duration>,
    /// Time over which the pool counts how many connections are in use, more than zero; below 500
    /// ms it counts as 500 ms. At its end the pool closes idle connections, longest idle first,
    /// until as many are open as were in use at once in 19 of 20 samples, and `min_idle` more, but
    /// never fewer than `min_size`; then it begins again. So a peak that lasts for a fortieth of
    /// the time or less counts for nothing, and one that lasts for a seventh is reckoned with. A
    /// paused pool counts nothing. `None` means that only `idle_timeout` closes what is idle.
    /// Default: `None`.
    pub shrink_window: Option<Duration>,
    /// Time between two sweeps of the idle connections, more than zero; below 1 ms it counts as 1
    /// ms. `None` means the interval that the strategy asks for, else 30 s. Default: `None`.
    pub sweep_interval: Option<Duration>,
    /// Maximum number of borrowers in line; one more is refused at once. With zero no borrower
    /// waits, and as none then asks for growth, only the minimum is ever open. A
    /// [`get_many`](crate::Pool::get_many) is one borrower. Each [class](crate::Pool::class) has
    /// this limit for itself. Default: `usize::MAX`, no limit.
    pub max_waiters: usize,
    /// Maximum number of connections opened at once, at least 1. Stuck connects do not count, up to
    /// the same number again: those that have outlived `connect_timeout`, and those that after 500
    /// ms have been overtaken by a later connect. While the server is down, or connects hang, one
    /// probe a second goes out beside them. Default: 4.
    pub connect_concurrency: usize,
    /// Maximum number of connections out of service at once for pings and closes that no borrower
    /// waits for, at least 1. Calls that have outlived their limit do not count. Default: 4.
    pub maintenance_concurrency: usize,
    /// Maximum number of threads on which a driver that blocks pings and resets for borrowers at
    /// once, and on which a closed pool closes its connections. Calls that have outlived their
    /// limit do not count; connects have `connect_concurrency`. Async drivers run as tasks and have
    /// no such limit. Default: 32.
    pub worker_threads: usize,
    /// Which thread pings a connection that a thread is about to borrow, if the driver blocks.
    /// Default: [`PingOn::Borrower`].
    pub ping_on: PingOn,
    /// Which borrower gets a returned connection while others wait. Default: [`Fairness::Fifo`].
    pub fairness: Fairness,
    /// Whether borrowers are turned away when the pool cannot serve all in time. Default:
    /// [`Shedding::Off`].
    pub shedding: Shedding,
    /// Whether a borrower is refused at once, with
    /// [`GetError::Hopeless`](crate::GetError::Hopeless), if it cannot be served in time
    /// (deadline-aware admission): if twice the wait to be expected, from its place in line and how
    /// fast the line has been served lately, is longer than its own limit. One that would be first
    /// in line is never refused, nor is any as long as too little is known, in a pause, or while
    /// connecting fails. Each [class](crate::Pool::class) is judged by its own queue and share;
    /// [`get_many`](crate::Pool::get_many) and the [reserve](crate::Pool::reserved) refuse nobody
    /// for this. In such a pool `fairness` is [`Fifo`](Fairness::Fifo), whatever is set. Default:
    /// `false`.
    pub deadline_admission: bool,
    /// Whether all waiters fail at once with the cause when connecting fails and no connection is
    /// open, even if the error is transient; so do borrowers that come before the next attempt.
    /// Otherwise they wait until their timeout. After a permanent error they fail at once in any
    /// case. Default: `false`.
    pub fail_fast: bool,
    /// For how long a connection may be lent, more than zero. A loan that lasts longer is counted
    /// ([`Stats::leaks`](crate::Stats::leaks)), and observers are told of it once
    /// ([`HeldTooLong`](crate::observe::EventKind::HeldTooLong)), while the pool is open. Nothing
    /// is taken from its borrower. Loans are timed to some 25 ms. Default: `None`, no limit.
    pub leak_threshold: Option<Duration>,
}

/// Which thread pings a connection that a thread is about to borrow, if the driver blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PingOn {
    /// The borrower's: the driver is trusted to honour the [`Deadline`](crate::Deadline) it is
    /// given. A borrower with less time left than a ping may take leaves it to a worker.
    #[default]
    Borrower,
    /// A worker's, at the cost of two thread switches: the borrower leaves at its deadline,
    /// whatever the driver does.
    Worker,
}

/// Which borrower gets a returned connection while others wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fairness {
    /// The waiter that has waited longest; newcomers go to the end of the line. The longest waits
    /// are short, and every thread gets its turn.
    #[default]
    Fifo,
    /// A newcomer may take it before a waiter wakes up, until the oldest waiter has waited for this
    /// long; from then on as [`Fifo`](Self::Fifo). A thread that returns and borrows in a loop then
    /// needs no wake-up per loan. That raises throughput where loans are shorter than a wake-up,
    /// and makes the longest waits longer.
    BoundedBarging(Duration),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_size: 10,
            min_size: 0,
            min_idle: 0,
            checkout_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            reset_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            idle_timeout: Some(Duration::from_secs(600)),
            shrink_window: None,
            sweep_interval: None,
            max_waiters: usize::MAX,
            connect_concurrency: 4,
            maintenance_concurrency: 4,
            worker_threads: 32,
            ping_on: PingOn::Borrower,
            fairness: Fairness::Fifo,
            shedding: Shedding::Off,
            deadline_admission: false,
            fail_fast: false,
            leak_threshold: None,
        }
    }
}

impl Settings {
    /// Checks the settings against each other and the capacity; `initial_size` only matters at the
    /// start.
    pub(crate) fn validate(&self, capacity: usize) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.check_the_rest(capacity, None, &mut problems);
        ConfigError::of(problems)
    }

    /// What is wrong with the `max_size` of a pool that has no other settings.
    pub(crate) fn check_size(max_size: usize) -> Option<Problem> {
        let (setting, bound) = ("max_size", "the greatest capacity");
        match max_size {
            0 => Some(Problem::Zero(setting)),
            1..=MAX_CAPACITY => None,
            value => Some(Problem::Above { setting, value, bound, limit: MAX_CAPACITY }),
        }
    }

    /// Those of a reserve of so many connections, whose pool has these: it is kept full, also while
    /// its connections are replaced, and turns nobody away.
    pub(crate) fn of_reserve(&self, reserved: usize) -> Self {
        let sizes = Self { max_size: reserved, min_size: reserved, ..Self::default() };
        self.with_sizes_of(&sizes)
    }

    /// The same with the sizes of a reserve's `own`.
    pub(crate) fn with_sizes_of(&self, own: &Self) -> Self {
        let Self { max_size, min_size, min_idle, .. } = *own;
        let (shedding, deadline_admission) = (Shedding::Off, false);
        Self {
            max_size,
            min_size,
            min_idle,
            maintenance_concurrency: 1,
            shedding,
            deadline_admission,
            ..self.clone()
        }
    }

    /// What is wrong with a reserve of so many connections.
    pub(crate) fn check_reserved(value: usize) -> Option<Problem> {
        let (setting, bound, limit) = ("reserved", "the greatest capacity", MAX_CAPACITY);
        (value > limit).then_some(Problem::Above { setting, value, bound, limit })
    }

    /// What is wrong with the settings of a pool that is to be built, beside other problems.
    pub(crate) fn check(
        &self,
        capacity: usize,
        initial_size: Option<usize>,
        problems: &mut Vec<Problem>,
    ) {
        if self.max_size == 0 {
            problems.push(Problem::Zero("max_size"));
        }
        self.check_the_rest(capacity, initial_size, problems);
    }

    fn check_the_rest(
        &self,
        capacity: usize,
        initial_size: Option<usize>,
        problems: &mut Vec<Problem>,
    ) {
        let zero = [
            // An unset capacity is `max_size`: one mistake, one problem.
            ("capacity", capacity == 0 && self.max_size != 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("ping_timeout", self.ping_timeout.is_zero()),
            ("reset_timeout", self.reset_timeout.is_zero()),
            ("close_timeout", self.close_timeout.is_zero()),
            ("shrink_window", self.shrink_window.is_some_and(|window| window.is_zero())),
            ("sweep_interval", self.sweep_interval.is_some_and(|interval| interval.is_zero())),
            ("leak_threshold", self.leak_threshold.is_some_and(|threshold| threshold.is_zero())),
            ("connect_concurrency", self.connect_concurrency == 0),
            ("maintenance_concurrency", self.maintenance_concurrency == 0),
            ("worker_threads", self.worker_threads == 0),
        ];
        problems.extend(zero.iter().filter(|(_, is)| *is).map(|(name, _)| Problem::Zero(name)));
        self.shedding.check(problems);
        let initial = initial_size.unwrap_or(self.min_size);
        let bounded = [
            ("capacity", capacity, "the greatest capacity", MAX_CAPACITY),
            ("max_size", self.max_size, "capacity", capacity),
            ("min_size", self.min_size, "max_size", self.max_size),
            ("min_idle", self.min_idle, "max_size", self.max_size),
        ];
        let above = |(setting, value, bound, limit)| {
            (value > limit).then_some(Problem::Above { setting, value, bound, limit })
        };
        problems.extend(bounded.into_iter().filter_map(above));
        if let Some(value) = initial_size {
            problems.extend(above(("initial_size", value, "max_size", self.max_size)));
            if initial < self.min_size {
                problems.push(Problem::Below {
                    setting: "initial_size",
                    value,
                    bound: "min_size",
                    limit: self.min_size,
                });
            }
        }
    }
}
