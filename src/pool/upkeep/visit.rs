//! A visit to one pool: deadlines, surplus, the sweep, growth, workers for what is queued.

use super::keeper::{Household, PERIOD};
use super::{leaks, shrink, sweep, usage};
use crate::clock::{Clock, Tick};
use crate::manager::Manager;
use crate::pool::ground::park::block_on;
use crate::pool::ground::ring::Ring;
use crate::pool::state::pooled::Raw;
use crate::pool::supply::growth;
use crate::pool::supply::shortage::Shortage;
use crate::pool::supply::speed;
use crate::pool::supply::tries;
use crate::pool::work::{launch, worker};
use crate::sync::{Arc, Ordering, thread_number};
use std::time::Duration;

/// A pool in which borrowers wait whenever it is looked at is visited at least so often.
const SAFETY_NET: Duration = PERIOD.saturating_mul(10);

impl<M: Manager> Household for Raw<M> {
    fn ring(&self) -> &Ring {
        &self.context().ring
    }

    fn visit(self: Arc<Self>) -> Duration {
        let next = visit(&self);
        self.context().chores_due.set(next.0);
        let wait = rest(&self);
        if is_at_rest(&self) { wait } else { wait.min(PERIOD) }
    }

    fn postponed(&self, unvisited: Duration) -> Option<Duration> {
        // Announced before anything else is looked at, as by a visit: who has it leave its rest
        // either is seen here, or sees that it must ring.
        let wait = rest(self);
        let is_asked = self.context().ring.is_rung() || !is_at_rest(self) || is_short(self);
        let is_left_alone = self.waiting() > 0 && unvisited >= SAFETY_NET;
        let is_due = wait.is_zero() || is_asked || is_left_alone || self.is_over();
        (!is_due).then_some(wait)
    }

    fn is_over(&self) -> bool {
        self.is_torn_down() && self.context().beside.is_empty()
    }

    fn is_deserted(&self) -> bool {
        // O11: the thread that drops the last handle rings afterwards.
        self.context().handles.load(Ordering::Relaxed) == 0
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
    state.visits.answer(|| {
        state.visitor.set(thread_number() + 1);
        next = keep_order(raw);
        state.visitor.set(0);
    });
    // For waiters for an event that looked while a connection was between two gauges, or that a
    // return has brought about, which tells nobody.
    state.events.post();
    // Not within: in a pool that is maintained by its user this calls observers, which may use it.
    state.tell();
    next
}

/// Waits until a visit that another thread makes is over. That thread may have read the time before
/// the caller turned the clock by hand, and may have lost its core since; what the caller then does
/// a moment later would come an hour later to it. Not for long, as foreign code that the visit
/// calls may wait for the caller.
pub(crate) fn await_other<M: Manager>(raw: &Raw<M>) {
    const LONG: Duration = Duration::from_secs(1);
    let state = raw.context();
    if state.clock.is_real() || state.visitor.get() == thread_number() + 1 {
        return;
    }
    let real = Clock::real();
    let is_over = state.events.wait_until(|| state.visits.is_answered().then_some(()));
    let _ = block_on(is_over, &real, real.now() + LONG);
}

/// One round of upkeep, and when the next is due.
fn keep_order<M: Manager>(raw: &Arc<Raw<M>>) -> Tick {
    let state = raw.context();
    let now = state.clock.now();
    let mut next = Tick::NEVER;
    if !raw.is_closed() {
        shrink::shed(raw);
        usage::shrink(raw, now);
        next = sweep::go_on(raw, now).min(leaks::look(raw, now));
        speed::look(raw, now);
        growth::lose_patience(raw, now);
        if state.supply.retry_at() > now {
            next = next.min(state.supply.retry_at());
        }
    }
    tries::hear(raw);
    worker::grow(raw);
    if launch::take_back(raw) { next.min(now + PERIOD) } else { next }
}

/// How long a pool at rest may be left alone; announces it.
fn rest<M: Manager>(raw: &Raw<M>) -> Duration {
    let state = raw.context();
    // Here, too, so that a sample needs no keeper.
    let next = Tick(state.chores_due.get()).min(usage::sample(raw, state.clock.now()));
    // A borrower that takes an idle connection does not ring.
    let may_fall_short = state.settings.load().min_idle > 0 && !raw.is_closed();
    // A grant may lapse within that time. As there will be a visit by then, the granting thread
    // need not ring.
    let may_lapse = raw.waiting() > 0;
    if may_fall_short || may_lapse {
        let soon = state.clock.now() + PERIOD;
        state.clock.until(announce(raw, next.min(soon)))
    } else {
        state.clock.until(announce(raw, next))
    }
}

/// Nothing is under way that might go wrong unheard, and no event is waited for that might come
/// unheard.
fn is_at_rest<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let is_quiet = state.has_no_jobs() && state.journal.is_told() && !state.events.are_awaited();
    let has_no_calls = state.service.is_empty() && state.beside.is_empty();
    is_quiet && has_no_calls && (!raw.is_closed() || raw.is_over())
}

