//! One runtime, as the connections know it that live there.

use crate::adapters::idle::Occasion;
use crate::fork::PerProcess;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
#[cfg(any(feature = "bb8", feature = "deadpool"))]
use tokio::runtime::EnterGuard;
use tokio::runtime::{Handle, Id, RuntimeFlavor, worker_index};

/// For how long a runtime of one thread that has answered is taken to be driven. What runs there
/// tells nothing: it may have been the last before its thread went on to something else.
const FRESH: Duration = Duration::from_millis(20);
/// How long such a runtime may take to answer.
const PATIENCE: Duration = Duration::from_millis(10);

/// See the [module](self).
pub(in crate::adapters) struct Home {
    runtime: Handle,
    life: Arc<Life>,
}

/// What a task in the runtime shares with those outside.
#[derive(Default)]
struct Life {
    /// The runtime has dropped the task: it is gone. Or it was given up.
    is_lost: AtomicBool,
    state: Mutex<State>,
    has_answered: Condvar,
}

#[derive(Default)]
struct State {
    /// When the task last answered a question.
    answered: Option<Instant>,
    /// Since when an answer is due.
    asked: Option<Instant>,
    task: Option<Waker>,
    /// Nobody lives here any more.
    is_deserted: bool,
    /// Of what runs here and must end if the home is lost, by number.
    guests: BTreeMap<u64, Waker>,
    guests_so_far: u64,
}

/// All homes of the process.
static HOMES: PerProcess<Mutex<HashMap<Id, Weak<Home>>>> = PerProcess::new();

impl Home {
    /// That of `runtime`; a new one if it was lost.
    pub(super) fn of(runtime: Handle) -> Arc<Self> {
        let homes = HOMES.get();
        let mut homes = homes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = homes.get(&runtime.id()).and_then(Weak::upgrade);
        if let Some(home) = known.filter(|home| !home.is_lost()) {
            return home;
        }
        homes.retain(|_, home| home.strong_count() > 0);
        let life = Arc::new(Life::default());
        runtime.spawn(Sentinel(Arc::clone(&life)));
        let home = Arc::new(Self { runtime, life });
        homes.insert(home.runtime.id(), Arc::downgrade(&home));
        home
    }

    pub(super) fn is(&self, runtime: &Handle) -> bool {
        self.runtime.id() == runtime.id()
    }

    /// Whether the runtime is gone, or was given up.
    pub(in crate::adapters) fn is_lost(&self) -> bool {
        // O11: what is found a moment late is found at the next look.
        self.life.is_lost.load(Ordering::Relaxed)
    }

    /// Whether a connection that lives here is of no use: to a borrower on this thread, if the pool
    /// asks before a loan. On a return this waits for nothing.
    pub(in crate::adapters) fn fails(&self, occasion: Occasion) -> bool {
        let is_asked = occasion != Occasion::Return && self.needs_help();
        self.is_lost() || is_asked && !self.is_here() && !self.life.answers()
    }

    /// Whether the runtime makes progress only while a thread of its user's drives it.
    pub(super) fn needs_help(&self) -> bool {
        self.runtime.runtime_flavor() == RuntimeFlavor::CurrentThread
    }

    fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|current| self.is(&current))
    }

    /// Whether the runtime makes progress without the thread that asks. One with threads of its own
    /// does. One without is asked, unless it answered a moment ago; this waits for some
    /// milliseconds at most, and once for each runtime that is no longer driven.
    pub(super) fn is_driven(&self) -> bool {
        if self.is_lost() {
            return false;
        }
        !self.needs_help() || self.life.answers()
    }

    /// Whether the runtime would stand still if this thread blocked.
    pub(super) fn is_driven_by_this_thread_alone(&self) -> bool {
        let threads = self.runtime.metrics().num_workers();
        threads <= 1 && self.is_here() && worker_index().is_some()
    }

    /// Ends what runs here unless the runtime is driven.
    pub(super) fn free_guests(&self) {
        if !self.life.state().guests.is_empty() && !self.is_driven() {
            self.life.lose();
        }
    }

    /// Has a task run here.
    #[allow(dead_code, reason = "not all drivers need it")]
    pub(in crate::adapters) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(task));
    }

    /// As if this thread were the runtime's, for code that does not wait.
    #[cfg(any(feature = "bb8", feature = "deadpool"))]
    pub(in crate::adapters) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Drives `future` in the runtime's context, whoever polls it. `None`: the home was lost.
    pub(in crate::adapters) async fn run<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let guest = Guest::enter(&self.life);
        poll_fn(|context| {
            if guest.is_homeless(context) {
                return Poll::Ready(None);
            }
            let _entered = self.runtime.enter();
            future.as_mut().poll(context).map(Some)
        })
        .await
    }
}

impl Life {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self) {
        let guests = {
            let mut state = self.state();
            // O11: the lock orders it for those that wait, and others look again.
            self.is_lost.store(true, Ordering::Relaxed);
            std::mem::take(&mut state.guests)
        };
        self.has_answered.notify_all();
        guests.into_values().for_each(Waker::wake);
    }

    fn answers(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if state.answered.is_some_and(|at| now.saturating_duration_since(at) < FRESH) {
            return true;
        }
        let begun = *state.asked.get_or_insert(now);
        let left = PATIENCE.saturating_sub(now.saturating_duration_since(begun));
        if left.is_zero() {
            // It has not answered the question of another thread.
            return false;
        }
        if let Some(task) = state.task.clone() {
            drop(state);
            task.wake();
            state = self.state();
        }
        let is_due = |state: &mut State| {
            // O11: under the lock.
            state.asked.is_some() && !self.is_lost.load(Ordering::Relaxed)
        };
        let waited = self.has_answered.wait_timeout_while(state, left, is_due);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.asked.is_none()
    }
}

/// What runs in a home, until it is dropped.
struct Guest<'a> {
    life: &'a Life,
    number: u64,
}

impl<'a> Guest<'a> {
    fn enter(life: &'a Life) -> Self {
        let mut state = life.state();
        state.guests_so_far += 1;
        Self { life, number: state.guests_so_far }
    }

    /// If not, the caller is woken when it is.
    fn is_homeless(&self, context: &mut Context<'_>) -> bool {
        let mut state = self.life.state();
        // O11: under the lock.
        if self.life.is_lost.load(Ordering::Relaxed) {
            return true;
        }
        let waker = state.guests.entry(self.number);
        waker.or_insert_with(|| context.waker().clone()).clone_from(context.waker());
        false
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let waker = self.life.state().guests.remove(&self.number);
        drop(waker);
    }
}

/// A task that answers when it is woken, and tells when it is dropped.
struct Sentinel(Arc<Life>);

impl Future for Sentinel {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        if state.asked.take().is_some() {
            state.answered = Some(Instant::now());
        }
        state.task = Some(context.waker().clone());
        let is_deserted = state.is_deserted;
        drop(state);
        self.0.has_answered.notify_all();
        if is_deserted { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.0.lose();
    }
}

impl Drop for Home {
    /// Lets the task end.
    fn drop(&mut self) {
        let mut state = self.life.state();
        state.is_deserted = true;
        let task = state.task.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home")
            .field("runtime", &self.runtime.id())
            .field("is_lost", &self.is_lost())
            .finish()
    }
}

#[cfg(test)]
impl Home {
    /// As if some time had passed.
    pub(super) fn forget_answers(&self) {
        self.life.state().answered = None;
    }

    pub(super) fn handle(&self) -> Handle {
        self.runtime.clone()
    }

    pub(super) fn runtime_thread(&self) -> Option<String> {
        let (sender, name) = std::sync::mpsc::channel();
        let name_of_thread = move || std::thread::current().name().map(str::to_owned);
        self.runtime.spawn(async move { sender.send(name_of_thread()).unwrap() });
        name.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}
