//! The paths that are counted: each a function that is not inlined, so that callgrind can tell it
//! from what is around it, and a trip through it again and again.
//!
//! The pools are maintained manually and have no threads, so that the counts are the same in every
//! run.

use caliburn::health::{AgeEviction, PingOnBorrow};
use caliburn::{
    BlockingManager, Builder, Clock, Deadline, HealthStrategy, Manager, Pool, PooledConnection,
};
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// One way through a pool.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// What is counted.
    pub(crate) function: &'static str,
    pub(crate) pace: Pace,
    /// Goes there so many times.
    pub(crate) travel: fn(u32),
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Touches memory that has cache lines of its own, wherever the allocator puts it.
    Swift,
    /// Allocates, and waits.
    Slow,
}

impl Path {
    const fn new(name: &'static str, function: &'static str, travel: fn(u32)) -> Self {
        Self { name, function, pace: Pace::Swift, travel }
    }
}

pub(crate) const ALL: [Path; 6] = [
    Path::new("try_get", "try_get", |trips| travel(trips, try_get, &pool(16, ()))),
    Path::new("get", "get", |trips| travel(trips, get, &pool(16, ()))),
    Path::new("get_judged", "get", |trips| {
        travel(trips, get, &pool(16, (PingOnBorrow::default(), AgeEviction::default())));
    }),
    Path::new("get_async", "get_async", |trips| travel(trips, get_async, &pool(16, ()))),
    Path::new("try_get_exhausted", "try_get", fail_to_get),
    Path { pace: Pace::Slow, ..Path::new("hand_over", "hand_over", wait_in_a_task) },
];

/// A driver that does nothing: only the pool is counted.
struct Numbers;

impl Manager for Numbers {
    type Connection = u64;
    type Error = Infallible;
}

impl BlockingManager for Numbers {
    fn connect(&self, _: &Deadline) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn ping(&self, _: &mut u64, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

type Connection = PooledConnection<Numbers>;

#[inline(never)]
fn try_get(pool: &Pool<Numbers>) {
    if let Ok(mut connection) = pool.try_get() {
        *connection += 1;
    }
}

#[inline(never)]
fn get(pool: &Pool<Numbers>) {
    if let Ok(mut connection) = pool.get() {
        *connection += 1;
    }
}

#[inline(never)]
fn get_async(pool: &Pool<Numbers>) {
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(Ok(mut connection)) = pin!(pool.get_async()).poll(&mut context) {
        *connection += 1;
    }
}

/// Somebody waits for the only connection, which comes back.
#[inline(never)]
fn hand_over(pool: &Pool<Numbers>, held: Connection) -> Option<Connection> {
    let mut context = Context::from_waker(Waker::noop());
    let mut wait = pin!(pool.get_async());
    let Poll::Pending = wait.as_mut().poll(&mut context) else { return None };
    drop(held);
    match wait.poll(&mut context) {
        Poll::Ready(connection) => connection.ok(),
        Poll::Pending => None,
    }
}

fn travel(trips: u32, go: impl Fn(&Pool<Numbers>), pool: &Pool<Numbers>) {
    for _ in 0..trips {
        go(black_box(pool));
    }
    assert_eq!(pool.stats().checkouts, u64::from(trips));
}

fn fail_to_get(trips: u32) {
    let pool = pool(16, ());
    let held: Vec<_> = (0..16).map(|_| pool.try_get().expect("an idle connection")).collect();
    for _ in 0..trips {
        try_get(black_box(&pool));
    }
    assert_eq!(pool.stats().checkouts, held.len() as u64);
}

/// By a mocked clock, as the real one may turn out to be one of two that cost differently.
fn wait_in_a_task(trips: u32) {
    let pool = full(builder(1).clock(Clock::mock().0));
    let mut held = pool.try_get().expect("an idle connection");
    for _ in 0..trips {
        held = hand_over(black_box(&pool), held).expect("the connection that came back");
    }
    assert_eq!(pool.stats().waits, u64::from(trips));
}

fn pool(size: usize, strategy: impl HealthStrategy) -> Pool<Numbers> {
    full(builder(size).health(strategy))
}

fn builder(size: usize) -> Builder<Numbers> {
    Pool::builder(Numbers).max_size(size).min_size(size)
}

fn full(builder: Builder<Numbers>) -> Pool<Numbers> {
    let pool = builder.manual_maintenance().build().expect("sound settings");
    pool.maintain();
    assert_eq!(pool.stats().idle, pool.capacity());
    pool
}
