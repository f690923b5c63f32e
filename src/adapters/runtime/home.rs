//! One runtime, as the connections know it that live there.

use super::background;
use super::life::{Life, PATIENCE, Sentinel, Stay, TURN};
use crate::adapters::idle::Occasion;
use crate::fork::PerProcess;
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
#[cfg(any(feature = "bb8", feature = "deadpool"))]
use tokio::runtime::EnterGuard;
use tokio::runtime::{Handle, Id, RuntimeFlavor, worker_index};

/// See the [module](super).
pub(in crate::adapters) struct Home {
    runtime: Handle,
    /// It makes progress only while a thread of its user's drives it.
    needs_help: bool,
    life: Arc<Life>,
}

/// All homes of the process.
static HOMES: PerProcess<Mutex<HashMap<Id, Weak<Home>>>> = PerProcess::new();

impl Home {
    /// That of `runtime`; a new one if it was lost.
    pub(super) fn of(runtime: Handle) -> Arc<Self> {
        let is_of_one_thread = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        let needs_help = is_of_one_thread && !background::is(&runtime);
        Self::find_or_make(runtime, needs_help)
    }

    /// That of the crate's own runtime, which a thread of its own drives.
    pub(in crate::adapters) fn in_background() -> Arc<Self> {
        Self::find_or_make(background::handle(), false)
    }

    fn find_or_make(runtime: Handle, needs_help: bool) -> Arc<Self> {
        let homes = HOMES.get();
        let mut homes = homes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = homes.get(&runtime.id()).and_then(Weak::upgrade);
        if let Some(home) = known.filter(|home| !home.is_lost()) {
            return home;
        }
        homes.retain(|_, home| home.strong_count() > 0);
        let life = Arc::new(Life::default());
        runtime.spawn(Sentinel(Arc::clone(&life)));
        let home = Arc::new(Self { runtime, needs_help, life });
        homes.insert(home.runtime.id(), Arc::downgrade(&home));
        home
    }

    pub(super) fn is(&self, runtime: &Handle) -> bool {
        self.runtime.id() == runtime.id()
    }

    /// Whether the runtime is gone.
    pub(in crate::adapters) fn is_lost(&self) -> bool {
        self.life.is_lost()
    }

    /// Whether a connection that lives here is known to be of no use to a borrower on this thread.
    /// Does not wait, and asks no sentinel. On a return only the end of the runtime counts.
    pub(in crate::adapters) fn fails(&self, occasion: Occasion) -> bool {
        let counts = occasion != Occasion::Return && self.needs_help;
        self.is_lost() || counts && self.life.is_silent() && !self.is_seen_to_be_driven()
    }

    /// Whether only an answer can tell if the runtime is driven. Does not wait, and asks no
    /// sentinel.
    pub(in crate::adapters) fn is_in_doubt(&self) -> bool {
        self.needs_help && !self.fails(Occasion::Loan) && !self.is_seen_to_be_driven()
    }

    /// Whether the runtime makes progress only while a thread of its user's drives it.
    pub(super) fn needs_help(&self) -> bool {
        self.needs_help
    }

    fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|current| self.is(&current))
    }

    /// Whether a thread is in a `block_on` of the runtime at this moment, as far as that can be
    /// seen: it is this one, or one that waits there for something to do. One that is busy there is
    /// not seen.
    fn is_seen_to_be_driven(&self) -> bool {
        self.is_parked() || self.is_driven_here()
    }

    /// Whether this thread drives the runtime. One that has merely entered it does not.
    fn is_driven_here(&self) -> bool {
        worker_index().is_some() && self.is_here()
    }

    #[cfg(target_has_atomic = "64")]
    fn is_parked(&self) -> bool {
        self.runtime.metrics().worker_park_unpark_count(0) % 2 == 1
    }

    /// It cannot be seen here.
    #[cfg(not(target_has_atomic = "64"))]
    fn is_parked(&self) -> bool {
        false
    }

    /// Whether the runtime would stand still if this thread blocked.
    pub(super) fn is_driven_by_this_thread_alone(&self) -> bool {
        let threads = self.runtime.metrics().num_workers();
        threads <= 1 && self.is_driven_here()
    }

    /// Whether the runtime makes progress, or does so within about `patience` turns.
    pub(super) async fn answers(self: &Arc<Self>, patience: u32) -> bool {
        if self.needs_help && !self.is_parked() {
            let answer = async { self.runtime.spawn(async {}).await };
            return self.host(Stay::upto(patience), answer).await.is_some_and(|ran| ran.is_ok());
        }
        !self.is_lost()
    }

    /// Has connections opened elsewhere that are being opened here, unless the runtime answers
    /// soon: they are wanted elsewhere.
    pub(super) fn hurry(&self) {
        self.life.hurry();
    }

    /// Has a task run here, or in the background if this does not seem to be driven. It must not
    /// need what lives here.
    #[cfg(any(feature = "mysql_async", feature = "tokio-postgres"))]
    pub(in crate::adapters) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.is_lost() || self.needs_help && !self.is_seen_to_be_driven() {
            drop(background::handle().spawn(task));
        } else {
            drop(self.runtime.spawn(task));
        }
    }

    /// As if this thread were the runtime's, for code that does not wait.
    #[cfg(any(feature = "bb8", feature = "deadpool"))]
    pub(in crate::adapters) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Drives `future` in the runtime's context, on any poller. `None`: the runtime is gone, or
    /// nothing seems to drive it.
    pub(in crate::adapters) async fn run<F: Future>(
        self: &Arc<Self>,
        future: F,
    ) -> Option<F::Output> {
        self.host(Stay::upto(PATIENCE), future).await
    }

    /// The same for what can as well be done elsewhere.
    pub(super) async fn run_or_move<F: Future>(self: &Arc<Self>, future: F) -> Option<F::Output> {
        self.host(Stay { patience: PATIENCE, may_move: true }, future).await
    }

    async fn host<F: Future>(self: &Arc<Self>, stay: Stay, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut guest = Guest { home: self, stay, number: None };
        poll_fn(|context| {
            if guest.must_leave() {
                return Poll::Ready(None);
            }
            let polled = {
                let _entered = self.runtime.enter();
                future.as_mut().poll(context)
            };
            // Looked at again once it is known whom to wake.
            if polled.is_pending() && guest.waits(context) {
                return Poll::Ready(None);
            }
            polled.map(Some)
        })
        .await
    }

    /// Sees to it that the question is asked, and its answer waited for, as long as guests stay.
    fn watch(self: &Arc<Self>) {
        if !self.is_seen_to_be_driven() {
            self.life.ask();
        }
        if self.life.begin_watch() {
            let watch = Watch { home: Arc::clone(self), is_over: false };
            background::handle().spawn(watch.run());
        }
    }
}

/// What runs in a home, until it is dropped.
struct Guest<'a> {
    home: &'a Arc<Home>,
    stay: Stay,
    /// Among those that the home knows.
    number: Option<u64>,
}

impl Guest<'_> {
    fn must_leave(&self) -> bool {
        let home = self.home;
        let stay = || self.number.and_then(|number| home.life.stay(number)).unwrap_or(self.stay);
        let is_silent = || home.life.is_silent_for(stay().patience);
        home.is_lost() || home.needs_help && is_silent() && !home.is_seen_to_be_driven()
    }

    /// It is to be woken when it must leave. True: it must already.
    fn waits(&mut self, context: &Context<'_>) -> bool {
        let life = &self.home.life;
        let is_new = self.number.is_none();
        let number = *self.number.get_or_insert_with(|| life.next_number());
        life.note_guest(number, self.stay, context.waker());
        if is_new && self.home.needs_help {
            self.home.watch();
        }
        self.must_leave()
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.home.life.forget_guest(number);
        }
    }
}

/// Counts the turns for which a question is open, in the background. If this process is paused, or
/// the machine is busy, so is the watch: a clock would take that for silence.
struct Watch {
    home: Arc<Home>,
    is_over: bool,
}

impl Watch {
    async fn run(mut self) {
        while !self.is_over {
            tokio::time::sleep(TURN).await;
            let (goes_on, woken) = self.home.life.turn(self.home.is_parked());
            self.is_over = !goes_on;
            woken.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Once it is over there may be another.
        if !self.is_over {
            self.home.life.end_watch();
        }
    }
}

impl Drop for Home {
    /// Lets the task end.
    fn drop(&mut self) {
        self.life.desert();
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
    pub(super) fn handle(&self) -> Handle {
        self.runtime.clone()
    }

    pub(super) fn runtime_thread(&self) -> Option<String> {
        let (sender, name) = std::sync::mpsc::channel();
        let name_of_thread = move || std::thread::current().name().map(str::to_owned);
        self.runtime.spawn(async move { sender.send(name_of_thread()).unwrap() });
        name.recv_timeout(std::time::Duration::from_secs(20)).unwrap()
    }
}
