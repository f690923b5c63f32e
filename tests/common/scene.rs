//! A pool whose calls into the manager are polled when the test says so, under a clock that it turns.

use super::{AsyncFake, Fake, FakeError, eventually, poll_once};
use caliburn::{Builder, Clock, GetError, MockClock, Pool, PooledConnection};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

pub const STEP: Duration = Duration::from_millis(25);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Got = Result<PooledConnection<AsyncFake>, GetError<FakeError>>;
pub type Get<'a> = Pin<Box<dyn Future<Output = Got> + Send + 'a>>;

pub struct Scene {
    pub fake: Fake,
    pub pool: Pool<AsyncFake>,
    pub tasks: Arc<Mutex<Vec<Task>>>,
    hand: MockClock,
    /// The most connects seen in flight at once.
    pub most: Cell<usize>,
}

impl Scene {
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
        let spawned = tasks.clone();
        let builder = Pool::builder_async(AsyncFake(fake.clone()))
            .max_size(size)
            .clock(clock)
            .spawner(move |task| spawned.lock().unwrap().push(task));
        Self { fake, pool: more(builder).build().unwrap(), tasks, hand, most: Cell::new(0) }
    }

    /// Has all that can be done now done.
    pub fn settle(&self) {
        for _ in 0..6 {
            // The housekeeper may be in the middle of something: this clock is faster than the system.
            std::thread::yield_now();
            self.pool.maintain();
            self.most.set(self.most.get().max(self.pool.stats().opening));
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
            tasks.retain_mut(|task| poll_once(task).is_pending());
            self.tasks.lock().unwrap().append(&mut tasks);
        }
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
