//! Checkouts and borrowers that are given up half-way: the slot comes back, and in order.

use crate::common::*;
use caliburn::health::{EvictionCause, PingOnBorrow};
use caliburn::{
    AsyncManager, Clock, Deadline, ErrorClass, Manager, MockClock, Pool, PooledConnection,
};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

const MANY: usize = if cfg!(debug_assertions) { 20_000 } else { 100_000 };

/// A connection from a pool maintained manually.
fn take<M: Manager>(pool: &Pool<M>) -> PooledConnection<M> {
    let mut future = pin!(pool.get_async());
    for _ in 0..100 {
        if let Poll::Ready(connection) = poll_once(&mut future) {
            return connection.unwrap_or_else(|error| panic!("{error}"));
        }
        pool.maintain();
    }
    panic!("no connection: {pool:?}");
}

// Pings that are cancelled

fn pinging_always(fake: &AsyncFake) -> Pool<AsyncFake> {
    Pool::builder_async(fake.clone())
        .manual_maintenance()
        .max_size(1)
        .min_size(1)
        .health(PingOnBorrow::always())
        .clock(Clock::mock().0)
        .wait_ready(PLENTY)
        .build()
        .unwrap()
}

/// sqlx #1869: a cancelled acquire destroyed a good connection. Here none is lost if the driver
/// says that its ping may be dropped half-way.
#[test]
fn row_4_pings_cancelled_time_and_again_destroy_no_connection_if_they_are_cancel_safe() {
    let fake = AsyncFake::default();
    fake.0.pings_are_cancel_safe();
    let pool = pinging_always(&fake);
    use_each(&pool, 1);
    for _ in 0..MANY {
        let mut future = pin!(pool.get_async());
        assert!(poll_once(&mut future).is_pending(), "the ping is under way");
    }
    assert_eq!(fake.0.books().pings.load(SeqCst), MANY);
    assert_eq!(take(&pool).id, 0);
    assert_eq!(fake.0.books().opened.load(SeqCst), 1);
    assert_eq!(fake.0.books().dropped.load(SeqCst), 0);
    assert_eq!(pool.stats().evictions.total(), 0);
    assert_settled(&pool, fake.0.books());
}

/// sqlx #1869, bb8 (which puts a half-read one back as healthy): if the ping may not be dropped
/// half-way, exactly the connection that was being pinged is replaced, and counted.
#[test]
fn row_4_a_cancelled_ping_that_is_not_cancel_safe_costs_exactly_one_connection_each_time() {
    let fake = AsyncFake::default();
    let pool = pinging_always(&fake);
    for cancelled in 0..MANY / 10 {
        use_each(&pool, 1);
        {
            let mut future = pin!(pool.get_async());
            assert!(poll_once(&mut future).is_pending(), "the ping is under way");
        }
        assert_eq!(fake.0.books().opened.load(SeqCst), cancelled + 1, "one at a time");
        pool.maintain();
        assert_eq!(fake.0.books().dropped.load(SeqCst), cancelled + 1);
        let evictions = pool.stats().evictions;
        assert_eq!(evictions.by(EvictionCause::PingCancelled), cancelled as u64 + 1);
        assert_eq!(evictions.total(), cancelled as u64 + 1, "counted once, under its own name");
        assert_eq!(pool.stats().idle, 1, "it is replaced");
    }
    assert_settled(&pool, fake.0.books());
}

/// The same for a driver that blocks: a worker pings, and goes on although nobody waits any more.
#[test]
fn row_4_a_ping_that_a_worker_makes_is_not_cancelled_with_its_borrower() {
    let fake = Fake::new();
    let pool = Pool::builder(fake.clone())
        .manual_maintenance()
        .max_size(1)
        .min_size(1)
        .health(PingOnBorrow::always())
        .clock(Clock::mock().0)
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    for pings in 1..=MANY / 10 {
        // It has just answered.
        use_each(&pool, 1);
        {
            let mut future = pin!(pool.get_async());
            assert!(poll_once(&mut future).is_pending());
        }
        assert_eq!(pool.stats().maintenance, 1);
        pool.maintain();
        assert_eq!(fake.books().pings.load(SeqCst), pings);
        assert_eq!(pool.stats().idle, 1);
    }
    assert_eq!(fake.books().opened.load(SeqCst), 1);
    assert_eq!(pool.stats().evictions.total(), 0);
    assert_settled(&pool, fake.books());
}

