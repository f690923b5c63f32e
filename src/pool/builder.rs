//! From a manager and settings to a pool.

use super::governor::ConnectGovernor;
use super::ground::sampling::Sampling;
use super::handle::Pool;
use super::state::Spawner;
use super::state::classes::Classes;
use crate::clock::Clock;
#[cfg(feature = "serde")]
use crate::config::PoolConfig;
use crate::config::{Fairness, PingOn, Settings, Shedding};
use crate::driver::{Async, Blocking, Driver};
use crate::error::{BuildError, ConfigError, Problem};
use crate::health::HealthStrategy;
use crate::hooks::Hooks;
use crate::manager::{AsyncManager, BlockingManager, BoxFuture, Manager};
use crate::observe::Observer;
use crate::sync::Arc;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

impl<M: BlockingManager> Pool<M> {
    /// Builds a pool with the defaults of [`Settings`] and without a strategy, for a blocking
    /// driver.
    ///
    /// ```
    /// # #[cfg(feature = "rusqlite")] {
    /// use caliburn::Pool;
    /// use caliburn::adapters::sqlite::SqliteManager;
    ///
    /// let pool = Pool::new(SqliteManager::shared_memory("songs")).unwrap();
    /// pool.get().unwrap().execute_batch("CREATE TABLE song (title TEXT)").unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::Thread`] if the system has no thread left for the housekeeper.
    pub fn new(manager: M) -> Result<Self, BuildError<M::Error>> {
        Self::builder(manager).build()
    }

    /// Starts building a pool for a blocking driver.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager, &Blocking)
    }
}

impl<M: AsyncManager> Pool<M> {
    /// As [`new`](Self::new), for an asynchronous driver.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::Thread`] if the system has no thread left for the housekeeper.
    pub fn new_async(manager: M) -> Result<Self, BuildError<M::Error>> {
        Self::builder_async(manager).build()
    }

    /// Starts building a pool for an asynchronous driver.
    pub fn builder_async(manager: M) -> Builder<M> {
        Builder::new(manager, &Async)
    }
}

#[doc = include_str!("builder.md")]
#[must_use]
pub struct Builder<M: Manager> {
    pub(crate) manager: M,
    pub(crate) driver: &'static dyn Driver<M>,
    pub(crate) settings: Settings,
    pub(crate) capacity: Option<usize>,
    pub(crate) initial_size: Option<usize>,
    pub(crate) reserved: usize,
    pub(crate) strategy: Box<dyn HealthStrategy>,
    pub(crate) hooks: Hooks<M>,
    pub(crate) observers: Vec<Box<dyn Observer>>,
    pub(crate) events_kept: usize,
    pub(crate) sampling: Sampling,
    pub(crate) identifies: bool,
    pub(crate) classes: Classes,
    pub(crate) clock: Clock,
    pub(crate) governor: Option<ConnectGovernor>,
    pub(crate) spawner: Option<Spawner>,
    pub(crate) manual_maintenance: bool,
    pub(crate) discard_on_unwind: bool,
    pub(crate) wait_ready: Option<Duration>,
    /// Of a configuration that was read.
    pub(crate) problems: Vec<Problem>,
}

