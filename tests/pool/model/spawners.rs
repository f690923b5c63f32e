//! A smaller twin, of a pool with an asynchronous driver whose spawner fails in any way.
//!
//! The pool works in the background, so the model does not know what is done when. It knows what
//! must be so at any time, and what must be so in the end: whatever the spawner does with the tasks
//! that it is given, everybody is served, the accounts agree, and a close leaves nothing.

use super::Setup;
use super::pick;
use crate::common::{AsyncFake, Bell, Fake, FakeError, Mode, PLENTY, eventually};
use caliburn::{Clock, GetError, MockClock, Pool, PooledConnection, TryGetError};
use std::collections::HashSet;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(25);
/// Nothing that the pool calls takes so long, however fast the clock is turned.
const LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Guard = PooledConnection<AsyncFake>;
type Outcome = Result<Guard, GetError<FakeError>>;

/// What a spawner does with a task.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// It runs it where it is called.
    Run,
    /// It runs it later, or never.
    Keep,
    Drop,
    Panic,
    RunAndPanic,
    BeginAndKeep,
    BeginAndDrop,
}

impl Way {
    /// Any number is one.
    pub(crate) fn of(n: u8) -> Self {
        let ways = [
            Self::Run,
            Self::Keep,
            Self::Drop,
            Self::Panic,
            Self::RunAndPanic,
            Self::BeginAndKeep,
            Self::BeginAndDrop,
        ];
        ways[usize::from(n) % ways.len()]
    }
}

/// What is done to the pool and its surroundings. A number chooses among what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// From now on tasks are spawned in this way.
    Spawn(Way),
    /// Polls the tasks that are kept.
    RunTasks,
    /// The runtime goes away, with the tasks that are kept.
    DropTasks,
    TryGet,
    Enroll(Duration),
    Poll(usize),
    Leave(usize),
    Return(usize),
    ReturnBroken(usize),
    ReturnDirty(usize),
    Discard(usize),
    Advance(Duration),
    Sweep,
    /// All connections of the server die.
    Kill,
    /// The driver hears that all connections opened so far are dead.
    Hear,
    Refuse(bool),
    Close,
}

impl Op {
    /// How many kinds [`of`](Self::of) knows.
    pub(crate) const KINDS: u8 = 28;

    /// Any two numbers make an operation.
    pub(crate) fn of(kind: u8, which: u8) -> Self {
        let n = usize::from(which % 4);
        let millis = Duration::from_millis;
        match kind % Self::KINDS {
            0..=4 => Self::Spawn(Way::of(which)),
            5 | 6 => Self::RunTasks,
            7 => Self::DropTasks,
            8 => Self::TryGet,
            9..=12 => Self::Enroll([millis(500), Duration::MAX, millis(6_000), Duration::MAX][n]),
            13 | 14 => Self::Poll(n),
            15 => Self::Leave(n),
            16 => Self::Return(n),
            17 => Self::ReturnBroken(n),
            18 | 19 => Self::ReturnDirty(n),
            20 => Self::Discard(n),
            21 | 22 => Self::Advance(millis([1, 30, 400, 1_000][n])),
            23 => Self::Advance(millis([10, 600, 4_000, 20_000][n])),
            24 => Self::Sweep,
            25 => Self::Kill,
            26 => Self::Hear,
            // Once in 112.
            _ if n == 3 => Self::Close,
            _ => Self::Refuse(n == 0),
        }
    }
}

/// What runs the tasks of the pool, or does not.
struct Runtime {
    way: Mutex<Way>,
    kept: Mutex<Vec<Task>>,
}

impl Runtime {
    fn spawn(&self, mut task: Task) {
        let way = *self.way.lock().unwrap();
        match way {
            Way::Run => self.run(task),
            Way::Keep => self.keep(task),
            Way::Drop => drop(task),
            // Without the hook, which a fuzzer takes for the end.
            Way::Panic => resume_unwind(Box::new("a spawner panics")),
            Way::RunAndPanic => {
                self.run(task);
                resume_unwind(Box::new("a spawner panics"));
            }
            Way::BeginAndKeep => {
                if !is_over(&mut task) {
                    self.keep(task);
                }
            }
            Way::BeginAndDrop => _ = is_over(&mut task),
        }
    }

