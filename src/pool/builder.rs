//! From a manager and settings to a pool.

use super::ground::ring::Ring;
use super::ground::timers::Timers;
use super::ground::watch::Watch;
use super::handle::Pool;
use super::state::job::Queue;
use super::state::pass::Pass;
use super::state::pooled::Raw;
use super::state::supply::Supply;
use super::state::{Spawner, State};
use super::upkeep::housekeeper;
use super::work::worker;
use crate::clock::Clock;
use crate::config::{Fairness, PingOn, Settings};
use crate::error::BuildError;
use crate::health::HealthStrategy;
use crate::manager::{Async, AsyncManager, Blocking, BlockingManager, BoxFuture, Driver, Manager};
use crate::raw::RawPool;
use crate::raw::bitmap::Bitmap;
use crate::sync::{Arc, AtomicUsize, Mutex, Relaxed, Weak, thread};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::fmt;
use std::time::Duration;

impl<M: BlockingManager> Pool<M> {
    /// Begins a pool of connections whose driver blocks.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager, &Blocking)
    }
}

impl<M: AsyncManager> Pool<M> {
    /// Begins a pool of connections whose driver is asynchronous.
    pub fn builder_async(manager: M) -> Builder<M> {
        Builder::new(manager, &Async)
    }
}

/// Builds a [`Pool`]. Made by [`Pool::builder`] or [`Pool::builder_async`].
///
/// Nothing is checked before [`build`](Self::build), which then reports all problems at once.
#[must_use]
pub struct Builder<M: Manager> {
    manager: M,
    driver: &'static dyn Driver<M>,
    settings: Settings,
    capacity: Option<usize>,
    initial_size: Option<usize>,
    strategy: Box<dyn HealthStrategy>,
    clock: Clock,
    spawner: Option<Spawner>,
    manual_maintenance: bool,
    discard_on_unwind: bool,
    wait_ready: Option<Duration>,
}

