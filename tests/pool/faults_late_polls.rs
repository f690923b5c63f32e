//! An executor that polls its tasks long after they were woken: what they are handed lapses each
//! time, and yet as many are served as if nothing ever did.

use crate::common::*;
use caliburn::health::{ConnectionInfo, HealthStrategy, PingOnBorrow, Verdict};
use caliburn::{Clock, Fairness, Manager, MockClock, Pool, PooledConnection};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

type Get<'a, M> = Pin<Box<dyn Future<Output = Option<PooledConnection<M>>> + Send + 'a>>;

/// It borrows, works, gives back, and borrows again.
struct Task<'a, M: Manager> {
    pool: &'a Pool<M>,
    /// How long after it was woken it is polled.
    latency: Duration,
    /// How long it works.
    hold: Duration,
    bell: Arc<Bell>,
    /// When the executor polls it, if it was woken.
    polled_at: Option<Duration>,
    at_work: Option<PooledConnection<M>>,
    get: Option<Get<'a, M>>,
    served: usize,
}

impl<'a, M: Manager> Task<'a, M> {
    fn new(pool: &'a Pool<M>, latency: Duration, hold: Duration, from: Duration) -> Self {
        let (bell, polled_at) = (Arc::default(), Some(from));
        Self { pool, latency, hold, bell, polled_at, at_work: None, get: None, served: 0 }
    }

    fn visit(&mut self, now: Duration) {
        if self.bell.still() && self.polled_at.is_none() {
            self.polled_at = Some(now + self.latency);
        }
        if self.polled_at.is_none_or(|at| at > now) {
            return;
        }
        self.polled_at = None;
        drop(self.at_work.take());
        let pool = self.pool;
        let get = || -> Get<'a, M> { Box::pin(async { pool.get_async().await.ok() }) };
        let get = self.get.get_or_insert_with(get);
        let waker = Waker::from(Arc::clone(&self.bell));
        let Poll::Ready(lent) = get.as_mut().poll(&mut Context::from_waker(&waker)) else { return };
        self.get = None;
        self.at_work = Some(lent.expect("it has all the time in the world"));
        self.served += 1;
        // Its timer is polled late, too.
        self.bell.still();
        self.polled_at = Some(now + self.hold + self.latency);
    }
}

/// Has the tasks run for a while.
fn run<M: Manager>(
    (pool, hand): &(Pool<M>, MockClock),
    tasks: &mut [Task<'_, M>],
    step: Duration,
    time: Duration,
) {
    let mut now = Duration::ZERO;
    while now < time {
        pool.maintain();
        tasks.iter_mut().for_each(|task| task.visit(now));
        hand.advance(step);
        now += step;
    }
}

fn patient(size: usize, fairness: Fairness) -> (Pool<Fake>, MockClock) {
    let more = |b: caliburn::Builder<Fake>| b.fairness(fairness).checkout_timeout(Duration::MAX);
    full_manual(&Fake::new(), size, more)
}

#[test]
fn where_all_are_polled_late_as_many_are_served_as_if_nothing_lapsed() {
    const LATE: Duration = Duration::from_millis(200);
    const HOLD: Duration = Duration::from_millis(5);
    const STEP: Duration = Duration::from_millis(5);
    const TIME: Duration = Duration::from_secs(20);
    for fairness in [Fairness::Fifo, Fairness::BoundedBarging(50 * MS)] {
        for (size, count) in [(1, 2), (1, 8), (1, 9), (1, 16), (1, 64), (4, 64), (4, 256)] {
            let case = patient(size, fairness);
            // They do not begin all at once.
            let mut tasks: Vec<_> =
                (0..count).map(|n| Task::new(&case.0, LATE, HOLD, STEP * (n % 7))).collect();
            run(&case, &mut tasks, STEP, TIME);
            let served: usize = tasks.iter().map(|task| task.served).sum();
            // Each is handed its connection, is polled late, works, and is polled late.
            let period = LATE + HOLD + LATE;
            let ideal = (TIME.as_nanos() / period.as_nanos()) as usize * size;
            println!("{size} for {count}, {fairness:?}: {served} served, {ideal} without lapses");
            assert!(served * 10 >= ideal * 9, "{size} for {count}, {fairness:?}: {served}/{ideal}");
        }
    }
}

/// One in line lets something lapse, so that graces are short from now on.
fn with_a_sleeper<T>(case: &(Pool<Fake>, MockClock), then: impl FnOnce() -> T) -> T {
    let held = case.0.get().unwrap();
    let mut sleeper = Box::pin(case.0.get_async());
    assert!(poll_once(&mut sleeper).is_pending());
    drop(held);
    for _ in 0..4 {
        case.1.advance(25 * MS);
        case.0.maintain();
    }
    then()
}

#[test]
fn beside_one_that_sleeps_one_that_is_polled_a_little_late_is_served_as_well() {
    let served = |with_sleeper: bool| {
        let case = patient(1, Fairness::Fifo);
        let play = || {
            let quick = || Task::new(&case.0, Duration::ZERO, 2 * MS, Duration::ZERO);
            let slow = Task::new(&case.0, MS, 2 * MS, Duration::ZERO);
            let mut tasks = [quick(), slow, quick()];
            run(&case, &mut tasks, MS / 20, 700 * MS);
            tasks[1].served
        };
        if with_sleeper { with_a_sleeper(&case, play) } else { play() }
    };
    let (alone, beside) = (served(false), served(true));
    assert!(alone > 50 && beside * 2 >= alone, "{alone} served, {beside} beside one that sleeps");
}

struct Always;

impl HealthStrategy for Always {
    fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
        Verdict::Ping
    }
}

/// A worker pings, and the connection waits for its borrower, but not for long.
#[test]
fn who_is_polled_late_has_a_connection_that_was_pinged_for_it_and_is_pinged_once() {
    for (latency, step) in [(3 * MS, MS / 20), (30 * MS, MS), (200 * MS, 5 * MS)] {
        let fake = Fake::new();
        let case = full_manual(&fake, 1, |b| b.health(Always).checkout_timeout(Duration::MAX));
        with_a_sleeper(&case, || {
            let before = fake.books().pings.load(SeqCst);
            let mut task = [Task::new(&case.0, latency, MS, Duration::ZERO)];
            run(&case, &mut task, step, 100 * latency);
            let pings = fake.books().pings.load(SeqCst) - before;
            let served = task[0].served;
            assert!(served >= 30 && pings <= served + 1, "{latency:?}: {served}, {pings} pings");
        });
    }
}

/// Its ping is taken over each time.
#[test]
fn who_pings_itself_and_is_polled_after_more_than_a_second_is_served() {
    const LATE: Duration = Duration::from_millis(1200);
    let (clock, hand) = Clock::mock();
    let builder = Pool::builder_async(AsyncFake(Fake::new())).manual_maintenance().clock(clock);
    let builder = builder.max_size(1).min_size(1).idle_timeout(None);
    let builder = builder.checkout_timeout(Duration::MAX).health(PingOnBorrow::always());
    let case = (builder.build().unwrap(), hand);
    case.0.maintain();
    let mut task = [Task::new(&case.0, LATE, MS, Duration::ZERO)];
    run(&case, &mut task, 10 * MS, 50 * LATE);
    // It is woken for the answer, and after its work.
    assert!(task[0].served >= 20, "{} served", task[0].served);
}