    /// To its end, unless it waits for something else.
    fn run(&self, mut task: Task) {
        for _ in 0..1_000 {
            if is_over(&mut task) {
                return;
            }
        }
        self.keep(task);
    }

    fn keep(&self, task: Task) {
        self.kept.lock().unwrap().push(task);
    }

    /// Not under the lock: what becomes of them may spawn others.
    fn take_kept(&self) -> Vec<Task> {
        std::mem::take(&mut *self.kept.lock().unwrap())
    }
}

fn is_over(task: &mut Task) -> bool {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

struct Waiter<'p> {
    future: Pin<Box<dyn Future<Output = Outcome> + Send + 'p>>,
    bell: Arc<Bell>,
    deadline: Duration,
}

struct Model<'p> {
    pool: &'p Pool<AsyncFake>,
    fake: &'p Fake,
    hand: &'p MockClock,
    runtime: &'p Runtime,
    setup: Setup,
    is_lazy: bool,
    is_closed: bool,
    now: Duration,
    held: Vec<Guard>,
    line: Vec<Waiter<'p>>,
    /// Numbers of connections that must not be lent again.
    gone: HashSet<u64>,
    known_dead_below: u64,
}

/// Runs `ops` on a pool whose spawner begins in that `way`, then sees to it that all comes to rest.
/// Panics where something is amiss.
pub(crate) fn run(setup: Setup, way: Way, ops: &[Op]) {
    let fake = Fake::new();
    let runtime = Arc::new(Runtime { way: Mutex::new(way), kept: Mutex::default() });
    let (clock, hand) = Clock::mock();
    let spawner = runtime.clone();
    let builder = Pool::builder_async(AsyncFake(fake.clone()))
        .clock(clock)
        .spawner(move |task| spawner.spawn(task))
        .connect_timeout(LIMIT)
        .ping_timeout(LIMIT)
        .reset_timeout(LIMIT)
        .close_timeout(LIMIT);
    let pool = setup.apply_to(builder).build().unwrap();
    let mut model = Model {
        pool: &pool,
        fake: &fake,
        hand: &hand,
        runtime: &runtime,
        setup,
        is_lazy: setup.is_lazy,
        is_closed: false,
        now: Duration::ZERO,
        held: Vec::new(),
        line: Vec::new(),
        gone: HashSet::new(),
        known_dead_below: 0,
    };
    for op in ops {
        model.step(*op);
        model.check();
    }
    model.end();
    drop(pool);
    // What the spawner keeps keeps nothing else.
    eventually("the manager is dropped", || {
        hand.advance(STEP);
        fake.is_alone()
    });
}

impl<'p> Model<'p> {
    /// A connection was lent.
    fn receive(&mut self, guard: Guard) {
        assert!(!self.gone.contains(&guard.id), "lent although it was gone: {guard:?}");
        assert!(!guard.broken && !guard.dirty, "lent in a bad state: {guard:?}");
        let is_known_dead = guard.id < self.known_dead_below;
        assert!(!is_known_dead, "lent though it is known to be dead: {guard:?}");
        assert!(self.held.iter().all(|held| held.id != guard.id), "lent twice: {guard:?}");
        self.held.push(guard);
    }

