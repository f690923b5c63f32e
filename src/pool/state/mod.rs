//! What all parts of one pool share: plain data, read-only methods, no policy.

pub(crate) mod beside;
pub(crate) mod classes;
pub(crate) mod entry;
pub(crate) mod invalid;
pub(crate) mod job;
pub(crate) mod kept;
pub(crate) mod leaks;
pub(crate) mod marks;
pub(crate) mod nested;
mod note;
pub(crate) mod pass;
pub(crate) mod pooled;
pub(crate) mod shedding;
pub(crate) mod supply;
pub(crate) mod usage;

use super::ground::assignment::Assignment;
use super::ground::caught::{Foreign, let_go};
use super::ground::events::Events;
use super::ground::governor::Member;
use super::ground::journal::{self, Journal};
use super::ground::ring::Ring;
use super::ground::sampling::Sampling;
use super::ground::timers::Timers;
use super::ground::watch::Watch;
use crate::clock::{Clock, Tick};
use crate::config::Settings;
use crate::driver::Driver;
use crate::error::ManagerError;
use crate::health::{HealthStrategy, Occasions};
use crate::hooks::Hooks;
use crate::manager::{BoxFuture, Manager};
use crate::raw::requests::Requests;
use crate::raw::turn::Turn;
use crate::stats::Counters;
use crate::sync::{Arc, AtomicUsize, Mutex, MutexGuard, PoisonError, Relaxed};
use arc_swap::{ArcSwap, ArcSwapOption};
use beside::Beside;
use classes::Classes;
use invalid::Invalid;
use job::{Lane, Queue, Service};
use leaks::Leaks;
use marks::Marks;
use nested::Nested;
use pass::Pass;
use shedding::Shed;
use std::future::Future;
use std::time::Duration;
use supply::Supply;
use usage::Usage;

/// Runs futures of an async manager.
pub(crate) type Spawner = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// The context of a pool's mechanism. See the [module](self).
pub(crate) struct State<M: Manager> {
    /// Which opens connections from now on; each is looked after by the one that opened it.
    pub(crate) manager: Foreign<ArcSwap<M>>,
    pub(crate) driver: &'static dyn Driver<M>,
    pub(crate) strategy: Foreign<Arc<dyn HealthStrategy>>,
    pub(crate) hooks: Foreign<Arc<Hooks<M>>>,
    pub(crate) occasions: Occasions,
    pub(crate) strategy_interval: Option<Duration>,
    pub(crate) clock: Clock,
    /// When the pool was built.
    pub(crate) built: Tick,
    /// Raised when a connection of the newest generation is found dead.
    pub(crate) generation: Relaxed<u64>,
    pub(crate) invalid: Invalid,
    pub(crate) discard_on_unwind: bool,

    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) shed: Shed,
    /// Borrowers that cannot be served in time are refused.
    pub(crate) admits_by_deadline: Relaxed<bool>,
    /// Held while the pool is paused or resumed.
    pub(crate) door: Mutex<()>,
    /// Held while another manager is installed, in the pool or its reserve or both.
    pub(crate) installing: Arc<Mutex<()>>,
    /// Held while the settings are changed, of the pool or its reserve or both.
    pub(crate) changing: Arc<Mutex<()>>,
    pub(crate) counters: Counters,
    /// For [advice](crate::Pool::advice).
    pub(crate) marks: Mutex<Marks>,
    pub(crate) sampling: Sampling,
    pub(crate) journal: Arc<Journal>,
    /// The pool is another one's reserve.
    pub(crate) is_reserve: bool,
    /// Events are of interest to anybody.
    pub(crate) is_watched: bool,
    /// Of borrowers that wait.
    pub(crate) classes: Arc<Classes>,
    /// Who borrows is noted with each loan.
    pub(crate) identifies: bool,
    /// Whose turn it is to gather several connections.
    pub(crate) gathering: Turn,
    /// Borrowers that hold a connection and wait for another.
    pub(super) nested: Mutex<Nested>,
    /// Loans that observers were told last for too long.
    pub(crate) leaks: Mutex<Leaks>,
    pub(crate) supply: Supply,
    /// Its part in the governor that it asks for leave to connect, if there is one.
    pub(crate) member: Option<Member>,
    /// By [`Lane`].
    pub(crate) queues: [Queue<M>; 3],
    /// The thread that raises it from zero starts workers.
    pub(crate) starts: Requests,
    /// When [`close_within`](crate::Pool::close_within) will not wait any longer: closes are late
    /// then.
    pub(crate) closed_by: Relaxed<u64>,
    /// Work that is with a runtime.
    pub(crate) assignments: Mutex<Vec<Arc<Assignment>>>,
    /// Slots queued for a call into the manager, or in one.
    pub(crate) service: Service,
    /// Connections that no slot stands for.
    pub(crate) beside: Beside,
    /// When the next running call will have taken long.
    pub(crate) watch: Watch,
    pub(crate) spawner: Foreign<Option<Spawner>>,
    pub(crate) timers: Timers,
    pub(crate) events: Events,
    /// Why the last connect failed, if it did.
    pub(crate) last_connect_failure: ArcSwapOption<ManagerError<M::Error>>,
    /// Why the last ping failed, if it did.
    pub(crate) last_ping_failure: ArcSwapOption<ManagerError<M::Error>>,
    /// The visitor that raises it from zero keeps order.
    pub(crate) visits: Requests,
    /// That visitor, by thread number plus one.
    pub(crate) visitor: Relaxed<usize>,
    pub(crate) pass: Mutex<Pass>,
    /// Idle connections of which some are above a lowered limit, and when they were last used; the
    /// next to be closed last.
    pub(crate) above_limit: Mutex<Vec<(Tick, u32)>>,
    /// How many connections were in use of late, and which are to be closed for it.
    pub(crate) usage: Mutex<Usage>,
    /// A pass was asked for.
    pub(crate) sweep_asked: Relaxed<bool>,
    /// The thread that sweeps, by number plus one.
    pub(crate) sweeper: Relaxed<usize>,
    pub(crate) ring: Ring,
    /// When a visit is next needed, apart from deadlines.
    pub(crate) chores_due: Relaxed<u64>,
    /// A handle has closed the pool.
    pub(crate) is_closing: Relaxed<bool>,
    /// `Pool` handles alive.
    pub(crate) handles: AtomicUsize,
}

