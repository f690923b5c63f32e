//! Everything foreign panics now and then, under load: managers of both kinds, strategies, wakers
//! and destructors. Borrowers see typed errors, and nothing is lost.

use crate::common::*;
use caliburn::health::{ConnectionInfo, HealthStrategy, PeriodicSweep, PingOnBorrow, Verdict};
use caliburn::{
    AsyncManager, BlockingManager, Builder, Deadline, ErrorClass, GetError, Manager, PingOn, Pool,
    PooledConnection,
};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

const MESSAGE: &str = "chance has it";
const THREADS: u64 = 8;
const SIZE: usize = 6;

/// The same numbers each time, though not for the same threads.
#[derive(Debug, Default)]
struct Dice(AtomicU64);

impl Dice {
    fn throw(&self, sides: u64) -> u64 {
        // SplitMix64.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, SeqCst);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// What all that is foreign consults before it does anything.
#[derive(Clone, Debug, Default)]
struct Fate(Arc<(Dice, AtomicBool, AtomicUsize)>);

impl Fate {
    /// One call in ten panics, unless all is well or the thread is already unwinding.
    fn decide(&self) {
        let (dice, is_well, panics) = &*self.0;
        if !is_well.load(SeqCst) && !std::thread::panicking() && dice.throw(10) == 0 {
            panics.fetch_add(1, SeqCst);
            panic_any(MESSAGE);
        }
    }

    fn throw(&self, sides: u64) -> u64 {
        self.0.0.throw(sides)
    }

    fn relent(&self) {
        self.0.1.store(true, SeqCst);
    }

    fn panics(&self) -> usize {
        self.0.2.load(SeqCst)
    }
}

/// A manager of both kinds, and a strategy.
#[derive(Clone, Default)]
struct Chaos {
    fate: Fate,
    fake: AsyncFake,
}

/// A connection. Its own destructor comes before that of the fake one, which keeps the books.
struct Fragile {
    conn: Conn,
    fate: Fate,
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.fate.decide();
    }
}

impl Manager for Chaos {
    type Connection = Fragile;
    type Error = FakeError;

    fn has_broken(&self, fragile: &mut Fragile) -> bool {
        self.fate.decide();
        fragile.conn.broken
    }

    fn needs_reset(&self, fragile: &mut Fragile) -> bool {
        self.fate.decide();
        fragile.conn.dirty
    }

    fn classify(&self, error: &FakeError) -> ErrorClass {
        self.fate.decide();
        self.fake.classify(error)
    }

    fn ping_is_cancel_safe(&self) -> bool {
        self.fate.decide();
        self.fate.throw(2) == 0
    }
}

impl BlockingManager for Chaos {
    fn connect(&self, deadline: &Deadline) -> Result<Fragile, FakeError> {
        self.fate.decide();
        let conn = BlockingManager::connect(&self.fake.0, deadline)?;
        Ok(Fragile { conn, fate: self.fate.clone() })
    }

    fn ping(&self, fragile: &mut Fragile, deadline: &Deadline) -> Result<(), FakeError> {
        self.fate.decide();
        BlockingManager::ping(&self.fake.0, &mut fragile.conn, deadline)
    }

    fn reset(&self, fragile: &mut Fragile, deadline: &Deadline) -> Result<(), FakeError> {
        self.fate.decide();
        BlockingManager::reset(&self.fake.0, &mut fragile.conn, deadline)
    }

    fn close(&self, fragile: Fragile, _: &Deadline) {
        self.fate.decide();
        drop(fragile);
    }
}

impl AsyncManager for Chaos {
    async fn connect(&self, deadline: &Deadline) -> Result<Fragile, FakeError> {
        self.fate.decide();
        let conn = self.fake.connect(deadline).await?;
        self.fate.decide();
        Ok(Fragile { conn, fate: self.fate.clone() })
    }

    async fn ping(&self, fragile: &mut Fragile, deadline: &Deadline) -> Result<(), FakeError> {
        self.fate.decide();
        self.fake.ping(&mut fragile.conn, deadline).await?;
        self.fate.decide();
        Ok(())
    }

    async fn reset(&self, fragile: &mut Fragile, deadline: &Deadline) -> Result<(), FakeError> {
        self.fate.decide();
        self.fake.reset(&mut fragile.conn, deadline).await
    }

    async fn close(&self, fragile: Fragile, _: &Deadline) {
        self.fate.decide();
        yield_once().await;
        drop(fragile);
    }
}

impl HealthStrategy for Chaos {
    fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
        self.fate.decide();
        if self.fate.throw(4) == 0 { Verdict::Ping } else { Verdict::Keep }
    }

    fn on_return(&self, _: &ConnectionInfo) -> Verdict {
        self.fate.decide();
        Verdict::Keep
    }

    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        self.fate.decide();
        Verdict::Ping
    }

    fn sweep_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(5))
    }
}

/// Wakes a thread, and perhaps panics.
struct Alarm(Thread, Fate);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
        self.1.decide();
    }
}

