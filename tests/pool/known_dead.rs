//! What is known to be dead is not lent (promise P13): before each loan the manager is asked what
//! it knows without I/O, once, on every way that a connection can come to a borrower.

use crate::common::*;
use caliburn::health::{
    AgeEviction, EvictionCause, HealthStrategy, PeriodicSweep, PingAfterFailure, PingOnBorrow,
};
use caliburn::{
    AsyncManager, BlockingManager, Builder, Deadline, Manager, MockClock, Pool, PooledConnection,
    TryGetError,
};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A driver that hears of the other end's death without asking.
#[derive(Clone, Default)]
struct Hearing(Arc<Ears>);

#[derive(Default)]
struct Ears {
    fake: Fake,
    /// `has_broken`, ever.
    asked: AtomicUsize,
    /// These are known to be dead.
    dead: Mutex<Vec<u64>>,
    /// So many more answers are "no", and the next one is "yes".
    dies_after: AtomicU64,
    ping_is_the_end: AtomicBool,
    panics: AtomicBool,
}

impl Hearing {
    fn new() -> Self {
        let new = Self::default();
        new.0.dies_after.store(u64::MAX, SeqCst);
        new
    }

    fn hear_of(&self, dead: impl IntoIterator<Item = u64>) {
        self.0.dead.lock().unwrap().extend(dead);
    }

    fn dies_after(&self, answers: u64) {
        self.0.dies_after.store(answers, SeqCst);
    }

    fn asked(&self) -> usize {
        self.0.asked.load(SeqCst)
    }

    fn pings(&self) -> usize {
        self.0.fake.books().pings.load(SeqCst)
    }

    fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        if self.0.ping_is_the_end.swap(false, SeqCst) {
            self.hear_of([conn.id]);
        }
        BlockingManager::ping(&self.0.fake, conn, deadline)
    }
}

impl Manager for Hearing {
    type Connection = Conn;
    type Error = FakeError;

    fn has_broken(&self, conn: &mut Conn) -> bool {
        self.0.asked.fetch_add(1, SeqCst);
        if self.0.panics.swap(false, SeqCst) {
            std::panic::resume_unwind(Box::new("has_broken panics"));
        }
        if self.0.dies_after.fetch_sub(1, SeqCst) == 0 {
            self.hear_of([conn.id]);
            self.dies_after(u64::MAX);
        }
        self.0.dead.lock().unwrap().contains(&conn.id)
    }

    fn needs_reset(&self, conn: &mut Conn) -> bool {
        self.0.fake.needs_reset(conn)
    }
}

impl BlockingManager for Hearing {
    fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        BlockingManager::connect(&self.0.fake, deadline)
    }

    fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        Hearing::ping(self, conn, deadline)
    }

    fn reset(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        BlockingManager::reset(&self.0.fake, conn, deadline)
    }
}

impl AsyncManager for Hearing {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        BlockingManager::connect(&self.0.fake, deadline)
    }

    async fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        Hearing::ping(self, conn, deadline)
    }
}

type Lent = PooledConnection<Hearing>;

/// A pool without a background, under a mocked clock, with `size` connections open of as many.
struct Case {
    server: Hearing,
    pool: Pool<Hearing>,
    hand: MockClock,
}

impl Case {
    fn new(size: usize, more: impl FnOnce(Builder<Hearing>) -> Builder<Hearing>) -> Self {
        Self::of(Pool::builder, size, more)
    }

    fn of(
        begin: fn(Hearing) -> Builder<Hearing>,
        size: usize,
        more: impl FnOnce(Builder<Hearing>) -> Builder<Hearing>,
    ) -> Self {
        let (server, (clock, hand)) = (Hearing::new(), caliburn::Clock::mock());
        let builder = begin(server.clone()).max_size(size).min_size(size).idle_timeout(None);
        let builder = builder.manual_maintenance().clock(clock).wait_ready(PLENTY);
        // Threads ping in place.
        let builder = builder.ping_timeout(SECOND / 2);
        Self { pool: more(builder).build().unwrap(), server, hand }
    }

    /// A task's loan, cranked.
    #[track_caller]
    fn task(&self) -> Lent {
        let mut get = Box::pin(self.pool.get_timeout_async(60 * SECOND));
        for _ in 0..20 {
            if let Poll::Ready(got) = poll_once(&mut get) {
                return got.unwrap();
            }
            self.pool.maintain();
            self.hand.advance(SECOND / 40);
        }
        panic!("never served: {}", self.pool.stats());
    }

    fn broken(&self) -> u64 {
        self.pool.stats().evictions.by(EvictionCause::Broken)
    }
}

