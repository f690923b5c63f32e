//! A slow, obviously right model of a pool that is maintained manually, and the operations that
//! both undergo.
//!
//! The model is a list of guards, a list of those who wait and a clock. It says what each operation
//! must come to, and after each one it compares the pool's figures with its own and with the
//! server's books.
#![allow(dead_code, unreachable_pub, missing_docs)]

use crate::common::{Conn, Fake, Mode};
use caliburn::health::{AgeEviction, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use caliburn::{
    Clock, EvictionCause, GetError, MockClock, Pool, PooledConnection, Stats, TryGetError,
};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection lies with a task that is not polled.
const GRACE: Duration = Duration::from_millis(25);
/// Longer than the pool ever waits before it tries to connect again.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Which strategy the pool has. The first two judge nothing that is about to be lent, so the model
/// knows exactly who gets what; with the others it checks that the accounts agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Health {
    None,
    Sweep,
    PingAlways,
    PingSometimes,
    Uses,
    PingAfterFailure,
}

/// What the pool is built with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub capacity: usize,
    pub max_size: usize,
    pub min_size: usize,
    pub max_waiters: usize,
    pub health: Health,
}

impl Setup {
    /// Any four numbers make a valid setup.
    pub fn of(capacity: u8, max_size: u8, min_size: u8, kind: u8) -> Self {
        let capacity = usize::from(capacity) % 4 + 1;
        let max_size = usize::from(max_size) % capacity + 1;
        let min_size = usize::from(min_size) % (max_size + 1);
        let max_waiters = if kind & 1 == 0 { usize::MAX } else { 2 };
        let health = match kind / 2 % 8 {
            0 | 1 => Health::None,
            2 | 3 => Health::Sweep,
            4 => Health::PingAlways,
            5 => Health::PingSometimes,
            6 => Health::Uses,
            _ => Health::PingAfterFailure,
        };
        Self { capacity, max_size, min_size, max_waiters, health }
    }

    fn is_exact(&self) -> bool {
        matches!(self.health, Health::None | Health::Sweep)
    }

    fn build(&self, fake: &Fake) -> (Pool<Fake>, MockClock) {
        let (clock, hand) = Clock::mock();
        let builder = Pool::builder(fake.clone())
            .manual_maintenance()
            .clock(clock)
            .capacity(self.capacity)
            .max_size(self.max_size)
            .min_size(self.min_size)
            .max_waiters(self.max_waiters)
            .idle_timeout(Some(IDLE_TIMEOUT));
        let builder = match self.health {
            Health::None => builder,
            Health::Sweep => builder.health(PeriodicSweep::every(Duration::from_secs(10))),
            Health::PingAlways => builder.health(PingOnBorrow::always()),
            Health::PingSometimes => builder.health(PingOnBorrow::default()),
            Health::Uses => builder.health(AgeEviction::unlimited().max_uses(2)),
            Health::PingAfterFailure => builder.health(PingAfterFailure),
        };
        (builder.build().unwrap(), hand)
    }
}

/// What is done to the pool. A number chooses among what is there, round and round.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    TryGet,
    /// With no time to wait.
    GetNow,
    Return(usize),
    ReturnBroken(usize),
    /// It must be reset first.
    ReturnDirty(usize),
    Discard(usize),
    Detach(usize),
    DropDetached,
    SetMaxSize(usize),
    SetMinSize(usize),
    Advance(Duration),
    Maintain,
    Sweep,
    /// All connections of the server die.
    Kill,
    /// The server takes no new connection, or takes them again.
    Refuse(bool),
    /// Begin to wait, with so much time.
    Enroll(Duration),
    Poll(usize),
    Leave(usize),
    Close,
}

impl Op {
    /// How many kinds [`of`](Self::of) knows.
    pub const KINDS: u8 = 32;

