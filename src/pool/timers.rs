//! Timers of futures, fired by the housekeeper, so that no runtime's timer is needed.
//!
//! Used where a manager's call is raced against its limit, which is I/O anyway: a mutex is cheap there.

use crate::clock::Tick;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
pub(crate) struct Timers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    wakers: BTreeMap<(Tick, u64), Waker>,
    drawn: u64,
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The earliest.
    pub(crate) fn next(&self) -> Tick {
        self.lock().wakers.first_key_value().map_or(Tick::NEVER, |((at, _), _)| *at)
    }

    /// Takes out all that are due at `now`. Wake them once nothing is held: wakers are foreign code.
    #[must_use]
    pub(crate) fn take_due(&self, now: Tick) -> Vec<Waker> {
        let mut table = self.lock();
        let later = table.wakers.split_off(&(Tick(now.0.saturating_add(1)), 0));
        std::mem::replace(&mut table.wakers, later).into_values().collect()
    }

    /// Ready once `at` has come by `clock`; `ring` is called with the moment when it must be looked at.
    pub(crate) fn sleep<'a>(
        &'a self,
        clock: &'a crate::clock::Clock,
        at: Tick,
        ring: impl Fn(Tick) + Send + Unpin + 'a,
    ) -> impl Future<Output = ()> + Send + Unpin + 'a {
        Sleep { timers: self, clock, at, key: None, ring }
    }
}

struct Sleep<'a, R> {
    timers: &'a Timers,
    clock: &'a crate::clock::Clock,
    at: Tick,
    key: Option<u64>,
    ring: R,
}

impl<R: Fn(Tick) + Unpin> Future for Sleep<'_, R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.at {
            return Poll::Ready(());
        }
        if self.at < Tick::NEVER {
            let waker = cx.waker().clone();
            let mut table = self.timers.lock();
            let key = self.key.unwrap_or_else(|| {
                table.drawn += 1;
                table.drawn
            });
            let stale = table.wakers.insert((self.at, key), waker);
            drop(table);
            drop(stale);
            self.key = Some(key);
            (self.ring)(self.at);
        }
        Poll::Pending
    }
}

impl<R> Drop for Sleep<'_, R> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let stale = self.timers.lock().wakers.remove(&(self.at, key));
            drop(stale);
        }
    }
}
