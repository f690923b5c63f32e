//! Workers do the [jobs](crate::pool::state::job): threads for blocking managers, tasks for async
//! ones.
//!
//! A worker takes jobs until none is left, and asks for growth after each. Between two jobs it owns
//! nothing but a count on the pool, so one that is dropped half-way (its runtime went away) leaves
//! the others where they are.

use super::launch::launch;
use super::perform::perform;
use crate::manager::{Face, Manager};
use crate::pool::ground::park::block_on;
use crate::pool::state::State;
use crate::pool::state::job::{Job, Lane, Queue};
use crate::pool::state::pooled::Raw;
use crate::pool::supply::growth;
use crate::pool::supply::overruns::overdue;
use crate::sync::{Arc, Ordering};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// Asks for growth, then starts workers for the jobs that it queued and all others that wait.
pub(crate) fn grow<M: Manager>(raw: &Arc<Raw<M>>) {
    growth::ask(raw);
    start(raw);
}

/// Starts workers for the jobs that wait, as far as the limits allow. A spawner may run its tasks
/// where it is called: what they queue is started by the call under way, not by one on top of it.
pub(crate) fn start<M: Manager>(raw: &Arc<Raw<M>>) {
    let state = raw.context();
    if !state.is_manual() && !state.has_no_jobs() {
        state.starts.answer(|| Lane::ALL.into_iter().for_each(|lane| start_in(raw, lane)));
    }
}

fn start_in<M: Manager>(raw: &Arc<Raw<M>>, lane: Lane) {
    let queue = raw.context().queue(lane);
    // A superfluous worker finds nothing to do; the next visit starts a missing one.
    for _ in queue.starting.get()..queue.len() {
        let limit = limit(raw, lane);
        let worker = Worker::begin(raw, lane, limit).or_else(|| {
            // Workers that a late call keeps do not count.
            let late = overdue(raw, raw.context().clock.now());
            let late = if lane == Lane::Upkeep { late.upkeep } else { late.maintenance };
            Worker::begin(raw, lane, limit.saturating_add(late))
        });
        if !worker.is_some_and(|worker| launch(raw, worker.run())) {
            break;
        }
    }
}

/// How many workers of a lane there may be at once. Growth limits connects: with another limit,
/// connects that hang would hold up those that might not. Tasks cost little, threads have a limit.
/// A closing pool closes all that it can.
fn limit<M: Manager>(raw: &Raw<M>, lane: Lane) -> usize {
    let state = raw.context();
    let settings = state.settings.load();
    let most = match state.driver.kind() {
        Face::Blocking => settings.worker_threads,
        Face::Async => usize::MAX,
    };
    match lane {
        Lane::Connect => usize::MAX,
        Lane::Demand => most,
        Lane::Upkeep if raw.is_closed() => most,
        Lane::Upkeep => settings.maintenance_concurrency,
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
    while let Some(job) = state.queues.iter().find_map(Queue::pop) {
        run_here(state, perform_and_grow(raw, job));
    }
}

/// Does `work` on this thread, and fires the timers of its calls.
pub(crate) fn run_here<M: Manager>(state: &State<M>, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    // The first poll may set a timer, so timers are looked at this often at least.
    let soon = || state.timers.next().min(state.clock.now() + Duration::from_millis(25));
    while block_on(work.as_mut(), &state.clock, soon()).is_none() {
        state.timers.fire();
    }
}

/// A worker's place among those that may be at it at once.
struct Worker<M: Manager> {
    raw: Arc<Raw<M>>,
    lane: Lane,
    has_started: bool,
}

impl<M: Manager> Worker<M> {
    fn begin(raw: &Arc<Raw<M>>, lane: Lane, limit: usize) -> Option<Self> {
        let queue = raw.context().queue(lane);
        queue
            .workers
            // O9; O11 on failure.
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
            .ok()?;
        queue.starting.add(1);
        Some(Self { raw: Arc::clone(raw), lane, has_started: false })
    }

    fn queue(&self) -> &Queue<M> {
        self.raw.context().queue(self.lane)
    }

    fn started(&mut self) {
        if !std::mem::replace(&mut self.has_started, true) {
            self.queue().starting.subtract(1);
        }
    }

    async fn run(mut self) {
        // A manager may fork.
        while !self.raw.is_inherited() {
            let job = self.queue().pop();
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