/// Drives a future on this thread by wakers that panic; gives it up half-way now and then.
fn drive<T>(future: impl Future<Output = T>, fate: &Fate) -> Option<T> {
    let mut future = pin!(future);
    let patience = if fate.throw(3) == 0 { fate.throw(4) } else { u64::MAX };
    for _ in 0..patience {
        let waker = Waker::from(Arc::new(Alarm(std::thread::current(), fate.clone())));
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    None
}

/// One turn of a borrower on either face.
fn borrow_once(pool: &Pool<Chaos>, fate: &Fate) -> bool {
    let limit = Duration::from_millis(5);
    let got = match fate.throw(4) {
        0 => pool.try_get().ok(),
        1 => match pool.get_timeout(limit) {
            Ok(connection) => Some(connection),
            Err(
                GetError::TimedOut { .. } | GetError::AllEvicted { .. } | GetError::Connect { .. },
            ) => None,
            Err(error) => panic!("{error}"),
        },
        _ => drive(pool.get_timeout_async(limit), fate).and_then(Result::ok),
    };
    let Some(mut connection) = got else { return false };
    match fate.throw(12) {
        0 => connection.conn.broken = true,
        1 => connection.conn.dirty = true,
        2 => PooledConnection::suspect(&mut connection),
        3 => {
            PooledConnection::discard(connection);
            return true;
        }
        4 => {
            // From here on its destructor is the borrower's affair.
            let conn = PooledConnection::detach(connection);
            let _ = catch_unwind(AssertUnwindSafe(|| drop(conn)));
            return true;
        }
        5 => {
            let unwind = catch_unwind(AssertUnwindSafe(move || {
                let _connection = connection;
                panic_any(MESSAGE);
            }));
            assert!(unwind.is_err());
            return true;
        }
        _ => {}
    }
    drop(connection);
    true
}

fn stir(builder: Builder<Chaos>, chaos: &Chaos) {
    expect_panics();
    let (fate, books) = (&chaos.fate, chaos.fake.0.books());
    let pool = builder.max_size(SIZE).min_size(2).health(chaos.clone()).build().unwrap();
    let set = |mode| {
        for on in [Fake::on_connect, Fake::on_ping, Fake::on_reset] {
            on(&chaos.fake.0, mode);
        }
    };
    let (escaped, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let begun = Instant::now();
    let is_over = || {
        let is_enough = served.load(SeqCst) > 50 && fate.panics() > 100;
        begun.elapsed() > Duration::from_millis(if is_enough { 900 } else { 9000 })
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !is_over() {
                    match catch_unwind(AssertUnwindSafe(|| borrow_once(&pool, fate))) {
                        Ok(is_served) => served.fetch_add(usize::from(is_served), SeqCst),
                        Err(_) => escaped.fetch_add(1, SeqCst),
                    };
                }
            });
        }
        // The load is mostly well, and at times down: what fails must be classified.
        for mode in [Mode::Ok, Mode::Fail].into_iter().cycle() {
            if is_over() {
                break;
            }
            set(mode);
            std::thread::sleep(Duration::from_millis(if mode == Mode::Ok { 60 } else { 5 }));
        }
    });
    set(Mode::Ok);
    fate.relent();
    println!("{} loans, {} panics; {}", served.load(SeqCst), fate.panics(), pool.stats());
    assert_eq!(escaped.load(SeqCst), 0, "panics that reached a borrower");
    assert!(served.load(SeqCst) > 50 && fate.panics() > 100);
    // All slots are there, and so are the workers and the housekeeper.
    let mut held: Vec<_> = (0..SIZE).map(|_| pool.get_timeout(PLENTY).unwrap()).collect();
    PooledConnection::discard(held.pop().unwrap());
    held.push(pool.get_timeout(PLENTY).unwrap());
    eventually("all are lent", || (pool.stats().lent, books.alive()) == (SIZE, SIZE));
    drop(held);
    let sweeps = pool.stats().sweeps;
    eventually("the sweep goes on", || pool.stats().sweeps > sweeps + 1);
    assert_settled(&pool, books);
    assert!(pool.close_within(PLENTY).is_complete());
    assert_eq!(books.alive(), 0);
}

#[test]
fn a_blocking_manager_that_panics_in_one_call_of_ten_costs_no_slot_and_no_borrower() {
    let chaos = Chaos::default();
    stir(Pool::builder(chaos.clone()), &chaos);
}

#[test]
fn an_async_manager_that_panics_in_one_call_of_ten_costs_no_slot_and_no_borrower() {
    let chaos = Chaos::default();
    stir(Pool::builder_async(chaos.clone()), &chaos);
}

#[test]
fn an_async_manager_that_panics_on_a_runtime_costs_no_slot_and_no_borrower() {
    let chaos = Chaos::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let handle = runtime.handle().clone();
    let builder = Pool::builder_async(chaos.clone()).spawner(move |task| drop(handle.spawn(task)));
    stir(builder, &chaos);
}

/// A server whose calls take as long as chance has it, so that they end in another order than they
/// began.
#[derive(Clone, Default)]
struct Shuffled(AsyncFake, Fate);

impl Shuffled {
    async fn dawdle(&self) {
        for _ in 0..self.1.throw(30) {
            yield_once().await;
        }
    }
}

