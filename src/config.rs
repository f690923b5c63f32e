//! Settings: one validated struct, swapped whole at run time.

use crate::error::{ConfigError, Problem};
use std::time::Duration;

/// The most slots a pool can have.
pub const MAX_CAPACITY: usize = 1 << 16;

/// Everything about a pool that can be changed while it runs.
///
/// Take a copy, change it, hand it to [`Pool::set`](crate::Pool::set): the new settings take effect together
/// or, if they contradict each other, not at all.
///
/// ```
/// # fn tune<M: caliburn::Manager>(pool: &caliburn::Pool<M>) -> Result<(), caliburn::ConfigError> {
/// let mut settings = pool.settings();
/// settings.min_size = 30;
/// settings.max_size = 40;
/// pool.set(settings)
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The most connections open or opening at once; at most the pool's capacity. Default 10.
    pub max_size: usize,
    /// So many connections are kept open. Default 0.
    pub min_size: usize,
    /// So many free connections are kept ahead of demand, as far as `max_size` allows. Default 0.
    pub min_idle: usize,
    /// How long [`get`](crate::Pool::get) and [`get_async`](crate::Pool::get_async) may take. Zero: no
    /// waiting; [`Duration::MAX`]: no limit. Default 30 s.
    pub checkout_timeout: Duration,
    /// How long opening one connection may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a ping may take. Default 5 s.
    pub ping_timeout: Duration,
    /// How long a reset may take. Default 5 s.
    pub reset_timeout: Duration,
    /// How long closing one connection may take. Default 5 s.
    pub close_timeout: Duration,
    /// Connections idle for longer are closed by the sweep, longest idle first, down to `min_size` and
    /// `min_idle`. `None`: never. Default 600 s.
    pub idle_timeout: Option<Duration>,
    /// How often the housekeeper passes over the idle connections, at most once a millisecond. `None`: as
    /// the strategy asks, else every 30 s. Default `None`.
    pub sweep_interval: Option<Duration>,
    /// The most borrowers that may wait in line; one more is refused at once. Zero: nobody waits, and as
    /// nobody then asks for growth only the minimum is ever open. Default: no limit.
    pub max_waiters: usize,
    /// The most connections opened at once. Stuck ones do not count, up to the same number again: those that
    /// have outlived `connect_timeout`, or after half a second have been overtaken by another that
    /// succeeded. While the server is down, or connects hang, one probe in a second goes out beside
    /// them. Default 4.
    pub connect_concurrency: usize,
    /// The most connections out of service at once for pings and closes that nobody waits for; those that
    /// have outlived their limit do not count. Default 4.
    pub maintenance_concurrency: usize,
    /// Who pings a connection that a thread is about to borrow, if the driver blocks. Default: the borrower.
    pub ping_on: PingOn,
    /// Who gets a connection that comes back while others wait. Default: who has waited longest.
    pub fairness: Fairness,
    /// When connecting fails and no connection is open, all who wait fail at once with the cause, and so do
    /// those who come before the next attempt, even if the error may pass. Otherwise they wait for better
    /// times as long as their timeout lets them; after a permanent error nobody does. Default: no.
    pub fail_fast: bool,
}

/// Who pings a connection that a thread is about to borrow, if the driver blocks the thread it is called on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PingOn {
    /// The borrower itself: the driver is trusted to honour the [`Deadline`](crate::Deadline) it is given.
    /// (One with less time left than a ping may take leaves it to a worker.)
    #[default]
    Borrower,
    /// A worker's thread, at the cost of two thread switches: the borrower leaves at its deadline,
    /// whatever the driver does.
    Worker,
}

/// Who gets a connection that comes back while others wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fairness {
    /// Strictly first come, first served: it is handed to whoever has waited longest, and newcomers go to the end
    /// of the line. The longest waits are short, and every thread gets its turn.
    #[default]
    Fifo,
    /// A newcomer may be faster than one who has to be woken first, until the oldest has waited for so long; then
    /// as above. A thread that returns and borrows in a loop goes on without a wake-up per loan, which is
    /// more throughput where connections are held for less time than a wake-up takes, for longer longest waits.
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
            sweep_interval: None,
            max_waiters: usize::MAX,
            connect_concurrency: 4,
            maintenance_concurrency: 4,
            ping_on: PingOn::Borrower,
            fairness: Fairness::Fifo,
            fail_fast: false,
        }
    }
}

impl Settings {
    /// Checks the settings against each other and the capacity; `initial_size` only matters at the start.
    pub(crate) fn validate(
        &self,
        capacity: usize,
        initial_size: Option<usize>,
    ) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let zero = [
            // Without a capacity of its own a pool has that of its limit: one mistake, one problem.
            ("capacity", capacity == 0 && self.max_size != 0),
            ("max_size", self.max_size == 0),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("ping_timeout", self.ping_timeout.is_zero()),
            ("reset_timeout", self.reset_timeout.is_zero()),
            ("close_timeout", self.close_timeout.is_zero()),
            ("sweep_interval", self.sweep_interval.is_some_and(|interval| interval.is_zero())),
            ("connect_concurrency", self.connect_concurrency == 0),
            ("maintenance_concurrency", self.maintenance_concurrency == 0),
        ];
        problems.extend(zero.iter().filter(|(_, is)| *is).map(|(name, _)| Problem::Zero(name)));
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
        ConfigError::of(problems)
    }
}
