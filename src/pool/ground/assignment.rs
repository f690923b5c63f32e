//! A future that a foreign runtime runs, or a borrower, and that can be taken back from it.
//!
//! Either is given a [`Task`] that polls the future where it lies. If the runtime drops the task,
//! or does not poll it though it was woken, the pool takes the future out and runs it itself.
//! The holder of the lock polls or takes; a task that finds the future gone is done.

use crate::clock::{Clock, Tick};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, Relaxed, TryLockError, forks};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A task that was woken is taken back if it has not been polled for this long.
pub(crate) const UNPOLLED: Duration = Duration::from_secs(1);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a future was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The spawner panicked, or its runtime dropped the task.
    Dropped,
    /// The task was woken, and not polled.
    Unpolled,
}

/// See the [module](self).
pub(crate) struct Assignment {
    clock: Clock,
    work: Mutex<Option<Work>>,
    /// The runtime's waker, shared so that none is cloned under the lock.
    waker: Mutex<Option<Arc<Waker>>>,
    /// Since when it has been woken and not polled. Zero: it was polled since.
    woken_at: Relaxed<u64>,
    is_dropped: Relaxed<bool>,
    by: By,
    born_in: u64,
}

/// Who should run the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The spawner's runtime.
    Runtime,
    /// A borrower, in its own future.
    Borrower,
}

impl Assignment {
    /// The pool's end, and the task for its runner; `on_drop` is called if the runner drops it.
    pub(crate) fn new<F: Fn() + Send + Unpin + 'static>(
        clock: &Clock,
        by: By,
        work: impl Future<Output = ()> + Send + 'static,
        on_drop: F,
    ) -> (Arc<Self>, Task<F>) {
        let assignment = Arc::new(Self {
            clock: clock.clone(),
            work: Mutex::new(Some(Box::pin(work))),
            waker: Mutex::new(None),
            woken_at: Relaxed::<u64>::new(clock.now().0),
            is_dropped: Relaxed::<bool>::new(false),
            by,
            born_in: forks(),
        });
        let task = Task { assignment: Arc::clone(&assignment), on_drop };
        (assignment, task)
    }

    /// Who should run the work.
    pub(crate) fn by(&self) -> By {
        self.by
    }

    /// Whether it must be taken back, and why.
    pub(crate) fn is_stranded(&self, now: Tick) -> Option<Reason> {
        let woken_at = self.woken_at.get();
        if self.is_dropped.get() {
            Some(Reason::Dropped)
        } else if woken_at != 0 && now.since(Tick(woken_at)) >= UNPOLLED {
            Some(Reason::Unpolled)
        } else {
            None
        }
    }

    /// Since when it has been the runtime's turn.
    pub(crate) fn woken_at(&self) -> Tick {
        Tick(self.woken_at.get())
    }

    /// Notes that it is the runtime's turn from now on, unless it was already.
    fn note_turn(&self) {
        if self.woken_at.get() == 0 {
            self.woken_at.set(self.clock.now().0);
        }
    }

    /// It was made in the process from which this one was forked, and must not go on here.
    pub(crate) fn is_inherited(&self) -> bool {
        self.born_in != forks()
    }

    /// The work is done, or has been taken.
    pub(crate) fn is_over(&self) -> bool {
        self.work.try_lock().is_ok_and(|work| work.is_none())
    }

    /// Takes the work out, unless it is being polled at this moment.
    pub(crate) fn take_back(&self) -> Option<Work> {
        self.work.try_lock().ok()?.take()
    }

    /// Goes on with the work where it lies, unless it is being polled at this moment.
    pub(crate) fn poll_here(self: &Arc<Self>) {
        if let Ok(work) = self.work.try_lock() {
            let _ = self.go_on(work);
        }
    }

    fn go_on(self: &Arc<Self>, mut work: MutexGuard<'_, Option<Work>>) -> Poll<()> {
        // Before the work is polled, which may be woken from then on.
        self.woken_at.set(0);
        let Some(future) = work.as_mut() else { return Poll::Ready(()) };
        let waker = Waker::from(Arc::clone(self));
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        if poll.is_ready() {
            let done = work.take();
            drop(work);
            drop(done);
        }
        poll
    }

    /// Takes the work out. The caller has the task, so no other thread polls it.
    pub(crate) fn give_up(&self) -> Option<Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Wake for Assignment {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_inherited() {
            return;
        }
        self.note_turn();
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake_by_ref();
        }
    }
}

/// What the runtime is given, or the borrower.
pub(crate) struct Task<F: Fn()> {
    assignment: Arc<Assignment>,
    on_drop: F,
}

impl<F: Fn()> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let assignment = &self.assignment;
        if assignment.is_inherited() {
            return Poll::Ready(());
        }
        let waker = Arc::new(cx.waker().clone());
        let stale = assignment.waker.lock().unwrap_or_else(PoisonError::into_inner).replace(waker);
        drop(stale);
        let work = match assignment.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                // The pool looks whether the work is over, or takes it, at this moment. It is still
                // the runtime's turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        assignment.go_on(work)
    }
}

impl<F: Fn()> Drop for Task<F> {
    fn drop(&mut self) {
        if self.assignment.is_inherited() {
            return std::mem::forget(Arc::clone(&self.assignment));
        }
        // The runtime's waker is of no more use.
        let stale = self.assignment.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(stale);
        // Only the pool may have the lock now, for a moment.
        let work = self.assignment.work.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = work.is_none();
        drop(work);
        if !is_over {
            self.assignment.note_turn();
            self.assignment.is_dropped.set(true);
            (self.on_drop)();
        }
    }
}

thread_local! {
    /// This thread runs work that was taken back, for this reason.
    static TAKEN_BACK: Cell<Option<Reason>> = const { Cell::new(None) };
}

/// Notes that this thread runs work that was taken back.
pub(crate) fn run_taken_back<T>(reason: Reason, run: impl FnOnce() -> T) -> T {
    TAKEN_BACK.set(Some(reason));
    let output = run();
    TAKEN_BACK.set(None);
    output
}

/// Why this thread, and not the runtime, runs what it runs.
pub(crate) fn taken_back() -> Option<Reason> {
    TAKEN_BACK.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_task_that_was_polled_while_the_pool_looked_at_it_is_still_missed_when_it_is_not_again() {
        let (clock, hand) = Clock::mock();
        let (assignment, task) = Assignment::new(&clock, By::Runtime, async {}, || ());
        let mut task = Box::pin(task);
        let look = assignment.work.lock().unwrap();
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(look);
        assert_eq!(assignment.is_stranded(clock.now()), None);
        hand.advance(UNPOLLED);
        assert_eq!(assignment.is_stranded(clock.now()), Some(Reason::Unpolled));
        assert!(assignment.take_back().is_some());
    }
}
