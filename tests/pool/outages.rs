//! The server goes away and comes back: how often it is tried meanwhile, who is told what, and how
//! soon all is well again.

use crate::common::harness::{Get, Harness, STEP};
use crate::common::*;
use caliburn::health::{
    ConnectionInfo, EvictionCause, HealthStrategy, PeriodicSweep, PingAfterFailure, PingOnBorrow,
    Verdict,
};
use caliburn::{
    AsyncManager, BuildError, Builder, Clock, Deadline, GetError, Manager, ManagerError, MockClock,
    Pool, PooledConnection,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// A borrower who always waits for a connection, and comes again when it was in vain.
struct Customer<'a>(&'a Harness, Get<'a>);

impl<'a> Customer<'a> {
    fn new(harness: &'a Harness) -> Self {
        Self(harness, harness.get())
    }

    fn is_served(&mut self) -> bool {
        // More than once in vain at one moment is as good as once.
        for _ in 0..2 {
            match poll_once(&mut self.1) {
                Poll::Ready(got) => {
                    self.1 = self.0.get();
                    if got.is_ok() {
                        return true;
                    }
                }
                Poll::Pending => return false,
            }
        }
        false
    }

    /// How long it takes until it is served.
    #[track_caller]
    fn served_after(&mut self) -> Duration {
        let mut took = Duration::ZERO;
        while !self.is_served() {
            self.0.step();
            took += STEP;
            assert!(took < 100 * SECOND, "never served");
        }
        took
    }
}

/// All connections are lost, connects end as `mode` says for so long, and then all is well again.
/// What comes back is how often it was tried in a second, once the back-off was steady, and how
/// soon there was service.
fn sit_out(size: usize, mode: Mode, outage: Duration) -> (f64, Duration) {
    let harness = Harness::new(size, |b| b);
    harness.lose_all();
    harness.fake.on_connect(mode);
    // A server that is mute says no goodbye either.
    harness.fake.on_close(if mode == Mode::Hang { Mode::Hang } else { Mode::Ok });
    let mut customer = Customer::new(&harness);
    let live = |customer: &mut Customer<'_>, time: Duration| {
        let before = harness.attempts();
        for _ in 0..time.as_millis() / STEP.as_millis() {
            assert!(!customer.is_served());
            harness.step();
        }
        (harness.attempts() - before) as f64 / time.as_secs_f64()
    };
    live(&mut customer, 5 * SECOND);
    let rate = live(&mut customer, outage - 5 * SECOND);
    harness.fake.on_connect(Mode::Ok);
    harness.fake.on_close(Mode::Ok);
    (rate, customer.served_after())
}

/// Outages that end at so many moments, `apart` from each other. The least and the greatest rate of
/// connects, and the longest time until there was service.
fn sit_out_many(size: usize, mode: Mode, count: u32, apart: Duration) -> (f64, f64, Duration) {
    let ends = (0..count).map(|n| sit_out(size, mode, 30 * SECOND + n * apart));
    let worst = ends
        .fold((f64::MAX, 0f64, Duration::ZERO), |(least, most, longest), (rate, took)| {
            (least.min(rate), most.max(rate), longest.max(took))
        });
    println!("pool of {size}, connects {mode:?}: rates and longest time to recover {worst:?}");
    worst
}

/// HikariCP #1736 and others: one thread connects, and hangs; after the outage the pool stays at
/// zero, for minutes or for ever. Here the next attempt does not wait for the one before.
#[test]
fn row_25_after_half_a_minute_in_a_black_hole_a_borrower_is_served_within_a_second() {
    let (least, most, longest) = sit_out_many(10, Mode::Hang, 20, SECOND / 2);
    assert!(least > 0.5 && most <= 2.0, "{least} to {most} connects in a second");
    assert!(longest <= SECOND, "{longest:?}");
}

/// Where there are few slots, all of them may hang until their limit, which is ten seconds.
#[test]
fn row_25_a_pool_of_two_is_of_use_again_once_one_of_its_hanging_connects_is_given_up() {
    let (_, most, longest) = sit_out_many(2, Mode::Hang, 20, SECOND / 2);
    assert!(most <= 2.0, "{most} connects in a second");
    assert!(longest <= 11 * SECOND, "{longest:?}");
}