/// All faces; none has to wait as long as one connection is alive.
type Face = (&'static str, fn(&Case) -> Lent);

const FACES: [Face; 5] = [
    ("get", |case| case.pool.get().unwrap()),
    ("get_timeout", |case| case.pool.get_timeout(SECOND).unwrap()),
    ("try_get", |case| case.pool.try_get().unwrap()),
    ("get_async", |case| {
        let Poll::Ready(got) = poll_once(&mut Box::pin(case.pool.get_async())) else {
            panic!("one is alive: {}", case.pool.stats())
        };
        got.unwrap()
    }),
    ("get_timeout_async", Case::task),
];

#[test]
fn who_meets_a_dead_connection_goes_on_to_the_next_whatever_the_face_and_the_strategy() {
    for (face, borrow) in FACES {
        for (name, strategy) in strategies() {
            let case = Case::new(4, |b| b.health(strategy));
            // The one that would be lent last.
            let alive = (0..4).map(|_| case.pool.try_get().unwrap()).collect::<Vec<_>>()[3].id;
            case.server.hear_of((0..4).filter(|id| *id != alive));
            for _ in 0..2 {
                let lent = borrow(&case);
                assert_eq!(lent.id, alive, "{face}, {name}: lent though it is known to be dead");
                drop(lent);
            }
            // The others: met and closed, or not met yet.
            let rest: Vec<_> = std::iter::from_fn(|| case.pool.try_get().ok()).collect();
            assert!(rest.iter().all(|lent| lent.id == alive), "{face}, {name}");
            assert_eq!(case.broken(), 3, "{face}, {name}: {}", case.pool.stats());
            drop(rest);
            case.pool.maintain();
            assert_settled(&case.pool, case.server.0.fake.books());
        }
    }
}

/// None of which pings when no time has passed and no bad news has come.
fn strategies() -> Vec<(&'static str, Box<dyn HealthStrategy>)> {
    vec![
        ("()", Box::new(())),
        ("AgeEviction", Box::new(AgeEviction::default())),
        ("PingOnBorrow", Box::new(PingOnBorrow::default())),
        ("PeriodicSweep", Box::new(PeriodicSweep::default())),
    ]
}

/// The server is restarted while all lie idle: eight sessions, eight loans with the default
/// strategy.
#[test]
fn a_restart_that_was_heard_of_costs_nobody_a_dead_connection() {
    for at_once in [false, true] {
        for begin in [Pool::builder, Pool::builder_async] as [fn(Hearing) -> Builder<Hearing>; 2] {
            let case = Case::of(begin, 8, |b| b);
            case.server.hear_of(0..8);
            case.hand.advance(SECOND / 2);
            let mut held = Vec::new();
            let mut dead = 0;
            for _ in 0..8 {
                let lent = case.task();
                dead += usize::from(lent.id < 8);
                if at_once {
                    held.push(lent);
                }
            }
            assert_eq!(dead, 0, "of 8 lent dead, at once: {at_once}");
            assert!(case.broken() >= 1);
        }
    }
}

#[test]
fn an_attempt_that_finds_all_dead_lends_none_and_has_them_closed() {
    let case = Case::new(4, |b| b);
    case.server.hear_of(0..4);
    assert_eq!(case.pool.try_get().map(|lent| lent.id).unwrap_err(), TryGetError::Empty);
    case.pool.maintain();
    assert_eq!((case.broken(), case.pool.stats().idle), (4, 4), "closed, and replaced");
    assert!(case.pool.try_get().unwrap().id >= 4);
}

#[test]
fn one_that_died_makes_those_of_its_age_suspect() {
    for (face, borrow) in FACES {
        let case = Case::new(3, |b| b.health((PingAfterFailure, AgeEviction::default())));
        // The one that would be lent first.
        let first = case.pool.try_get().unwrap().id;
        case.server.hear_of([first]);
        if face == "try_get" {
            // It pings nobody: the next attempt has what was pinged.
            assert_eq!(case.pool.try_get().map(|lent| lent.id).unwrap_err(), TryGetError::Empty);
            case.pool.maintain();
        } else if face == "get_async" {
            let _ = poll_once(&mut Box::pin(case.pool.get_async())).is_pending();
            case.pool.maintain();
        }
        let lent = borrow(&case);
        assert_ne!(lent.id, first, "{face}");
        assert!(case.server.pings() >= 1, "{face}: those of its age are suspect");
    }
}

#[test]
fn a_connection_that_dies_between_its_return_and_the_hand_off_is_not_handed_over() {
    let case = Case::new(1, |b| b);
    let held = case.pool.get().unwrap();
    let mut task = Box::pin(case.pool.get_async());
    assert!(poll_once(&mut task).is_pending());
    case.server.dies_after(1);
    drop(held);
    for _ in 0..20 {
        if let Poll::Ready(lent) = poll_once(&mut task) {
            assert_eq!(lent.unwrap().id, 1, "for a task");
            break;
        }
        case.pool.maintain();
    }
    assert_eq!(case.broken(), 1, "for a task");

    let case = Case::new(1, |b| b);
    let held = case.pool.get().unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| case.pool.get_timeout(PLENTY).map(|lent| lent.id));
        eventually("it waits", || case.pool.stats().waiting == 1);
        case.server.dies_after(1);
        drop(held);
        eventually("it is served", || {
            case.pool.maintain();
            thread.is_finished()
        });
        assert_eq!(thread.join().unwrap().unwrap(), 1, "for a thread");
    });
    assert_eq!(case.broken(), 1, "for a thread");
}

