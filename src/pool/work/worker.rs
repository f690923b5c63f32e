//! Workers do the [jobs](crate::pool::state::job): threads for blocking managers, tasks for async
//! ones.
//!
//! A worker takes jobs until none is left, and asks for growth after each. Between two jobs it owns
//! nothing but a count on the pool, so one that is dropped half-way (its runtime went away) leaves
//! the others where they are.

use super::calls::perform;
use crate::clock::Tick;
use crate::manager::{Kind, Manager};
use crate::no_unwind::no_unwind;
use crate::pool::ground::park::block_on;
use crate::pool::ground::threads;
use crate::pool::state::State;
use crate::pool::state::job::{Job, Queue};
use crate::pool::state::pooled::Raw;
use crate::pool::supply::growth;
use crate::pool::supply::overruns::overdue;
use crate::stats::Priority;
use crate::sync::{Arc, Ordering};
use std::pin::pin;
use std::time::Duration;

/// Asks for growth, then starts workers for the jobs that it queued and all others that wait.
pub(crate) fn grow<M: Manager>(raw: &Arc<Raw<M>>) {
    growth::ask(raw);
    start(raw);
}

/// Starts workers for the jobs that wait, as far as the limits allow.
pub(crate) fn start<M: Manager>(raw: &Arc<Raw<M>>) {
    let state = raw.context();
    if state.is_manual() {
        return;
    }
    for priority in [Priority::Demand, Priority::Upkeep] {
        let queue = state.queue(priority);
        // A superfluous worker finds nothing to do; the next visit starts a missing one.
        for _ in queue.starting.get()..queue.jobs.len() {
            let limit = limit(state, priority);
            let worker = Worker::begin(raw, priority, limit).or_else(|| {
                // Workers that a late call keeps do not count.
                let late = overdue(raw, state.clock.now()).upkeep;
                Worker::begin(raw, priority, limit.saturating_add(late))
            });
            if !worker.is_some_and(launch) {
                break;
            }
        }
    }
}

/// How many workers there may be at once. The number of borrowers limits what borrowers wait for,
/// and growth limits connects: with another limit, calls that hang would hold up calls that might
/// not.
fn limit<M: Manager>(state: &State<M>, priority: Priority) -> usize {
    match priority {
        Priority::Demand => usize::MAX,
        Priority::Upkeep => state.settings.load().maintenance_concurrency,
    }
}

/// Runs the worker on the runtime or on a thread. False: neither is to be had now.
fn launch<M: Manager>(worker: Worker<M>) -> bool {
    let raw = Arc::clone(&worker.raw);
    let state = raw.context();
    // A closed pool may have outlived its runtime; then threads must do what is left.
    let is_orphaned = raw.is_closed() && state.visits_since_close.get() > 1;
    match &state.spawner {
        Some(spawn) if state.driver.kind() == Kind::Async && !is_orphaned => {
            // Foreign code. If it fails, or drops what it was given, a later visit tries again.
            let run = worker.run();
            no_unwind(|| spawn(Box::pin(run))).is_some()
        }
        _ => {
            let clock = state.clock.clone();
            threads::submit(Box::new(move || {
                block_on(worker.run(), &clock, Tick::NEVER);
            }))
        }
    }
}

/// Does one job, then asks for growth.
async fn perform_and_grow<M: Manager>(raw: &Arc<Raw<M>>, job: Job<M>) {
    perform(raw, job).await;
    growth::ask(raw);
    raw.context().ring.ring();
}

/// Does all jobs on this thread, and fires the timers of their calls.
pub(crate) fn run_all<M: Manager>(raw: &Arc<Raw<M>>) {
    let state = raw.context();
    while let Some(job) = state.demand.jobs.pop().or_else(|| state.upkeep.jobs.pop()) {
        let mut work = pin!(perform_and_grow(raw, job));
        // The first poll may set a timer, so timers are looked at this often at least.
        let soon = || state.timers.next().min(state.clock.now() + Duration::from_millis(25));
        while block_on(work.as_mut(), &state.clock, soon()).is_none() {
            state.timers.fire();
        }
    }
}

/// A worker's place among those that may be at it at once.
struct Worker<M: Manager> {
    raw: Arc<Raw<M>>,
    priority: Priority,
    has_started: bool,
}

impl<M: Manager> Worker<M> {
    fn begin(raw: &Arc<Raw<M>>, priority: Priority, limit: usize) -> Option<Self> {
        let queue = raw.context().queue(priority);
        queue
            .workers
            // O9; O11 on failure.
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .ok()?;
        queue.starting.add(1);
        Some(Self { raw: Arc::clone(raw), priority, has_started: false })
    }

    fn queue(&self) -> &Queue<M> {
        self.raw.context().queue(self.priority)
    }

    fn started(&mut self) {
        if !std::mem::replace(&mut self.has_started, true) {
            self.queue().starting.subtract(1);
        }
    }

    async fn run(mut self) {
        loop {
            let job = self.queue().jobs.pop();
            self.started();
            match job {
                Some(job) => {
                    perform_and_grow(&self.raw, job).await;
                    // Growth may have queued more than this worker can do by itself.
                    start(&self.raw);
                }
                None => break,
            }
        }
        let raw = Arc::clone(&self.raw);
        drop(self);
        // A job that was queued between the last look and the end of this worker.
        if !raw.context().has_no_jobs() {
            start(&raw);
        }
    }
}

impl<M: Manager> Drop for Worker<M> {
    fn drop(&mut self) {
        self.started();
        // O9: orders the worker's end before the look at the jobs that follows.
        self.queue().workers.fetch_sub(1, Ordering::AcqRel);
    }
}
