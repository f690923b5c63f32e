//! A pool whose calls into the manager are polled when the test says so, under a clock that it
//! turns.
//!
//! The pool's housekeeper is a thread like any other and may lose its core in the middle of a
//! decision. A test that went on turning the clock meanwhile would take that moment for a second:
//! so the clock stands still until the housekeeper is through.

use super::{AsyncFake, Bell, Fake, FakeError, eventually, poll_once};
use caliburn::{Builder, Clock, GetError, MockClock, Pool, PooledConnection};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub const STEP: Duration = Duration::from_millis(25);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Got = Result<PooledConnection<AsyncFake>, GetError<FakeError>>;
pub type Get<'a> = Pin<Box<dyn Future<Output = Got> + Send + 'a>>;

pub struct Harness {
    pub fake: Fake,
    pub pool: Pool<AsyncFake>,
    pub tasks: Arc<Mutex<Vec<Task>>>,
    hand: MockClock,
    /// Whether some task can go on.
    woken: Arc<Bell>,
    /// The most connects seen in flight at once.
    pub most: Cell<usize>,
}

impl Harness {
    /// With room for `size` connections.
    pub fn new(size: usize, more: impl FnOnce(Builder<AsyncFake>) -> Builder<AsyncFake>) -> Self {
        Self::of(Fake::new(), size, more)
    }

    pub fn of(
        fake: Fake,
        size: usize,
        more: impl FnOnce(Builder<AsyncFake>) -> Builder<AsyncFake>,
    ) -> Self {
        let (clock, hand) = Clock::mock();
        let tasks = Arc::<Mutex<Vec<Task>>>::default();
        let woken = Arc::<Bell>::default();
        let (spawned, wake) = (tasks.clone(), woken.clone());
        let builder = Pool::builder_async(AsyncFake(fake.clone()))
            .max_size(size)
            .clock(clock)
            .spawner(move |task| {
                spawned.lock().unwrap().push(task);
                wake.wake_by_ref();
            });
        let pool = more(builder).build().unwrap();
        Self { fake, pool, tasks, hand, woken, most: Cell::new(0) }
    }

    /// Has all that can be done now done.
    pub fn settle(&self) {
        // It waits until the housekeeper is through.
        self.pool.maintain();
        while self.run_tasks() {
            self.pool.maintain();
        }
    }

    /// Runs the tasks as far as they come. False: there was nothing to do.
    fn run_tasks(&self) -> bool {
        let mut has_run = false;
        while self.woken.still() {
            has_run = true;
            self.most.set(self.most.get().max(self.pool.stats().opening));
            let waker = Waker::from(self.woken.clone());
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
            tasks.retain_mut(|task| {
                task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
            });
            self.tasks.lock().unwrap().append(&mut tasks);
        }
        has_run
    }

    pub fn advance(&self, by: Duration) {
        self.hand.advance(by);
        self.settle();
    }

    /// A fortieth of a second passes.
    pub fn step(&self) {
        self.advance(STEP);
    }

    #[track_caller]
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        eventually(what, || {
            self.settle();
            is_so()
        });
    }

    #[track_caller]
    pub fn lent(&self) -> PooledConnection<AsyncFake> {
        let mut get = self.get();
        let mut lent = None;
        self.until("a connection is lent", || match poll_once(&mut get) {
            Poll::Ready(connection) => {
                lent = Some(connection.unwrap());
                true
            }
            Poll::Pending => false,
        });
        lent.unwrap()
    }

    pub fn get(&self) -> Get<'_> {
        Box::pin(self.pool.get_async())
    }

    pub fn attempts(&self) -> usize {
        self.fake.books().attempts.load(SeqCst)
    }

    /// Opens all connections there may be, and has their borrowers find them broken.
    pub fn lose_all(&self) {
        let mut gets: Vec<_> = (0..self.pool.capacity()).map(|_| self.get()).collect();
        let mut held = Vec::new();
        eventually("all are lent", || {
            self.step();
            gets.retain_mut(|get| match poll_once(get) {
                Poll::Ready(connection) => {
                    held.push(connection.unwrap());
                    false
                }
                Poll::Pending => true,
            });
            gets.is_empty()
        });
        held.into_iter().for_each(|mut conn| conn.broken = true);
    }
}
