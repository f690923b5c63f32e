//! A slow, obviously right model of a pool that is maintained manually, and the operations that
//! both undergo.
//!
//! The model is a list of guards, a list of those who wait and a clock. It says what each operation
//! must come to, and after each one it compares the pool's figures with its own and with the
//! server's books.

mod line;
mod ops;
mod setup;
pub(crate) mod spawners;
mod upkeep;

pub(crate) use ops::Op;
pub(crate) use setup::Setup;

use crate::common::{Conn, Fake};
use caliburn::{EvictionCause, MockClock, Pool, PooledConnection, Stats};
use line::{Told, Waiter};

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

type Guard = PooledConnection<Fake>;

struct Model<'p> {
    pool: &'p Pool<Fake>,
    fake: &'p Fake,
    hand: &'p MockClock,
    setup: Setup,
    is_lazy: bool,
    max_size: usize,
    min_size: usize,
    initial_size: usize,
    is_closed: bool,
    now: Duration,
    /// Rises with each operation and each poll.
    turn: u64,
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
    /// Of connections with a lower number the driver knows that they are dead.
    known_dead_below: u64,
    refuses: bool,
    refused_at: Option<Duration>,
    /// `evictions.by(Surplus)` when nothing was under maintenance.
    surplus_done: u64,
}

/// Runs `ops` on a pool and its model, then closes both. Panics where they differ.
pub(crate) fn run(setup: Setup, ops: &[Op]) {
    let fake = Fake::new();
    let (pool, hand) = setup.build(&fake);
    let mut model = Model {
        pool: &pool,
        fake: &fake,
        hand: &hand,
        setup,
        is_lazy: setup.is_lazy,
        max_size: setup.max_size,
        min_size: setup.min_size,
        initial_size: setup.min_size,
        is_closed: false,
        now: Duration::ZERO,
        turn: 0,
        held: Vec::new(),
        detached: Vec::new(),
        line: Vec::new(),
        gone: HashSet::new(),
        tried: false,
        touched: HashMap::new(),
        dead_below: 0,
        known_dead_below: 0,
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
        assert!(!self.is_closed || !self.setup.is_exact(), "lent by a closed pool: {guard:?}");
        assert!(!self.gone.contains(&guard.id), "lent although it was gone: {guard:?}");
        assert!(!guard.broken && !guard.dirty, "lent in a bad state: {guard:?}");
        let is_known_dead = guard.id < self.known_dead_below;
        assert!(!is_known_dead, "lent though it is known to be dead: {guard:?}");
        assert!(self.held.iter().all(|held| held.id != guard.id), "lent twice: {guard:?}");
        self.touched.insert(guard.id, self.now);
        self.held.push(guard);
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
        let may_lie = self.setup.is_patient();
        assert!(may_lie || stats.waiting == 0 || idle == 0, "idle while somebody waits: {stats:?}");
        if self.is_closed {
            let left = (idle, opening, maintenance, vacant, stats.waiting);
            assert_eq!(left, (0, 0, 0, 0, 0), "{stats:?}");
            for waiter in &mut self.line {
                waiter.told = Told::Expired;
            }
        } else if self.setup.is_exact() {
            self.hear();
            assert_eq!(lent, self.held.len() + self.granted(), "{stats:?}");
            assert_eq!(stats.waiting, self.living(), "{stats:?}");
        }
    }

    fn end(mut self) {
        self.serve_all();
        while let Ok(guard) = self.pool.try_get() {
            self.receive(guard);
        }
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