// Every mood of the manager, given up at every depth

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Fine,
    Fails,
    Panics,
    /// Answers after a few polls.
    Slow,
    /// Does not answer while time goes by.
    Never,
}

const MOODS: [Mood; 5] = [Mood::Fine, Mood::Fails, Mood::Panics, Mood::Slow, Mood::Never];
/// Of each call into the manager.
const LIMIT: Duration = Duration::from_secs(1);

/// How connect, ping, reset and close go.
type Moods = [Mood; 4];

/// A fake server with moods. Where it does not answer, it turns the clock, so that no real time is
/// spent.
#[derive(Clone)]
struct Moody {
    fake: AsyncFake,
    hand: MockClock,
    moods: Arc<Mutex<Moods>>,
}

impl Moody {
    fn new(hand: &MockClock) -> Self {
        let moods = Arc::new(Mutex::new([Mood::Fine; 4]));
        Self { fake: AsyncFake::default(), hand: hand.clone(), moods }
    }

    fn set(&self, moods: Moods) {
        *self.moods.lock().unwrap() = moods;
        let [connect, ping, reset, close] = moods.map(|mood| match mood {
            Mood::Fails => Mode::Fail,
            Mood::Panics => Mode::Panic,
            Mood::Fine | Mood::Slow | Mood::Never => Mode::Ok,
        });
        self.fake.0.on_connect(connect);
        self.fake.0.on_ping(ping);
        self.fake.0.on_reset(reset);
        self.fake.0.on_close(close);
    }

    async fn linger(&self, call: usize) {
        let mood = self.moods.lock().unwrap()[call];
        match mood {
            Mood::Slow => {
                for _ in 0..3 {
                    yield_once().await;
                }
            }
            Mood::Never => {
                poll_fn(|cx| {
                    self.hand.advance(LIMIT * 3 / 5);
                    cx.waker().wake_by_ref();
                    Poll::<()>::Pending
                })
                .await;
            }
            Mood::Fine | Mood::Fails | Mood::Panics => {}
        }
    }
}

impl Manager for Moody {
    type Connection = Conn;
    type Error = FakeError;

    fn needs_reset(&self, conn: &mut Conn) -> bool {
        self.fake.needs_reset(conn)
    }

    fn classify(&self, error: &FakeError) -> ErrorClass {
        self.fake.classify(error)
    }
}

impl AsyncManager for Moody {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        self.linger(0).await;
        self.fake.connect(deadline).await
    }

    async fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.linger(1).await;
        self.fake.ping(conn, deadline).await
    }

    async fn reset(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.linger(2).await;
        self.fake.reset(conn, deadline).await
    }

    async fn close(&self, conn: Conn, deadline: &Deadline) {
        self.linger(3).await;
        self.fake.close(conn, deadline).await;
    }
}