impl<M: Manager> State<M> {
    /// Whether no thread works in the background and `maintain` does all the work.
    pub(crate) fn is_manual(&self) -> bool {
        !self.ring.is_heard()
    }

    /// Whether a connect is held back by the governor.
    pub(crate) fn is_held(&self) -> bool {
        self.member.as_ref().is_some_and(Member::is_waiting)
    }

    /// Whether the last connect failed permanently (with `fail_fast`: at all) and there is no other
    /// yet: it is too early, or the governor holds it back.
    pub(crate) fn is_hopeless(&self, now: Tick, fail_fast: bool) -> bool {
        self.supply.has_failed(fail_fast) && (now < self.supply.retry_at() || self.is_held())
    }

    /// From now on these settings are in force.
    pub(crate) fn put(&self, settings: Settings) {
        self.shed.set(settings.shedding);
        self.admits_by_deadline.set(settings.deadline_admission);
        self.settings.store(Arc::new(settings));
    }

    /// Whether no newcomer may go before a waiter: shares are of what is handed over, and only what
    /// is handed over tells how fast the line is.
    pub(crate) fn hands_over_only(&self) -> bool {
        let is_judged = self.shed.terms().is_some() || self.admits_by_deadline.get();
        self.classes.are_several() || is_judged
    }

    /// Locks the list of borrowers that hold a connection and wait for another.
    pub(crate) fn nested(&self) -> MutexGuard<'_, Nested> {
        self.nested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn queue(&self, lane: Lane) -> &Queue<M> {
        &self.queues[lane as usize]
    }

    /// No job waits for a worker.
    pub(crate) fn has_no_jobs(&self) -> bool {
        self.queues.iter().all(Queue::is_empty)
    }

    /// Has observers told what they do not know yet.
    pub(crate) fn tell(&self) {
        if self.is_manual() { self.journal.tell_here() } else { journal::tell(&self.journal) }
    }

    /// The future's output, unless `until` comes first.
    pub(crate) fn timeout<'a, F: Future + 'a>(
        &'a self,
        until: Tick,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + 'a {
        self.timers.timeout(&self.ring, until, future)
    }
}

/// Each destructor of the user's is guarded: a panic in one would leave `drop` of a handle, and two
/// at once would abort the process.
impl<M: Manager> Drop for State<M> {
    fn drop(&mut self) {
        let_go(self.last_connect_failure.swap(None));
        let_go(self.last_ping_failure.swap(None));
        journal::tell_the_last(&self.journal);
    }
}
