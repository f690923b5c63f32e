//! Opening a connection, and putting it in service.

use super::calls::{begin, fallible_call, settle};
use crate::clock::{Deadline, Tick};
use crate::data::ConnectionData;
use crate::error::ManagerError;
use crate::health::{ConnectionInfo, EvictionCause};
use crate::hooks;
use crate::manager::Manager;
use crate::observe::EventKind;
use crate::pool::ground::caught::Foreign;
use crate::pool::ground::governor::Leave;
use crate::pool::service::enqueue;
use crate::pool::state::State;
use crate::pool::state::entry::{Entry, Fresh, Stage};
use crate::pool::state::job::{Held, Job, Order};
use crate::pool::state::pooled::{Raw, Vacant};
use crate::pool::supply::{growth, news, speed};
use crate::stats::{Call, Priority};
use crate::sync::Arc;

/// Opens a connection, unless it is no longer needed.
pub(super) async fn connect<M: Manager>(raw: &Arc<Raw<M>>, mut job: Job<M>) {
    let state = raw.context();
    let Held::Empty(vacant, Some(order)) = &job.held else { return };
    if raw.is_closed() {
        return;
    }
    let is_optional = order.replaces.is_none() && !order.is_for_try;
    if is_optional && growth::skip(raw) {
        state.note(EventKind::ConnectSkipped);
        drop(job);
        return growth::end_skip(raw);
    }
    order.leave.iter().for_each(Leave::begin);
    let limit = order.permit.limit;
    let (begun, deadline, noted) =
        begin(state, vacant.ledger(), Call::Connect, Priority::Demand, limit);
    // The era first: see `raw::era`.
    vacant.ledger().stamp().set(raw.eras().current());
    let manager = Foreign::new(state.manager.load_full());
    let future = Box::pin(open(state, &manager, &deadline, begun));
    let result = fallible_call(state, &deadline, future).await;
    drop(noted);
    let Some((vacant, mut order)) = job.take_order() else { return };
    if let Some(leave) = order.leave.take() {
        leave.end(result.is_ok());
    }
    state.supply.end_order(&order);
    match result {
        Ok(fresh) => {
            // Before it is one more: until now, hand-overs came from those that there were.
            speed::look(raw, state.clock.now());
            news::connected(state, begun);
            welcome(raw, vacant, fresh);
            news::opened(raw);
            if let Some(old) = order.replaces {
                // Made, so break.
                growth::close_old(raw, &old, Stage::Made);
            }
        }
        Err(error) => {
            let is_past = raw.eras().is_past(vacant.ledger().stamp());
            let affected = news::connect_failed(raw, &manager, error, begun, order.permit, is_past);
            vacant.ledger().end();
            vacant.give_back();
            state.service.end(Call::Connect, Priority::Demand);
            news::tell(raw, &affected);
        }
    }
    state.events.post();
}

impl<M: Manager> Job<M> {
    /// Takes the slot and the order of a connect; the caller counts the job off.
    fn take_order(&mut self) -> Option<(Vacant<M>, Order)> {
        match std::mem::replace(&mut self.held, Held::Gone) {
            Held::Empty(vacant, Some(order)) => Some((vacant, *order)),
            other => {
                self.held = other;
                None
            }
        }
    }
}

/// The manager's part, and that of the hooks.
pub(crate) async fn open<M: Manager>(
    state: &State<M>,
    manager: &Arc<M>,
    deadline: &Deadline,
    begun: Tick,
) -> Result<Fresh<M>, ManagerError<M::Error>> {
    let opened = state.driver.connect(manager, deadline).await;
    let connection = opened.map_err(ManagerError::Failed)?;
    let data = ConnectionData::default();
    let mut fresh = Fresh { connection, manager: Arc::clone(manager), data };
    let hooks = &state.hooks.after_connect;
    if !hooks.is_empty() {
        let info = ConnectionInfo::newborn(begun, state.generation.get());
        let Fresh { connection, data, .. } = &mut fresh;
        hooks::run::<M>(hooks, connection, &info, data).await.map_err(ManagerError::of_hook)?;
        let is_unsettled = manager.needs_reset(connection);
        settle(state, manager, connection, deadline, is_unsettled).await?;
    }
    Ok(fresh)
}

/// Puts a fresh connection in service whose connect has been counted; if the limit was lowered or
/// its era is over meanwhile, it is closed again.
pub(crate) fn welcome<M: Manager>(raw: &Raw<M>, vacant: Vacant<M>, fresh: Fresh<M>) {
    let state = raw.context();
    let (now, generation) = (state.clock.now(), state.generation.get());
    let jitter = state.supply.jitter.draw();
    let mut entry = Entry::newborn(fresh, vacant.ledger(), now, generation, jitter);
    if state.last_ping_failure.load().is_some() {
        // Connects may succeed though what they open is dead.
        entry.record.distrust();
    }
    let slot = vacant.fill(entry);
    // The borrower that it is handed to may look at the counts at once.
    state.service.arrives();
    if raw.take_debt() {
        enqueue::retire(slot)
    } else if raw.eras().is_past(slot.ledger().stamp()) {
        enqueue::close(slot, EvictionCause::Invalidated)
    } else {
        drop(slot)
    }
    // Now that a borrower finds it: who waits for the start must not be told too early.
    state.service.open.add(1);
    state.service.has_arrived();
}
