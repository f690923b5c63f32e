//! Timers of futures, fired by the housekeeper, so that no runtime's timer is needed.
//!
//! Used where a manager's call is raced against its limit, which is I/O anyway: a mutex is cheap
//! there.

use super::ring::Ring;
use crate::clock::{Clock, Tick};
use crate::raw::wakes::wake_all;
use crate::sync::{Mutex, MutexGuard, PoisonError, Relaxed, forks};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
pub(crate) struct Timers {
    clock: Clock,
    /// By moment, and a number drawn for each.
    wakers: Mutex<BTreeMap<(Tick, u64), Waker>>,
    drawn: Relaxed<u64>,
}

impl Timers {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, wakers: Mutex::default(), drawn: Relaxed::<u64>::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Tick, u64), Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the earliest timer is due.
    pub(crate) fn next(&self) -> Tick {
        self.lock().first_key_value().map_or(Tick::NEVER, |((at, _), _)| *at)
    }

    /// Wakes the futures whose time has come, and returns the time.
    pub(crate) fn fire(&self) -> Tick {
        let now = self.clock.now();
        let due = {
            let mut wakers = self.lock();
            let later = wakers.split_off(&(Tick(now.0.saturating_add(1)), 0));
            std::mem::replace(&mut *wakers, later)
        };
        // Once nothing is held: wakers are foreign code.
        wake_all(due.into_values());
        now
    }

    /// The future's output, unless `until` comes first. `ring` calls the housekeeper, which keeps
    /// the time.
    pub(crate) async fn timeout<F: Future>(
        &self,
        ring: &Ring,
        until: Tick,
        future: F,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = Sleep { timers: self, ring, at: until, key: None, born_in: forks() };
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            Pin::new(&mut sleep).poll(cx).map(|()| None)
        })
        .await
    }
}

/// Ready once `at` has come.
struct Sleep<'a> {
    timers: &'a Timers,
    ring: &'a Ring,
    at: Tick,
    key: Option<u64>,
    /// In a child, the time of what its parent began is up, and the lock may be held for ever.
    born_in: u64,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.born_in != forks() || self.timers.clock.now() >= self.at {
            return Poll::Ready(());
        }
        if self.at < Tick::NEVER {
            let waker = cx.waker().clone();
            let key = self.key.unwrap_or_else(|| self.timers.drawn.add(1));
            let stale = self.timers.lock().insert((self.at, key), waker);
            drop(stale);
            self.key = Some(key);
            self.ring.ring_before(self.at);
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && self.born_in == forks()
        {
            let stale = self.timers.lock().remove(&(self.at, key));
            drop(stale);
        }
    }
}
