//! Borrowers that hold connections for a while, and connects that take a while, under a clock that
//! the test turns: what a load comes to, without waiting for it.

use crate::common::*;
use caliburn::{AsyncManager, Builder, Clock, Deadline, GetError, Manager, MockClock, Pool};
use caliburn::{PooledConnection, Settings};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The clock is turned by this much at a time.
pub(crate) const STEP: Duration = Duration::from_micros(250);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A server of which each connect takes a while.
#[derive(Clone)]
pub(crate) struct Slow {
    fake: AsyncFake,
    /// In nanoseconds since the simulation began.
    now: Arc<AtomicU64>,
    connect_takes: Arc<AtomicU64>,
    pub(crate) begun: Arc<AtomicUsize>,
}

impl Manager for Slow {
    type Connection = Conn;
    type Error = FakeError;

    fn has_broken(&self, conn: &mut Conn) -> bool {
        conn.broken
    }
}

impl AsyncManager for Slow {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        self.begun.fetch_add(1, SeqCst);
        let until = self.now.load(SeqCst) + self.connect_takes.load(SeqCst);
        poll_fn(|_| if self.now.load(SeqCst) < until { Poll::Pending } else { Poll::Ready(()) })
            .await;
        self.fake.connect(deadline).await
    }

    async fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.fake.ping(conn, deadline).await
    }
}

/// A thread of the pool's may lose its core in the middle of a decision, while the test turns the
/// clock on: to the pool that is a moment in which it decides nothing. So a scene that fails is
/// played again, a few times.
pub(crate) fn steady(scene: impl Fn()) {
    let plays = || catch_unwind(AssertUnwindSafe(&scene)).is_ok();
    if !(0..4).any(|_| plays()) {
        scene();
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(crate) type Got = Result<PooledConnection<Slow>, GetError<FakeError>>;
type Getting<'a> = Pin<Box<dyn Future<Output = Got> + Send + 'a>>;

/// What a borrower is at.
enum Borrower<'a> {
    Waits(Getting<'a>),
    Holds(PooledConnection<Slow>, Duration),
}

/// Borrowers, and what came of those that have left.
pub(crate) struct Load<'a> {
    sim: &'a Sim,
    borrowers: VecDeque<Borrower<'a>>,
    /// For how long those hold their connection that get one now.
    pub(crate) hold: Duration,
    pub(crate) served: usize,
    pub(crate) errors: Vec<GetError<FakeError>>,
}

pub(crate) struct Sim {
    pub(crate) pool: Pool<Slow>,
    pub(crate) server: Slow,
    pub(crate) hand: MockClock,
    tasks: Arc<Mutex<Vec<Task>>>,
}

impl Sim {
    pub(crate) fn new(
        connect: Duration,
        more: impl FnOnce(Builder<Slow>) -> Builder<Slow>,
    ) -> Self {
        let (clock, hand) = Clock::mock();
        let tasks = Arc::<Mutex<Vec<Task>>>::default();
        let spawned = Arc::clone(&tasks);
        let server = Slow {
            fake: AsyncFake(Fake::new()),
            now: Arc::default(),
            connect_takes: Arc::new(AtomicU64::new(connect.as_nanos() as u64)),
            begun: Arc::default(),
        };
        let builder = Pool::builder_async(server.clone())
            .clock(clock)
            .idle_timeout(None)
            .spawner(move |task| spawned.lock().unwrap().push(task));
        let pool = more(builder).build().unwrap();
        Self { pool, server, hand, tasks }
    }

    /// With all that `min_size` asks for open.
    pub(crate) fn ready(
        connect: Duration,
        more: impl FnOnce(Builder<Slow>) -> Builder<Slow>,
    ) -> Self {
        let sim = Self::new(connect, more);
        let Settings { min_size, .. } = sim.pool.settings();
        sim.until(ms(60_000), || sim.pool.stats().idle >= min_size);
        sim
    }

    /// Whether connects fail from now on.
    pub(crate) fn breaks(&self, yes: bool) {
        self.server.fake.0.on_connect(if yes { Mode::Fail } else { Mode::Ok });
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.server.now.load(SeqCst))
    }

    pub(crate) fn connects_take(&self, time: Duration) {
        self.server.connect_takes.store(time.as_nanos() as u64, SeqCst);
    }

    /// Connects begun so far.
    pub(crate) fn begun(&self) -> usize {
        self.server.begun.load(SeqCst)
    }

    /// Has all done that can be done now.
    pub(crate) fn settle(&self) {
        for _ in 0..2 {
            self.pool.maintain();
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
            let cx = &mut Context::from_waker(Waker::noop());
            tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            self.tasks.lock().unwrap().append(&mut tasks);
        }
    }

    pub(crate) fn step(&self) {
        self.hand.advance(STEP);
        self.server.now.fetch_add(STEP.as_nanos() as u64, SeqCst);
        self.settle();
    }

    /// Goes on until `is_so`; how long that took.
    #[track_caller]
    pub(crate) fn until(&self, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
        let begun = self.now();
        while !is_so() {
            self.step();
            assert!(self.now() - begun < limit, "not within {limit:?}: {}", self.pool.stats());
        }
        self.now() - begun
    }

    pub(crate) fn pass(&self, time: Duration) {
        let until = self.now() + time;
        while self.now() < until {
            self.step();
        }
    }

    /// Borrowers to come, each of which holds its connection for so long.
    pub(crate) fn load(&self, hold: Duration) -> Load<'_> {
        Load { sim: self, borrowers: VecDeque::new(), hold, served: 0, errors: Vec::new() }
    }

    /// A burst of so many, each of which holds its connection for so long. How long it took.
    pub(crate) fn burst(&self, callers: usize, hold: Duration) -> Duration {
        let mut load = self.load(hold);
        load.come(callers, || self.pool.get_async());
        let begun = self.now();
        while load.served < callers {
            load.step(false);
            assert!(self.now() - begun < ms(60_000), "{}", self.pool.stats());
        }
        self.now() - begun
    }
}

