//! What handles, borrowers and the upkeep of one router share.

use super::endpoint::Endpoint;
use super::load::Measuring;
use super::roster::{Roster, View};
use super::standing::{Phase, Standing};
use super::stats::{EndpointChange, EndpointState};
use crate::clock::{Clock, Tick};
use crate::error::ManagerError;
use crate::manager::Manager;
use crate::pool::{Events, Ring, Timers};
use crate::role::Role;
use crate::sync::{Arc, AtomicUsize, Mutex, MutexGuard, PoisonError, Relaxed, forks};
use arc_swap::ArcSwap;
use std::time::Duration;

/// What is set once, when the router is built.
pub(super) struct Terms {
    pub(super) checkout_timeout: Duration,
    pub(super) probe_interval: Duration,
    pub(super) probe_timeout: Duration,
    pub(super) max_lag: Option<Duration>,
    pub(super) observers: Vec<Observer>,
}

pub(super) type Observer = Box<dyn Fn(&EndpointChange) + Send + Sync>;

/// See the [module](self).
pub(super) struct State<M: Manager> {
    pub(super) clock: Clock,
    pub(super) terms: Terms,
    /// Replaced only under the lock of the book.
    pub(super) roster: ArcSwap<Roster<M>>,
    book: Mutex<Book<M>>,
    /// A new roster was published.
    pub(super) published: Events,
    pub(super) timers: Timers,
    pub(super) ring: Arc<Ring>,
    /// When the next probe or measurement is due.
    pub(super) chores_due: Relaxed<u64>,
    /// `Router` handles alive.
    pub(super) handles: AtomicUsize,
    born_in: u64,
}

/// What only the upkeep and the user's calls touch.
pub(super) struct Book<M: Manager> {
    pub(super) records: Vec<Record<M>>,
    /// Of questions asked so far.
    pub(super) questions: u64,
}

/// An endpoint as the upkeep knows it.
pub(super) struct Record<M: Manager> {
    pub(super) endpoint: Arc<Endpoint<M>>,
    pub(super) standing: Standing,
    pub(super) role: Role,
    /// It was the primary before it was what it is.
    pub(super) was_primary: bool,
    /// What it said last; `Unknown` if it never did.
    pub(super) told: Role,
    pub(super) term: u64,
    /// When it was seen to turn from a replica into the primary.
    pub(super) promoted_at: Tick,
    pub(super) is_draining: bool,
    /// Its state in the last roster, and since when.
    pub(super) shown: (EndpointState, Tick),
    pub(super) cause: Option<Arc<ManagerError<M::Error>>>,
    pub(super) probe: Probe,
    /// Of the pool's signs, when a probe was last begun.
    pub(super) news: u64,
    pub(super) measuring: Measuring,
}

/// Where the asking for a role has come to.
pub(super) struct Probe {
    /// When to ask next.
    pub(super) due: Tick,
    /// When the last question was asked.
    pub(super) asked_at: Tick,
    /// The number of the question that is under way.
    pub(super) number: Option<u64>,
    /// Since when no connection was to be had for it.
    pub(super) wanted_since: Option<Tick>,
    /// How many in a row have failed.
    pub(super) failures: u32,
}

impl<M: Manager> Book<M> {
    /// Whether there was a primary and now is none: another may be promoted at any moment. Until
    /// then there is nothing that a replica could be behind of.
    pub(super) fn is_headless(&self) -> bool {
        let is_up = |one: &Record<M>| {
            one.role == Role::Primary && one.standing.phase() == Phase::Up && !one.is_draining
        };
        let was = |one: &Record<M>| one.role == Role::Primary || one.was_primary;
        self.records.iter().any(was) && !self.records.iter().any(is_up)
    }
}

impl<M: Manager> Record<M> {
    pub(super) fn new(endpoint: Arc<Endpoint<M>>, now: Tick) -> Self {
        let probe =
            Probe { due: now, asked_at: now, number: None, wanted_since: None, failures: 0 };
        Self {
            standing: Standing::new(now),
            role: endpoint.declared,
            was_primary: false,
            told: Role::Unknown,
            term: 0,
            promoted_at: Tick::default(),
            is_draining: false,
            shown: (EndpointState::Up, now),
            cause: None,
            probe,
            news: endpoint.pool.signs().news,
            measuring: Measuring::new(now),
            endpoint,
        }
    }
}

impl<M: Manager> State<M> {
    pub(super) fn new(clock: Clock, terms: Terms) -> Self {
        Self {
            timers: Timers::new(clock.clone()),
            clock,
            terms,
            roster: ArcSwap::from_pointee(Roster::new(Vec::new())),
            book: Mutex::new(Book { records: Vec::new(), questions: 0 }),
            published: Events::default(),
            ring: Arc::new(Ring::new()),
            chores_due: Relaxed::<u64>::new(0),
            handles: AtomicUsize::new(0),
            born_in: forks(),
        }
    }

    /// Held for looks at pools, and for no foreign code. Not in a child of the process, where it
    /// may be held for ever.
    pub(super) fn book(&self) -> MutexGuard<'_, Book<M>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the router is the parent process's.
    pub(super) fn is_inherited(&self) -> bool {
        self.born_in != forks()
    }

    /// Puts `views` in the place of the roster, if they differ. The caller holds the book, and
    /// posts when it has let go of it.
    pub(super) fn publish(&self, views: Vec<View<M>>) -> Option<Arc<Roster<M>>> {
        let before = self.roster.load();
        let is_same = views.len() == before.views.len()
            && views.iter().zip(&before.views).all(|(one, other)| one.is_as(other));
        drop(before);
        (!is_same).then(|| self.roster.swap(Arc::new(Roster::new(views))))
    }
}
