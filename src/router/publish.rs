//! From what the upkeep knows to a new roster, and word of it.

use super::roster::{Roster, View};
use super::standing::Phase;
use super::state::{Book, Record, State};
use super::stats::{EndpointChange, EndpointState};
use crate::clock::Tick;
use crate::manager::Manager;
use crate::no_unwind::no_unwind;
use crate::observe::cause_of;
use crate::role::Role;
use crate::sync::Arc;
use std::time::Duration;

/// The roster that was replaced. To be given up, and announced, without the book.
#[must_use]
pub(super) struct Replaced<M: Manager>(Option<Arc<Roster<M>>>);

/// Publishes a roster, if it differs from the last.
pub(super) fn show<M: Manager>(state: &State<M>, book: &mut Book<M>, now: Tick) -> Replaced<M> {
    // There is nothing newer to be read than what the replicas have.
    let max_lag = state.terms.max_lag.filter(|_| !book.is_headless());
    let views = book.records.iter_mut().map(|record| view(record, max_lag, now)).collect();
    Replaced(state.publish(views))
}

fn view<M: Manager>(record: &mut Record<M>, max_lag: Option<Duration>, now: Tick) -> View<M> {
    let signs = record.endpoint.pool.signs();
    let lag = record.endpoint.lag().filter(|_| record.role == Role::Replica);
    let state = match record.standing.phase() {
        _ if signs.is_closed => EndpointState::Closed,
        _ if record.is_draining => EndpointState::Draining,
        _ if signs.is_shut => EndpointState::Paused,
        Phase::Out => EndpointState::Out,
        Phase::Trial => EndpointState::OnTrial,
        Phase::Up if max_lag.is_some_and(|most| lag > Some(most)) => EndpointState::Lagging,
        Phase::Up => EndpointState::Up,
    };
    if record.shown.0 != state {
        record.shown = (state, now);
    }
    let is_out = state == EndpointState::Out;
    // One that answers no questions may yet answer borrowers, but who knows what it is.
    let is_strained = is_out && signs.is_failing && !record.endpoint.pool.is_out();
    View {
        endpoint: Arc::clone(&record.endpoint),
        state,
        since: record.shown.1,
        role: record.role,
        claim: (record.term, record.promoted_at),
        relapses: record.standing.relapses(),
        is_fallback: is_strained || state == EndpointState::OnTrial,
        is_hopeless: is_out && !is_strained && signs.is_hopeless || !state.may_come_back(),
        cause: record.cause.clone().filter(|_| is_out),
    }
}

/// Wakes those that wait for a roster, and tells the observers what has changed.
pub(super) fn announce<M: Manager>(state: &State<M>, replaced: Replaced<M>) {
    let Some(old) = replaced.0 else { return };
    state.published.post();
    if state.terms.observers.is_empty() {
        return;
    }
    let new = state.roster.load_full();
    for view in &new.views {
        let before = old.views.iter().find(|one| Arc::ptr_eq(&one.endpoint, &view.endpoint));
        if before.is_some_and(|one| (one.state, one.role) == (view.state, view.role)) {
            continue;
        }
        let change = EndpointChange {
            name: Arc::clone(&view.endpoint.name),
            role: view.role,
            state: view.state,
            cause: view.cause.as_ref().map(|cause| cause_of(&**cause)),
        };
        for observer in &state.terms.observers {
            no_unwind(|| observer(&change));
        }
    }
}