#[test]
fn row_25_after_half_a_minute_of_refusals_a_borrower_is_served_within_a_second() {
    for size in [2, 10] {
        let (least, most, longest) = sit_out_many(size, Mode::Fail, 8, SECOND / 8);
        assert!(least > 0.5 && most <= 2.0, "{least} to {most} connects in a second");
        assert!(longest <= SECOND, "{longest:?}");
    }
}

/// r2d2 #51, bb8 #141: a wrong password looks like a timeout, half a minute later. Here all who
/// wait are told at once, and those who come after them too.
#[test]
fn row_33_an_error_that_will_not_pass_fails_all_who_wait_at_once_with_its_cause() {
    for at_the_start in [true, false] {
        let harness = Harness::new(4, |b| b);
        if !at_the_start {
            harness.lose_all();
        }
        harness.fake.on_connect(Mode::FailForGood);
        let mut gets: Vec<_> = (0..10).map(|_| harness.get()).collect();
        assert!(gets.iter_mut().all(|get| poll_once(get).is_pending()));
        let before = harness.attempts();
        eventually("it has been tried", || {
            harness.settle();
            harness.pool.stats().connect_failures > 0
        });
        let wrong = |error: &GetError<FakeError>| match error {
            GetError::Connect { cause, .. } => {
                matches!(**cause, ManagerError::Failed(FakeError::WrongPassword))
            }
            _ => false,
        };
        // No time has passed.
        for get in &mut gets {
            let Poll::Ready(Err(error)) = poll_once(get) else { panic!("it waits") };
            assert!(wrong(&error), "{error}");
        }
        let Poll::Ready(Err(error)) = poll_once(&mut harness.get()) else { panic!("it waits") };
        assert!(wrong(&error), "{error}");
        let mut customer = Customer::new(&harness);
        for _ in 0..400 {
            assert!(!customer.is_served());
            harness.step();
        }
        let attempts = harness.attempts() - before;
        assert!((6..=20).contains(&attempts), "{attempts} in ten seconds");
        harness.fake.on_connect(Mode::Ok);
        let took = customer.served_after();
        assert!(took <= SECOND, "{took:?}");
    }
}

#[test]
fn row_33_an_error_that_may_pass_keeps_nobody_from_waiting_unless_it_is_to_fail_fast() {
    for fail_fast in [false, true] {
        let harness = Harness::new(2, |b| b.fail_fast(fail_fast).checkout_timeout(60 * SECOND));
        let mut first = harness.get();
        eventually("it is open", || {
            let _ = poll_once(&mut first).is_pending();
            harness.settle();
            harness.pool.stats().size == 1
        });
        drop(first);
        let Poll::Ready(Ok(held)) = poll_once(&mut harness.get()) else { panic!("none is idle") };
        harness.fake.on_connect(Mode::Fail);
        let mut get = harness.get();
        for _ in 0..40 {
            assert!(poll_once(&mut get).is_pending(), "a connection may come back");
            harness.step();
        }
        PooledConnection::discard(held);
        (0..40).for_each(|_| harness.step());
        if fail_fast {
            let Poll::Ready(Err(GetError::Connect { cause, .. })) = poll_once(&mut get) else {
                panic!("it waits")
            };
            assert!(matches!(*cause, ManagerError::Failed(FakeError::Refused)), "{cause}");
            get = harness.get();
        }
        harness.fake.on_connect(Mode::Ok);
        let took = Customer(&harness, get).served_after();
        assert!(took <= SECOND, "{took:?}");
    }
}

/// r2d2 #142: `build` hangs when the database comes and goes meanwhile. Here it ends within its
/// limit, and if it fails nothing is left.
#[test]
fn row_35_a_server_that_comes_and_goes_while_the_pool_is_built_holds_nobody_up() {
    let limit = Duration::from_millis(60);
    for round in 0..8 {
        let (fake, is_over) = (Fake::new(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                // A moment up and two down, or the other way round.
                for n in 0.. {
                    fake.on_connect(if (n % 3 == 0) == (round % 2 == 0) {
                        Mode::Ok
                    } else {
                        Mode::Fail
                    });
                    fake.kill_all();
                    if is_over.load(SeqCst) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1 + round));
                }
                fake.on_connect(Mode::Ok);
            });
            let begun = Instant::now();
            let built = Pool::builder(fake.clone())
                .max_size(4)
                .min_size(4)
                .health(PeriodicSweep::every(Duration::from_millis(2)))
                .wait_ready(limit)
                .build();
            let took = begun.elapsed();
            is_over.store(true, SeqCst);
            assert!(took < limit + SECOND, "{took:?}");
            match built {
                Ok(pool) => drop(pool.get_timeout(PLENTY).unwrap()),
                Err(BuildError::NotReady(error)) => assert!(error.open < 4, "{error}"),
                Err(error) => panic!("{error}"),
            }
        });
        eventually("nothing is left", || fake.books().alive() == 0);
    }
}

