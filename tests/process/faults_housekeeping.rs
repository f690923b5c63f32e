//! Faults of housekeeping: what keeps the housekeeper from its work, or makes too much of it.

use crate::common::*;
use caliburn::health::{ConnectionInfo, HealthStrategy, PingOnBorrow, Verdict};
use caliburn::{Fairness, GetError, MockClock, Pool, PooledConnection, Settings};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

// Foreign code under the housekeeper's locks.

/// Sweeps the pool while it is being swept.
struct SweepsAgain(Arc<OnceLock<Pool<Fake>>>, Arc<AtomicUsize>);

thread_local! {
    static IS_SWEEPING_AGAIN: AtomicBool = const { AtomicBool::new(false) };
}

impl HealthStrategy for SweepsAgain {
    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        if !IS_SWEEPING_AGAIN.with(|is| is.swap(true, SeqCst)) {
            if let Some(pool) = self.0.get() {
                pool.sweep();
                self.1.fetch_add(1, SeqCst);
            }
            IS_SWEEPING_AGAIN.with(|is| is.store(false, SeqCst));
        }
        Verdict::Keep
    }
}

/// A pool of two connections whose strategy sweeps, and how often it has.
fn pool_that_sweeps_again(interval: Duration) -> (Pool<Fake>, Arc<AtomicUsize>) {
    let (pool, swept) = (Arc::<OnceLock<_>>::default(), Arc::<AtomicUsize>::default());
    let built = Pool::builder(Fake::new())
        .max_size(2)
        .min_size(2)
        .sweep_interval(Some(interval))
        .health(SweepsAgain(pool.clone(), swept.clone()))
        .wait_ready(ENOUGH)
        .build()
        .unwrap();
    assert!(pool.set(built.clone()).is_ok());
    (built, swept)
}

#[test]
fn a_strategy_that_sweeps_its_own_pool_keeps_the_housekeeper_from_no_other_pools_limits() {
    let _alone = crate::alone();
    let test =
        "a_strategy_that_sweeps_its_own_pool_keeps_the_housekeeper_from_no_other_pools_limits";
    in_child(test, ENOUGH, || {
        let (_pool, swept) = pool_that_sweeps_again(Duration::from_millis(1));
        let other = Pool::builder(Fake::new()).max_size(1).build().unwrap();
        let _held = other.get_timeout(ENOUGH).unwrap();
        is_soon(Duration::from_secs(1), || swept.load(SeqCst) > 2);
        let begun = Instant::now();
        let limit = other.get_timeout_async(Duration::from_millis(100));
        let outcome = drive(Duration::from_secs(4), limit);
        assert!(outcome.is_some(), "a limit of 100 ms was not kept in {:?}", begun.elapsed());
        assert!(swept.load(SeqCst) > 2, "and the sweeps go on");
    });
}

#[test]
fn a_strategy_that_sweeps_its_own_pool_does_not_keep_who_sweeps_it_by_hand() {
    let _alone = crate::alone();
    let test = "a_strategy_that_sweeps_its_own_pool_does_not_keep_who_sweeps_it_by_hand";
    in_child(test, ENOUGH, || {
        let (pool, swept) = pool_that_sweeps_again(Duration::from_secs(3_600));
        in_time("sweep", ENOUGH / 2, move || pool.sweep());
        assert!(swept.load(SeqCst) > 0);
    });
}

/// Another thread's sweep is no reason to stand still either: the strategy waits for it.
#[test]
fn a_strategy_may_wait_for_a_thread_that_sweeps_the_same_pool() {
    let _alone = crate::alone();
    struct Waits(Arc<OnceLock<Pool<Fake>>>, AtomicBool);
    impl HealthStrategy for Waits {
        fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
            if !self.1.swap(true, SeqCst)
                && let Some(pool) = self.0.get().cloned()
            {
                std::thread::spawn(move || pool.sweep()).join().unwrap();
            }
            Verdict::Keep
        }
    }
    let test = "a_strategy_may_wait_for_a_thread_that_sweeps_the_same_pool";
    in_child(test, ENOUGH, || {
        let cell = Arc::<OnceLock<_>>::default();
        let pool = Pool::builder(Fake::new()).max_size(2).min_size(2).wait_ready(ENOUGH);
        let pool = pool.health(Waits(cell.clone(), AtomicBool::new(false))).build().unwrap();
        assert!(cell.set(pool.clone()).is_ok());
        in_time("sweep", ENOUGH / 2, move || pool.sweep());
    });
}

// Who else maintains.

/// Stands still in the sweep of one thread until it is let go on.
struct StandsStill {
    stands: Sender<()>,
    go_on: Mutex<Receiver<()>>,
    has_stood: Arc<AtomicBool>,
}

