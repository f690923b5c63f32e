//! On which tokio runtime the connections of a driver for tasks live, and whether that runtime is
//! still driven.
//!
//! A connection belongs to the runtime on which it was opened: that runtime hears of its socket,
//! and runs its driver's task. If the runtime ends, or is no longer driven, the connection is
//! useless. So a manager opens connections on the runtime of the borrower that waits for one, and
//! gives up connections whose runtime is gone or no longer driven.
//!
//! # Whether a runtime is driven
//!
//! A multi-threaded runtime is driven until it ends; so is the crate's own, whose thread does
//! nothing else. Only a single-threaded runtime *needs help*: it makes progress while a thread of
//! the user's is in its `block_on`, and nothing tells from outside whether one is. Two things can
//! be seen at no cost: that the calling thread is in it, or that a thread is *parked* there,
//! waiting for something to do (tokio counts parking: an odd count). Otherwise the runtime is *in
//! doubt*: its thread is busy, or has left. Only an answer tells. So there is a task in each home,
//! the sentinel, which answers when it is woken:
//!
//! | state | is left | by |
//! |---|---|---|
//! | **quiet**: no question is open | to *asked*, in doubt only | a guest, in [`Home::run`] |
//! | **asked**, for so many turns | to *quiet* | the sentinel runs; the watch sees it parked |
//! | | to *silent*, after [`PATIENCE`] turns | the watch |
//! | **silent** | to *quiet* | the sentinel, when it runs |
//! | **lost**, whatever it was before | never | the drop of the sentinel, with its runtime |
//!
//! A *guest* is a call of a manager's that goes on in a home. The *watch* is a task of the crate's
//! own runtime. It begins with the first guest that has to wait, takes a turn every 20 ms, asks
//! anew while there are guests, and ends when there are none and the question is answered or has
//! been open for too long. It counts turns, not time: when the process is paused or the machine
//! busy, it is late itself, and declares no home silent for that.
//!
//! What follows from a state:
//! - *Lost* or *silent*, and not seen to be driven: connections have broken, guests leave at once,
//!   and a connect goes on elsewhere.
//! - *In doubt*: a connection is pinged before its loan ([`Manager::needs_ping`]). The ping is a
//!   guest, so it ends with the server's answer or with the silence of the home. A borrower that
//!   does not wait gets another connection or none; no borrower's thread waits for the answer.
//! - A healthy runtime loses nothing by being busy, unless it is for 200 ms on end: then what
//!   others want of it would take as long.
//! - A thread that was the last to drive a runtime, and asks elsewhere, has left it, so two turns
//!   suffice; three do where to give up costs nothing, as before a connect.
//!
//! Everything but *lost* is changed under one lock, and each change of the lock's state is one
//! step, so the order of answer and question is that of the lock. An answer that comes while the
//! watch counts is not lost: both write the same word. A guest first makes itself known, then looks
//! once more; the watch and the sentinel's end first change the word, then wake who is known. So no
//! guest sleeps through its home's end. What is read without the lock, before a loan, is one word;
//! read too early, it is found in the ping or at the next look. A runtime that its thread leaves a
//! moment after it was seen there is beyond any look: its connections are found at their next loan.
//!
//! [`Manager::needs_ping`]: crate::Manager::needs_ping

mod background;
mod home;
mod life;

#[cfg(test)]
mod tests;

pub(super) use self::home::Home;

use self::life::{PATIENCE, SOON};
use crate::Face;
#[cfg(feature = "sqlx")]
use crate::adapters::idle::Occasion;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
#[cfg(any(feature = "deadpool", feature = "tokio-postgres"))]
use std::{pin::pin, task::Context};
use tokio::runtime::Handle;

/// Where a manager opens its connections.
///
/// On the runtime that was chosen; if there is none, or it is gone or not driven, on that of the
/// last borrower that waited for a connection; before there is one, on that on which the manager
/// was made; else, and for a borrower in no runtime if the last one has no threads of its own, on
/// one of the crate's own.
pub(super) struct Runtimes {
    chosen: Option<Arc<Home>>,
    last: Mutex<Option<Arc<Home>>>,
}

impl Runtimes {
    /// Of a manager that is made here.
    pub(super) fn here() -> Self {
        let last = Handle::try_current().ok().map(Home::of);
        Self { chosen: None, last: Mutex::new(last) }
    }