/// Connections are missing, and one might be opened now. A pool that the governor holds is called.
fn is_short<M: Manager>(raw: &Raw<M>) -> bool {
    let state = raw.context();
    let is_short = Shortage::of(raw).missing > 0 && state.supply.retry_at() <= state.clock.now();
    is_short && !state.is_held()
}

/// Announces the next visit to threads that note deadlines, and looks once more at deadlines noted
/// before.
fn announce<M: Manager>(raw: &Raw<M>, next: Tick) -> Tick {
    let state = raw.context();
    let noted = |raw: &Raw<M>| {
        let look_again = Tick(state.supply.look_again.get());
        state.timers.next().min(Tick(raw.next_deadline())).min(look_again)
    };
    let next = next.min(noted(raw));
    state.ring.announce(next);
    next.min(noted(raw))
}

#[cfg(test)]
mod tests {
    use super::{Household, await_other};
    use crate::clock::{Clock, Tick};
    use crate::manager::nothing::Nothing;
    use crate::pool::handle::Pool;
    use crate::pool::state::beside::Guest;
    use crate::sync::{Relaxed, thread, thread_number};
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    /// Nothing to wait for is found within a visit itself, or the test would take a second.
    #[test]
    fn who_maintains_a_pool_by_hand_waits_for_the_visitor_that_is_at_it_but_not_for_itself() {
        let (clock, _hand) = Clock::mock();
        let pool = Pool::builder(Nothing).manual_maintenance().clock(clock).build().unwrap();
        let (raw, state) = (&pool.raw, pool.raw.context());
        let [is_there, has_left] = [(); 2].map(|()| Relaxed::<bool>::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut is_first = true;
                state.visits.answer(|| {
                    if std::mem::take(&mut is_first) {
                        state.visitor.set(thread_number() + 1);
                        await_other(raw);
                        is_there.set(true);
                        // The other would be gone by then.
                        (0..1_000).for_each(|_| thread::yield_now());
                        has_left.set(true);
                    }
                });
                state.events.post();
            });
            while !is_there.get() {
                thread::yield_now();
            }
            pool.maintain();
            assert!(has_left.get());
        });
    }

    #[test]
    fn a_pool_is_not_at_rest_while_a_connection_beside_it_is_opened_or_an_event_is_waited_for() {
        let pool = Pool::builder(Nothing).manual_maintenance().build().unwrap();
        let (raw, state) = (&pool.raw, pool.raw.context());
        let is_left_alone = || raw.postponed(Duration::ZERO).is_some();
        pool.maintain();
        state.chores_due.set(Tick::NEVER.0);
        assert!(is_left_alone());
        let guest = Guest::new(raw, Tick::NEVER);
        assert!(!is_left_alone());
        drop(guest);
        assert!(is_left_alone());
        {
            let mut event = pin!(state.events.wait_until(|| None::<()>));
            let _ = event.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(!is_left_alone());
        }
        assert!(is_left_alone());
    }
}