/// One method for each setting.
macro_rules! settings {
    ($($name:ident: $type:ty),+ $(,)?) => {
        $(
            #[doc = concat!("Sets [`Settings::", stringify!($name), "`].")]
            pub fn $name(mut self, $name: $type) -> Self {
                self.settings.$name = $name;
                self
            }
        )+
    };
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M, driver: &'static dyn Driver<M>) -> Self {
        Self {
            manager,
            driver,
            settings: Settings::default(),
            capacity: None,
            initial_size: None,
            strategy: Box::new(()),
            clock: Clock::real(),
            spawner: None,
            manual_maintenance: false,
            discard_on_unwind: true,
            wait_ready: None,
        }
    }

    settings! {
        max_size: usize,
        min_size: usize,
        min_idle: usize,
        checkout_timeout: Duration,
        connect_timeout: Duration,
        ping_timeout: Duration,
        reset_timeout: Duration,
        close_timeout: Duration,
        idle_timeout: Option<Duration>,
        sweep_interval: Option<Duration>,
        max_waiters: usize,
        connect_concurrency: usize,
        maintenance_concurrency: usize,
        ping_on: PingOn,
        fairness: Fairness,
        fail_fast: bool,
    }

    /// Sets all [`Settings`] at once.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How many slots the pool has: the greatest `max_size` that it can ever be given. Each costs some
    /// 370 bytes. Default: `max_size` as it is at the start. At most [`MAX_CAPACITY`](crate::MAX_CAPACITY).
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// How many connections to open at the start, from `min_size` to `max_size`. Default: `min_size`, or
    /// `min_idle` if that is more.
    pub fn initial_size(mut self, initial_size: usize) -> Self {
        self.initial_size = Some(initial_size);
        self
    }

    /// The strategy that judges connections: one of those in [`health`](crate::health), one of your own, a
    /// tuple of several, or a `Box<dyn HealthStrategy>`. Default `()`: none.
    pub fn health(mut self, strategy: impl HealthStrategy) -> Self {
        self.strategy = Box::new(strategy);
        self
    }

    /// What the Python pool Nimue does: a sweep with pings every 60 s that closes connections idle for
    /// 300 s down to the minimum and replaces the dead, a ping before every loan, ten connections kept and
    /// twenty at most, no limit to the wait. (Its rollback on return is the manager's
    /// [`needs_reset`](Manager::needs_reset) and `reset`.)
    pub fn like_nimue(self) -> Self {
        use crate::health::{PeriodicSweep, PingOnBorrow};
        self.min_size(10)
            .max_size(20)
            .checkout_timeout(Duration::MAX)
            .idle_timeout(Some(Duration::from_secs(300)))
            .health((PingOnBorrow::always(), PeriodicSweep::every(Duration::from_secs(60))))
    }

    /// Where the pool takes its time from.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Runs the futures of an [`AsyncManager`](crate::AsyncManager) on a runtime:
    /// `.spawner(move |task| { handle.spawn(task); })`. Called on the housekeeper's thread and on those of
    /// borrowers. A task that the runtime drops unfinished costs at most the connection it was about.
    /// Default: worker threads.
    pub fn spawner(
        mut self,
        spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static,
    ) -> Self {
        self.spawner = Some(Box::new(spawn));
        self
    }

    /// Has nothing happen in the background: connections are opened, pinged and closed, and the deadlines
    /// of tasks kept, only within [`Pool::maintain`], and on the hot path time stands still in between. For
    /// tests, and for those who have a thread to spare.
    pub fn manual_maintenance(mut self) -> Self {
        self.manual_maintenance = true;
        self
    }

    /// Puts a connection back although its guard was dropped by a panic. By default it is closed, as
    /// nobody knows in which state the panic left it.
    pub fn keep_on_unwind(mut self) -> Self {
        self.discard_on_unwind = false;
        self
    }

    /// Has [`build`](Self::build) wait, at most so long, until the first connections are open.
    pub fn wait_ready(mut self, timeout: Duration) -> Self {
        self.wait_ready = Some(timeout);
        self
    }

    /// Builds the pool.
    ///
    /// Connections are opened in the background; with [`wait_ready`](Self::wait_ready) this blocks until
    /// the first ones are there. A task should not do that: it should await [`Pool::ready_async`] instead.
    ///
    /// # Errors
    ///
    /// - [`Config`](BuildError::Config): the settings contradict each other. All problems are listed.
    /// - [`Thread`](BuildError::Thread): the system has no thread left for the housekeeper.
    /// - [`NotReady`](BuildError::NotReady): the first connections were not open in time, or connecting
    ///   failed for good. What was opened is closed again.
    pub fn build(self) -> Result<Pool<M>, BuildError<M::Error>> {
        let capacity = self.capacity.unwrap_or(self.settings.max_size);
        self.settings.validate(capacity, self.initial_size).map_err(BuildError::Config)?;
        let wait_ready = self.wait_ready;
        let pool = Pool::adopt(self.assemble(capacity)?);
        if let Some(timeout) = wait_ready {
            pool.ready(timeout).map_err(BuildError::NotReady)?;
        }
        Ok(pool)
    }

    fn assemble(self, capacity: usize) -> Result<Arc<Raw<M>>, BuildError<M::Error>> {
        let stripes = Bitmap::stripes_for(capacity, parallelism());
        let unused = (capacity - self.settings.max_size) as i64;
        let first = self.settings.min_size.max(self.settings.min_idle);
        let initial_size = self.initial_size.unwrap_or(first);
        let manual_maintenance = self.manual_maintenance;
        let raw = RawPool::build(capacity as u32, stripes, self.into_state(capacity, initial_size));
        raw.adjust(unused);
        if !manual_maintenance && let Err(error) = hire_housekeeper(&raw) {
            raw.close();
            return Err(BuildError::Thread(error));
        }
        worker::grow(&raw);
        Ok(raw)
    }

    fn into_state(self, capacity: usize, initial_size: usize) -> State<M> {
        let now = self.clock.now();
        State {
            occasions: self.strategy.occasions(),
            strategy_interval: self.strategy.sweep_interval(),
            manager: self.manager,
            driver: self.driver,
            strategy: self.strategy,
            timers: Timers::new(self.clock.clone()),
            clock: self.clock,
            generation: Relaxed::<u64>::new(0),
            discard_on_unwind: self.discard_on_unwind,
            settings: ArcSwap::from_pointee(self.settings),
            changing: Mutex::new(()),
            counters: Default::default(),
            supply: Supply::new(initial_size),
            demand: Queue::new(capacity),
            upkeep: Queue::new(capacity),
            service: Default::default(),
            watch: Watch::new(),
            visits_since_close: Relaxed::<usize>::new(0),
            spawner: self.spawner,
            events: Default::default(),
            last_connect_failure: ArcSwapOption::empty(),
            last_ping_failure: ArcSwapOption::empty(),
            visits: Default::default(),
            pass: Mutex::new(Pass::none(now)),
            sweep_asked: Relaxed::<bool>::new(false),
            sweeper: Relaxed::<usize>::new(0),
            ring: Ring::new(),
            handles: AtomicUsize::new(0),
        }
    }
}

/// From now on the pool is maintained in the background.
pub(crate) fn hire_housekeeper<M: Manager>(raw: &Arc<Raw<M>>) -> std::io::Result<()> {
    let weak: Weak<Raw<M>> = Arc::downgrade(raw);
    let (thread, number) = housekeeper::take_on(weak)?;
    raw.context().ring.hire(thread, number);
    Ok(())
}

fn parallelism() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("capacity", &self.capacity)
            .field("initial_size", &self.initial_size)
            .finish_non_exhaustive()
    }
}