    /// Any two numbers make an operation; those that bring others about come up more often.
    pub fn of(kind: u8, which: u8) -> Self {
        let n = usize::from(which % 4);
        match kind % Self::KINDS {
            0..=2 => Self::TryGet,
            3 => Self::GetNow,
            4..=7 => Self::Return(n),
            8 => Self::ReturnBroken(n),
            9 => Self::ReturnDirty(n),
            10 => Self::Discard(n),
            11 => Self::Detach(n),
            12 => Self::DropDetached,
            13 | 14 => Self::SetMaxSize(n + 1),
            15 => Self::SetMinSize(n),
            16 | 17 => Self::Advance(Duration::from_millis([1, 400, 4_000, 20_000][n])),
            18..=21 => Self::Maintain,
            22 | 23 => Self::Sweep,
            24 => Self::Kill,
            25 => Self::Refuse(n == 0),
            26 | 27 => Self::Enroll(
                [Duration::from_millis(500), Duration::from_secs(6), Duration::MAX][n % 3],
            ),
            28 => Self::Enroll(Duration::MAX),
            29 => Self::Poll(n),
            30 => Self::Leave(n),
            // Once in 128.
            _ if n == 3 => Self::Close,
            _ => Self::Poll(n),
        }
    }
}

type Guard = PooledConnection<Fake>;
type Outcome = Result<Guard, GetError<crate::common::FakeError>>;

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// What a waiter has been told, as far as the model knows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Nothing,
    Granted,
    Expired,
}

struct Waiter<'p> {
    future: Pin<Box<dyn Future<Output = Outcome> + Send + 'p>>,
    bell: Arc<Bell>,
    deadline: Duration,
    told: Told,
    told_at: Duration,
}

struct Model<'p> {
    pool: &'p Pool<Fake>,
    fake: &'p Fake,
    hand: &'p MockClock,
    is_exact: bool,
    health: Health,
    max_waiters: usize,
    max_size: usize,
    min_size: usize,
    initial_size: usize,
    is_closed: bool,
    now: Duration,
    held: Vec<Guard>,
    detached: Vec<Conn>,
    /// In the order of their arrival.
    line: Vec<Waiter<'p>>,
    /// Numbers of connections that must not be lent again.
    gone: HashSet<u64>,
    /// An attempt that does not wait has found nothing, and nothing was opened for it yet.
    tried: bool,
    /// When a connection was last opened, lent or returned.
    touched: HashMap<u64, Duration>,
    /// Connections with a lower number are dead.
    dead_below: u64,
    refuses: bool,
    refused_at: Option<Duration>,
    /// `evictions.by(Surplus)` when nothing was under maintenance.
    surplus_done: u64,
}

/// Runs `ops` on a pool and its model, then closes both. Panics where they differ.
pub fn run(setup: Setup, ops: &[Op]) {
    let fake = Fake::new();
    let (pool, hand) = setup.build(&fake);
    let mut model = Model {
        pool: &pool,
        fake: &fake,
        hand: &hand,
        is_exact: setup.is_exact(),
        health: setup.health,
        max_waiters: setup.max_waiters,
        max_size: setup.max_size,
        min_size: setup.min_size,
        initial_size: setup.min_size,
        is_closed: false,
        now: Duration::ZERO,
        held: Vec::new(),
        detached: Vec::new(),
        line: Vec::new(),
        gone: HashSet::new(),
        tried: false,
        touched: HashMap::new(),
        dead_below: 0,
        refuses: false,
        refused_at: None,
        surplus_done: 0,
    };
    model.check();
    for op in ops {
        model.step(*op);
        model.check();
    }
    model.end();
}

/// Takes out the one that `n` chooses.
fn pick<T>(all: &mut Vec<T>, n: usize) -> Option<T> {
    (!all.is_empty()).then(|| all.remove(n % all.len()))
}

impl<'p> Model<'p> {
    fn living(&self) -> usize {
        self.line.iter().filter(|waiter| waiter.told == Told::Nothing).count()
    }

    fn granted(&self) -> usize {
        self.line.iter().filter(|waiter| waiter.told == Told::Granted).count()
    }

    /// Connections on their way out because of a lowered limit.
    fn retiring(&self, stats: &Stats) -> usize {
        (stats.evictions.by(EvictionCause::Surplus) - self.surplus_done) as usize
    }

