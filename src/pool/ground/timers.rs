//! Timers of futures, fired by the housekeeper, so that no runtime's timer is needed.
//!
//! Used where a manager's call is raced against its limit, which is I/O anyway: a mutex is cheap there.

use super::ring::Ring;
use crate::clock::{Clock, Tick};
use crate::raw::waiter::wake_all;
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
pub(crate) struct Timers {
    clock: Clock,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    wakers: BTreeMap<(Tick, u64), Waker>,
    drawn: u64,
}

impl Timers {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, table: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The earliest.
    pub(crate) fn next(&self) -> Tick {
        self.lock().wakers.first_key_value().map_or(Tick::NEVER, |((at, _), _)| *at)
    }

    /// Wakes the futures whose time has come, and says what time it is.
    pub(crate) fn fire(&self) -> Tick {
        let now = self.clock.now();
        let due = {
            let mut table = self.lock();
            let later = table.wakers.split_off(&(Tick(now.0.saturating_add(1)), 0));
            std::mem::replace(&mut table.wakers, later)
        };
        // Once nothing is held: wakers are foreign code.
        wake_all(due.into_values());
        now
    }

    /// The future's output, unless `until` comes first. `ring` calls the housekeeper, which keeps the time.
    pub(crate) async fn timeout<F: Future>(
        &self,
        ring: &Ring,
        until: Tick,
        future: F,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut sleep = Sleep { timers: self, ring, at: until, key: None };
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
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.timers.clock.now() >= self.at {
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
            self.ring.ring_before(self.at);
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let stale = self.timers.lock().wakers.remove(&(self.at, key));
            drop(stale);
        }
    }
}
