//! Decides when to open a connection. It only queues the connect: who asks for growth has workers started.
//!
//! Callers never connect for themselves. A shortage (borrowers in line, or fewer connections than the minimum) asks
//! for growth; connects in flight never exceed those who wait plus what is missing, and one that has become
//! superfluous when its turn comes is not begun. Demand ramps up ([`Ramp`](crate::pool::ground::ramp::Ramp)).
//! Connects that [take long](super::overruns::Overdue::lost_connects) stand in nobody's way.
//!
//! One thread decides at a time: whoever asks and finds no other at it ([`Requests`]); who asks meanwhile has it
//! look again. The gauges change under its eyes, but only so that it begins too little and is asked again: a slot
//! becomes vacant before its connect is counted off, and a fresh connection idle.
//!
//! [`Requests`]: crate::raw::requests::Requests

use super::overruns::overdue;
use super::shortage::Shortage;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::pool::ground::backoff::Permit;
use crate::pool::ground::random;
use crate::pool::service::enqueue;
use crate::pool::state::job::{Order, Replaces};
use crate::pool::state::pooled::{Raw, Vacant};
use crate::stats::{Call, Priority};

/// Has as many connects queued as are wanted and allowed.
pub(crate) fn ask<M: Manager>(raw: &Raw<M>) {
    raw.context().supply.requests.answer(|| {
        while !raw.is_closed() && grow_by_one(raw) {}
        while !raw.is_closed() && replace_one(raw) {}
    });
}

/// The settings have changed: what was to be opened at the start does not matter any more.
pub(crate) fn forget_start<M: Manager>(raw: &Raw<M>) {
    raw.context().supply.warm_up.set(0);
}

/// Lets one more connect begin if those in flight are taking long and borrowers wait.
pub(crate) fn lose_patience<M: Manager>(raw: &Raw<M>, now: Tick) {
    let state = raw.context();
    let connecting = state.service.connecting();
    if connecting > 0 && raw.gauges().waiting > 0 {
        let limit = state.settings.load().connect_concurrency;
        state.supply.pace(|pace| {
            pace.ramp.waited(connecting, pace.backoff.since_begun(now), limit);
        });
    }
}

fn grow_by_one<M: Manager>(raw: &Raw<M>) -> bool {
    let supply = &raw.context().supply;
    let shortage = Shortage::of(raw);
    if shortage.missing == 0 && shortage.open >= supply.warm_up.get() {
        supply.warm_up.set(0);
    }
    let wanted = if shortage.waiting == 0 {
        shortage.missing
    } else {
        shortage.wanted(supply.pace(|pace| pace.ramp.width()))
    };
    if wanted == 0 {
        return false;
    }
    begin(raw, shortage.connecting, wanted).is_some_and(|(slot, permit)| {
        enqueue::connect(slot, Order { permit, replaces: None });
        true
    })
}

/// A slot to open a connection in and leave to do so, if fewer than `wanted` are in flight and the limits and
/// the server allow it. It is counted.
fn begin<M: Manager>(
    raw: &Raw<M>,
    connecting: usize,
    wanted: usize,
) -> Option<(Vacant<M>, Permit)> {
    let state = raw.context();
    let settings = state.settings.load();
    let now = state.clock.now();
    let lost = if connecting > 0 { overdue(raw, now).lost_connects } else { 0 };
    let fresh = connecting.saturating_sub(lost.min(settings.connect_concurrency));
    let is_full = fresh >= wanted.min(settings.connect_concurrency);
    let permit = state.supply.pace(|pace| {
        let permit = pace.backoff.permit(now, fresh, settings.connect_timeout, random::share())?;
        (permit.is_probe() || !is_full).then_some(permit)
    });
    let permit = permit?;
    // Counted first, or a slot that has just been claimed would pass for a connection.
    state.service.begin(Call::Connect, Priority::Demand);
    let slot = raw.claim_vacant();
    if slot.is_none() {
        state.service.end(Call::Connect, Priority::Demand);
    }
    state.supply.pace(|pace| match slot {
        Some(_) => pace.backoff.begun(permit, now),
        None => pace.backoff.call_off(permit, now),
    });
    slot.map(|slot| (slot, permit))
}

/// Has the next replacement begun. False: none is wanted, or none is allowed now.
fn replace_one<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let Some(old) = state.supply.to_replace.pop() else { return false };
    // Gone, or lent: then the next sweep finds it.
    let Some(slot) = old.claim(raw) else { return true };
    drop(slot);
    if let Some((slot, permit)) = begin(raw, state.service.connecting(), usize::MAX) {
        enqueue::connect(slot, Order { permit, replaces: Some(old) });
        true
    } else if !raw.has_vacant() && state.service.connecting() == 0 {
        // There is no room for both. The old one goes first, and growth sees to the rest. Room that another
        // connect has taken may come back.
        close_old(raw, &old);
        true
    } else {
        state.supply.to_replace.push(old);
        false
    }
}

/// Has the connection that was to be replaced closed. If a borrower holds it, the next sweep finds it.
pub(crate) fn close_old<M: Manager>(raw: &Raw<M>, old: &Replaces) {
    if let Some(slot) = old.claim(raw) {
        enqueue::close(slot, old.cause);
    }
}

/// Whether a connect that is about to be made is not needed any more. If so, its worker must give it up, and then
/// [say so](end_skip).
pub(crate) fn skip<M: Manager>(raw: &Raw<M>) -> bool {
    let (state, supply) = (raw.context(), &raw.context().supply);
    loop {
        // Each worker counts on those that give up before it: either it sees the count of one raised, or that one
        // sees its own.
        let begun = supply.skips_begun.get();
        let giving_up = begun.saturating_sub(supply.skips_ended.get()) as usize;
        let shortage = Shortage::of(raw);
        let connecting = shortage.connecting.saturating_sub(giving_up);
        let wanted = shortage.wanted(usize::MAX);
        // Those that take long are nobody's hope.
        let is_superfluous = connecting > wanted
            && connecting > wanted.saturating_add(overdue(raw, state.clock.now()).old_connects);
        if !is_superfluous {
            return false;
        }
        if supply.skips_begun.exchange(begun, begun + 1) {
            return true;
        }
    }
}

/// What was superfluous has been given up.
pub(crate) fn end_skip<M: Manager>(raw: &Raw<M>) {
    raw.context().supply.skips_ended.add(1);
}
