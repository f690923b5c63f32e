//! The sweep: the strategy judges idle connections. At most `maintenance_concurrency` connections
//! are out of service at once; the rest waits for the next visit.

use super::shrink;
use crate::clock::Tick;
use crate::health::Verdict;
use crate::manager::Manager;
use crate::pool::service::{enqueue, judge};
use crate::pool::state::job::Replaces;
use crate::pool::state::pass::Pass;
use crate::pool::state::pooled::{Raw, Slot};
use crate::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// How often idle connections are looked at when neither settings nor strategy say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// Passes begin no more often than this: the housekeeper has other pools to visit.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// The least time between passes that were begun because a connection was found dead.
const AFTER_BAD_NEWS: Duration = Duration::from_secs(1);

fn lock<M: Manager>(raw: &Raw<M>) -> MutexGuard<'_, Pass> {
    raw.context().pass.lock().unwrap_or_else(PoisonError::into_inner)
}

fn interval<M: Manager>(raw: &Raw<M>) -> Duration {
    let state = raw.context();
    let wanted = state.settings.load().sweep_interval.or(state.strategy_interval);
    wanted.unwrap_or(DEFAULT_INTERVAL).max(MIN_INTERVAL)
}

/// Begins a pass although none is due.
pub(crate) fn begin<M: Manager>(raw: &Raw<M>) {
    begin_pass(raw, &mut lock(raw), raw.context().clock.now());
}

fn begin_pass<M: Manager>(raw: &Raw<M>, pass: &mut Pass, now: Tick) {
    let state = raw.context();
    *pass = Pass {
        begun: now,
        generation: state.generation.get(),
        left: (0..raw.capacity() as u32).rev().collect(),
        may_shrink: true,
    };
    state.counters.sweeps.add();
}

/// Continues the pass, or begins one that is due; returns when the next is due.
pub(crate) fn go_on<M: Manager>(raw: &Raw<M>, now: Tick) -> Tick {
    // Another thread is at it, in `Pool::sweep` or `Pool::maintain`.
    let Ok(mut pass) = raw.context().pass.try_lock() else { return Tick::NEVER };
    let interval = interval(raw);
    // A dead connection calls for a look at the others, but not for pass after pass.
    let interval = if raw.context().generation.get() == pass.generation {
        interval
    } else {
        interval.min(AFTER_BAD_NEWS)
    };
    if now >= pass.begun + interval && pass.left.is_empty() {
        begin_pass(raw, &mut pass, now);
    }
    if pass.may_shrink {
        pass.may_shrink = shrink::shrink(raw, now);
    }
    while shrink::has_room(raw)
        && let Some(index) = pass.left.pop()
    {
        if let Some(slot) = raw.claim_idle_at(index) {
            look_at(raw, slot, now);
        }
    }
    // A pass that is not over continues as soon as there is room: the housekeeper is rung then.
    if pass.left.is_empty() { pass.begun + interval } else { Tick::NEVER }
}

/// Judges an idle connection.
fn look_at<M: Manager>(raw: &Raw<M>, mut slot: Slot<M>, now: Tick) {
    let (entry, ledger) = slot.parts();
    match judge::on_sweep(entry, ledger, raw, now) {
        Verdict::Keep => drop(slot),
        Verdict::Ping => enqueue::ping(slot, None),
        Verdict::Evict(cause) if !shrink::is_needed(raw) => enqueue::close(slot, cause),
        // Its replacement is being opened.
        Verdict::Evict(_) if slot.value().replacement.strong_count() > 0 => drop(slot),
        Verdict::Evict(cause) => {
            let attempt = Arc::new(());
            let entry = slot.value_mut();
            entry.replacement = Arc::downgrade(&attempt);
            let born = entry.info.born;
            let old = Replaces { index: slot.index(), born, cause, _attempt: attempt };
            // It stays in service until its replacement is there.
            drop(slot);
            raw.context().supply.to_replace.push(old);
        }
    }
}
