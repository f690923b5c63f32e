//! Wakes waiters at rare events: a connect ended, the last slot was torn down.

use super::caught::let_go;
use crate::raw::wakes::wake_all;
use crate::sync::{Mutex, MutexGuard, PoisonError, forks};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Debug)]
pub(crate) struct Events {
    waiting: Mutex<Waiting>,
    /// The process, by the number of forks before it. In a child the lock may be held for ever.
    born_in: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    wakers: BTreeMap<u64, Waker>,
    last: u64,
}

/// A waiter's place. Dropped, its waker is given up.
struct Place<'a> {
    events: &'a Events,
    number: Option<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self { waiting: Mutex::default(), born_in: forks() }
    }
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_inherited(&self) -> bool {
        self.born_in != forks()
    }

    /// Whether some wait.
    pub(crate) fn are_awaited(&self) -> bool {
        !self.is_inherited() && !self.lock().wakers.is_empty()
    }

    /// Wakes all waiters.
    pub(crate) fn post(&self) {
        let wakers = std::mem::take(&mut self.lock().wakers);
        wake_all(wakers.into_values());
    }

    /// Waits until `look` finds something; it looks again after every event. In a child of the
    /// process it only looks.
    pub(crate) async fn wait_until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        let mut place = Place { events: self, number: None };
        poll_fn(|cx| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            if self.is_inherited() {
                return Poll::Pending;
            }
            place.leave_waker(cx.waker().clone());
            // An event between the look and the registration woke no one.
            look().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Place<'_> {
    fn leave_waker(&mut self, fresh: Waker) {
        let mut waiting = self.events.lock();
        let number = *self.number.get_or_insert_with(|| {
            waiting.last += 1;
            waiting.last
        });
        let stale = waiting.wakers.insert(number, fresh);
        drop(waiting);
        // Foreign code, not under the lock.
        drop(stale);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number.filter(|_| !self.events.is_inherited()) else { return };
        let stale = self.events.lock().wakers.remove(&number);
        let_go(stale);
    }
}
