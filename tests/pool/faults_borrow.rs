//! Borrowers, the demand that they show, and the pings that they pay for.

use crate::common::*;
use caliburn::health::{PeriodicSweep, PingOnBorrow};
use caliburn::{
    AsyncManager, BlockingManager, Clock, Deadline, Manager, MockClock, Pool, PooledConnection,
    TryGetError,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const SECOND: Duration = Duration::from_secs(1);

// An unmet try is demand (A19)

/// One attempt that does not wait, by each face.
type Attempt = fn(&Pool<Fake>) -> Option<PooledConnection<Fake>>;

const ATTEMPTS: [(&str, Attempt); 3] = [
    ("try_get", |pool| pool.try_get().ok()),
    ("get_timeout(0)", |pool| pool.get_timeout(Duration::ZERO).ok()),
    ("get_timeout_async(0)", |pool| {
        match poll_once(&mut Box::pin(pool.get_timeout_async(Duration::ZERO))) {
            Poll::Ready(got) => got.ok(),
            Poll::Pending => panic!("it waits"),
        }
    }),
];

fn empty(fake: &Fake) -> Pool<Fake> {
    manual_maintenance(fake).0.max_size(4).build().unwrap()
}

#[test]
fn an_attempt_that_finds_nothing_is_met_by_the_next_visit() {
    for (what, attempt) in ATTEMPTS {
        let fake = Fake::new();
        let pool = empty(&fake);
        assert!(attempt(&pool).is_none(), "{what}");
        assert_eq!(fake.books().attempts.load(SeqCst), 0, "{what} itself connects nobody");
        pool.maintain();
        assert!(attempt(&pool).is_some(), "{what}: nothing has been opened: {}", pool.stats());
        pool.maintain();
        assert_eq!(pool.stats().connects, 1, "{what}: and it asks for no more than one");
    }
}

#[test]
fn an_attempt_that_finds_all_lent_is_met_by_the_next_visit_as_long_as_there_is_room() {
    for (what, attempt) in ATTEMPTS {
        let fake = Fake::new();
        let pool = manual_maintenance(&fake).0.max_size(4).min_size(1).build().unwrap();
        let mut lent = vec![pool.get().unwrap()];
        for n in 2..=4 {
            assert!(attempt(&pool).is_none(), "{what}");
            pool.maintain();
            let Some(conn) = attempt(&pool) else { panic!("{what}: {} of {n}", n - 1) };
            lent.push(conn);
        }
        assert!(attempt(&pool).is_none(), "{what}");
        pool.maintain();
        assert_eq!(pool.stats().connects, 4, "{what}");
    }
}

#[test]
fn many_attempts_that_find_nothing_open_no_more_than_the_pool_may_have() {
    for (what, attempt) in ATTEMPTS {
        let fake = Fake::new();
        let pool = empty(&fake);
        for _ in 0..1_800 {
            assert!(attempt(&pool).is_none());
        }
        pool.maintain();
        let opened = fake.books().opened.load(SeqCst);
        assert!((1..=4).contains(&opened), "{what}: {opened} opened for 1,800 attempts");
    }
}

/// The failing input itself, in a pool with a background: attempts and nothing else.
#[test]
fn who_only_ever_tries_is_served_in_the_end() {
    for (what, attempt) in ATTEMPTS {
        let pool = Pool::builder(Fake::new()).max_size(4).build().unwrap();
        let (begun, mut tries) = (Instant::now(), 0);
        while attempt(&pool).is_none() {
            tries += 1;
            let is_time_left = tries < 1_800 || begun.elapsed() < 2 * SECOND;
            assert!(is_time_left, "{what}: nothing was opened in {tries} tries");
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_attempt_on_a_closed_pool_asks_for_nothing() {
    let fake = Fake::new();
    let pool = empty(&fake);
    pool.close();
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Closed);
    pool.maintain();
    assert_eq!(fake.books().attempts.load(SeqCst), 0);
}

// No ping for what has just answered (A23)

fn pings(fake: &Fake) -> usize {
    fake.books().pings.load(SeqCst)
}

fn always(fake: &Fake, min_size: usize) -> (Pool<Fake>, MockClock) {
    full_manual(fake, 2, |b| b.min_size(min_size).health(PingOnBorrow::always()))
}

#[test]
fn a_connection_opened_for_its_borrower_a_moment_ago_is_not_pinged() {
    let fake = Fake::new();
    let (pool, _hand) = always(&fake, 0);
    let mut get = Box::pin(pool.get_async());
    assert!(poll_once(&mut get).is_pending());
    pool.maintain();
    let Poll::Ready(Ok(_conn)) = poll_once(&mut get) else {
        panic!("it was opened for it, and waits for {} pings: {}", pings(&fake), pool.stats())
    };
    assert_eq!(pings(&fake), 0, "for a task");

    let fake = Fake::new();
    let pool = Pool::builder(fake.clone()).health(PingOnBorrow::always()).build().unwrap();
    let _conn = pool.get_timeout(PLENTY).unwrap();
    assert_eq!(pings(&fake), 0, "for a thread");

    let fake = Fake::new();
    let pool = Pool::builder_async(AsyncFake(fake.clone())).health(PingOnBorrow::always());
    let pool = pool.build().unwrap();
    let _conn = pool.get_timeout(PLENTY).unwrap();
    assert_eq!(pings(&fake), 0, "for a thread, and an asynchronous driver");
}

/// A connection that had to be reset for the one who waits has answered, too.
#[test]
fn a_connection_that_was_reset_a_moment_ago_is_not_pinged() {
    let fake = Fake::new();
    let (pool, hand) = full_manual(&fake, 1, |b| b.health(PingOnBorrow::always()));
    let mut held = pool.get().unwrap();
    hand.advance(SECOND);
    let before = pings(&fake);
    let mut get = Box::pin(pool.get_async());
    assert!(poll_once(&mut get).is_pending());
    held.dirty = true;
    drop(held);
    pool.maintain();
    let Poll::Ready(Ok(_conn)) = poll_once(&mut get) else { panic!("{}", pool.stats()) };
    assert_eq!((fake.books().resets.load(SeqCst), pings(&fake) - before), (1, 0));
}

/// An attempt that does not wait leaves the ping to the pool, and the next has what answered.
#[test]
fn an_attempt_has_what_was_pinged_for_the_one_before_it() {
    let fake = Fake::new();
    let (pool, hand) = always(&fake, 1);
    hand.advance(60 * SECOND);
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
    pool.maintain();
    drop(pool.try_get().expect("it has just answered"));
    assert_eq!(pings(&fake), 1);
}

#[test]
fn a_connection_that_has_lain_idle_or_was_lent_since_it_answered_is_pinged() {
    let fake = Fake::new();
    let (pool, hand) = always(&fake, 1);
    hand.advance(60 * SECOND);
    for n in 1..=3 {
        drop(pool.get().unwrap());
        assert_eq!(pings(&fake), n);
        hand.advance(SECOND);
    }
}

// What answers slowly is lent last (A32)

/// A server whose pings take their time on a clock that they turn themselves.
#[derive(Clone)]
struct Slow {
    fake: Fake,
    hand: MockClock,
    /// This one's pings take a second instead of a millisecond.
    slow: u64,
    is_slow: Arc<AtomicBool>,
    /// Pings of the slow one that a borrower paid for.
    met: Arc<AtomicUsize>,
    is_upkeep: Arc<AtomicBool>,
}

impl Slow {
    fn new(slow: u64) -> (Self, Clock) {
        let (clock, hand) = Clock::mock();
        let fake = Fake::new();
        let manager = Self {
            fake,
            hand,
            slow,
            is_slow: Arc::new(true.into()),
            met: Arc::default(),
            is_upkeep: Arc::default(),
        };
        (manager, clock)
    }

    fn take_time(&self, conn: &Conn) {
        let is_slow = conn.id == self.slow && self.is_slow.load(SeqCst);
        if is_slow && !self.is_upkeep.load(SeqCst) {
            self.met.fetch_add(1, SeqCst);
        }
        self.hand.advance(if is_slow { SECOND } else { SECOND / 1_000 });
    }

    fn maintain(&self, pool: &Pool<Self>) {
        self.is_upkeep.store(true, SeqCst);
        pool.maintain();
        self.is_upkeep.store(false, SeqCst);
    }
}

impl Manager for Slow {
    type Connection = Conn;
    type Error = FakeError;
}

impl BlockingManager for Slow {
    fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        BlockingManager::connect(&self.fake, deadline)
    }

    fn ping(&self, conn: &mut Conn, _: &Deadline) -> Result<(), FakeError> {
        self.take_time(conn);
        Ok(())
    }
}

impl AsyncManager for Slow {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        BlockingManager::connect(&self.fake, deadline)
    }

    async fn ping(&self, conn: &mut Conn, _: &Deadline) -> Result<(), FakeError> {
        self.take_time(conn);
        Ok(())
    }
}

/// Ten connections, `at_once` of them lent at a time, a thousand rounds; how often a borrower met
/// the slow one.
fn meetings(is_async: bool, slow: u64, at_once: usize) -> usize {
    let (manager, clock) = Slow::new(slow);
    let builder = if is_async {
        Pool::builder_async(manager.clone())
    } else {
        Pool::builder(manager.clone())
    };
    let builder = builder.max_size(10).min_size(10).idle_timeout(None).clock(clock);
    let sweep = PeriodicSweep::every(10 * SECOND);
    let builder = builder.health((PingOnBorrow::always(), sweep)).manual_maintenance();
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let borrow = || {
        let mut get = Box::pin(pool.get_async());
        if !is_async {
            return pool.get().unwrap();
        }
        let Poll::Ready(got) = poll_once(&mut get) else { panic!("{}", pool.stats()) };
        got.unwrap()
    };
    for _ in 0..1_000 {
        let lent: Vec<_> = (0..at_once).map(|_| borrow()).collect();
        // They are used.
        manager.hand.advance(SECOND / 10);
        drop(lent);
        manager.hand.advance(SECOND / 10);
        manager.maintain(&pool);
    }
    let met = manager.met.load(SeqCst);
    // Last is not never: quick again, it serves as the others do.
    manager.is_slow.store(false, SeqCst);
    manager.hand.advance(60 * SECOND);
    manager.maintain(&pool);
    manager.maintain(&pool);
    let mut gets: Vec<_> = (0..10).map(|_| Box::pin(pool.get_async())).collect();
    let mut all = Vec::new();
    for _ in 0..10 {
        gets.retain_mut(|get| match poll_once(get) {
            Poll::Ready(got) => {
                all.push(got.unwrap());
                false
            }
            Poll::Pending => true,
        });
        manager.maintain(&pool);
    }
    assert_eq!((all.len(), manager.fake.books().opened.load(SeqCst)), (10, 10), "lent, opened");
    met
}

#[test]
fn one_that_answers_slowly_among_nine_that_do_not_is_not_met_again_and_again() {
    let mut complaints = String::new();
    for is_async in [false, true] {
        for slow in [0, 4, 9] {
            for at_once in [1, 5, 9] {
                let met = meetings(is_async, slow, at_once);
                if met > 3 {
                    complaints += &format!(
                        "\n  asynchronous: {is_async}, the {slow}th is slow, {at_once} lent at \
                         once: met {met} times in 1000 rounds"
                    );
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

// A thread that drives a runtime (A22)

/// A driver that blocks and brings its own runtime, as many do.
struct OwnRuntime {
    fake: Fake,
    runtime: Runtime,
    /// The threads that pinged.
    pinged_by: Arc<Mutex<Vec<ThreadId>>>,
}

impl Manager for OwnRuntime {
    type Connection = Conn;
    type Error = FakeError;

    // The driver panics on a thread that drives another runtime.
    fn may_ping_here(&self) -> bool {
        tokio::runtime::Handle::try_current().is_err()
    }
}

impl BlockingManager for OwnRuntime {
    fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        self.runtime.block_on(async { BlockingManager::connect(&self.fake, deadline) })
    }

    fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        // Panics on a thread that drives another runtime.
        self.runtime.block_on(async {
            self.pinged_by.lock().unwrap().push(std::thread::current().id());
            BlockingManager::ping(&self.fake, conn, deadline)
        })
    }
}

/// Twenty loans in a row on a thread that drives a runtime, or within one of its tasks, with a ping
/// each; the strategy lets the time between two loans count for nothing.
fn twenty_loans(face: &str, borrow: impl FnOnce(&dyn Fn())) {
    let (fake, pinged_by) = (Fake::new(), Arc::<Mutex<Vec<ThreadId>>>::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let manager = OwnRuntime { fake: fake.clone(), runtime, pinged_by: pinged_by.clone() };
    let pool = Pool::builder(manager).max_size(2).health(PingOnBorrow::always());
    let pool = pool.initial_size(1).ping_timeout(SECOND / 2).wait_ready(PLENTY).build().unwrap();
    let begun = Instant::now();
    borrow(&|| {
        let is_time_left = || begun.elapsed() < 2 * SECOND;
        for _ in (0..20).take_while(|_| is_time_left()) {
            drop(pool.get_timeout(SECOND));
        }
    });
    let (stats, opened) = (pool.stats(), fake.books().opened.load(SeqCst));
    assert_eq!(
        (opened, stats.ping_failures),
        (1, 0),
        "{face}: opened, and failed to ping: {stats}"
    );
    let here = std::thread::current().id();
    let pinged_by = pinged_by.lock().unwrap();
    assert!(pinged_by.len() >= 19, "{face}: {}", pinged_by.len());
    let in_place = pinged_by.iter().filter(|thread| **thread == here).count();
    let is_plain = face == "a plain thread";
    assert_eq!(in_place > 0, is_plain, "{face}: {in_place} pinged in place");
}

#[test]
fn a_thread_that_drives_a_runtime_borrows_from_a_driver_that_brings_its_own() {
    expect_panics();
    twenty_loans("a plain thread", |borrow| borrow());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    twenty_loans("a thread that drives a runtime", |borrow| runtime.block_on(async { borrow() }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    twenty_loans("the first thread of many", |borrow| runtime.block_on(async { borrow() }));
}
