//! Wakes waiters at rare events: a connect ended, the last slot was torn down.

use crate::raw::wakes::wake_all;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<Vec<Waker>>);

impl Events {
    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all waiters.
    pub(crate) fn post(&self) {
        let wakers = std::mem::take(&mut *self.lock());
        wake_all(wakers);
    }

    /// Waits until `look` finds something; it looks again after every event.
    pub(crate) async fn wait_until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|cx| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            let waker = cx.waker().clone();
            let mut wakers = self.lock();
            if !wakers.iter().any(|known| known.will_wake(&waker)) {
                wakers.push(waker);
            }
            drop(wakers);
            // An event between the look and the registration woke no one.
            look().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
