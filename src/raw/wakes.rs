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

    /// Not before one that was granted a slot.
    pub(super) fn add_last(&mut self, waker: Option<Waker>) {
        self.rest.extend(waker);
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
        let mut waker = Some(waker);
        let _ = FIRING.try_with(|firing| firing.fire(&mut waker));
        // While the thread ends there is no such place any more; then none is on top of another.
        if let Some(waker) = waker {
            no_unwind(|| waker.wake());
        }
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
    /// Fires the waker now or, if too many fire already, soon.
    fn fire(&self, waker: &mut Option<Waker>) {
        let Some(waker) = waker.take() else { return };
        if self.depth.get() == DEPTH {
            self.waiting.borrow_mut().push_back(waker);
            return;
        }
        self.depth.set(self.depth.get() + 1);
        no_unwind(|| waker.wake());
        // Those that wait are for the topmost that fires.
        while self.depth.get() == DEPTH
            && let Some(waker) = self.next()
        {
            no_unwind(|| waker.wake());
        }
        self.depth.set(self.depth.get() - 1);
    }

    fn next(&self) -> Option<Waker> {
        self.waiting.borrow_mut().pop_front()
    }
}
