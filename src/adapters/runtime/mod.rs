//! On which tokio runtime the connections of a driver for tasks live, and whether anything drives
//! it still.
//!
//! A connection belongs to the runtime that it was opened on: its socket is heard of there, and its
//! driver's task runs there. If that runtime ends, or is no longer driven, the connection is of no
//! use to anybody. So a manager opens connections where the borrower that waits for one is, and
//! gives up those whose runtime is lost.

mod background;
mod home;

#[cfg(test)]
mod tests;

pub(super) use self::home::Home;

use crate::Face;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(any(feature = "deadpool", feature = "tokio-postgres"))]
use std::{
    pin::pin,
    task::{Context, Poll},
};
use tokio::runtime::Handle;

/// The runtime of the crate's own.
///
/// # Panics
///
/// If the system has no thread left for it.
#[allow(dead_code, reason = "not all drivers need it")]
pub(super) fn background() -> Arc<Home> {
    background::home()
}

/// Where a manager opens its connections.
///
/// On the runtime that was chosen; if there is none, or it is gone, on that of the last borrower
/// that waited for a connection; before there is one, on that on which the manager was made; else,
/// and for a borrower in no runtime if the last one has no threads of its own, on one of the
/// crate's own.
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

    /// Where the next connection is opened.
    fn home(&self) -> Arc<Home> {
        let last = || self.last().clone();
        let chosen = self.chosen.clone().filter(|home| !home.is_lost());
        let home = chosen.or_else(|| last().filter(|home| !home.is_lost()));
        home.unwrap_or_else(background::home)
    }

    /// A borrower is about to wait on this thread. False: that would keep the runtime from opening
    /// the connection that it waits for.
    pub(super) fn may_wait_here(&self, face: Face) -> bool {
        if self.chosen.is_none() {
            match Handle::try_current() {
                Ok(runtime) => self.note(|home| home.is(&runtime), || Home::of(runtime.clone())),
                // Nothing tells whether anything will drive a runtime of one thread meanwhile.
                Err(_) => self.note(|home| !home.needs_help(), background::home),
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
            before.free_guests();
        }
    }

    /// Does `work` in a home; if that is lost meanwhile, once more in another.
    pub(super) async fn run<F: Future>(&self, work: impl Fn() -> F) -> (F::Output, Arc<Home>) {
        loop {
            let home = self.home();
            if let Some(output) = home.run(async { work().await }).await {
                return (output, home);
            }
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
        self.0.clone().unwrap_or_else(background::home)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.0.as_ref().is_some_and(|home| home.is_lost())
    }

    /// As [`Runtimes::may_wait_here`].
    pub(super) fn may_wait_here(&self, face: Face) -> bool {
        let would_stand = |home: &Arc<Home>| home.is_driven_by_this_thread_alone();
        face == Face::Async || !self.0.as_ref().is_some_and(would_stand)
    }
}
