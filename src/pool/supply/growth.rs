//! Decides when to open a connection. It only queues the connect: the caller that asks for growth
//! starts workers.
//!
//! Borrowers never connect. A shortage (waiters in line, or fewer connections than the minimum)
//! asks for growth; connects in flight never exceed the waiters plus the missing connections, and a
//! connect that has become superfluous when its turn comes is not begun. Demand ramps up
//! ([`Ramp`](crate::pool::ground::ramp::Ramp)), as far as connects will still find a waiter
//! ([`Forecast`]); if the forecast holds them back, growth looks again when the line is no longer
//! young. Connects that [take long](super::overruns::Overdue::lost_connects) hold up no others.
//!
//! Every connect of a pool begins [here](begin), but for the trial of another manager; so a pool
//! with a [governor](crate::pool::ground::governor) asks it for leave here. If that is refused, the
//! pool is called when there is leave, and asked for growth again.
//!
//! A connect may hang, and then time alone decides about the next one. So whoever begins one sees
//! to it that there is a visit once it has kept others from being begun for long enough.
//!
//! One thread decides at a time ([`Requests`]): the first that asks. A thread that asks meanwhile
//! makes it look again. The gauges change under its eyes, but only so that it begins too few
//! connects and is asked again: a slot becomes vacant, and a fresh connection idle, before the
//! connect is counted off.
//!
//! [`Requests`]: crate::raw::requests::Requests

use super::overruns::{has_room, overdue};
use super::shortage::Shortage;
use super::speed;
use crate::clock::Tick;
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::pool::ground::backoff::Permit;
use crate::pool::ground::forecast::Forecast;
use crate::pool::ground::governor::{Leave, Member};
use crate::pool::ground::ramp::PATIENCE;
use crate::pool::ground::random;
use crate::pool::service::enqueue;
use crate::pool::state::entry::Stage;
use crate::pool::state::job::{Order, Replaces};
use crate::pool::state::pooled::{Raw, Vacant};
use crate::stats::{Call, Priority};

/// Queues as many connects as are wanted and allowed.
pub(crate) fn ask<M: Manager>(raw: &Raw<M>) {
    let state = raw.context();
    state.supply.requests.answer(|| {
        state.member.iter().for_each(Member::begin_round);
        // Also if the pool is closed, or its visits would be due at once for ever.
        state.supply.look_again.set(Tick::NEVER.0);
        if !raw.is_closed() {
            grow(raw);
        }
        if !raw.is_closed() {
            meet_tries(raw);
        }
        while !raw.is_closed() && replace_one(raw) {}
        state.member.iter().for_each(|member| end_round(raw, member));
    });
}

/// Gives up what the governor offers if nothing needs it now; if the pool is closed, its place in
/// line, too.
fn end_round<M: Manager>(raw: &Raw<M>, member: &Member) {
    // Attempts that a visit has not heard of yet will be met then.
    let is_needed = || member.was_held() || raw.context().supply.tried.get();
    if !member.is_waiting() {
        return;
    }
    if raw.is_closed() {
        member.withdraw();
    } else if !is_needed() {
        member.decline();
    }
}

/// The settings have changed, so the initial size no longer matters.
pub(crate) fn forget_start<M: Manager>(raw: &Raw<M>) {
    raw.context().supply.warm_up.set(0);
}

/// Lets one more connect begin if those in flight take long and borrowers wait.
pub(crate) fn lose_patience<M: Manager>(raw: &Raw<M>, now: Tick) {
    let state = raw.context();
    let connecting = state.service.connecting();
    if connecting > 0 && raw.waiting() > 0 {
        let limit = state.settings.load().connect_concurrency;
        state.supply.pace(|pace| {
            pace.ramp.waited(connecting, pace.backoff.since_begun(now), limit);
        });
    }
}