/// pgx #2330: a hook that always refuses makes an endless loop. Here there is a last connection,
/// the one that was opened for this borrower, and no more.
#[test]
fn row_57_a_strategy_that_refuses_everything_ends_a_get_after_one_more_than_the_pool_holds() {
    struct Never;
    impl HealthStrategy for Never {
        fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
            Verdict::Evict(EvictionCause::Strategy)
        }
    }
    for size in [1, 2, 5] {
        let harness = Harness::new(size, |b| b.health(Never));
        let mut get = harness.get();
        let mut end = None;
        eventually("it ends", || {
            harness.step();
            match poll_once(&mut get) {
                Poll::Ready(got) => {
                    end = Some(got);
                    true
                }
                Poll::Pending => false,
            }
        });
        let Some(Err(GetError::AllEvicted { evicted, .. })) = end else { panic!("{end:?}") };
        assert_eq!(evicted, size + 1);
        assert!(harness.attempts() <= size + 1, "{}", harness.attempts());
    }
}

/// psycopg #1124, #784, #709: endless loops of connects and checks. Here fresh connections that are
/// dead at once are as good as failed connects: the pool backs off.
#[test]
fn row_58_pings_that_always_fail_cause_few_connects_and_keep_nobody_beyond_its_limit() {
    let limit = SECOND / 2;
    let harness = Harness::new(10, |b| b.checkout_timeout(limit).health(PingOnBorrow::always()));
    // From the first failure on, that a connect succeeded does not count as an answer.
    drop(harness.lent());
    harness.fake.on_ping(Mode::Fail);
    let (mut get, mut waited) = (harness.get(), Duration::ZERO);
    for _ in 0..200 {
        match poll_once(&mut get) {
            Poll::Ready(Ok(_)) => panic!("dead connections are lent"),
            Poll::Ready(Err(_)) => (get, waited) = (harness.get(), Duration::ZERO),
            Poll::Pending => assert!(waited <= limit + STEP, "{waited:?}"),
        }
        harness.step();
        waited += STEP;
    }
    let attempts = harness.attempts();
    assert!((5..=20).contains(&attempts), "{attempts} connects in five seconds");
    harness.fake.on_ping(Mode::Ok);
    let took = Customer(&harness, get).served_after();
    assert!(took <= SECOND, "{took:?}");
}

#[test]
fn one_attempt_at_a_time_is_made_while_the_server_is_down_and_the_first_success_serves_all() {
    let harness = Harness::new(16, |b| b.connect_concurrency(4).checkout_timeout(60 * SECOND));
    harness.lose_all();
    harness.fake.on_connect(Mode::Fail);
    let mut gets: Vec<_> = (0..16).map(|_| harness.get()).collect();
    let mut served = Vec::new();
    let mut look = || {
        gets.retain_mut(|get| match poll_once(get) {
            Poll::Ready(got) => {
                served.push(got.unwrap());
                false
            }
            Poll::Pending => true,
        });
        harness.step();
        gets.len()
    };
    // The first failure is yet to come.
    look();
    harness.most.set(0);
    (0..400).for_each(|_| assert_eq!(look(), 16));
    assert_eq!(harness.most.get(), 1, "at once, while it was down");
    harness.fake.on_connect(Mode::Ok);
    let mut took = Duration::ZERO;
    while look() > 0 {
        took += STEP;
        assert!(took < 2 * SECOND, "not all are served");
    }
    let most = harness.most.get();
    assert!((2..=4).contains(&most), "{most} at once, once it was up");
}

