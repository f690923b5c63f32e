//! How fast the line is served, and connects are made: when that is noted, looked at and forgotten.
//! `ground` has the machines that learn it.

use crate::clock::Tick;
use crate::config::Fairness;
use crate::manager::Manager;
use crate::pool::ground::forecast::Forecast;
use crate::pool::ground::meter::Seen;
use crate::pool::state::State;
use crate::pool::state::pooled::Raw;
use std::time::Duration;

/// A borrower is about to stand in line.
pub(crate) fn arrive<M: Manager>(raw: &Raw<M>, now: Tick) {
    if raw.waiting() == 0 {
        let state = raw.context();
        state.supply.line.begin(now, state.counters.late_checkouts.get(), state.supply.youth());
    }
}

/// Learns what has been noted since the last look. There is nothing to learn in a pause, in an
/// outage, and where newcomers may go before waiters: what these are handed says little there.
pub(crate) fn look<M: Manager>(raw: &Raw<M>, now: Tick) {
    let (state, supply) = (raw.context(), &raw.context().supply);
    let hands_over = state.settings.load().fairness == Fairness::Fifo || state.hands_over_only();
    if raw.is_paused() || supply.is_failing() || !hands_over {
        return supply.pace(|pace| pace.meter.forget_rate());
    }
    let seen = Seen {
        now,
        open: state.service.open(),
        opened: state.counters.connects.get(),
        served: state.counters.late_checkouts.get(),
        stands: raw.waiting() > 0,
    };
    let granted = || raw.gauges().granted as u64;
    supply.pace(|pace| pace.meter.look(&supply.line, seen, granted));
}

/// How long it takes from one hand-over to the next, if that is known, with the connections that
/// are open now.
pub(crate) fn interval<M: Manager>(raw: &Raw<M>) -> Option<Duration> {
    let state = raw.context();
    let open = state.service.open().try_into().unwrap_or(u32::MAX);
    let interval = state.supply.hold()?.checked_div(open)?;
    Some(interval.max(Duration::from_nanos(1)))
}

/// How many are handed over per second, if that is known.
pub(crate) fn rate<M: Manager>(raw: &Raw<M>) -> Option<f64> {
    interval(raw).map(|interval| 1.0 / interval.as_secs_f64())
}

/// What is known of the near future of the line, and until when it is young.
pub(crate) fn forecast<M: Manager>(raw: &Raw<M>, now: Tick) -> (Forecast, Tick) {
    let (state, supply) = (raw.context(), &raw.context().supply);
    let youth = supply.youth();
    let young_until = supply.line.began() + Duration::from_nanos(youth);
    let forecast = Forecast {
        hold: supply.hold(),
        connect: supply.usual_connect(),
        open: state.service.open(),
        is_young: now < young_until && supply.line.is_seldom(youth),
    };
    (forecast, young_until)
}

/// What was handed over before says nothing of what will be.
pub(crate) fn forget<M: Manager>(state: &State<M>) {
    state.supply.line.break_off(state.clock.now());
}

/// The server is another one, of which nothing is known.
pub(crate) fn forget_server<M: Manager>(state: &State<M>) {
    forget(state);
    state.supply.pace(|pace| pace.meter.forget());
}