    fn step(&mut self, op: Op) {
        if !self.is_lazy {
            self.poll_called();
        }
        match op {
            Op::Spawn(way) => *self.runtime.way.lock().unwrap() = way,
            Op::RunTasks => {
                for mut task in self.runtime.take_kept() {
                    if !is_over(&mut task) {
                        self.runtime.keep(task);
                    }
                }
            }
            Op::DropTasks => drop(self.runtime.take_kept()),
            Op::TryGet => match self.pool.try_get() {
                Ok(guard) => self.receive(guard),
                Err(TryGetError::Closed) => assert!(self.is_closed),
                Err(error) => assert!(!self.is_closed, "{error}"),
            },
            Op::Enroll(timeout) => {
                let (bell, deadline) = (Arc::default(), self.now.saturating_add(timeout));
                let future = Box::pin(self.pool.get_timeout_async(timeout));
                self.line.push(Waiter { future, bell, deadline });
                self.poll(self.line.len() - 1);
            }
            Op::Poll(n) => {
                if !self.line.is_empty() {
                    self.poll(n % self.line.len());
                }
            }
            Op::Leave(n) => drop(pick(&mut self.line, n)),
            Op::Return(n) => drop(pick(&mut self.held, n)),
            Op::ReturnBroken(n) => {
                if let Some(mut guard) = pick(&mut self.held, n) {
                    self.gone.insert(guard.id);
                    guard.broken = true;
                }
            }
            Op::ReturnDirty(n) => {
                if let Some(mut guard) = pick(&mut self.held, n) {
                    guard.dirty = true;
                }
            }
            Op::Discard(n) => {
                if let Some(guard) = pick(&mut self.held, n) {
                    self.gone.insert(guard.id);
                    PooledConnection::discard(guard);
                }
            }
            Op::Advance(by) => self.advance(by),
            Op::Sweep => self.pool.sweep(),
            Op::Kill => self.fake.kill_all(),
            Op::Hear => self.known_dead_below = self.fake.hear_of_all(),
            Op::Refuse(refuses) => {
                self.fake.on_connect(if refuses { Mode::Fail } else { Mode::Ok });
            }
            Op::Close => {
                self.pool.close();
                self.is_closed = true;
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        self.hand.advance(by);
        self.now += by;
        self.pool.maintain();
    }

    fn poll(&mut self, n: usize) {
        let waiter = &mut self.line[n];
        waiter.bell.still();
        let waker = Waker::from(Arc::clone(&waiter.bell));
        let result = waiter.future.as_mut().poll(&mut Context::from_waker(&waker));
        // Another thread may be about to tell it that the pool is closed.
        let Poll::Ready(result) = result else { return };
        let deadline = self.line.remove(n).deadline;
        match result {
            Ok(guard) => self.receive(guard),
            Err(GetError::Closed) => assert!(self.is_closed),
            Err(GetError::TimedOut { .. }) => assert!(deadline <= self.now, "too early"),
            Err(GetError::TooManyWaiters { .. }) => {
                assert!(self.setup.max_waiters < usize::MAX, "the room has no limit");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Polls once each who has been called.
    fn poll_called(&mut self) {
        for n in (0..self.line.len()).rev() {
            if self.line[n].bell.has_rung() {
                self.poll(n);
            }
        }
    }

    /// What is so whatever the pool's own threads are about.
    fn check(&self) {
        let stats = self.pool.stats();
        assert_eq!(stats.checkouts, stats.returns + self.held.len() as u64, "{stats:?}");
        assert_eq!(self.pool.holders().len(), self.held.len(), "{stats:?}");
        assert!(self.fake.books().most_open.load(SeqCst) <= stats.capacity, "{stats:?}");
    }

    /// Turns the clock until `is_so`. Work that waits for the spawner in vain is taken back after a
    /// second, and done by threads of the pool's own.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PLENTY;
        while !is_so(self) {
            let (way, stats) = (*self.runtime.way.lock().unwrap(), self.pool.stats());
            let books = self.fake.books();
            assert!(Instant::now() < deadline, "never: {what}, {way:?}, {stats:?}, {books:?}");
            self.advance(STEP);
            std::thread::yield_now();
        }
    }

    /// The spawner stays as it is, and nobody runs what it keeps.
    fn end(mut self) {
        self.fake.on_connect(Mode::Ok);
        self.held.clear();
        self.until("everybody is served", |model| {
            model.poll_called();
            model.check();
            model.held.clear();
            model.line.is_empty()
        });
        self.until("the accounts agree", |model| model.is_settled());
        self.pool.close();
        self.is_closed = true;
        self.until("nothing is left", |model| model.is_settled());
    }

    /// All is at rest, and no slot, connection or waiter is unaccounted for.
    fn is_settled(&self) -> bool {
        let stats = self.pool.stats();
        let is_at_rest = stats.opening + stats.maintenance + stats.quarantined == 0
            && stats.waiting + stats.waiter_nodes + stats.lent == 0;
        let (least, unused) = if self.is_closed {
            (0, stats.capacity)
        } else {
            (self.setup.min_size, stats.capacity - self.setup.max_size)
        };
        is_at_rest
            && stats.idle + stats.vacant + stats.retired == stats.capacity
            && stats.retired == unused
            && stats.idle >= least
            && stats.size == stats.idle
            && stats.size == self.fake.books().alive()
            && stats.connects == self.fake.books().opened.load(SeqCst) as u64
            && stats.connects == stats.closes + stats.size as u64
            && stats.closes == stats.evictions.total()
    }
}
