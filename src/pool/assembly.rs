//! Puts a pool and its reserve together from what their builder was told.

use super::builder::Builder;
use super::governor::{self, ConnectGovernor};
use super::ground::caught::Foreign;
use super::ground::journal::Journal;
use super::ground::ring::Ring;
use super::ground::sampling::Sampling;
use super::ground::timers::Timers;
use super::ground::watch::Watch;
use super::handle::Pool;
use super::state::classes::Classes;
use super::state::invalid::Invalid;
use super::state::job::Queue;
use super::state::pass::Pass;
use super::state::pooled::Raw;
use super::state::shedding::Shed;
use super::state::supply::Supply;
use super::state::usage::Usage;
use super::state::{Spawner, State};
use super::upkeep::housekeeper;
use super::work::worker;
use crate::clock::{Clock, Tick};
use crate::config::Settings;
use crate::driver::Driver;
use crate::error::BuildError;
use crate::fork;
use crate::health::{HealthStrategy, Occasions};
use crate::hooks::Hooks;
use crate::manager::Manager;
use crate::raw::RawPool;
use crate::raw::bitmap::Bitmap;
use crate::raw::requests::Requests;
use crate::raw::turn::Turn;
use crate::stats::Counters;
use crate::sync::{Arc, AtomicUsize, Mutex, Relaxed, Weak, thread};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::time::Duration;

impl<M: Manager> Builder<M> {
    /// The pool, and its reserve if there is to be one.
    pub(super) fn assemble(self, capacity: usize) -> Result<Pool<M>, BuildError<M::Error>> {
        let reserved = self.reserved;
        let initial_size = self.initial_size;
        let (settings, parts) = Parts::of(self);
        let mut pool = parts.pool(settings.clone(), capacity, initial_size, false)?;
        if reserved > 0 {
            // If that fails, the pool is closed with its only handle.
            let settings = settings.of_reserve(reserved);
            pool.reserve = Some(Arc::new(parts.pool(settings, reserved, None, true)?));
        }
        Ok(pool)
    }
}

/// What a pool and its reserve share, or have alike.
struct Parts<M: Manager> {
    manager: Arc<M>,
    driver: &'static dyn Driver<M>,
    strategy: Foreign<Arc<dyn HealthStrategy>>,
    occasions: Occasions,
    strategy_interval: Option<Duration>,
    hooks: Foreign<Arc<Hooks<M>>>,
    journal: Arc<Journal>,
    is_watched: bool,
    sampling: Sampling,
    classes: Arc<Classes>,
    identifies: bool,
    clock: Clock,
    governor: Option<ConnectGovernor>,
    spawner: Foreign<Option<Spawner>>,
    is_manual: bool,
    discard_on_unwind: bool,
    installing: Arc<Mutex<()>>,
    changing: Arc<Mutex<()>>,
}

impl<M: Manager> Parts<M> {
    fn of(builder: Builder<M>) -> (Settings, Self) {
        let now = builder.clock.now();
        let is_watched = !builder.observers.is_empty() || builder.events_kept > 0;
        let parts = Self {
            occasions: builder.strategy.occasions(),
            strategy_interval: builder.strategy.sweep_interval(),
            manager: Arc::new(builder.manager),
            driver: builder.driver,
            strategy: Foreign::new(Arc::from(builder.strategy)),
            hooks: Foreign::new(Arc::new(builder.hooks)),
            journal: Arc::new(Journal::new(now, builder.observers, builder.events_kept)),
            is_watched,
            sampling: builder.sampling,
            classes: Arc::new(builder.classes),
            identifies: builder.identifies,
            clock: builder.clock,
            governor: builder.governor,
            spawner: Foreign::new(builder.spawner),
            is_manual: builder.manual_maintenance,
            discard_on_unwind: builder.discard_on_unwind,
            installing: Arc::default(),
            changing: Arc::default(),
        };
        (builder.settings, parts)
    }