fn grow<M: Manager>(raw: &Raw<M>) {
    let state = raw.context();
    let mut decision = Decision { forecast: None, waiting: 0, connects: 0 };
    while !raw.is_closed() && grow_by_one(raw, &mut decision) {}
    if let Some((Forecast { connect: connect_time, .. }, _)) = decision.forecast
        && decision.connects > 0
    {
        let Decision { waiting, connects, .. } = decision;
        let rate = speed::rate(raw);
        state.note(EventKind::GrowthDecided { waiting, rate, connect_time, connects });
    }
}

/// What has been decided for those that wait, and by what.
struct Decision {
    /// And until when the line is young.
    forecast: Option<(Forecast, Tick)>,
    waiting: usize,
    connects: usize,
}

fn grow_by_one<M: Manager>(raw: &Raw<M>, decision: &mut Decision) -> bool {
    let supply = &raw.context().supply;
    let shortage = Shortage::of(raw);
    if shortage.missing == 0 && shortage.open >= supply.warm_up.get() {
        supply.warm_up.set(0);
    }
    let for_waiters = if shortage.waiting == 0 { 0 } else { foresee(raw, &shortage, decision) };
    let wanted = shortage.wanted(for_waiters);
    if wanted == 0 {
        return false;
    }
    begin(raw, shortage.connecting, wanted).is_some_and(|(slot, order)| {
        enqueue::connect(slot, order);
        raw.context().supply.line.forget_in_vain();
        decision.connects += usize::from(for_waiters > 0);
        true
    })
}

/// How many connects for those that wait may be in flight.
fn foresee<M: Manager>(raw: &Raw<M>, shortage: &Shortage, decision: &mut Decision) -> usize {
    let state = raw.context();
    let (forecast, young_until) = *decision.forecast.get_or_insert_with(|| {
        let now = state.clock.now();
        speed::look(raw, now);
        speed::forecast(raw, now)
    });
    decision.waiting = decision.waiting.max(shortage.waiting);
    let ramp = state.supply.pace(|pace| pace.ramp.width());
    let width = forecast.width(shortage.waiting, ramp);
    if width < ramp.min(shortage.waiting) {
        state.supply.look_again.set(young_until.0);
        state.ring.ring_before(young_until);
    }
    width
}

/// A slot to open a connection in and the order to do so, if fewer than `wanted` are in flight and
/// the limits, the server and the governor allow it. It is counted.
fn begin<M: Manager>(raw: &Raw<M>, connecting: usize, wanted: usize) -> Option<(Vacant<M>, Order)> {
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
    let leave = match &state.member {
        None => None,
        Some(member) => match leave_of(raw, member, permit) {
            Some(leave) => Some(leave),
            None => {
                // Else the next probe would be an outage's step later than it may be.
                state.supply.pace(|pace| pace.backoff.call_off(permit, now));
                return None;
            }
        },
    };
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
    if slot.is_some() {
        // A visitor may just have found the pool at rest, and the connect may hang.
        state.ring.ring_before(now + PATIENCE);
    }
    slot.map(|slot| (slot, Order { permit, leave, replaces: None, is_for_try: false }))
}

/// The governor's leave for a connect. A pool without a slot for it does not ask.
fn leave_of<M: Manager>(raw: &Raw<M>, member: &Member, permit: Permit) -> Option<Leave> {
    let tell = |ahead| raw.context().note(EventKind::ConnectHeld { ahead });
    raw.has_vacant().then(|| member.ask(permit.limit, tell))?
}

/// Opens a connection for callers that [do not wait](super::tries), if a visit says so and nothing
/// is idle. It is not skipped, and as long as it lasts there is no second one for them.
fn meet_tries<M: Manager>(raw: &Raw<M>) {
    let (state, supply) = (raw.context(), &raw.context().supply);
    let is_due = supply.try_due.get() && supply.try_due.replace(false);
    if !is_due || raw.is_paused() || raw.gauges().idle > 0 || supply.try_connects.get() {
        return;
    }
    match begin(raw, state.service.connecting(), usize::MAX) {
        Some((slot, order)) => {
            supply.try_connects.set(true);
            enqueue::connect(slot, Order { is_for_try: true, ..order });
        }
        // It is too early, or enough connects are in flight: the next visit sees to it.
        None if raw.has_vacant() => supply.tried.set(true),
        None => {}
    }
}