impl<'a> Load<'a> {
    /// More borrowers come.
    pub(crate) fn come<F>(&mut self, callers: usize, get: impl Fn() -> F)
    where
        F: Future<Output = Got> + Send + 'a,
    {
        for _ in 0..callers {
            self.borrowers.push_back(Borrower::Waits(Box::pin(get())));
        }
        self.poll(false);
    }

    /// Time passes. `again`: those that have had their connection come again.
    pub(crate) fn step(&mut self, again: bool) {
        self.sim.step();
        self.poll(again);
        self.sim.settle();
        self.poll(again);
    }

    /// The same for a while, in which connections are held for so long.
    pub(crate) fn pass(&mut self, time: Duration, hold: Duration, again: bool) {
        self.hold = hold;
        let until = self.sim.now() + time;
        while self.sim.now() < until {
            self.step(again);
        }
    }

    /// All that is held breaks, and comes back.
    pub(crate) fn break_all(&mut self) {
        self.borrowers.retain_mut(|one| match one {
            Borrower::Holds(conn, _) => {
                conn.broken = true;
                false
            }
            Borrower::Waits(_) => true,
        });
    }

    pub(crate) fn waiting(&self) -> usize {
        self.borrowers.iter().filter(|one| matches!(one, Borrower::Waits(_))).count()
    }

    fn poll(&mut self, again: bool) {
        let (now, hold) = (self.sim.now(), self.hold);
        // Returns first, as what comes back goes to those that wait.
        for _ in 0..self.borrowers.len() {
            match self.borrowers.pop_front().unwrap() {
                Borrower::Holds(conn, until) if until <= now => {
                    drop(conn);
                    self.served += 1;
                    if again {
                        let get = Box::pin(self.sim.pool.get_async());
                        self.borrowers.push_back(Borrower::Waits(get));
                    }
                }
                other => self.borrowers.push_back(other),
            }
        }
        for _ in 0..self.borrowers.len() {
            match self.borrowers.pop_front().unwrap() {
                Borrower::Waits(mut get) => match poll_once(&mut get) {
                    Poll::Ready(Ok(conn)) => {
                        self.borrowers.push_back(Borrower::Holds(conn, now + hold));
                    }
                    Poll::Ready(Err(error)) => self.errors.push(error),
                    Poll::Pending => self.borrowers.push_back(Borrower::Waits(get)),
                },
                other => self.borrowers.push_back(other),
            }
        }
    }
}