    fn pool(
        &self,
        settings: Settings,
        capacity: usize,
        initial_size: Option<usize>,
        is_reserve: bool,
    ) -> Result<Pool<M>, BuildError<M::Error>> {
        let stripes = Bitmap::stripes_for(capacity, parallelism());
        let unused = (capacity - settings.max_size) as i64;
        let initial_size = initial_size.unwrap_or(settings.min_size.max(settings.min_idle));
        let state = self.state(settings, capacity, initial_size, is_reserve);
        let raw = RawPool::build(capacity as u32, stripes, state);
        let weak: Weak<Raw<M>> = Arc::downgrade(&raw);
        fork::enroll(weak);
        if let Some(member) = &raw.context().member {
            let weak: Weak<Raw<M>> = Arc::downgrade(&raw);
            member.stand_for(weak);
        }
        raw.adjust(unused);
        if !self.is_manual
            && let Err(error) = hire_housekeeper(&raw).and_then(|()| hire_for_governor(&raw))
        {
            raw.close();
            return Err(BuildError::Thread(error));
        }
        worker::grow(&raw);
        Ok(Pool::adopt(raw, None))
    }

    fn state(
        &self,
        settings: Settings,
        capacity: usize,
        initial_size: usize,
        is_reserve: bool,
    ) -> State<M> {
        State {
            occasions: self.occasions,
            strategy_interval: self.strategy_interval,
            manager: Foreign::new(ArcSwap::new(Arc::clone(&self.manager))),
            driver: self.driver,
            strategy: self.strategy.clone(),
            hooks: self.hooks.clone(),
            timers: Timers::new(self.clock.clone()),
            built: self.clock.now(),
            clock: self.clock.clone(),
            generation: Relaxed::<u64>::new(0),
            invalid: Invalid::default(),
            discard_on_unwind: self.discard_on_unwind,
            shed: Shed::new(settings.shedding),
            admits_by_deadline: Relaxed::<bool>::new(settings.deadline_admission),
            settings: ArcSwap::from_pointee(settings),
            door: Mutex::default(),
            installing: Arc::clone(&self.installing),
            changing: Arc::clone(&self.changing),
            counters: Counters::new(self.sampling.is_on()),
            marks: Mutex::default(),
            sampling: self.sampling,
            is_watched: self.is_watched,
            journal: Arc::clone(&self.journal),
            is_reserve,
            leaks: Mutex::default(),
            classes: Arc::clone(&self.classes),
            identifies: self.identifies,
            nested: Mutex::default(),
            gathering: Turn::default(),
            supply: Supply::new(initial_size),
            member: self.governor.as_ref().map(ConnectGovernor::member),
            queues: [1, capacity, capacity].map(Queue::new),
            starts: Requests::new(),
            closed_by: Relaxed::<u64>::new(Tick::NEVER.0),
            assignments: Mutex::default(),
            service: Default::default(),
            beside: Default::default(),
            watch: Watch::new(),
            spawner: self.spawner.clone(),
            events: Default::default(),
            last_connect_failure: ArcSwapOption::empty(),
            last_ping_failure: ArcSwapOption::empty(),
            visits: Requests::new(),
            visitor: Relaxed::<usize>::new(0),
            pass: Mutex::new(Pass::none(self.clock.now())),
            above_limit: Mutex::new(Vec::new()),
            usage: Mutex::new(Usage::of(None)),
            sweep_asked: Relaxed::<bool>::new(false),
            sweeper: Relaxed::<usize>::new(0),
            ring: Ring::new(),
            chores_due: Relaxed::<u64>::new(0),
            is_closing: Relaxed::<bool>::new(false),
            handles: AtomicUsize::new(0),
        }
    }
}

/// From now on the governor, if there is one, sees by itself what time alone changes.
fn hire_for_governor<M: Manager>(raw: &Raw<M>) -> std::io::Result<()> {
    raw.context().member.as_ref().map_or(Ok(()), |member| governor::hire(member.desk()))
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
