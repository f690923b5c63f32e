//! Connectors do the [jobs](super::job): threads of the crew for blocking managers, tasks for async ones.
//!
//! A connector takes jobs until none is left. It owns nothing but a count on the pool between two jobs, so
//! one that is dropped half-way (its runtime went away) leaves the others where they are.

use super::block_on::block_on;
use super::crew;
use super::job::Lane;
use super::quarantine::Late;
use super::shared::{Raw, Shared};
use super::tend::perform;
use crate::clock::Tick;
use crate::manager::{Kind, Manager};
use crate::no_unwind::no_unwind;
use crate::sync::{Arc, Ordering};
use std::pin::pin;
use std::time::Duration;

/// Has connectors started for the jobs that wait, as far as the limits allow.
pub(crate) fn pump<M: Manager>(raw: &Arc<Raw<M>>) {
    let shared = raw.context();
    if shared.is_by_hand() {
        return;
    }
    for which in [Which::Demand, Which::Upkeep] {
        let lane = which.of(shared);
        // O11: a connector too many finds nothing to do; the next visit makes up for one too few.
        let starting = lane.starting.load(Ordering::Relaxed);
        for _ in starting..lane.jobs.len() {
            let limit = which.limit(shared);
            let connector = Connector::begin(raw, which, limit).or_else(|| {
                // Those that a late call keeps are not at work.
                let late = Late::now(raw, shared.clock.now()).upkeep;
                Connector::begin(raw, which, limit.saturating_add(late))
            });
            if !connector.is_some_and(launch) {
                break;
            }
        }
    }
}

/// Has it run by whoever can. False: nobody can now.
fn launch<M: Manager>(connector: Connector<M>) -> bool {
    let raw = Arc::clone(&connector.raw);
    let shared = raw.context();
    // A closed pool may have outlived its runtime; then threads must do what is left.
    let is_orphaned = raw.is_closed() && shared.visits_since_close() > 1;
    match &shared.spawner {
        Some(spawn) if shared.driver.kind() == Kind::Async && !is_orphaned => {
            // Foreign code. If it fails, or drops what it was given, a later visit tries again.
            let run = connector.run();
            no_unwind(|| spawn(Box::pin(run))).is_some()
        }
        _ => {
            let clock = shared.clock.clone();
            crew::submit(Box::new(move || {
                block_on(connector.run(), &clock, Tick::NEVER);
            }))
        }
    }
}

/// Does all jobs here and now, and keeps the timers of those that are being done.
pub(crate) fn run_all<M: Manager>(raw: &Arc<Raw<M>>) {
    let shared = raw.context();
    while let Some(job) = shared.demand.jobs.pop().or_else(|| shared.upkeep.jobs.pop()) {
        let mut work = pin!(perform(raw, job));
        // The first poll may set a timer: so no longer than this without a look.
        let soon = || shared.timers.next().min(shared.clock.now() + Duration::from_millis(25));
        while block_on(work.as_mut(), &shared.clock, soon()).is_none() {
            super::sweep::fire_timers(raw);
        }
    }
}

/// [`run_all`] for a closed pool by hand. What is done may free slots and so call for more: only the
/// outermost call does it, or a pool of thousands would overflow the stack.
pub(crate) fn drain<M: Manager>(raw: &Arc<Raw<M>>) {
    let shared = raw.context();
    // O9: orders a job that was queued before a vain attempt against the look after the flag is cleared.
    while !shared.has_no_jobs() && !shared.draining.swap(true, Ordering::AcqRel) {
        run_all(raw);
        // O9
        shared.draining.swap(false, Ordering::AcqRel);
    }
}

/// One of the two lanes.
#[derive(Clone, Copy)]
enum Which {
    Demand,
    Upkeep,
}

impl Which {
    fn of<M: Manager>(self, shared: &Shared<M>) -> &Lane<M> {
        match self {
            Self::Demand => &shared.demand,
            Self::Upkeep => &shared.upkeep,
        }
    }

    /// How many may work at once. What borrowers wait for is limited by their number, and connects by
    /// growth: were the lane to limit them too, those that hang would hold up those that might not.
    fn limit<M: Manager>(self, shared: &Shared<M>) -> usize {
        match self {
            Self::Demand => usize::MAX,
            Self::Upkeep => shared.settings.load().maintenance_concurrency,
        }
    }
}

/// A connector's place among those that may work at once.
struct Connector<M: Manager> {
    raw: Arc<Raw<M>>,
    which: Which,
    has_started: bool,
}

impl<M: Manager> Connector<M> {
    fn begin(raw: &Arc<Raw<M>>, which: Which, limit: usize) -> Option<Self> {
        let lane = which.of(raw.context());
        lane.connectors
            // O9; O11 on failure.
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .ok()?;
        // O11
        lane.starting.fetch_add(1, Ordering::Relaxed);
        Some(Self { raw: Arc::clone(raw), which, has_started: false })
    }

    fn lane(&self) -> &Lane<M> {
        self.which.of(self.raw.context())
    }

    fn started(&mut self) {
        if !std::mem::replace(&mut self.has_started, true) {
            // O11
            self.lane().starting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn run(mut self) {
        loop {
            let job = self.lane().jobs.pop();
            self.started();
            match job {
                Some(job) => perform(&self.raw, job).await,
                None => break,
            }
        }
        let raw = Arc::clone(&self.raw);
        drop(self);
        // A job that came between the last look and the leaving.
        if !raw.context().has_no_jobs() {
            pump(&raw);
        }
    }
}

impl<M: Manager> Drop for Connector<M> {
    fn drop(&mut self) {
        self.started();
        // O9: orders the leaving before the look at the jobs that follows.
        self.lane().connectors.fetch_sub(1, Ordering::AcqRel);
    }
}