#[test]
fn a_connect_that_hangs_while_others_succeed_costs_neither_a_wait_nor_a_place() {
    let harness = Harness::new(10, |b| b.connect_concurrency(1));
    harness.fake.on_connect(Mode::Hang);
    let mut gets = vec![harness.get()];
    eventually("it hangs", || {
        assert!(poll_once(&mut gets[0]).is_pending());
        harness.settle();
        harness.attempts() == 1
    });
    harness.fake.on_connect(Mode::Ok);
    gets.extend((0..8).map(|_| harness.get()));
    let mut held = Vec::new();
    let mut took = Duration::ZERO;
    while !gets.is_empty() {
        gets.retain_mut(|get| match poll_once(get) {
            Poll::Ready(got) => {
                held.push(got.unwrap());
                false
            }
            Poll::Pending => true,
        });
        harness.step();
        took += STEP;
        assert!(took <= SECOND, "{} of 9 are served", held.len());
    }
    assert_eq!((harness.pool.stats().opening, harness.attempts()), (1, 10));
    // That it is given up in the end is no news: nobody waits because of it.
    (0..400).for_each(|_| harness.step());
    assert_eq!((harness.pool.stats().opening, harness.pool.stats().connect_failures), (0, 1));
    let mut get = harness.get();
    eventually("the last slot is filled at once", || {
        harness.settle();
        poll_once(&mut get).is_ready()
    });
}

/// Nothing but time tells that the first connect hangs. Nobody was to look before the next sweep.
#[test]
fn a_connect_that_hangs_is_overtaken_though_the_pool_was_at_rest_when_it_was_begun() {
    let fakes = [(); 2].map(|()| Fake::new());
    thread::scope(|scope| {
        scope.spawn(|| overtakes_what_hangs(Pool::builder(fakes[0].clone()), &fakes[0]));
        let builder = Pool::builder_async(AsyncFake(fakes[1].clone()));
        scope.spawn(|| overtakes_what_hangs(builder, &fakes[1]));
    });
}

fn overtakes_what_hangs<M>(builder: Builder<M>, fake: &Fake)
where
    M: Manager<Connection = Conn, Error = FakeError>,
{
    const INTERVAL: Duration = Duration::from_secs(5);
    let builder = builder.max_size(2).sweep_interval(Some(INTERVAL)).connect_timeout(2 * PLENTY);
    let pool = builder.build().unwrap();
    eventually("a sweep, and the next is far off", || pool.stats().sweeps > 0);
    fake.on_connect(Mode::Hang);
    let begun = Instant::now();
    thread::scope(|scope| {
        let get = scope.spawn(|| pool.get_timeout(PLENTY));
        eventually("a connect", || fake.books().attempts.load(SeqCst) == 1);
        fake.on_connect(Mode::Ok);
        assert!(get.join().unwrap().is_ok());
    });
    let took = begun.elapsed();
    fake.open_gate();
    assert!(took < INTERVAL - SECOND, "{took:?}");
}

#[test]
fn those_who_ask_for_growth_at_one_moment_do_not_take_each_others_connect_for_one_that_hangs() {
    let mut most = 0;
    for _ in 0..1000 {
        let fake = Fake::new();
        fake.on_connect(Mode::Hang);
        let (clock, _hand) = Clock::mock();
        let pool = Pool::builder(fake.clone()).max_size(4).connect_concurrency(1).clock(clock);
        let pool = pool.build().unwrap();
        let barrier = std::sync::Barrier::new(3);
        thread::scope(|scope| {
            for n in 0..3 {
                let (pool, barrier) = (&pool, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..20 {
                        if n == 0 {
                            pool.change(|settings| settings.min_size = 2).unwrap()
                        } else {
                            pool.maintain()
                        }
                    }
                });
            }
        });
        // Not a moment has passed, so none can have taken long.
        most = most.max(pool.stats().opening);
        fake.open_gate();
    }
    assert_eq!(most, 1, "at once, where one may be");
}

/// A pool without a background, all of whose connections are open.
fn pinging_after_failure(fake: &Fake, size: usize) -> (Pool<Fake>, MockClock) {
    let (clock, hand) = Clock::mock();
    let builder = Pool::builder(fake.clone()).max_size(size).min_size(size).idle_timeout(None);
    let pool = builder
        .health(PingAfterFailure)
        .clock(clock)
        .manual_maintenance()
        .wait_ready(PLENTY)
        .build();
    (pool.unwrap(), hand)
}

