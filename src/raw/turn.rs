//! A turn that callers have one after the other, in the order in which they came.
//!
//! For callers that collect several slots and keep what they have: if two did so at once, each
//! might hold what the other one waits for. A lock guards the order, for a few instructions;
//! wakers, which are foreign code, are cloned, dropped and fired outside of it.
//!
//! Exactly one of these is true of a caller: it has the turn, it waits in line, it has left. The
//! turn passes on under the lock in which its owner leaves, so it is never lost; and who waits has
//! left its waker under the same lock before, or finds at its next look that it has the turn.

use super::wakes::wake_all;
use crate::no_unwind::no_unwind;
use crate::sync::{Mutex, MutexGuard, PoisonError, forks};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Turn {
    line: Mutex<Line>,
    /// The process, by the number of forks before it. In a child the lock may be held for ever.
    born_in: u64,
}

impl Default for Turn {
    fn default() -> Self {
        Self { line: Mutex::default(), born_in: forks() }
    }
}

#[derive(Debug, Default)]
struct Line {
    /// Whose turn it is.
    current: Option<u64>,
    waiting: VecDeque<(u64, Option<Waker>)>,
    last: u64,
}

/// A caller's place: in line, or at its turn. Dropped, it is given up.
#[derive(Debug)]
#[must_use]
pub(crate) struct Place<'a> {
    turn: &'a Turn,
    number: u64,
}

impl Turn {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_inherited(&self) -> bool {
        self.born_in != forks()
    }

    /// Stands in line.
    pub(crate) fn enter(&self) -> Place<'_> {
        let mut line = self.lock();
        line.last += 1;
        let number = line.last;
        if line.current.is_none() {
            line.current = Some(number);
        } else {
            line.waiting.push_back((number, None));
        }
        Place { turn: self, number }
    }
}

impl Place<'_> {
    /// Ready when it is this caller's turn, which lasts until the place is dropped.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.turn.is_inherited() {
            return Poll::Pending;
        }
        let fresh = cx.waker().clone();
        let mut line = self.turn.lock();
        if line.current == Some(self.number) {
            drop(line);
            return Poll::Ready(());
        }
        let own = line.waiting.iter_mut().find(|(number, _)| *number == self.number);
        let stale = own.and_then(|(_, waker)| waker.replace(fresh));
        drop(line);
        no_unwind(|| drop(stale));
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.turn.is_inherited() {
            return;
        }
        let mut line = self.turn.lock();
        let waker = if line.current == Some(self.number) {
            let next = line.waiting.pop_front();
            line.current = next.as_ref().map(|(number, _)| *number);
            next.and_then(|(_, waker)| waker)
        } else {
            let at = line.waiting.iter().position(|(number, _)| *number == self.number);
            let own = at.and_then(|at| line.waiting.remove(at)).and_then(|(_, waker)| waker);
            drop(line);
            no_unwind(|| drop(own));
            return;
        };
        drop(line);
        wake_all(waker);
    }
}
