//! Who may serve which target: a list that never changes, read without a lock.
//!
//! Of the candidates a borrower looks at two, drawn by chance, and takes the one that costs less:
//! of two random choices the lesser is nearly as good as the least of all, and borrowers do not all
//! run to the same endpoint (M. Mitzenmacher, *The Power of Two Choices in Randomized Load
//! Balancing*, 2001).

use super::endpoint::Endpoint;
use super::load::is_cheaper;
use super::stats::EndpointState;
use super::target::Target;
use crate::clock::Tick;
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::pool::random;
use crate::role::Role;
use crate::sync::Arc;

/// An endpoint as it stood when the roster was made.
pub(super) struct View<M: Manager> {
    pub(super) endpoint: Arc<Endpoint<M>>,
    pub(super) state: EndpointState,
    pub(super) since: Tick,
    pub(super) role: Role,
    /// Which of several primaries is right, the greatest: its term, and when it was seen to be
    /// promoted.
    pub(super) claim: (u64, Tick),
    pub(super) relapses: u32,
    /// It is not up, but may serve if no other is: it is on trial, or connecting fails and yet it
    /// has open connections.
    pub(super) is_fallback: bool,
    /// Waiting for it is in vain.
    pub(super) is_hopeless: bool,
    /// Why it is out.
    pub(super) cause: Option<Arc<ManagerError<M::Error>>>,
}

impl<M: Manager> View<M> {
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let key = |view: &Self| {
            let flags = (view.is_fallback, view.is_hopeless);
            (view.state, view.since, view.role, view.claim, view.relapses, flags)
        };
        let address = |view: &Self| view.cause.as_ref().map(Arc::as_ptr);
        let is_same = Arc::ptr_eq(&self.endpoint, &other.endpoint);
        is_same && key(self) == key(other) && address(self) == address(other)
    }
}

/// See the [module](self).
pub(super) struct Roster<M: Manager> {
    pub(super) views: Vec<View<M>>,
    candidates: [Vec<Arc<Endpoint<M>>>; Target::ALL.len()],
}

impl<M: Manager> Roster<M> {
    pub(super) fn new(views: Vec<View<M>>) -> Self {
        let candidates = Target::ALL.map(|target| candidates(&views, target));
        Self { views, candidates }
    }

    pub(super) fn candidates(&self, target: Target) -> &[Arc<Endpoint<M>>] {
        &self.candidates[target as usize]
    }

    pub(super) fn is_candidate(&self, target: Target, endpoint: &Arc<Endpoint<M>>) -> bool {
        self.candidates(target).iter().any(|one| Arc::ptr_eq(one, endpoint))
    }

    /// The endpoint for a borrower.
    #[inline]
    pub(super) fn choose(&self, target: Target) -> Option<&Arc<Endpoint<M>>> {
        match self.candidates(target) {
            [] => None,
            [one] => Some(one),
            several => Some(lesser_of_two(several)),
        }
    }

    /// The same, but none of those that have `refused` it.
    pub(super) fn choose_other(
        &self,
        target: Target,
        refused: impl Fn(&Arc<Endpoint<M>>) -> bool,
    ) -> Option<&Arc<Endpoint<M>>> {
        let others = self.candidates(target).iter().filter(|one| !refused(one));
        others.min_by(|a, b| {
            let (a, b) = (a.load(), b.load());
            is_cheaper(b, a).cmp(&is_cheaper(a, b))
        })
    }

    /// Whether no endpoint is there that could ever serve, as things are.
    pub(super) fn is_hopeless(&self, target: Target) -> bool {
        let mut in_use = self.views.iter().filter(|view| view.state.may_come_back()).peekable();
        if in_use.peek().is_none() {
            return true;
        }
        let could = |role| target.takes(role) || role == Role::Unknown;
        let mut eligible = in_use.filter(|view| could(view.role)).peekable();
        eligible.peek().is_some() && eligible.all(|view| view.is_hopeless)
    }
}

fn lesser_of_two<M: Manager>(several: &[Arc<Endpoint<M>>]) -> &Arc<Endpoint<M>> {
    let (bits, count) = (random::bits(), several.len() as u64);
    let first = (bits >> 32) % count;
    // Any but the first.
    let second = (first + 1 + (bits & 0xffff_ffff) % (count - 1)) % count;
    let (first, second) = (&several[first as usize], &several[second as usize]);
    if is_cheaper(second.load(), first.load()) { second } else { first }
}

/// Those that are up; if none is, those that can serve nevertheless.
fn candidates<M: Manager>(views: &[View<M>], target: Target) -> Vec<Arc<Endpoint<M>>> {
    let is_up = |view: &View<M>| view.state == EndpointState::Up;
    let up = of_target(views, target, is_up);
    let chosen = match up.is_empty() {
        true => of_target(views, target, |view| view.is_fallback),
        false => up,
    };
    chosen.into_iter().map(|view| Arc::clone(&view.endpoint)).collect()
}

fn of_target<M: Manager>(
    views: &[View<M>],
    target: Target,
    may_serve: impl Fn(&View<M>) -> bool,
) -> Vec<&View<M>> {
    let of_role = |role: Role| -> Vec<&View<M>> {
        views.iter().filter(|view| view.role == role && may_serve(view)).collect()
    };
    match target {
        Target::Primary => primary(views, may_serve),
        Target::Replica => of_role(Role::Replica),
        Target::PreferReplica => {
            let replicas = of_role(Role::Replica);
            if replicas.is_empty() { primary(views, may_serve) } else { replicas }
        }
        Target::Any => views.iter().filter(|view| may_serve(view)).collect(),
    }
}

/// One: two primaries that take writes do not have the same data for long. A higher term is right
/// even while its endpoint is out, or a former primary would get writes then. Of equal terms it is
/// the one that was promoted last, of those that may serve.
fn primary<M: Manager>(views: &[View<M>], may_serve: impl Fn(&View<M>) -> bool) -> Vec<&View<M>> {
    let claims = || views.iter().filter(|view| view.role == Role::Primary);
    let known = claims().filter(|view| view.state.may_come_back());
    let term = known.map(|view| view.claim.0).max();
    let right = claims().filter(|view| Some(view.claim.0) >= term && may_serve(view));
    // Of equals the first.
    right.rev().max_by_key(|view| view.claim).into_iter().collect()
}