/// Gives a checkout up after so many steps: its own polls, with the world's doings between them.
/// False if it was over before.
fn give_up_after(steps: usize, moods: Moods) -> bool {
    let (clock, hand) = Clock::mock();
    let server = Moody::new(&hand);
    let pool = Pool::builder_async(server.clone())
        .clock(clock)
        .manual_maintenance()
        .max_size(2)
        .initial_size(1)
        .checkout_timeout(LIMIT * 2)
        .connect_timeout(LIMIT)
        .ping_timeout(LIMIT)
        .reset_timeout(LIMIT)
        .close_timeout(LIMIT)
        .health(PingOnBorrow::always())
        .wait_ready(PLENTY)
        .build()
        .unwrap();
    // To begin with, one connection waits for its reset, and there is room for another.
    take(&pool).dirty = true;
    server.set(moods);
    let mut is_under_way = true;
    {
        let mut future = pin!(pool.get_async());
        for step in 0..steps {
            if step % 2 == 1 {
                pool.maintain();
                hand.advance(LIMIT / 4);
            } else if let Poll::Ready(outcome) = poll_once(&mut future) {
                is_under_way = false;
                drop(outcome.map(|mut conn| conn.dirty = true));
                break;
            }
        }
    }
    pool.maintain();
    let books = server.fake.0.books();
    let told = |what: &str| format!("{what} after {steps} steps of {moods:?}: {:?}", pool.stats());
    assert_eq!(pool.stats().lent, 0, "{}", told("a slot is lost"));
    assert_settled(&pool, books);
    server.set([Mood::Fine; 4]);
    hand.advance(LIMIT * 2);
    let both = [take(&pool), take(&pool)];
    assert!(both.iter().all(|conn| !conn.dirty), "{}", told("lent as it was left"));
    drop(both);
    assert_eq!(pool.stats().idle, 2, "{}", told("not healthy again"));
    assert_settled(&pool, books);
    drop(pool);
    assert_eq!(books.alive(), 0);
    is_under_way
}

/// deadpool 0.3.0 and 0.4.0 were dead after a get that was aborted, bb8 #59 after a client that
/// went away. Here: every manager there can be, given up at every depth there is.
#[test]
fn row_5_no_slot_is_lost_whatever_the_manager_does_and_wherever_the_checkout_is_given_up() {
    expect_panics();
    let deepest_with = |connect| {
        let rest = |n: usize| [connect, MOODS[n / 25], MOODS[n / 5 % 5], MOODS[n % 5]];
        let depth = |moods| (0..).find(|steps| !give_up_after(*steps, moods));
        (0..125).filter_map(|n| depth(rest(n))).max()
    };
    let deepest = std::thread::scope(|scope| {
        let threads = MOODS.map(|connect| scope.spawn(move || deepest_with(connect)));
        threads.map(|thread| thread.join().unwrap()).into_iter().max().flatten()
    });
    assert!(deepest > Some(10), "the checkouts were hardly under way: {deepest:?}");
}

// Tasks that are cancelled with a transaction open

/// Borrows, leaves something behind, and waits for ever: to be dropped there.
async fn begin_and_never_commit<M: Manager<Connection = Conn>>(pool: &Pool<M>) {
    let mut conn = pool.get_async().await.unwrap();
    conn.dirty = true;
    conn.value = 7;
    pending::<()>().await;
}

/// async-bb8-diesel #47: the transaction of a cancelled task stays open, and the next borrower's
/// writes are part of it. Here the connection is reset first, even if somebody already waits for
/// it, or another comes in its place.
#[test]
fn row_46_what_a_cancelled_task_left_open_is_reset_or_replaced_before_the_next_loan() {
    expect_panics();
    for (mode, is_kept) in [(Mode::Ok, true), (Mode::Fail, false), (Mode::Panic, false)] {
        let fake = AsyncFake::default();
        let pool = Pool::builder_async(fake.clone())
            .manual_maintenance()
            .max_size(1)
            .min_size(1)
            .wait_ready(PLENTY)
            .build()
            .unwrap();
        for round in 1..=50 {
            let before = take(&pool).id;
            let mut task = Box::pin(begin_and_never_commit(&pool));
            assert!(poll_once(&mut task).is_pending());
            let mut next = Box::pin(pool.get_async());
            assert!(poll_once(&mut next).is_pending());
            fake.0.on_reset(mode);
            drop(task);
            assert!(poll_once(&mut next).is_pending(), "handed over as it was left");
            assert!(pool.try_get().is_err());
            pool.maintain();
            let Poll::Ready(Ok(conn)) = poll_once(&mut next) else { panic!("{pool:?}") };
            assert!(!conn.dirty);
            assert_eq!(conn.id == before, is_kept);
            assert_eq!(fake.0.books().resets.load(SeqCst), round);
            drop(conn);
        }
        let failed = pool.stats().evictions.by(EvictionCause::ResetFailed);
        assert_eq!(failed, if is_kept { 0 } else { 50 });
        assert_settled(&pool, fake.0.books());
    }
}