    /// Connections above the limit that nobody has chosen yet.
    fn debt(&self, stats: &Stats) -> i64 {
        let unused = stats.capacity - self.max_size;
        unused as i64 - (stats.retired + self.retiring(stats)) as i64
    }

    /// What is opened without anybody waiting: the minimum, now or at the start.
    fn floor(&self) -> usize {
        self.min_size.max(self.initial_size)
    }

    fn opened(&self) -> u64 {
        self.fake.books().opened.load(SeqCst) as u64
    }

    /// A connection was lent.
    fn receive(&mut self, guard: Guard) {
        // One that was handed over after its ping, before the close, may still be taken.
        assert!(!self.is_closed || !self.is_exact, "lent by a closed pool: {guard:?}");
        assert!(!self.gone.contains(&guard.id), "lent although it was gone: {guard:?}");
        assert!(!guard.broken && !guard.dirty, "lent in a bad state: {guard:?}");
        assert!(self.held.iter().all(|held| held.id != guard.id), "lent twice: {guard:?}");
        self.touched.insert(guard.id, self.now);
        self.held.push(guard);
    }

    fn step(&mut self, op: Op) {
        self.take_in_time();
        let before = self.pool.stats();
        let is_there_one = !self.is_closed && before.idle > 0 && self.living() == 0;
        match op {
            Op::TryGet => {
                let result = self.pool.try_get();
                if self.is_exact {
                    assert_eq!(result.is_ok(), is_there_one, "{result:?}, {before:?}");
                }
                match result {
                    Ok(guard) => self.receive(guard),
                    Err(TryGetError::Closed) => assert!(self.is_closed),
                    Err(error) => {
                        assert!(!self.is_closed, "{error}");
                        self.tried = true;
                    }
                }
            }
            Op::GetNow => {
                let result = self.pool.get_timeout(Duration::ZERO);
                if self.is_exact {
                    assert_eq!(result.is_ok(), is_there_one, "{result:?}, {before:?}");
                }
                match result {
                    Ok(guard) => self.receive(guard),
                    Err(GetError::Closed) => assert!(self.is_closed),
                    Err(GetError::TimedOut { .. }) => {
                        assert!(!self.is_closed);
                        self.tried = true;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Op::Return(n) => {
                if let Some(guard) = pick(&mut self.held, n) {
                    self.touched.insert(guard.id, self.now);
                    drop(guard);
                    self.came_back(&before, self.debt(&before) > 0);
                }
            }
            Op::ReturnBroken(n) => {
                if let Some(mut guard) = pick(&mut self.held, n) {
                    self.gone.insert(guard.id);
                    guard.broken = true;
                    drop(guard);
                    self.came_back(&before, true);
                }
            }
            Op::ReturnDirty(n) => {
                if let Some(mut guard) = pick(&mut self.held, n) {
                    self.touched.insert(guard.id, self.now);
                    guard.dirty = true;
                    drop(guard);
                    self.came_back(&before, true);
                }
            }
            Op::Discard(n) => {
                if let Some(guard) = pick(&mut self.held, n) {
                    self.gone.insert(guard.id);
                    PooledConnection::discard(guard);
                    self.came_back(&before, true);
                }
            }
            Op::Detach(n) => {
                if let Some(guard) = pick(&mut self.held, n) {
                    self.gone.insert(guard.id);
                    self.detached.push(PooledConnection::detach(guard));
                    self.settle();
                    let after = self.pool.stats();
                    let is_retired = self.is_closed || self.debt(&before) > 0;
                    assert_eq!(after.retired, before.retired + usize::from(is_retired));
                    assert_eq!(after.vacant, before.vacant + usize::from(!is_retired));
                }
            }
            Op::DropDetached => self.detached.clear(),
            Op::SetMaxSize(max_size) => {
                let is_valid = (self.min_size.max(1)..=before.capacity).contains(&max_size);
                assert_eq!(
                    self.pool.change(|settings| settings.max_size = max_size).is_ok(),
                    is_valid,
                    "{max_size}"
                );
                if is_valid {
                    self.max_size = max_size;
                    self.check_limit();
                }
            }
            Op::SetMinSize(min_size) => {
                let is_valid = min_size <= self.max_size;
                assert_eq!(
                    self.pool.change(|settings| settings.min_size = min_size).is_ok(),
                    is_valid,
                    "{min_size}"
                );
                if is_valid {
                    self.min_size = min_size;
                }
            }
            Op::Advance(by) => {
                self.hand.advance(by);
                self.now += by;
            }
            Op::Maintain => self.maintain(&before, false),
            Op::Sweep => self.maintain(&before, true),
            Op::Kill => {
                self.fake.kill_all();
                self.dead_below = self.opened();
            }
            Op::Refuse(refuses) => {
                self.refuses = refuses;
                self.fake.on_connect(if refuses { Mode::Fail } else { Mode::Ok });
            }
            Op::Enroll(timeout) => self.enroll(timeout, is_there_one),
            Op::Poll(n) => {
                if !self.line.is_empty() {
                    self.poll(n % self.line.len());
                }
            }
            Op::Leave(n) => drop(pick(&mut self.line, n)),
            Op::Close => {
                self.pool.close();
                self.is_closed = true;
                assert!(self.pool.is_closed());
            }
        }
    }

    /// A connection came back: it needs work, or it is idle, or it was handed on.
    fn came_back(&mut self, before: &Stats, needs_work: bool) {
        self.settle();
        let after = self.pool.stats();
        if self.is_closed {
            assert_eq!(after.retired, before.retired + 1, "{after:?}");
        } else if needs_work {
            assert_eq!(after.maintenance, before.maintenance + 1, "{after:?}");
            assert_eq!(after.idle, before.idle, "{after:?}");
        } else if self.is_exact {
            let has_time = |waiter: &&Waiter<'_>| waiter.deadline > self.now;
            let in_time = self.line.iter().filter(|waiter| waiter.told == Told::Nothing);
            let is_handed_on = in_time.filter(has_time).count() > 0;
            let (granted, waiting) = (self.granted(), self.living());
            self.hear();
            assert_eq!(self.granted() > granted, is_handed_on, "{after:?}");
            assert_eq!(after.idle, before.idle + usize::from(!is_handed_on), "{after:?}");
            assert_eq!(after.lent, before.lent - usize::from(!is_handed_on), "{after:?}");
            assert_eq!(after.waiting, before.waiting - (waiting - self.living()), "{after:?}");
        }
    }

    fn enroll(&mut self, timeout: Duration, is_there_one: bool) {
        let deadline = self.now.saturating_add(timeout);
        let future = Box::pin(self.pool.get_timeout_async(timeout));
        let (bell, told_at) = (Arc::new(Bell::default()), self.now);
        let mut waiter = Waiter { future, bell, deadline, told: Told::Nothing, told_at };
        let waker = Waker::from(Arc::clone(&waiter.bell));
        let is_full = self.living() >= self.max_waiters;
        match waiter.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(guard)) => {
                assert!(!self.is_exact || is_there_one, "an arrival overtook those who wait");
                self.receive(guard);
            }
            Poll::Ready(Err(GetError::Closed)) => assert!(self.is_closed),
            Poll::Ready(Err(GetError::TooManyWaiters { .. })) => assert!(!self.is_exact || is_full),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => {
                assert!(!self.is_closed);
                assert!(!self.is_exact || !(is_full || is_there_one), "it waits for nothing");
                self.line.push(waiter);
            }
        }
    }

    fn poll(&mut self, n: usize) {
        let waiter = &mut self.line[n];
        waiter.bell.0.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&waiter.bell));
        let result = waiter.future.as_mut().poll(&mut Context::from_waker(&waker));
        let (told, deadline) = (waiter.told, waiter.deadline);
        let Poll::Ready(result) = result else {
            assert!(!self.is_closed, "a closed pool lets somebody wait");
            assert!(!self.is_exact || told == Told::Nothing, "told {told:?}, and it still waits");
            return;
        };
        drop(self.line.remove(n));
        if self.is_exact && !self.is_closed {
            assert_eq!(result.is_ok(), told == Told::Granted, "{result:?} though {told:?}");
        }
        match result {
            Ok(guard) => self.receive(guard),
            Err(GetError::Closed) => assert!(self.is_closed),
            Err(GetError::TimedOut { .. }) => assert!(deadline <= self.now, "too early"),
            Err(GetError::TooManyWaiters { .. }) => assert!(!self.is_exact),
            Err(error) => panic!("{error}"),
        }
    }

    /// Whoever was granted a connection takes it in time: what becomes of it otherwise is a story
    /// of its own, told in `faults_futurelock`.
    fn take_in_time(&mut self) {
        let has_to = |waiter: &Waiter<'_>, now| {
            waiter.told == Told::Granted && now >= waiter.deadline.min(waiter.told_at + GRACE)
        };
        while let Some(n) = self.line.iter().position(|waiter| has_to(waiter, self.now)) {
            self.poll(n);
        }
    }

    fn maintain(&mut self, before: &Stats, sweep: bool) {
        for waiter in self.line.iter_mut().filter(|waiter| waiter.told == Told::Nothing) {
            if waiter.deadline <= self.now {
                waiter.told = Told::Expired;
            }
        }
        let wanted = self.living() as u64;
        let (opened, failures) = (self.opened(), before.connect_failures);
        let was_granted = self.granted();
        if sweep {
            self.pool.sweep();
        } else {
            self.pool.maintain();
        }
        let after = self.pool.stats();
        for id in opened..self.opened() {
            self.touched.insert(id, self.now);
        }
        if after.connect_failures > failures {
            assert!(self.refuses);
            self.refused_at = Some(self.now);
        }
        if after.ping_failures > before.ping_failures {
            // Fresh connections found dead count as connects that failed.
            self.refused_at = Some(self.now);
        }
        assert_eq!((after.opening, after.maintenance), (0, 0), "work was left: {after:?}");
        self.surplus_done = after.evictions.by(EvictionCause::Surplus);
        if self.is_closed {
            return;
        }
        self.check_limit();
        if !self.is_exact {
            return;
        }
        // One that is closed at once, because of a lowered limit, may be made up for.
        let surplus = self.surplus_done - before.evictions.by(EvictionCause::Surplus);
        let opened_now = self.opened() - opened;
        let allowed = wanted + self.floor() as u64 + surplus + u64::from(self.tried);
        assert!(opened_now <= allowed, "opened {opened_now}, {allowed} at most");
        let is_for_a_try = self.tried && opened_now > 0;
        self.tried &= opened_now == 0;
        self.hear();
        let may_grow = !self.refuses && self.refused_at.is_none_or(|at| self.now > at + BACK_OFF);
        if may_grow {
            assert!(after.size >= self.min_size, "below the minimum: {after:?}");
            assert!(self.living() == 0 || after.vacant == 0, "it does not grow: {after:?}");
        }
        if !sweep || before.maintenance > 0 {
            return;
        }
        // Nothing idle is left that was idle for too long, but for the minimum.
        let is_fresh = |id: &u64| {
            let touched = self.touched.get(id).copied().unwrap_or_default();
            !self.gone.contains(id) && self.now - touched <= IDLE_TIMEOUT
        };
        let fresh = (0..self.opened()).filter(is_fresh).count();
        // What an attempt asked for is opened after the others were looked at.
        let most = self.min_size.max(after.lent + fresh) + usize::from(is_for_a_try);
        assert!(after.size <= most, "{most} at most: {after:?}");
        // Nothing idle is left that is dead.
        if self.health == Health::Sweep && was_granted == 0 {
            let is_held = |id: &u64| self.held.iter().any(|held| held.id == *id);
            self.gone.extend((0..self.dead_below.min(opened)).filter(|id| !is_held(id)));
        }
    }

    /// Above the limit there are only connections that nobody can take away.
    fn check_limit(&self) {
        let stats = self.pool.stats();
        if stats.idle > 0 && !self.is_closed {
            let size = stats.size + stats.opening - self.retiring(&stats);
            assert!(size <= self.max_size, "{size} > {}: {stats:?}", self.max_size);
        }
    }

    /// Whoever was called has got something: the first in line who has time left, and nobody before
    /// them was passed over. The others were told that their time is up.
    fn hear(&mut self) {
        let mut is_passed_over = false;
        for waiter in self.line.iter_mut().filter(|waiter| waiter.told == Told::Nothing) {
            if waiter.deadline <= self.now {
                let was_called = waiter.bell.0.swap(false, SeqCst);
                waiter.told = if was_called { Told::Expired } else { Told::Nothing };
            } else if waiter.bell.0.swap(false, SeqCst) {
                assert!(!is_passed_over, "somebody in line was passed over");
                waiter.told = Told::Granted;
                waiter.told_at = self.now;
            } else {
                is_passed_over = true;
            }
        }
    }

    /// A closed pool is maintained in the background: it comes to rest by itself.
    fn settle(&self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let is_at_rest = || {
            let Stats { capacity, lent, retired, opening, maintenance, .. } = self.pool.stats();
            // What is between two states counts nowhere.
            lent + retired == capacity && opening + maintenance == 0
        };
        while self.is_closed && !is_at_rest() {
            assert!(std::time::Instant::now() < deadline, "a closed pool does not come to rest");
            std::thread::yield_now();
        }
    }

    fn check(&mut self) {
        self.settle();
        let stats = self.pool.stats();
        let Stats { idle, lent, opening, maintenance, vacant, retired, .. } = stats;
        let slots = idle + lent + opening + maintenance + vacant + retired;
        assert_eq!(slots, stats.capacity, "{stats:?}");
        assert_eq!(stats.max_size, self.max_size);
        assert_eq!(stats.size, idle + lent + maintenance, "{stats:?}");
        assert_eq!(self.fake.books().alive(), stats.size + self.detached.len(), "{stats:?}");
        assert!(self.fake.books().most_open.load(SeqCst) <= stats.capacity + self.gone.len());
        assert_eq!(stats.connects, stats.closes + stats.detached + stats.size as u64, "{stats:?}");
        assert_eq!(stats.connects, self.opened(), "{stats:?}");
        assert_eq!(stats.checkouts, stats.returns + self.held.len() as u64, "{stats:?}");
        assert_eq!(self.pool.holders().len(), self.held.len(), "{stats:?}");
        assert!(stats.closes <= stats.evictions.total(), "{stats:?}");
        assert!(stats.ping_failures <= stats.pings, "{stats:?}");
        assert!(stats.wait_time.count() <= stats.waits, "{stats:?}");
        if maintenance == 0 {
            assert_eq!(stats.closes, stats.evictions.total(), "{stats:?}");
        }
        assert!(stats.waiting <= stats.waiter_nodes, "{stats:?}");
        assert!(stats.waiting == 0 || idle == 0, "idle while somebody waits: {stats:?}");
        if self.is_closed {
            let left = (idle, opening, maintenance, vacant, stats.waiting);
            assert_eq!(left, (0, 0, 0, 0, 0), "{stats:?}");
            for waiter in &mut self.line {
                waiter.told = Told::Expired;
            }
        } else if self.is_exact {
            self.hear();
            assert_eq!(lent, self.held.len() + self.granted(), "{stats:?}");
            assert_eq!(stats.waiting, self.living(), "{stats:?}");
        }
    }

    fn end(mut self) {
        self.line.clear();
        self.check();
        self.pool.close();
        self.is_closed = true;
        self.held.clear();
        self.detached.clear();
        self.check();
        let stats = self.pool.stats();
        assert_eq!(self.fake.books().alive(), 0);
        assert_eq!(stats.retired, stats.capacity, "{stats:?}");
        assert_eq!(stats.waiter_nodes, 0, "{stats:?}");
    }
}