/// Begins the next replacement. False: none is wanted, or none is allowed now.
fn replace_one<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let Some(old) = state.supply.to_replace.pop() else { return false };
    if old.is_vain() {
        return true;
    }
    if let Some((slot, order)) = begin(raw, state.service.connecting(), usize::MAX) {
        enqueue::connect(slot, Order { replaces: Some(old), ..order });
        true
    } else if !raw.has_vacant() && state.service.connecting() == 0 && has_room(raw) {
        // There is no room for both: the old one is closed first, and growth opens the new one.
        // (While another connect holds a slot, room may yet come back.)
        close_old(raw, &old, Stage::NoRoom);
        true
    } else {
        state.supply.to_replace.push(old);
        false
    }
}

/// Closes the connection that was to be replaced. If a borrower holds it, that is done on its
/// return, or by the next sweep.
pub(crate) fn close_old<M: Manager>(raw: &Raw<M>, old: &Replaces, stage: Stage) {
    match old.claim(raw) {
        Some(slot) => enqueue::close(slot, old.attempt.cause),
        None => old.attempt.end(stage),
    }
}

/// Whether a connect that is about to be made is no longer needed. If so, its worker must give it
/// up, and then [say so](end_skip).
pub(crate) fn skip<M: Manager>(raw: &Raw<M>) -> bool {
    let (state, supply) = (raw.context(), &raw.context().supply);
    loop {
        // Each worker reckons with those that gave up before it: of two workers, one sees the
        // other's count.
        let begun = supply.skips_begun.get();
        let giving_up = begun.saturating_sub(supply.skips_ended.get()) as usize;
        let shortage = Shortage::of(raw);
        let connecting = shortage.connecting.saturating_sub(giving_up);
        let wanted = shortage.wanted(usize::MAX);
        // No waiter counts on connects that take long.
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

/// A superfluous connect has been given up.
pub(crate) fn end_skip<M: Manager>(raw: &Raw<M>) {
    raw.context().supply.skips_ended.add(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::nothing::Nothing;
    use crate::pool::handle::Pool;
    use crate::sync::thread;

    /// Its keeper stays until all is closed, and what is due at once it would do for ever.
    #[test]
    fn a_closed_pool_does_not_look_again_at_growth_that_was_held_back() {
        let pool = Pool::builder(Nothing).manual_maintenance().build().unwrap();
        let look_again = &pool.raw.context().supply.look_again;
        for closes in [false, true] {
            look_again.set(1);
            if closes {
                pool.close();
            }
            pool.maintain();
            assert_eq!(look_again.get(), Tick::NEVER.0, "{closes}");
        }
    }

    /// It was found at rest before, and may be left alone for as long as was said then.
    #[test]
    fn a_connect_is_looked_after_before_it_keeps_others_from_being_begun_for_too_long() {
        let pool = Pool::builder(Nothing).manual_maintenance().max_size(2).build().unwrap();
        let state = pool.raw.context();
        let housekeeper = thread::spawn(thread::park);
        state.ring.hire(housekeeper.thread().clone(), 0);
        let now = state.clock.now();
        for (next_visit, rings) in [(now, false), (Tick::NEVER, true)] {
            state.ring.announce(next_visit);
            state.supply.warm_up.add(1);
            ask(&pool.raw);
            assert_eq!(state.ring.answer(), rings);
        }
        assert_eq!(state.service.connecting(), 2);
        housekeeper.thread().unpark();
        housekeeper.join().unwrap();
    }
}