/// One method for each setting.
macro_rules! settings {
    ($($(#[$doc:meta])+ $name:ident: $type:ty),+ $(,)?) => {
        $(
            $(#[$doc])+
            #[doc = concat!("\n\nSee [`Settings::", stringify!($name), "`].")]
            pub fn $name(mut self, $name: $type) -> Self {
                self.settings.$name = $name;
                self
            }
        )+
    };
}

/// A builder is only a list of settings: a panic leaves none half set.
impl<M: Manager> UnwindSafe for Builder<M> {}

/// As for [`UnwindSafe`].
impl<M: Manager> RefUnwindSafe for Builder<M> {}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M, driver: &'static dyn Driver<M>) -> Self {
        Self {
            manager,
            driver,
            settings: Settings::default(),
            capacity: None,
            initial_size: None,
            reserved: 0,
            strategy: Box::new(()),
            hooks: Hooks::new(),
            observers: Vec::new(),
            events_kept: 0,
            sampling: Sampling::none(),
            identifies: false,
            classes: Classes::default(),
            clock: Clock::real(),
            governor: None,
            spawner: None,
            manual_maintenance: false,
            discard_on_unwind: true,
            wait_ready: None,
            problems: Vec::new(),
        }
    }

    settings! {
        /// Sets the maximum number of connections. Default: 10.
        max_size: usize,
        /// Sets the minimum number of open connections. Default: 0.
        min_size: usize,
        /// Sets the minimum number of idle connections, kept ahead of demand. Default: 0.
        min_idle: usize,
        /// Sets the limit on a checkout. Default: 30 s.
        checkout_timeout: Duration,
        /// Sets the limit on opening a connection. Default: 10 s.
        connect_timeout: Duration,
        /// Sets the limit on a ping. Default: 5 s.
        ping_timeout: Duration,
        /// Sets the limit on a reset. Default: 5 s.
        reset_timeout: Duration,
        /// Sets the limit on closing a connection. Default: 5 s.
        close_timeout: Duration,
        /// Sets how long surplus connections may lie idle; `None` is no limit. Default: 600 s.
        idle_timeout: Option<Duration>,
        /// Sets the time after which the pool closes connections that were not in use at once.
        /// Default: `None`, never.
        shrink_window: Option<Duration>,
        /// Sets the time between two sweeps. Default: `None`, as the strategy asks, else 30 s.
        sweep_interval: Option<Duration>,
        /// Sets the maximum number of borrowers in line. Default: `usize::MAX`, no limit.
        max_waiters: usize,
        /// Sets the maximum number of connections opened at once. Default: 4.
        connect_concurrency: usize,
        /// Sets the maximum number of connections in maintenance at once. Default: 4.
        maintenance_concurrency: usize,
        /// Sets the maximum number of threads that ping and reset at once for a driver that blocks.
        /// Default: 32.
        worker_threads: usize,
        /// Sets which thread pings for a blocking borrower. Default: [`PingOn::Borrower`].
        ping_on: PingOn,
        /// Sets which borrower gets a returned connection. Default: [`Fairness::Fifo`].
        fairness: Fairness,
        /// Sets whether borrowers are turned away when there are too many. Default:
        /// [`Shedding::Off`].
        shedding: Shedding,
        /// Sets whether borrowers that cannot be served in time are refused at once. Default:
        /// `false`.
        deadline_admission: bool,
        /// Sets whether waiters fail as soon as connecting fails. Default: `false`.
        fail_fast: bool,
        /// Sets how long a loan may last before observers are told. Default: `None`, no limit.
        leak_threshold: Option<Duration>,
    }

    /// Sets all [`Settings`] at once. Default: `Settings::default()`.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets all that a configuration sets. [`build`](Self::build) reports its problems.
    ///
    /// ```
    /// # use caliburn::{BlockingManager, BuildError, Pool, PoolConfig};
    /// fn open<M: BlockingManager>(manager: M) -> Result<Pool<M>, BuildError<M::Error>> {
    ///     Pool::builder(manager).config(&PoolConfig::from_env("SONGS_DB_")).build()
    /// }
    /// ```
    #[cfg(feature = "serde")]
    pub fn config(mut self, config: &PoolConfig) -> Self {
        let read = config.read(&mut self.settings, &mut self.problems);
        self.capacity = read.capacity.or(self.capacity);
        self.initial_size = read.initial_size.or(self.initial_size);
        self.reserved = read.reserved.unwrap_or(self.reserved);
        self.wait_ready = read.wait_ready.or(self.wait_ready);
        self.strategy = read.strategy.unwrap_or(self.strategy);
        self
    }

    /// Sets the number of slots, which is the upper bound of `max_size` for the pool's whole life.
    /// Each slot costs some 370 bytes. At most [`MAX_CAPACITY`](crate::MAX_CAPACITY). Default: the
    /// `max_size` with which the pool is built.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// Sets the number of connections to open at the start, from `min_size` to `max_size`. Default:
    /// the greater of `min_size` and `min_idle`.
    pub fn initial_size(mut self, initial_size: usize) -> Self {
        self.initial_size = Some(initial_size);
        self
    }

    /// Sets the strategy that judges connections: one from [`health`](crate::health), your own, a
    /// tuple of several, or a `Box<dyn HealthStrategy>`. Default: `()`, no strategy.
    pub fn health(mut self, strategy: impl HealthStrategy) -> Self {
        self.strategy = Box::new(strategy);
        self
    }

    /// Sets the defaults of the Python pool Nimue. Every 60 s a sweep pings idle connections,
    /// replaces the dead, and closes those idle for 300 s down to the minimum. Each connection is
    /// pinged before its loan. The pool keeps 10 connections open, opens 20 at most, and lets
    /// borrowers wait without a limit. (Nimue's rollback on return is the manager's
    /// [`needs_reset`](Manager::needs_reset) and `reset`.)
    pub fn like_nimue(self) -> Self {
        use crate::health::{PeriodicSweep, PingOnBorrow};
        self.min_size(10)
            .max_size(20)
            .checkout_timeout(Duration::MAX)
            .idle_timeout(Some(Duration::from_secs(300)))
            .health((PingOnBorrow::always(), PeriodicSweep::every(Duration::from_secs(60))))
    }

    /// Sets the clock that the pool reads. Default: [`Clock::real`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Has the pool ask `governor` before each connect, as other pools may that share it. Default:
    /// none, the pool minds its own limits only.
    ///
    /// ```
    /// # use caliburn::{Builder, ConfigError, ConnectGovernor, Manager};
    /// fn gently<M: Manager>(builder: Builder<M>) -> Result<Builder<M>, ConfigError> {
    ///     let governor = ConnectGovernor::builder().max_concurrent(8).shared("db-1")?;
    ///     Ok(builder.connect_governor(&governor))
    /// }
    /// ```
    pub fn connect_governor(mut self, governor: &ConnectGovernor) -> Self {
        self.governor = Some(governor.clone());
        self
    }

    /// Sets where the futures of an [`AsyncManager`] run: `.spawner(move |task| {
    /// handle.spawn(task); })`. The pool's threads and borrowers call `spawn`, so it must know its
    /// runtime: a plain `tokio::spawn` finds none there. Default: the pool's worker threads run the
    /// futures.
    ///
    /// If `spawn` panics, or the runtime drops a task or does not poll it within a second after it
    /// was woken, a thread of the pool goes on with the work.
    /// [`Stats::launch_failures`](crate::Stats::launch_failures) counts such failures. If the work
    /// panics on that thread, because it needs its runtime, the error names the spawner
    /// ([`ManagerError::Spawner`](crate::ManagerError::Spawner)).
    pub fn spawner(
        mut self,
        spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static,
    ) -> Self {
        self.spawner = Some(Arc::new(spawn));
        self
    }

    /// Turns off all work in the background: only [`Pool::maintain`] opens, pings and closes
    /// connections and keeps the deadlines of tasks. On the hot path time moves only when
    /// `maintain` is called. For tests, and for programs that have a thread to spare. Default: the
    /// housekeeper and workers do the work.
    pub fn manual_maintenance(mut self) -> Self {
        self.manual_maintenance = true;
        self
    }

    /// Keeps connections whose guard was dropped by a panic. Default: the pool closes them, as the
    /// panic may have left them in any state.
    pub fn keep_on_unwind(mut self) -> Self {
        self.discard_on_unwind = false;
        self
    }

    /// Makes [`build`](Self::build) block up to `timeout` until the initial connections are open,
    /// and those of the [reserve](Self::reserved).
    /// Default: it does not wait.
    pub fn wait_ready(mut self, timeout: Duration) -> Self {
        self.wait_ready = Some(timeout);
        self
    }

    /// Builds the pool.
    ///
    /// Connections are opened in the background. With [`wait_ready`](Self::wait_ready) this blocks
    /// until the initial ones are open; a task should await [`Pool::ready_async`] instead.
    ///
    /// # Errors
    ///
    /// Returns a [`BuildError`]:
    ///
    /// - [`Config`](BuildError::Config): the settings contradict each other. It lists all problems.
    /// - [`Thread`](BuildError::Thread): the system has no thread left for the housekeeper.
    /// - [`NotReady`](BuildError::NotReady): the initial connections were not open in time, or
    ///   connecting failed permanently. The pool closes those that it has opened.
    pub fn build(mut self) -> Result<Pool<M>, BuildError<M::Error>> {
        let capacity = self.capacity.unwrap_or(self.settings.max_size);
        self.settings.check(capacity, self.initial_size, &mut self.problems);
        self.classes.check(&mut self.problems);
        self.problems.extend(Settings::check_reserved(self.reserved));
        ConfigError::of(std::mem::take(&mut self.problems)).map_err(BuildError::Config)?;
        let wait_ready = self.wait_ready;
        let pool = self.assemble(capacity)?;
        if let Some(timeout) = wait_ready {
            pool.ready(timeout).map_err(BuildError::NotReady)?;
        }
        Ok(pool)
    }
}

impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("capacity", &self.capacity)
            .field("initial_size", &self.initial_size)
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}