    pub(super) fn choose(&mut self, runtime: Handle) {
        self.chosen = Some(Home::of(runtime));
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<Home>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where connections may be opened, apart from the background: the best first.
    fn homes(&self) -> impl Iterator<Item = Arc<Home>> {
        let last = self.last().clone();
        self.chosen.clone().into_iter().chain(last).filter(|home| !home.is_lost())
    }

    /// Where the next connection is opened, if that is driven.
    fn home(&self) -> Arc<Home> {
        self.homes().next().unwrap_or_else(Home::in_background)
    }

    /// Where the next connection is opened. Asks, but waits for a moment only: in the background
    /// there is always one that is driven.
    async fn driven_home(&self) -> Arc<Home> {
        for home in self.homes() {
            let is_chosen = self.chosen.as_ref().is_some_and(|chosen| Arc::ptr_eq(chosen, &home));
            if home.answers(if is_chosen { PATIENCE } else { SOON }).await {
                return home;
            }
        }
        Home::in_background()
    }

    /// A borrower is about to wait on this thread. False: that would keep the runtime from opening
    /// the connection that it waits for.
    pub(super) fn may_wait_here(&self, face: Face) -> bool {
        if self.chosen.is_none() {
            match Handle::try_current() {
                Ok(runtime) => self.note(|home| home.is(&runtime), || Home::of(runtime.clone())),
                // Nothing tells whether anything will drive a runtime of one thread meanwhile.
                Err(_) => self.note(|home| !home.needs_help(), Home::in_background),
            }
        }
        face == Face::Async || !self.home().is_driven_by_this_thread_alone()
    }

    /// The next connections are wanted in the home that `make` returns, unless the last one
    /// `will_do`.
    fn note(&self, will_do: impl Fn(&Home) -> bool, make: impl Fn() -> Arc<Home>) {
        let before = {
            let mut last = self.last();
            if last.as_ref().is_some_and(|home| will_do(home) && !home.is_lost()) {
                return;
            }
            last.replace(make())
        };
        // What is being opened there may never end.
        if let Some(before) = before {
            before.hurry();
        }
    }

    /// Does `work` in a home; if that is lost or falls silent meanwhile, once more in another.
    pub(super) async fn run<F: Future>(&self, work: impl Fn() -> F) -> (F::Output, Arc<Home>) {
        loop {
            let home = self.driven_home().await;
            if let Some(output) = home.run_or_move(async { work().await }).await {
                return (output, home);
            }
            // Whatever homes do, the caller's limit can end this.
            yield_now().await;
        }
    }
}

/// Polls `work` once: it is ready if it waits for nothing, even in a task that has used up what
/// tokio lets it do in one turn. Without this, whatever asks tokio then would seem to wait.
#[cfg(any(feature = "deadpool", feature = "tokio-postgres"))]
pub(super) fn poll_once<F: Future>(work: F, context: &mut Context<'_>) -> Poll<F::Output> {
    pin!(tokio::task::unconstrained(work)).poll(context)
}

impl fmt::Debug for Runtimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtimes")
            .field("chosen", &self.chosen)
            .field("last", &*self.last())
            .finish()
    }
}

async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// One home for all connections of a manager whose connections have no room for a note of theirs:
/// the runtime that was chosen, or else that of the crate's own, which is never lost.
#[cfg(feature = "sqlx")]
#[derive(Debug, Default)]
pub(super) struct Fixed(Option<Arc<Home>>);

#[cfg(feature = "sqlx")]
impl Fixed {
    pub(super) fn choose(&mut self, runtime: Handle) {
        self.0 = Some(Home::of(runtime));
    }

    pub(super) fn get(&self) -> Arc<Home> {
        self.0.clone().unwrap_or_else(Home::in_background)
    }

    /// Whether the runtime that was chosen is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.0.as_ref().is_some_and(|home| home.is_lost())
    }

    /// As [`Home::fails`], before a loan.
    pub(super) fn fails(&self) -> bool {
        self.0.as_ref().is_some_and(|home| home.fails(Occasion::Loan))
    }

    /// As [`Home::is_in_doubt`].
    pub(super) fn is_in_doubt(&self) -> bool {
        self.0.as_ref().is_some_and(|home| home.is_in_doubt())
    }

    /// As [`Runtimes::may_wait_here`].
    pub(super) fn may_wait_here(&self, face: Face) -> bool {
        let would_stand = |home: &Arc<Home>| home.is_driven_by_this_thread_alone();
        face == Face::Async || !self.0.as_ref().is_some_and(would_stand)
    }
}