impl HealthStrategy for StandsStill {
    fn on_sweep(&self, _: &ConnectionInfo) -> Verdict {
        if std::thread::current().name() == Some("sweeps") && !self.has_stood.swap(true, SeqCst) {
            self.stands.send(()).unwrap();
            self.go_on.lock().unwrap().recv_timeout(ENOUGH).unwrap();
        }
        Verdict::Keep
    }
}

/// How late a limit of 3 ms of a task is kept after the user has maintained the pool, for long
/// enough that the housekeeper has looked in meanwhile, and gone to sleep for as long as it ever
/// does.
fn lateness_after_maintenance() -> Duration {
    let limit = Duration::from_millis(3);
    let ((stands, is_standing), (let_go_on, go_on)) = (channel(), channel());
    let has_stood = Arc::<AtomicBool>::default();
    let strategy = StandsStill { stands, go_on: Mutex::new(go_on), has_stood: has_stood.clone() };
    let pool = Pool::builder(Fake::new()).max_size(1).min_size(1).health(strategy);
    let pool = pool.sweep_interval(Some(limit)).wait_ready(ENOUGH).build().unwrap();
    let witness = Witness::default();
    std::thread::scope(|scope| {
        let sweeps = std::thread::Builder::new().name("sweeps".into()).spawn_scoped(scope, || {
            while !has_stood.load(SeqCst) {
                pool.sweep();
            }
        });
        is_standing.recv_timeout(ENOUGH).expect("the user sweeps");
        witness.wait_for_a_round();
        let_go_on.send(()).unwrap();
        sweeps.unwrap().join().unwrap();
    });
    let _held = pool.get_timeout(ENOUGH).unwrap();
    let begun = Instant::now();
    let outcome = drive(ENOUGH, pool.get_timeout_async(limit)).expect("it is kept some time");
    assert!(matches!(outcome, Err(GetError::TimedOut { .. })));
    begun.elapsed().saturating_sub(limit)
}

#[test]
fn a_users_maintenance_makes_no_tasks_limit_late() {
    let _alone = crate::alone();
    // Alone: any other pool may call the housekeeper in time by chance.
    in_child("a_users_maintenance_makes_no_tasks_limit_late", 3 * ENOUGH, || {
        let mut lateness: Vec<_> = (0..15).map(|_| lateness_after_maintenance()).collect();
        lateness.sort();
        let median = lateness[lateness.len() / 2];
        assert!(median < Duration::from_millis(8), "late by {median:.1?}: {lateness:.1?}");
    });
}

// Much at once.

/// How many threads of this process belong to pools.
#[cfg(target_os = "linux")]
fn threads_of_pools() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread may end while we look.
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("caliburn")).count()
}

#[cfg(target_os = "linux")]
const MANY: usize = 2_000;

/// The most threads there are while as much is under way as ever will be.
#[cfg(target_os = "linux")]
fn most_threads(pool: &Pool<Fake>, witness: &Witness, is_under_way: impl FnMut() -> bool) -> usize {
    soon("something is under way", is_under_way);
    let rounds = (0..3).map(|_| {
        pool.maintain();
        witness.wait_for_a_round();
        threads_of_pools()
    });
    rounds.max().unwrap()
}

