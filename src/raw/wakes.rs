//! Wake-ups, and how they are fired.

use crate::no_unwind::no_unwind;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;

/// Wake-ups to fire once the dispatcher has left: they are foreign code, may panic and may
/// re-enter.
#[derive(Default)]
#[must_use]
pub(crate) struct Wakes {
    /// Mostly there is one, and then nothing is allocated.
    first: Option<Waker>,
    rest: Vec<Waker>,
    /// Others lie with the [crowd](super::room::WaitingRoom::crowd).
    pub(super) is_crowd: bool,
}

impl Wakes {
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.first.is_none() => self.first = Some(waker),
            Some(waker) => self.rest.push(waker),
            None => {}
        }
    }

    pub(crate) fn fire(self) {
        wake_all(self.first);
        if !self.rest.is_empty() {
            wake_all(self.rest);
        }
    }
}

/// Fires wakers. A panic of one reaches neither the caller, perhaps a guard's `Drop`, nor the
/// others.
///
/// A waker may poll on the spot, and what it polls may fire wakers: beyond some depth they wait for
/// those below them on the stack, or a line of thousands would overflow it.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        // While the thread ends there is no such place any more; then none is on top of another.
        let waker = match FIRING.try_with(Firing::begin) {
            Ok(false) => {
                let _ = FIRING.try_with(|firing| firing.waiting.borrow_mut().push_back(waker));
                continue;
            }
            Ok(true) | Err(_) => waker,
        };
        no_unwind(|| waker.wake());
        while let Ok(Some(waker)) = FIRING.try_with(Firing::next) {
            no_unwind(|| waker.wake());
        }
        let _ = FIRING.try_with(Firing::end);
    }
}

/// How many wakers of one thread may fire on top of each other.
const DEPTH: usize = 16;

thread_local! {
    static FIRING: Firing =
        const { Firing { depth: Cell::new(0), waiting: RefCell::new(VecDeque::new()) } };
}

/// The wakers that this thread is firing.
struct Firing {
    depth: Cell<usize>,
    waiting: RefCell<VecDeque<Waker>>,
}

impl Firing {
    /// One more may fire at once.
    fn begin(&self) -> bool {
        let may_fire = self.depth.get() < DEPTH;
        self.depth.set(self.depth.get() + usize::from(may_fire));
        may_fire
    }

    /// The next of those that wait, for the topmost that fires.
    fn next(&self) -> Option<Waker> {
        if self.depth.get() == DEPTH { self.waiting.borrow_mut().pop_front() } else { None }
    }

    fn end(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }
}
