//! The housekeeper's visit to one pool: deadlines, surplus, the sweep, growth. It plans and workers
//! act: it calls no driver.

use super::{shrink, sweep};
use crate::clock::Tick;
use crate::manager::Manager;
use crate::pool::state::pooled::Raw;
use crate::pool::supply::growth;
use crate::pool::work::worker;
use crate::sync::Arc;

/// Does what is due, and returns when to come again.
pub(crate) fn visit<M: Manager>(raw: &Arc<Raw<M>>) -> Tick {
    let state = raw.context();
    let now = state.timers.fire();
    if raw.next_deadline() <= now.0 {
        raw.expire(now.0);
    }
    let mut next = Tick::NEVER;
    if raw.is_closed() {
        state.visits_since_close.add(1);
    } else {
        shrink::shed(raw);
        next = sweep::go_on(raw, now);
        growth::lose_patience(raw, now);
        if state.supply.retry_at() > now {
            next = next.min(state.supply.retry_at());
        }
    }
    worker::grow(raw);
    // For waiters that looked while a slot was between two gauges.
    state.events.post();
    announce(raw, next)
}

/// Announces when the next visit will be, and looks once more at the deadlines noted before.
fn announce<M: Manager>(raw: &Raw<M>, next: Tick) -> Tick {
    let state = raw.context();
    let noted = |raw: &Raw<M>| state.timers.next().min(Tick(raw.next_deadline()));
    let next = next.min(noted(raw));
    state.ring.announce(next);
    next.min(noted(raw))
}
