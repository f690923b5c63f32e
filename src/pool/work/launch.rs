//! Who runs a worker: a thread of the pool's own or, for an async manager with a spawner, its
//! runtime. What the runtime does not run is taken back and run by a thread.

use crate::clock::Tick;
use crate::manager::{Face, Manager};
use crate::no_unwind::no_unwind;
use crate::observe::EventKind;
use crate::pool::ground::assignment::{Assignment, By, Reason, UNPOLLED, run_taken_back};
use crate::pool::ground::park::block_on;
use crate::pool::ground::threads;
use crate::pool::state::pooled::Raw;
use crate::stats::Overrun;
use crate::sync::{Arc, MutexGuard, PoisonError};
use std::future::Future;

/// Runs `work` on the runtime or on a thread. False: no thread is to be had now.
pub(crate) fn launch<M: Manager>(
    raw: &Arc<Raw<M>>,
    work: impl Future<Output = ()> + Send + 'static,
) -> bool {
    let state = raw.context();
    match &*state.spawner {
        Some(spawn) if state.driver.kind() == Face::Async => {
            let weak = Arc::downgrade(raw);
            let on_drop = move || {
                // Never the last of the pool: the work, which is taken back later, has another.
                weak.upgrade().into_iter().for_each(|raw| raw.context().ring.ring());
            };
            let (assignment, task) = Assignment::new(&state.clock, By::Runtime, work, on_drop);
            watch(raw, &assignment);
            // Foreign code: it may panic, which drops the task.
            no_unwind(|| spawn(Box::pin(task)));
            let stranded = assignment.is_stranded(state.clock.now());
            stranded.is_none_or(|reason| run_on_thread(raw, &assignment, reason))
        }
        _ => {
            let clock = state.clock.clone();
            threads::submit(Box::new(move || _ = block_on(work, &clock, Tick::NEVER)))
        }
    }
}

fn lock<M: Manager>(raw: &Raw<M>) -> MutexGuard<'_, Vec<Arc<Assignment>>> {
    raw.context().assignments.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the work back later if it is not done.
pub(crate) fn watch<M: Manager>(raw: &Raw<M>, assignment: &Arc<Assignment>) {
    lock(raw).push(Arc::clone(assignment));
    let state = raw.context();
    // This thread need not be a visitor, and the next visit may be far off.
    state.ring.ring_before(state.clock.now() + UNPOLLED);
}

/// The work is over.
pub(crate) fn forget<M: Manager>(raw: &Raw<M>, assignment: &Arc<Assignment>) {
    let mut assignments = lock(raw);
    if let Some(at) = assignments.iter().position(|one| Arc::ptr_eq(one, assignment)) {
        assignments.swap_remove(at);
    }
}

/// Takes back what the runtime does not run. True: some work is with the runtime.
pub(crate) fn take_back<M: Manager>(raw: &Arc<Raw<M>>) -> bool {
    let state = raw.context();
    let now = state.clock.now();
    let (mut stranded, mut over) = (Vec::new(), Vec::new());
    let mut assignments = lock(raw);
    assignments.retain(|assignment| {
        let is_over = assignment.is_over();
        if is_over {
            over.push(Arc::clone(assignment));
        } else if let Some(reason) = assignment.is_stranded(now) {
            stranded.push((Arc::clone(assignment), reason));
        }
        !is_over
    });
    let is_busy = !assignments.is_empty();
    drop(assignments);
    for (assignment, reason) in stranded {
        match assignment.by() {
            By::Runtime => _ = run_on_thread(raw, &assignment, reason),
            // A pool that is maintained by its user starts nothing of its own.
            By::Borrower if raw.context().is_manual() => {
                no_unwind(|| assignment.poll_here()).unwrap_or(())
            }
            // Nothing is wrong with the runtime.
            By::Borrower => _ = assignment.take_back().map(|work| launch(raw, work)),
        }
    }
    is_busy
}

/// What the runtime should run by now and does not, for the operator.
pub(crate) fn overruns<M: Manager>(raw: &Raw<M>) -> Vec<Overrun> {
    if raw.is_inherited() {
        // A thread of the parent's may have held the lock.
        return Vec::new();
    }
    let now = raw.context().clock.now();
    let assignments = lock(raw);
    let is_stranded = |one: &&Arc<Assignment>| {
        one.by() == By::Runtime && !one.is_over() && one.is_stranded(now).is_some()
    };
    let stranded = assignments.iter().filter(is_stranded);
    stranded.map(|one| Overrun { call: None, since: now.since(one.woken_at()) }).collect()
}

/// Runs work that the runtime does not run. False: no thread is to be had.
fn run_on_thread<M: Manager>(raw: &Raw<M>, assignment: &Assignment, reason: Reason) -> bool {
    // If it is not there, it is run after all.
    let Some(work) = assignment.take_back() else { return true };
    let state = raw.context();
    state.note(EventKind::LaunchFailed);
    let clock = state.clock.clone();
    threads::submit(Box::new(move || {
        run_taken_back(reason, || block_on(work, &clock, Tick::NEVER));
    }))
}