fn find_one_broken(pool: &Pool<Fake>) {
    pool.get().unwrap().broken = true;
}

#[test]
fn one_dead_connection_has_the_others_looked_at_within_a_second_though_nobody_borrows() {
    let fake = Fake::new();
    let (pool, hand) = pinging_after_failure(&fake, 6);
    hand.advance(3 * SECOND);
    pool.maintain();
    fake.kill_all();
    find_one_broken(&pool);
    let mut took = Duration::ZERO;
    while fake.books().pings.load(SeqCst) < 5 {
        hand.advance(STEP);
        pool.maintain();
        took += STEP;
        assert!(took <= SECOND, "{} of 5 are pinged", fake.books().pings.load(SeqCst));
    }
    pool.maintain();
    assert_eq!((pool.stats().evictions.by(EvictionCause::PingFailed), pool.stats().idle), (5, 6));
    assert_settled(&pool, fake.books());
}

#[test]
fn bad_news_every_moment_does_not_make_the_pool_look_more_than_once_a_second() {
    let fake = Fake::new();
    let (pool, hand) = pinging_after_failure(&fake, 6);
    for _ in 0..200 {
        find_one_broken(&pool);
        hand.advance(STEP);
        pool.maintain();
    }
    let sweeps = pool.stats().sweeps;
    assert!((4..=6).contains(&sweeps), "{sweeps} in five seconds");
    assert_settled(&pool, fake.books());
}

#[test]
fn a_reset_that_fails_makes_the_others_suspect_too() {
    let fake = Fake::new();
    let (pool, _hand) = pinging_after_failure(&fake, 2);
    pool.get().unwrap().dirty = true;
    pool.maintain();
    drop((pool.get().unwrap(), pool.get().unwrap()));
    assert_eq!(fake.books().pings.load(SeqCst), 0, "it could be reset");
    fake.on_reset(Mode::Fail);
    pool.get().unwrap().dirty = true;
    pool.maintain();
    drop((pool.get().unwrap(), pool.get().unwrap()));
    assert_eq!(fake.books().pings.load(SeqCst), 1, "the other one, not the fresh one");
}

/// Knows which connections are in the middle of a ping, as their server does.
#[derive(Clone, Default)]
struct Telltale(AsyncFake, Arc<Mutex<HashSet<u64>>>);

impl Manager for Telltale {
    type Connection = Conn;
    type Error = FakeError;
}

impl AsyncManager for Telltale {
    async fn connect(&self, deadline: &Deadline) -> Result<Conn, FakeError> {
        self.0.connect(deadline).await
    }

    async fn ping(&self, conn: &mut Conn, deadline: &Deadline) -> Result<(), FakeError> {
        // One that is given up half-way stays in the middle for ever.
        assert!(self.1.lock().unwrap().insert(conn.id), "pinged twice at once");
        self.0.ping(conn, deadline).await?;
        self.1.lock().unwrap().remove(&conn.id);
        Ok(())
    }
}

#[test]
fn no_connection_is_pinged_while_a_ping_of_it_is_unanswered() {
    let (clock, hand) = Clock::mock();
    let manager = Telltale::default();
    let pool = Pool::builder_async(manager.clone())
        .max_size(4)
        .min_size(2)
        .clock(clock)
        .health((PingAfterFailure, PingOnBorrow::default(), PeriodicSweep::every(SECOND)))
        .manual_maintenance()
        .build()
        .unwrap();
    for n in 0..3000 {
        let mut gets: Vec<_> = (0..3).map(|_| Box::pin(pool.get_async())).collect();
        // Some are given up before, some in the middle of a ping, some have a connection.
        for (m, get) in gets.iter_mut().enumerate() {
            for _ in 0..(n + m) % 4 {
                if let Poll::Ready(Ok(mut conn)) = poll_once(get) {
                    if n % 7 == 0 {
                        PooledConnection::suspect(&mut conn);
                    }
                    break;
                }
            }
        }
        manager.0.0.on_ping(if n % 11 == 0 { Mode::Fail } else { Mode::Ok });
        drop(gets);
        let _ = pool.try_get();
        hand.advance(Duration::from_millis(n as u64 % 5 * 200));
        pool.maintain();
    }
    let stats = pool.stats();
    assert!(stats.pings > 1000 && stats.pings_cancelled > 100, "{stats}");
}
