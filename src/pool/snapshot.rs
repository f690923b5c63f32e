//! A snapshot of gauges and counters.

use super::state::pooled::Raw;
use super::supply::overruns::{Guests, guests, overdue};
use super::supply::speed;
use crate::error::Counts;
use crate::manager::Manager;
use crate::stats::{Evictions, Ledger, Stats};

/// See [`Stats`] for what may disagree.
pub(crate) fn stats<M: Manager>(raw: &Raw<M>) -> Stats {
    let now = raw.context().clock.now();
    if !raw.is_inherited() {
        // Its lock may be held by a thread that is not in this process.
        speed::look(raw, now);
    }
    let mut stats = stats_of_slots(raw);
    let Guests { opening, closing, late, late_closes } = guests(raw, now);
    stats.opening += opening;
    stats.maintenance += closing;
    stats.quarantined += late;
    stats.size += closing + late_closes;
    stats
}

/// The part of it that says whether the pool can serve: without connections beside the slots.
pub(crate) fn stats_of_slots<M: Manager>(raw: &Raw<M>) -> Stats {
    let state = raw.context();
    let counters = &state.counters;
    let gauges = raw.gauges();
    let capacity = raw.capacity();
    let late = overdue(raw, state.clock.now());
    let opening = state.service.opening().saturating_sub(late.connects);
    let maintenance = state.service.maintenance().saturating_sub(late.maintenance);
    let quarantined = late.connects + late.maintenance;
    let retired = gauges.retired + raw.torn_down();
    // The last slot is torn down before its job is counted off.
    let is_over = raw.is_torn_down();
    let (opening, maintenance) = if is_over { (0, 0) } else { (opening, maintenance) };
    // The returns first: what comes back meanwhile still counts as lent.
    let returns: u64 = raw.ledgers().map(Ledger::returns).sum();
    let checkouts: u64 = raw.ledgers().map(Ledger::checkouts).sum();
    let held = checkouts.saturating_sub(returns) as usize;
    // What is handed over counts as lent; but one slot may have been counted twice on its way, so
    // there are no more than of which no account is given.
    let out = gauges.idle + gauges.vacant + retired + opening + maintenance + quarantined + held;
    let lent = held + gauges.granted.min(capacity.saturating_sub(out));
    Stats {
        capacity,
        max_size: state.settings.load().max_size,
        size: if is_over { 0 } else { gauges.idle + lent + maintenance + late.maintenance },
        idle: gauges.idle,
        lent,
        opening,
        maintenance,
        quarantined,
        vacant: gauges.vacant,
        retired,
        waiting: gauges.waiting,
        is_paused: raw.is_paused(),
        waiter_nodes: raw.queued(),
        hand_over_interval: speed::interval(raw),
        usual_hold_time: state.supply.hold(),
        shortest_hold_time: state.supply.shortest_hold(),
        usual_connect_time: state.supply.usual_connect(),
        uptime: state.clock.now().since(state.built),
        checkouts,
        direct_checkouts: counters.direct_checkouts(checkouts),
        returns,
        waits: counters.waits.get(),
        waits_in_vain: counters.waits_in_vain.get(),
        cancellations: counters.cancellations.get(),
        timeouts: counters.timeouts.get(),
        refusals: counters.refusals.get(),
        shed: counters.shed.get(),
        hopeless: counters.hopeless.get(),
        connects: counters.connects.get(),
        connect_failures: counters.connect_failures.get(),
        connects_skipped: counters.connects_skipped.get(),
        growth_decisions: counters.growth_decisions.get(),
        connects_held: counters.connects_held.get(),
        outages: counters.outages.get(),
        pings: counters.pings.get(),
        ping_failures: counters.ping_failures.get(),
        pings_cancelled: counters.pings_cancelled.get(),
        resets: counters.resets.get(),
        closes: counters.closes.get(),
        launch_failures: counters.launch_failures.get(),
        detached: counters.detached.get(),
        added: counters.added.get(),
        leaks: counters.leaks.get(),
        nested_gets: counters.nested_gets.get(),
        sweeps: counters.sweeps.get(),
        evictions: Evictions::of(&counters.evictions),
        wait_time: counters.wait_time.snapshot(),
        use_time: counters.use_time.snapshot(),
        connect_time: counters.connect_time.snapshot(),
        ping_time: counters.ping_time.snapshot(),
        reset_time: counters.reset_time.snapshot(),
    }
}

/// The part of it that errors carry.
pub(crate) fn counts<M: Manager>(raw: &Raw<M>) -> Counts {
    stats_of_slots(raw).counts()
}
