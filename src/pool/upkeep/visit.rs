//! A visit to one pool: deadlines, surplus, the sweep, growth, workers for what is queued.

use super::keeper::{Household, PERIOD};
use super::{shrink, sweep};
use crate::clock::Tick;
use crate::manager::Manager;
use crate::pool::ground::ring::Ring;
use crate::pool::state::pooled::Raw;
use crate::pool::supply::growth;
use crate::pool::supply::shortage::Shortage;
use crate::pool::supply::tries;
use crate::pool::work::{launch, worker};
use crate::sync::Arc;
use std::time::Duration;

impl<M: Manager> Household for Raw<M> {
    fn ring(&self) -> &Ring {
        &self.context().ring
    }

    fn visit(self: Arc<Self>) -> Duration {
        let next = visit(&self);
        let next = announce(&self, next);
        let clock = &self.context().clock;
        let wait = clock.until(next);
        // Who takes an idle connection rings for nobody.
        let may_fall_short = self.context().settings.load().min_idle > 0 && !self.is_closed();
        if may_fall_short || !is_at_rest(&self) {
            wait.min(PERIOD)
        } else if self.waiting() > 0 {
            // Whatever they wait for rings.
            wait.min(PERIOD * 10)
        } else {
            wait
        }
    }

    fn is_due(&self) -> bool {
        let (ring, clock) = (&self.context().ring, &self.context().clock);
        let is_asked = ring.is_rung() || ring.next_visit() <= clock.now();
        is_asked || !is_at_rest(self) || self.waiting() > 0 || is_short(self)
    }

    fn is_over(&self) -> bool {
        self.is_torn_down()
    }
}

/// Does what is due, and says when to come again. Of several threads that visit at once one does
/// all, and the others go on.
pub(crate) fn visit<M: Manager>(raw: &Arc<Raw<M>>) -> Tick {
    let state = raw.context();
    let now = state.timers.fire();
    if raw.next_deadline() <= now.0 {
        raw.expire(now.0);
    }
    let mut next = now + PERIOD;
    state.visits.answer(|| next = keep_order(raw));
    // For those who looked while something was between two gauges.
    state.events.post();
    next
}

/// One round of upkeep, and when the next is due.
fn keep_order<M: Manager>(raw: &Arc<Raw<M>>) -> Tick {
    let state = raw.context();
    let now = state.clock.now();
    let mut next = Tick::NEVER;
    if !raw.is_closed() {
        shrink::shed(raw);
        next = sweep::go_on(raw, now);
        growth::lose_patience(raw, now);
        if state.supply.retry_at() > now {
            next = next.min(state.supply.retry_at());
        }
    }
    tries::hear(raw);
    worker::grow(raw);
    if launch::take_back(raw) { next.min(now + PERIOD) } else { next }
}

/// Nothing is under way that might go wrong unheard.
fn is_at_rest<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    state.has_no_jobs() && state.service.is_empty() && (!raw.is_closed() || raw.is_torn_down())
}

/// Connections are missing, and one might be opened now.
fn is_short<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    Shortage::of(raw).missing > 0 && state.supply.retry_at() <= state.clock.now()
}

/// Tells those who note deadlines when the next visit will be, and looks once more at those noted
/// before.
fn announce<M: Manager>(raw: &Raw<M>, next: Tick) -> Tick {
    let state = raw.context();
    let noted = |raw: &Raw<M>| state.timers.next().min(Tick(raw.next_deadline()));
    let next = next.min(noted(raw));
    state.ring.announce(next);
    next.min(noted(raw))
}
