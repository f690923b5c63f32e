//! Puts a pool together from what its builder was told.

use super::builder::Builder;
use super::ground::caught::Foreign;
use super::ground::journal::Journal;
use super::ground::ring::Ring;
use super::ground::timers::Timers;
use super::ground::watch::Watch;
use super::state::State;
use super::state::invalid::Invalid;
use super::state::job::Queue;
use super::state::pass::Pass;
use super::state::pooled::Raw;
use super::state::supply::Supply;
use super::upkeep::housekeeper;
use super::work::worker;
use crate::clock::Tick;
use crate::error::BuildError;
use crate::fork;
use crate::manager::Manager;
use crate::raw::RawPool;
use crate::raw::bitmap::Bitmap;
use crate::raw::requests::Requests;
use crate::raw::turn::Turn;
use crate::stats::Counters;
use crate::sync::{Arc, AtomicUsize, Mutex, Relaxed, Weak, thread};
use arc_swap::{ArcSwap, ArcSwapOption};

impl<M: Manager> Builder<M> {
    pub(super) fn assemble(self, capacity: usize) -> Result<Arc<Raw<M>>, BuildError<M::Error>> {
        let stripes = Bitmap::stripes_for(capacity, parallelism());
        let unused = (capacity - self.settings.max_size) as i64;
        let first = self.settings.min_size.max(self.settings.min_idle);
        let initial_size = self.initial_size.unwrap_or(first);
        let manual_maintenance = self.manual_maintenance;
        let raw = RawPool::build(capacity as u32, stripes, self.into_state(capacity, initial_size));
        let weak: Weak<Raw<M>> = Arc::downgrade(&raw);
        fork::enroll(weak);
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
            manager: ArcSwap::from_pointee(self.manager),
            driver: self.driver,
            strategy: Foreign::new(self.strategy),
            hooks: Foreign::new(self.hooks),
            timers: Timers::new(self.clock.clone()),
            clock: self.clock,
            generation: Relaxed::<u64>::new(0),
            invalid: Invalid::default(),
            discard_on_unwind: self.discard_on_unwind,
            settings: ArcSwap::from_pointee(self.settings),
            door: Mutex::default(),
            installing: Mutex::default(),
            changing: Mutex::new(()),
            counters: Counters::new(self.sampling.is_on()),
            sampling: self.sampling,
            is_watched: !self.observers.is_empty() || self.events_kept > 0,
            journal: Arc::new(Journal::new(now, self.observers, self.events_kept)),
            leaks: Mutex::default(),
            identifies: self.identifies,
            nested: Mutex::default(),
            gathering: Turn::default(),
            supply: Supply::new(initial_size),
            queues: [1, capacity, capacity].map(Queue::new),
            starts: Requests::new(),
            closed_by: Relaxed::<u64>::new(Tick::NEVER.0),
            assignments: Mutex::default(),
            service: Default::default(),
            beside: Default::default(),
            watch: Watch::new(),
            spawner: Foreign::new(self.spawner),
            events: Default::default(),
            last_connect_failure: ArcSwapOption::empty(),
            last_ping_failure: ArcSwapOption::empty(),
            visits: Requests::new(),
            pass: Mutex::new(Pass::none(now)),
            above_limit: Mutex::new(Vec::new()),
            sweep_asked: Relaxed::<bool>::new(false),
            sweeper: Relaxed::<usize>::new(0),
            ring: Ring::new(),
            chores_due: Relaxed::<u64>::new(0),
            is_closing: Relaxed::<bool>::new(false),
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
