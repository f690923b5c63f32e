//! The sweep: the strategy judges idle connections. At most `maintenance_concurrency` connections
//! are out of service at once; the rest waits for the next visit.

use super::shrink;
use crate::clock::Tick;
use crate::health::Verdict;
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::pool::service::{enqueue, judge};
use crate::pool::state::job::Replaces;
use crate::pool::state::pass::Pass;
use crate::pool::state::pooled::{Raw, Slot};
use crate::pool::supply::overruns::has_room;
use crate::sync::thread_number;
use std::time::Duration;

/// How often idle connections are looked at when neither settings nor strategy say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// Passes begin no more often than this: the housekeeper has other pools to visit.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// No more slots are looked at in one visit: other chores of the pool are not kept waiting.
const SLICE: usize = 4096;

/// The least time between passes that were begun because a connection was found dead, or since all
/// are to be replaced.
const AFTER_NEWS: Duration = Duration::from_secs(1);

fn interval<M: Manager>(raw: &Raw<M>) -> Duration {
    let state = raw.context();
    let wanted = state.settings.load().sweep_interval.or(state.strategy_interval);
    wanted.unwrap_or(DEFAULT_INTERVAL).max(MIN_INTERVAL)
}

/// Has a pass begun although none is due. A strategy that asks for one while it is asked gets none:
/// one is under way.
pub(crate) fn ask<M: Manager>(raw: &Raw<M>) {
    let state = raw.context();
    if state.sweeper.get() != thread_number() + 1 {
        state.sweep_asked.set(true);
    }
}

fn begin_pass<M: Manager>(raw: &Raw<M>, pass: &mut Pass, now: Tick) {
    let state = raw.context();
    *pass = Pass {
        begun: now,
        generation: state.generation.get(),
        left: (0..raw.capacity() as u32).rev().collect(),
        too_long_idle: shrink::candidates(raw, now),
    };
    state.note(EventKind::SweepBegan);
}

/// Goes on with the pass, or begins one that is due; says when the next is. Only one thread at a
/// time comes here.
pub(crate) fn go_on<M: Manager>(raw: &Raw<M>, now: Tick) -> Tick {
    let state = raw.context();
    // Never contended, and so never held while another waits for it: what runs under it is foreign
    // code.
    let Ok(mut pass) = state.pass.try_lock() else { return Tick::NEVER };
    state.sweeper.set(thread_number() + 1);
    let next = sweep(raw, &mut pass, now);
    state.sweeper.set(0);
    next
}

fn sweep<M: Manager>(raw: &Raw<M>, pass: &mut Pass, now: Tick) -> Tick {
    let state = raw.context();
    let interval = interval(raw);
    // Bad news calls for a look at the others, though not for one after the other.
    let is_news = state.generation.get() != pass.generation || state.invalid.is_under_way();
    let interval = if is_news { interval.min(AFTER_NEWS) } else { interval };
    let is_due = now >= pass.begun + interval && pass.left.is_empty();
    if state.sweep_asked.replace(false) || is_due {
        begin_pass(raw, pass, now);
    }
    shrink::shrink(raw, &mut pass.too_long_idle, now);
    // Who maintains a pool by hand is not called again before the next pass.
    let mut slice = if state.is_manual() { usize::MAX } else { SLICE };
    while slice > 0
        && has_room(raw)
        && let Some(index) = pass.left.pop()
    {
        slice -= 1;
        // Taken before the connection stops being idle, so that it is never missing.
        let _briefly_out = state.service.take_briefly();
        if let Some(slot) = raw.claim_idle_at(index) {
            look_at(raw, slot, now);
        }
    }
    if pass.left.is_empty() {
        return pass.begun + interval;
    }
    if slice == 0 {
        state.ring.ring();
    }
    // A pass that is not over goes on as soon as there is room, of which a ring tells.
    Tick::NEVER
}

/// Whether the next borrower would have it evicted.
fn is_past_lending<M: Manager>(raw: &Raw<M>, slot: &mut Slot<M>, now: Tick) -> bool {
    let (entry, ledger) = slot.parts();
    matches!(judge::on_borrow(entry, ledger, raw, now), Verdict::Evict(_))
}

/// Judges an idle connection.
fn look_at<M: Manager>(raw: &Raw<M>, mut slot: Slot<M>, now: Tick) {
    let (entry, ledger) = slot.parts();
    match judge::on_sweep(entry, ledger, raw, now) {
        // Until it answers quickly again.
        Verdict::Keep if slot.value().is_slow => enqueue::check(slot),
        Verdict::Keep => drop(slot),
        Verdict::Ping => enqueue::check(slot),
        Verdict::Evict(cause) if !shrink::is_needed(raw) => enqueue::close(slot, cause),
        // No borrower would get it: it is of no use to anybody, whether there is another or not.
        Verdict::Evict(cause) if is_past_lending(raw, &mut slot, now) => {
            enqueue::close(slot, cause)
        }
        Verdict::Evict(cause) => {
            if let Some(cause) = slot.value().retires(true) {
                return enqueue::close(slot, cause);
            }
            let old = Replaces::begin(&mut slot, cause);
            // It stays in service until its replacement is there.
            drop(slot);
            if let Some(old) = old {
                raw.context().supply.to_replace.push(old);
            }
        }
    }
}