#[test]
fn a_connection_whose_end_the_ping_itself_has_heard_is_not_lent() {
    for begin in [Pool::builder, Pool::builder_async] as [fn(Hearing) -> Builder<Hearing>; 2] {
        let case = Case::of(begin, 1, |b| b.health(PingOnBorrow::default()));
        case.hand.advance(SECOND);
        case.server.0.ping_is_the_end.store(true, SeqCst);
        assert_eq!(case.task().id, 1);
        assert_eq!((case.server.pings(), case.broken()), (1, 1));
    }
}

#[test]
fn a_fresh_connection_that_is_dead_on_arrival_is_not_lent() {
    for min_size in [0, 1] {
        let case = Case::new(1, |b| b.min_size(min_size));
        case.server.hear_of([0]);
        assert_eq!(case.task().id, 1, "min_size {min_size}");
        assert_eq!(case.broken(), 1, "min_size {min_size}");
    }
}

#[test]
fn a_question_that_panics_before_a_loan_costs_that_connection_alone() {
    for (face, borrow) in FACES {
        let case = Case::new(2, |b| b);
        case.server.0.panics.store(true, SeqCst);
        let lent = borrow(&case);
        assert_eq!(case.pool.stats().evictions.by(EvictionCause::Panicked), 1, "{face}");
        drop(lent);
        case.pool.maintain();
        assert_settled(&case.pool, case.server.0.fake.books());
    }
}

/// How often the manager was asked in `loans` loans by each way, each with its return.
#[test]
fn it_is_asked_once_before_each_loan_and_once_after_it() {
    let mut complaints = String::new();
    let mut check = |what: String, asked: usize, loans: usize| {
        if asked != 2 * loans {
            complaints += &format!("\n  {what}: asked {asked} times in {loans} loans");
        }
    };
    for (face, borrow) in FACES {
        for (name, strategy) in strategies() {
            let case = Case::new(2, |b| b.health((strategy, PingAfterFailure)));
            (0..10).for_each(|_| drop(borrow(&case)));
            check(format!("{face}, {name}"), case.server.asked(), 10);
        }
    }
    for begin in [Pool::builder, Pool::builder_async] as [fn(Hearing) -> Builder<Hearing>; 2] {
        // After a ping, for a task and, where that is in place, for a thread.
        let case = Case::of(begin, 1, |b| b.health(PingOnBorrow::default()));
        for _ in 0..10 {
            case.hand.advance(SECOND);
            drop(case.task());
        }
        assert_eq!(case.server.pings(), 10);
        check("after a ping, for a task".into(), case.server.asked(), 10);
        // A fresh one.
        let case = Case::of(begin, 1, |b| b.min_size(0));
        drop(case.task());
        check("a fresh one".into(), case.server.asked(), 1);
    }
    let case = Case::new(1, |b| b.health(PingOnBorrow::default()));
    for _ in 0..10 {
        case.hand.advance(SECOND);
        drop(case.pool.get().unwrap());
    }
    check("after a ping, for a thread".into(), case.server.asked(), 10);
    // Handed over from one to the next, as it is and after a reset.
    for dirty in [false, true] {
        let case = Case::new(1, |b| b);
        let mut held = case.pool.get().unwrap();
        for _ in 0..9 {
            let mut next = Box::pin(case.pool.get_async());
            assert!(poll_once(&mut next).is_pending());
            held.dirty = dirty;
            drop(held);
            case.pool.maintain();
            let Poll::Ready(Ok(lent)) = poll_once(&mut next) else { panic!("its turn") };
            held = lent;
        }
        drop(held);
        check(format!("handed over, reset: {dirty}"), case.server.asked(), 10);
    }
    // Broken when it comes back (asked twice then, once).
    let case = Case::new(1, |b| b);
    case.server.hear_of([case.pool.get().unwrap().id]);
    check("one that is healthy".into(), case.server.asked(), 1);
    let fresh = case.task();
    case.server.hear_of([fresh.id]);
    let before = case.server.asked();
    drop(fresh);
    check("one that comes back broken".into(), case.server.asked() - before + 1, 1);
    assert!(complaints.is_empty(), "{complaints}");
}

/// Where only an answer can tell.
#[test]
fn a_connection_in_doubt_is_pinged_before_its_loan() {
    let fake = Fake::new();
    let (pool, _hand) = full_manual(&fake, 1, |b| b);
    let pings = || fake.books().pings.load(SeqCst);
    drop(pool.get().unwrap());
    assert_eq!(pings(), 0);
    fake.needs_pings(true);
    drop(pool.get().unwrap());
    drop(pool.get().unwrap());
    assert_eq!(pings(), 2, "once for each loan");
    // One that does not wait leaves the asking to others.
    assert!(matches!(pool.try_get(), Err(TryGetError::Empty)));
    assert_eq!(pings(), 2);
    fake.needs_pings(false);
    pool.maintain();
    assert_eq!(pings(), 3);
    assert!(pool.try_get().is_ok());
    // One that does not answer is not lent.
    fake.needs_pings(true);
    fake.on_ping(Mode::Fail);
    assert!(pool.get_timeout(Duration::ZERO).is_err());
}