#[cfg(target_os = "linux")]
fn many(fake: &Fake) -> Pool<Fake> {
    let pool = Pool::builder(fake.clone()).max_size(MANY).min_size(MANY).wait_ready(ENOUGH);
    let pool = pool.reset_timeout(PLENTY).ping_timeout(PLENTY).health(PingOnBorrow::default());
    pool.build().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn two_thousand_returns_that_need_a_reset_take_no_more_than_a_hundred_threads() {
    let _alone = crate::alone();
    let test = "two_thousand_returns_that_need_a_reset_take_no_more_than_a_hundred_threads";
    in_child(test, 3 * ENOUGH, || {
        let fake = Fake::new();
        let (pool, witness) = (many(&fake), Witness::default());
        let mut guards: Vec<_> = (0..MANY).map(|_| pool.get().unwrap()).collect();
        guards.iter_mut().for_each(|guard| guard.dirty = true);
        fake.on_reset(Mode::Hang);
        drop(guards);
        let most = most_threads(&pool, &witness, || fake.books().resets.load(SeqCst) > 0);
        fake.open_gate();
        soon("all are reset", || pool.stats().idle == MANY);
        assert!(most <= 100, "{most} threads");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn two_thousand_tasks_whose_connections_need_a_ping_take_no_more_than_a_hundred_threads() {
    let _alone = crate::alone();
    let test =
        "two_thousand_tasks_whose_connections_need_a_ping_take_no_more_than_a_hundred_threads";
    in_child(test, 3 * ENOUGH, || {
        let fake = Fake::new();
        let (pool, witness) = (many(&fake), Witness::default());
        let mut guards: Vec<_> = (0..MANY).map(|_| pool.get().unwrap()).collect();
        guards.iter_mut().for_each(PooledConnection::suspect);
        drop(guards);
        fake.on_ping(Mode::Hang);
        let mut gets: Vec<_> = (0..MANY).map(|_| Box::pin(pool.get_async())).collect();
        gets.iter_mut().for_each(|get| assert!(poll_once(get).is_pending()));
        let most = most_threads(&pool, &witness, || fake.books().pings.load(SeqCst) > 0);
        fake.open_gate();
        for get in gets {
            assert!(drive(ENOUGH, get).is_some_and(|got| got.is_ok()), "each is served");
        }
        assert!(most <= 100, "{most} threads");
    });
}

/// However few threads there are for what hangs, there must be others for what does not.
#[test]
fn a_hundred_and_fifty_resets_that_hang_keep_no_pool_from_connecting() {
    let _alone = crate::alone();
    let test = "a_hundred_and_fifty_resets_that_hang_keep_no_pool_from_connecting";
    in_child(test, 3 * ENOUGH, || {
        let fake = Fake::new();
        let pool = Pool::builder(fake.clone()).max_size(200).min_size(150);
        let pool = pool.reset_timeout(Duration::from_millis(200)).wait_ready(ENOUGH);
        let pool = pool.build().unwrap();
        let mut guards: Vec<_> = (0..150).map(|_| pool.get().unwrap()).collect();
        guards.iter_mut().for_each(|guard| guard.dirty = true);
        fake.on_reset(Mode::Hang);
        drop(guards);
        soon("they hang", || pool.stats().quarantined > 0);
        let other = Pool::builder(Fake::new()).max_size(1).build().unwrap();
        for pool in [&other, &pool] {
            let served = pool.get_timeout(ENOUGH / 2).map(drop);
            assert!(served.is_ok(), "{}", served.unwrap_err());
        }
        fake.open_gate();
    });
}

/// The processor time that closing down so many connections takes, in a pool maintained by hand.
fn shrinking(size: usize, shrink: fn(&Pool<Fake>, &MockClock)) -> Duration {
    let (builder, hand) = manual_maintenance(&Fake::new());
    let pool = builder.max_size(size).initial_size(size).idle_timeout(Some(ENOUGH));
    let pool = pool.build().unwrap();
    hand.advance(2 * ENOUGH);
    let begun = cpu_time::ThreadTime::now();
    shrink(&pool, &hand);
    let took = begun.elapsed();
    assert!(pool.stats().size <= 1, "{}", pool.stats());
    took
}

#[track_caller]
fn assert_linear(shrink: fn(&Pool<Fake>, &MockClock)) {
    let sizes = [1_024, 8_192];
    let [small, large] = sizes.map(|size| shrinking(size, shrink));
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    assert!(ratio < 20.0, "{sizes:?} connections took {small:.1?} and {large:.1?}: x {ratio:.1}");
}

#[test]
fn closing_down_idle_connections_takes_time_in_proportion_to_their_number() {
    let _alone = crate::alone();
    assert_linear(|pool, _| pool.sweep());
}

#[test]
fn closing_down_connections_that_use_does_not_need_takes_time_in_proportion_to_their_number() {
    let _alone = crate::alone();
    assert_linear(|pool, hand| {
        let window = Duration::from_secs(60);
        pool.change(|settings| settings.shrink_window = Some(window)).unwrap();
        for _ in 0..60 {
            hand.advance(window / 20);
            pool.maintain();
        }
    });
}

#[test]
fn a_lowered_limit_takes_time_in_proportion_to_the_connections_above_it() {
    let _alone = crate::alone();
    assert_linear(|pool, _| {
        pool.change(|settings| settings.max_size = 1).unwrap();
        pool.maintain();
    });
}

#[test]
fn closing_a_pool_takes_time_in_proportion_to_its_connections() {
    let _alone = crate::alone();
    assert_linear(|pool, _| pool.close());
}

fn sixteen_thousand_shrink(test: &str, shrink: fn(&mut Settings)) {
    in_child(test, 12 * ENOUGH, || {
        let large = Pool::builder(Fake::new()).max_size(16_384).initial_size(16_384);
        let large = large.wait_ready(6 * ENOUGH).build().unwrap();
        let other = Pool::builder(Fake::new()).max_size(1).build().unwrap();
        let _held = other.get_timeout(ENOUGH).unwrap();
        let limit = Duration::from_millis(5);
        large.change(shrink).unwrap();
        large.sweep();
        let (begun, mut lateness) = (Instant::now(), Vec::new());
        while large.stats().size > 1 {
            assert!(begun.elapsed() < ENOUGH, "it has not shrunk in {ENOUGH:?}: {}", large.stats());
            let begun = Instant::now();
            assert!(drive(ENOUGH, other.get_timeout_async(limit)).is_some_and(|got| got.is_err()));
            lateness.push(begun.elapsed().saturating_sub(limit));
        }
        lateness.sort();
        let median = lateness.get(lateness.len() / 2).copied().unwrap_or_default();
        // On a busy machine each wait is for a core, too.
        assert!(median < 20 * limit, "late by {median:.1?} in the middle of {}", lateness.len());
    });
}

#[test]
fn a_limit_lowered_by_sixteen_thousand_keeps_other_pools_limits() {
    let _alone = crate::alone();
    let test = "a_limit_lowered_by_sixteen_thousand_keeps_other_pools_limits";
    sixteen_thousand_shrink(test, |settings| settings.max_size = 1);
}

#[test]
fn closing_down_sixteen_thousand_idle_connections_keeps_other_pools_limits() {
    let _alone = crate::alone();
    let test = "closing_down_sixteen_thousand_idle_connections_keeps_other_pools_limits";
    sixteen_thousand_shrink(test, |settings| settings.idle_timeout = Some(Duration::ZERO));
}

// Wakers that poll on the spot.

/// What ends the wait of ten thousand such tasks for the one connection.
type End = fn(PooledConnection<Fake>, &Pool<Fake>, &Fake, &MockClock);

fn ten_thousand_wait(test: &str, fairness: Fairness, end: End) {
    const WAITERS: usize = 10_000;
    in_child(test, 3 * ENOUGH, || {
        let (fake, over) = (Fake::new(), Arc::<AtomicUsize>::default());
        let (pool, hand) = full_manual(&fake, 1, |builder| builder.fairness(fairness));
        let held = pool.try_get().unwrap();
        for _ in 0..WAITERS {
            let (pool, over) = (pool.clone(), over.clone());
            on_the_spot(async move {
                drop(pool.get_timeout_async(ENOUGH).await);
                over.fetch_add(1, SeqCst);
            });
        }
        assert_eq!((pool.stats().waiting, over.load(SeqCst)), (WAITERS, 0));
        end(held, &pool, &fake, &hand);
        assert_eq!((pool.stats().waiting, over.load(SeqCst)), (0, WAITERS));
    });
}

#[test]
fn ten_thousand_tasks_polled_by_their_wakers_pass_a_connection_on_in_constant_stack() {
    let _alone = crate::alone();
    let test = "ten_thousand_tasks_polled_by_their_wakers_pass_a_connection_on_in_constant_stack";
    ten_thousand_wait(test, Fairness::Fifo, |held, _, _, _| drop(held));
}

#[test]
fn ten_thousand_tasks_polled_by_their_wakers_barge_in_constant_stack() {
    let _alone = crate::alone();
    let test = "ten_thousand_tasks_polled_by_their_wakers_barge_in_constant_stack";
    let fairness = Fairness::BoundedBarging(Duration::from_secs(3_600));
    ten_thousand_wait(test, fairness, |held, _, _, _| drop(held));
}

#[test]
fn ten_thousand_tasks_polled_by_their_wakers_see_a_close_in_constant_stack() {
    let _alone = crate::alone();
    let test = "ten_thousand_tasks_polled_by_their_wakers_see_a_close_in_constant_stack";
    ten_thousand_wait(test, Fairness::Fifo, |_held, pool, _, _| pool.close());
}

#[test]
fn ten_thousand_tasks_polled_by_their_wakers_run_out_of_time_in_constant_stack() {
    let _alone = crate::alone();
    let test = "ten_thousand_tasks_polled_by_their_wakers_run_out_of_time_in_constant_stack";
    ten_thousand_wait(test, Fairness::Fifo, |_held, pool, _, hand| {
        hand.advance(2 * ENOUGH);
        pool.maintain();
    });
}

#[test]
fn ten_thousand_tasks_polled_by_their_wakers_see_connecting_fail_in_constant_stack() {
    let _alone = crate::alone();
    let test = "ten_thousand_tasks_polled_by_their_wakers_see_connecting_fail_in_constant_stack";
    ten_thousand_wait(test, Fairness::Fifo, |held, pool, fake, _| {
        fake.on_connect(Mode::FailForGood);
        PooledConnection::discard(held);
        pool.maintain();
    });
}