impl Manager for Shuffled {
    type Connection = Conn;
    type Error = FakeError;

    fn needs_reset(&self, conn: &mut Conn) -> bool {
        conn.dirty
    }
}

impl AsyncManager for Shuffled {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        let conn = self.0.connect(deadline).await;
        self.dawdle().await;
        conn
    }

    async fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.dawdle().await;
        self.0.ping(conn, deadline).await
    }

    async fn reset(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        self.dawdle().await;
        self.0.reset(conn, deadline).await
    }

    async fn close(&self, conn: Conn, deadline: &Deadline) {
        self.dawdle().await;
        self.0.close(conn, deadline).await;
    }
}

#[test]
fn calls_that_come_back_in_any_order_mix_nothing_up() {
    let shuffled = Shuffled::default();
    shuffled.1.relent();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    let pool = Pool::builder_async(shuffled.clone())
        .max_size(5)
        .spawner(move |task| drop(handle.spawn(task)))
        .health((PingOnBorrow::always(), PeriodicSweep::every(Duration::from_millis(2))))
        .build()
        .unwrap();
    let users = (0..40).map(|n| {
        let (pool, fate) = (pool.clone(), shuffled.1.clone());
        runtime.spawn(async move {
            for _ in 0..20 {
                let mut conn = pool.get_async().await.unwrap();
                conn.value += 1;
                let seen = conn.value;
                yield_once().await;
                assert_eq!(conn.value, seen, "somebody else has it too");
                conn.dirty = fate.throw(5) == 0;
                conn.broken = fate.throw(50) == 0;
                if n % 10 == 0 && fate.throw(3) == 0 {
                    PooledConnection::discard(conn);
                }
            }
        })
    });
    let users: Vec<_> = users.collect();
    users.into_iter().for_each(|user| runtime.block_on(user).unwrap());
    runtime.block_on(async {
        // The runtime has to go on for what is left to do.
        let report = pool.close_within_async(PLENTY).await;
        assert!(report.is_complete(), "{report}");
    });
    assert_eq!(shuffled.0.0.books().alive(), 0);
    assert!(shuffled.0.0.books().most_open.load(SeqCst) <= 5);
}

#[test]
fn a_manager_that_never_returns_keeps_neither_borrowers_nor_those_who_close_or_drop_the_pool() {
    let limit = Duration::from_millis(20);
    for (call, on) in
        [Fake::on_connect, Fake::on_ping, Fake::on_reset, Fake::on_close].into_iter().enumerate()
    {
        let fake = Fake::new();
        let pool = Pool::builder(fake.clone()).max_size(2).checkout_timeout(limit);
        let pool = pool.ping_on(PingOn::Worker).build().unwrap();
        let mut held = (call > 0).then(|| pool.get_timeout(PLENTY).unwrap());
        on(&fake, Mode::Hang);
        if let Some(conn) = &mut held {
            conn.dirty = call == 2;
            if call == 1 {
                PooledConnection::suspect(conn);
            }
        }
        match held {
            Some(conn) if call == 3 => PooledConnection::discard(conn),
            held => drop(held),
        }
        eventually("it hangs", || {
            // What nobody waits for any more may not have been begun.
            let _ = pool.get();
            let (books, stats) = (fake.books(), pool.stats());
            match call {
                0 => books.attempts.load(SeqCst) > 0,
                1 => books.pings.load(SeqCst) > 0,
                2 => books.resets.load(SeqCst) > 0,
                _ => stats.maintenance > 0,
            }
        });
        let begun = Instant::now();
        let _ = pool.get();
        let report = pool.close_within(limit);
        assert!(!report.is_complete(), "{report}");
        drop(pool);
        assert!(begun.elapsed() < PLENTY / 4, "{:?}", begun.elapsed());
        fake.open_gate();
        eventually("what came late is closed", || fake.books().alive() == 0);
    }
}

#[test]
fn managers_and_handles_are_cloned_and_dropped_in_the_middle_of_everything() {
    expect_panics();
    for round in 0..10 {
        let chaos = Chaos::default();
        let builder = if round % 2 == 0 {
            Pool::builder(chaos.clone())
        } else {
            Pool::builder_async(chaos.clone())
        };
        let pool = builder.max_size(SIZE).min_size(2).health(chaos.clone()).build().unwrap();
        std::thread::scope(|scope| {
            for n in 0..THREADS {
                let (pool, fate) = (pool.clone(), chaos.fate.clone());
                scope.spawn(move || {
                    let manager = pool.manager().clone();
                    let mut last = None;
                    for turn in 0..20 + 5 * n {
                        assert!(
                            catch_unwind(AssertUnwindSafe(|| borrow_once(&pool, &fate))).is_ok()
                        );
                        if turn % 7 == 0 {
                            drop((manager.clone(), pool.clone()));
                            last = pool.get_timeout(Duration::from_millis(1)).ok();
                        }
                    }
                    // The guard outlives the handle.
                    drop((manager, pool));
                    drop(last);
                });
            }
            drop(pool);
        });
        eventually("nothing is left", || chaos.fake.0.books().alive() == 0);
    }
}
