//! Sleep for tasks, as exact as `std::thread::sleep`: one thread wakes them all.
//!
//! tokio's timer counts whole milliseconds and rounds up, so a query of 2 ms would take up to 3
//! there.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Timer {
    sleepers: Mutex<Sleepers>,
    bell: Condvar,
}

#[derive(Default)]
struct Sleepers {
    /// By the moment to wake them and a number, as several may share a moment.
    due: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

pub async fn sleep(time: Duration) {
    let until = Instant::now() + time;
    let mut key = None;
    poll_fn(|cx| {
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        let timer = Timer::get();
        let mut sleepers = timer.lock();
        let key = *key.get_or_insert_with(|| {
            sleepers.next += 1;
            (until, sleepers.next)
        });
        sleepers.due.insert(key, cx.waker().clone());
        if sleepers.due.first_key_value().is_some_and(|(first, _)| *first == key) {
            timer.bell.notify_one();
        }
        Poll::Pending
    })
    .await;
}

impl Timer {
    fn get() -> &'static Self {
        static TIMER: OnceLock<Timer> = OnceLock::new();
        static THREAD: OnceLock<()> = OnceLock::new();
        let timer = TIMER.get_or_init(Self::default);
        THREAD.get_or_init(|| {
            thread::spawn(move || timer.run());
        });
        timer
    }

    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut sleepers = self.lock();
        loop {
            let now = Instant::now();
            let later = sleepers.due.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut sleepers.due, later);
            if !due.is_empty() {
                drop(sleepers);
                due.into_values().for_each(Waker::wake);
                sleepers = self.lock();
                continue;
            }
            let nap =
                sleepers.due.first_key_value().map_or(Duration::MAX, |((at, _), _)| *at - now);
            let woken = self.bell.wait_timeout(sleepers, nap.min(Duration::from_secs(60)));
            sleepers = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
