//! The way of a borrower whom no endpoint served at once.

use super::endpoint::Endpoint;
use super::error::{EndpointError, RouteError};
use super::state::State;
use super::target::Target;
use crate::PooledConnection;
use crate::clock::Tick;
use crate::error::GetError;
use crate::manager::{Face, Manager};
use crate::pool::{Lending, Taken};
use crate::sync::Arc;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// A borrower that waits for so long looks whether a connection is idle elsewhere, and so again:
/// the endpoint whose turn it was may have become slow since.
const RESTLESS: Duration = Duration::from_millis(100);

/// What comes of it.
pub(super) type Routed<M> = Result<PooledConnection<M>, RouteError<<M as Manager>::Error>>;

/// Where a borrower went first, and what it claimed there.
pub(super) type First<M> = Option<(Arc<Endpoint<M>>, Taken<M>)>;

/// An endpoint that did not serve a borrower, and what it said.
pub(super) type Refusal<M> = (Arc<Endpoint<M>>, GetError<<M as Manager>::Error>);

/// See the [module](self).
pub(super) struct Route<'a, M: Manager> {
    pub(super) state: &'a State<M>,
    pub(super) target: Target,
    pub(super) face: Face,
    pub(super) begun: Tick,
    pub(super) deadline: Tick,
    pub(super) borrower: &'static Location<'static>,
    /// Endpoints to which it need not go again, and what they said.
    pub(super) refused: Vec<Refusal<M>>,
}

/// Where to go next.
enum Next<M: Manager> {
    At(Arc<Endpoint<M>>),
    /// No endpoint will serve, for all that is known.
    Nowhere,
    /// The time is up.
    TooLate,
}

impl<M: Manager> Route<'_, M> {
    /// From endpoint to endpoint, until one serves or none can.
    pub(super) async fn run(mut self, mut first: First<M>) -> Routed<M> {
        loop {
            let (endpoint, taken) = match first.take() {
                Some(first) => first,
                None => match self.next().await {
                    Next::At(endpoint) => (endpoint, Taken::NOTHING),
                    Next::Nowhere => return Err(self.unavailable()),
                    Next::TooLate => return Err(self.timed_out()),
                },
            };
            let error = match self.wait_at(&endpoint, taken).await {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(error)) => error,
                // It is left out now.
                None => continue,
            };
            match error {
                GetError::Forked => return Err(RouteError::Forked),
                GetError::WrongThread { .. } | GetError::Deadlock { .. } => {
                    let endpoint = Arc::clone(&endpoint.name);
                    return Err(RouteError::Refused { endpoint, error });
                }
                GetError::TimedOut { .. } => {
                    self.refused.push((endpoint, error));
                    return Err(self.timed_out());
                }
                _ => {
                    self.refused.push((endpoint, error));
                    self.state.ring.ring();
                }
            }
        }
    }

    /// Borrows at `endpoint`, unless that is left out first. Looks elsewhere meanwhile, without
    /// leaving its place.
    async fn wait_at(&self, endpoint: &Arc<Endpoint<M>>, taken: Taken<M>) -> Option<Lending<M>> {
        let Self { state, target, face, deadline, borrower, .. } = *self;
        let left = deadline.since(state.clock.now());
        let is_left_out = || {
            let is_candidate = state.roster.load().is_candidate(target, endpoint);
            (!is_candidate).then_some(())
        };
        let mut served = pin!(endpoint.pool.get_slowly_as(face, taken, left, borrower));
        let mut left_out = pin!(state.published.wait_until(is_left_out));
        loop {
            let either = poll_fn(|cx| match served.as_mut().poll(cx) {
                Poll::Ready(lending) => Poll::Ready(Some(lending)),
                Poll::Pending => left_out.as_mut().poll(cx).map(|()| None),
            });
            let look = state.clock.now() + RESTLESS;
            if let Some(outcome) = state.timers.timeout(&state.ring, look, either).await {
                return outcome;
            }
            if let Some(connection) = self.elsewhere(endpoint) {
                return Some(Ok(connection));
            }
        }
    }

    /// An idle connection of another endpoint.
    fn elsewhere(&self, endpoint: &Arc<Endpoint<M>>) -> Option<PooledConnection<M>> {
        if self.state.is_inherited() {
            return None;
        }
        let roster = self.state.roster.load_full();
        let mut others = roster.candidates(self.target).iter();
        others.find_map(|one| match Arc::ptr_eq(one, endpoint) {
            true => None,
            false => one.lend_if_idle(self.borrower).ok(),
        })
    }

    /// Waits until there is an endpoint to go to, or none will be.
    async fn next(&self) -> Next<M> {
        let Self { state, target, ref refused, .. } = *self;
        let look = || {
            let roster = state.roster.load();
            let has_refused = |endpoint: &Arc<_>| {
                refused.iter().any(|(refused, _)| Arc::ptr_eq(refused, endpoint))
            };
            let found = match refused.is_empty() {
                true => roster.choose(target),
                false => roster.choose_other(target, has_refused),
            };
            match found {
                Some(endpoint) => Some(Next::At(Arc::clone(endpoint))),
                None if !refused.is_empty() || roster.is_hopeless(target) => Some(Next::Nowhere),
                None => None,
            }
        };
        if state.is_inherited() {
            return Next::TooLate;
        }
        let found = state.published.wait_until(look);
        let found = state.timers.timeout(&state.ring, self.deadline, found).await;
        found.unwrap_or(Next::TooLate)
    }

    fn unavailable(self) -> RouteError<M::Error> {
        let target = self.target;
        RouteError::Unavailable { target, endpoints: each(self.state, self.refused) }
    }

    fn timed_out(self) -> RouteError<M::Error> {
        timed_out(self.state, self.target, self.begun, self.refused)
    }
}

/// The error of a borrower whose time is up.
pub(super) fn timed_out<M: Manager>(
    state: &State<M>,
    target: Target,
    begun: Tick,
    refused: Vec<Refusal<M>>,
) -> RouteError<M::Error> {
    if state.is_inherited() {
        return RouteError::Forked;
    }
    let waited = state.clock.now().since(begun);
    RouteError::TimedOut { target, waited, endpoints: each(state, refused) }
}

/// Why no endpoint served.
fn each<M: Manager>(
    state: &State<M>,
    mut refused: Vec<Refusal<M>>,
) -> Vec<EndpointError<M::Error>> {
    let roster = state.roster.load_full();
    let each = roster.views.iter().map(|view| {
        let at = refused.iter().position(|(one, _)| Arc::ptr_eq(one, &view.endpoint));
        EndpointError {
            name: Arc::clone(&view.endpoint.name),
            role: view.role,
            state: view.state,
            refusal: at.map(|at| refused.swap_remove(at).1),
            cause: view.cause.clone(),
        }
    });
    each.collect()
}
