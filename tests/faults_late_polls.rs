//! An executor that polls its tasks long after they were woken: what they are handed lapses each
//! time, and yet as many are served as if nothing ever did.

mod common;

use caliburn::{Fairness, MockClock, Pool, PooledConnection};
use common::*;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(5);
/// How long after it was woken a task is polled.
const LATE: Duration = Duration::from_millis(200);
const HOLD: Duration = Duration::from_millis(5);
const RUN: Duration = Duration::from_secs(20);

type Get<'a> = Pin<Box<dyn Future<Output = Option<PooledConnection<Fake>>> + Send + 'a>>;

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// It borrows, works, gives back, and borrows again.
struct Task<'a> {
    bell: Arc<Bell>,
    /// When the executor polls it, if it was woken.
    polled_at: Option<Duration>,
    at_work: Option<PooledConnection<Fake>>,
    get: Option<Get<'a>>,
}

impl<'a> Task<'a> {
    fn new(from: Duration) -> Self {
        Self { bell: Arc::default(), polled_at: Some(from), at_work: None, get: None }
    }

    /// Whether it was served just now.
    fn visit(&mut self, pool: &'a Pool<Fake>, now: Duration) -> bool {
        if self.bell.0.swap(false, SeqCst) && self.polled_at.is_none() {
            self.polled_at = Some(now + LATE);
        }
        if self.polled_at.is_none_or(|at| at > now) {
            return false;
        }
        self.polled_at = None;
        drop(self.at_work.take());
        let get = self.get.get_or_insert_with(|| Box::pin(async { pool.get_async().await.ok() }));
        let waker = Waker::from(Arc::clone(&self.bell));
        let Poll::Ready(lent) = get.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return false;
        };
        self.get = None;
        self.at_work = Some(lent.expect("it has all the time in the world"));
        // Its timer is polled late, too.
        self.bell.0.store(false, SeqCst);
        self.polled_at = Some(now + HOLD + LATE);
        true
    }
}

/// How many are served by so many connections.
fn served(fairness: Fairness, size: usize, tasks: usize) -> usize {
    let (pool, hand): (_, MockClock) =
        full_manual(&Fake::new(), size, |b| b.fairness(fairness).checkout_timeout(Duration::MAX));
    // They do not begin all at once.
    let mut tasks: Vec<_> = (0..tasks).map(|n| Task::new(STEP * (n % 7) as u32)).collect();
    let (mut now, mut served) = (Duration::ZERO, 0);
    while now < RUN {
        pool.maintain();
        served += tasks.iter_mut().map(|task| usize::from(task.visit(&pool, now))).sum::<usize>();
        hand.advance(STEP);
        now += STEP;
    }
    served
}

#[test]
fn where_all_are_polled_late_as_many_are_served_as_if_nothing_lapsed() {
    for fairness in [Fairness::Fifo, Fairness::BoundedBarging(Duration::from_millis(50))] {
        for (size, tasks) in [(1, 2), (1, 8), (1, 9), (1, 16), (1, 64), (4, 64), (4, 256)] {
            let served = served(fairness, size, tasks);
            // Each is handed its connection, is polled late, works, and is polled late.
            let period = LATE + HOLD + LATE;
            let ideal = (RUN.as_nanos() / period.as_nanos()) as usize * size;
            println!("{size} for {tasks}, {fairness:?}: {served} served, {ideal} without lapses");
            assert!(served * 10 >= ideal * 9, "{size} for {tasks}, {fairness:?}: {served}/{ideal}");
        }
    }
}
