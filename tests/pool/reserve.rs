//! A reserve beside a pool: whatever ordinary callers do, it serves at once.

use crate::common::*;
use crate::invalidate::runtime;
use caliburn::error::{Problem, TryGetError};
use caliburn::health::{ConnectionInfo, HealthStrategy, Occasions, Verdict};
use caliburn::observe::EventKind;
use caliburn::stats::PoolHealth;
use caliburn::{BuildError, GetError, MAX_CAPACITY, Pool, PooledConnection, Prometheus};
use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn reserve_of<M: caliburn::Manager>(pool: &Pool<M>) -> &Pool<M> {
    pool.reserved().unwrap()
}

/// On the spot, by each way to ask.
#[track_caller]
pub(crate) fn serves_at_once<M: caliburn::Manager>(reserve: &Pool<M>) {
    drop(reserve.try_get().unwrap());
    drop(reserve.get_timeout(Duration::ZERO).unwrap());
    let future = pin!(reserve.get_async());
    assert!(matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
}

// Ordinary callers

#[test]
fn a_thousand_tasks_wait_and_the_reserve_serves_at_once() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 2, |builder| builder.reserved(1));
    let held = [pool.get().unwrap(), pool.get().unwrap()];
    let mut gets: Vec<_> = (0..1_000).map(|_| Box::pin(pool.get_async())).collect();
    assert!(gets.iter_mut().all(|get| poll_once(get).is_pending()));
    for _ in 0..3 {
        serves_at_once(reserve_of(&pool));
        pool.maintain();
    }
    assert_eq!((pool.stats().waiting, reserve_of(&pool).stats().waits), (1_000, 0));
    assert!(gets.iter_mut().all(|get| poll_once(get).is_pending()), "one got a reserved one");
    drop((gets, held));
    assert_eq!((pool.stats().idle, reserve_of(&pool).stats().idle), (2, 1));
}

#[test]
fn two_hundred_threads_wait_and_the_reserve_serves_at_once() {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(1).reserved(1);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let held = pool.get().unwrap();
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..200).map(|_| scope.spawn(|| pool.get_timeout(PLENTY).map(drop).unwrap())).collect();
        eventually("all wait", || pool.stats().waiting == 200);
        serves_at_once(reserve_of(&pool));
        assert_eq!(pool.stats().waiting, 200);
        drop(held);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(reserve_of(&pool).stats().waits, 0);
    assert_eq!(fake.books().most_open.load(SeqCst), 2);
}

#[test]
fn ordinary_callers_never_get_a_reserved_connection_nor_the_other_way_round() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 4, |builder| builder.reserved(2));
    let ids = |held: &[PooledConnection<Fake>]| -> HashSet<u64> {
        held.iter().map(|conn| conn.id).collect()
    };
    let all: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    assert_eq!(pool.try_get().unwrap_err(), TryGetError::Empty);
    assert!(matches!(pool.get_timeout(Duration::ZERO), Err(GetError::TimedOut { .. })));
    let reserve = reserve_of(&pool);
    let reserved: Vec<_> = (0..2).map(|_| reserve.get().unwrap()).collect();
    assert!(ids(&all).is_disjoint(&ids(&reserved)));
    drop(all);
    assert_eq!(reserve.try_get().unwrap_err(), TryGetError::Empty);
    assert!(matches!(reserve.get_timeout(Duration::ZERO), Err(GetError::TimedOut { .. })));
    let again: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    assert!(ids(&again).is_disjoint(&ids(&reserved)));
    assert_eq!(fake.books().most_open.load(SeqCst), 6);
}

#[test]
fn under_load_no_caller_of_the_one_gets_a_connection_of_the_other() {
    const ROUNDS: usize = 2_000;
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).max_size(2).min_size(2).reserved(2);
    let pool = builder.wait_ready(PLENTY).build().unwrap();
    let seen_by = |pool: &Pool<Fake>| -> HashSet<u64> {
        (0..ROUNDS).map(|_| pool.get_timeout(PLENTY).unwrap().id).collect()
    };
    let (ordinary, reserved): (Vec<_>, Vec<_>) = thread::scope(|scope| {
        let of_pool: Vec<_> = (0..4).map(|_| scope.spawn(|| seen_by(&pool))).collect();
        let of_reserve: Vec<_> =
            (0..4).map(|_| scope.spawn(|| seen_by(reserve_of(&pool)))).collect();
        let join = |threads: Vec<thread::ScopedJoinHandle<'_, _>>| {
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        };
        (join(of_pool), join(of_reserve))
    });
    let reserved: HashSet<u64> = reserved.into_iter().collect();
    assert!(ordinary.iter().all(|id| !reserved.contains(id)));
    let report = pool.close_within(PLENTY);
    assert!(report.is_complete() && report.closes == 4, "{report}");
}

#[test]
fn a_pool_has_no_reserve_unless_it_is_asked_for_and_a_reserve_has_none() {
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| builder);
    assert!(pool.reserved().is_none());
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder.reserved(1));
    assert!(reserve_of(&pool).reserved().is_none());
    assert!(pool.clone().reserved().is_some() && reserve_of(&pool).clone().reserved().is_none());
    assert_eq!(fake.books().alive(), 2);
}

#[test]
fn the_reserve_is_open_from_the_start_and_its_connections_are_kept_open() {
    let fake = Fake::new();
    let (builder, clock) = manual_maintenance(&fake);
    let builder = builder.max_size(4).idle_timeout(Some(SECOND)).sweep_interval(Some(SECOND));
    let pool = builder.reserved(3).build().unwrap();
    assert_eq!((pool.stats().size, reserve_of(&pool).stats().idle), (0, 3));
    for _ in 0..10 {
        clock.advance(SECOND);
        pool.maintain();
    }
    assert_eq!(reserve_of(&pool).stats().idle, 3);
    assert_eq!(fake.books().dropped.load(SeqCst), 0);
    assert_eq!(reserve_of(&pool).capacity(), 3);
}

// What concerns the one alone

#[test]
fn to_pause_the_pool_leaves_the_reserve_open() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder.reserved(1));
    pool.pause();
    let mut get = Box::pin(pool.get_async());
    assert!(poll_once(&mut get).is_pending());
    let reserve = reserve_of(&pool);
    assert!(!reserve.is_paused() && reserve.health().is_ok());
    serves_at_once(reserve);
    assert!(matches!(pool.health(), PoolHealth::Paused));
    reserve.pause();
    assert_eq!(reserve.try_get().unwrap_err(), TryGetError::Paused);
    pool.resume();
    assert!(matches!(poll_once(&mut get), Poll::Ready(Ok(_))));
    assert!(reserve.is_paused(), "the reserve was paused by itself");
    reserve.resume();
    serves_at_once(reserve);
}

#[test]
fn each_has_its_own_figures_holders_and_slots() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 2, |builder| builder.reserved(3));
    let held = pool.get().unwrap();
    let reserve = reserve_of(&pool);
    assert_eq!((pool.stats().lent, reserve.stats().lent), (1, 0));
    assert_eq!((pool.holders().len(), reserve.holders().len()), (1, 0));
    assert_eq!((pool.slots().len(), reserve.slots().len()), (2, 3));
    assert_eq!(pool.evict_where(|_, _| true), 1);
    assert_eq!((reserve.stats().evictions.total(), reserve.stats().idle), (0, 3));
    drop(held);
    assert_settled(&Pool::clone(&pool), &fake_books_of(&pool));
}

/// As many as the pool's own connections: the fake's books are of both.
fn fake_books_of(pool: &Pool<Fake>) -> Books {
    let books = Books::default();
    books.opened.store(pool.stats().size, SeqCst);
    books
}

#[test]
fn an_event_says_where_it_happened() {
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| builder.reserved(2).record_events(64));
    reserve_of(&pool).pause();
    let events = pool.recent_events();
    assert_eq!(events.len(), reserve_of(&pool).recent_events().len(), "they share one record");
    let connects = |is_reserved| {
        let of_kind = events.iter().filter(|event| event.kind.as_str() == "connected");
        of_kind.filter(|event| event.is_reserved == is_reserved).count()
    };
    assert_eq!((connects(false), connects(true)), (1, 2));
    let last = events.last().unwrap();
    assert!(last.is_reserved && last.to_string().ends_with("] reserve: the pool was paused"));
    pool.close();
    let closed: Vec<_> = pool.recent_events().into_iter().collect();
    let closed = closed.iter().filter(|event| matches!(event.kind, EventKind::PoolClosed));
    assert_eq!(closed.map(|event| event.is_reserved).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn the_reserve_is_exported_beside_its_pool() {
    let (pool, _) = full_manual(&Fake::new(), 1, |builder| builder.reserved(2));
    let text = Prometheus::new().with("songs", &pool).to_string();
    let line = |name: &str, count: usize| {
        format!("max{{db_client_connection_pool_name=\"{name}\"}} {count}\n")
    };
    assert!(
        text.contains(&line("songs", 1)) && text.contains(&line("songs-reserved", 2)),
        "{text}"
    );
}

#[test]
fn two_pools_of_one_name_and_their_reserves_are_told_apart_in_a_scrape() {
    let (first, _) = full_manual(&Fake::new(), 1, |builder| builder.reserved(2));
    let (second, _) = full_manual(&Fake::new(), 3, |builder| builder.reserved(4));
    let text = Prometheus::new().with("songs", &first).with("songs", &second).to_string();
    let counts = [("songs", 1), ("songs-reserved", 2), ("songs-2", 3), ("songs-reserved-2", 4)];
    for (name, count) in counts {
        let labels = format!("{{db_client_connection_pool_name=\"{name}\"}}");
        let line = format!("db_client_connection_max{labels} {count}\n");
        assert_eq!(text.matches(&line).count(), 1, "{line}{text}");
    }
    let mut series: Vec<_> = text.lines().filter_map(|line| line.split("} ").next()).collect();
    let all = series.iter().filter(|line| !line.starts_with('#')).count();
    series.retain(|line| !line.starts_with('#'));
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "{text}");
}

/// Counts how often it is asked what it wants, and dropped.
struct Counted(Arc<[AtomicUsize; 2]>);

impl HealthStrategy for Counted {
    fn occasions(&self) -> Occasions {
        self.0[0].fetch_add(1, SeqCst);
        Occasions::NONE
    }

    fn on_borrow(&self, _: &ConnectionInfo) -> Verdict {
        Verdict::Keep
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0[1].fetch_add(1, SeqCst);
    }
}

#[test]
fn pool_and_reserve_share_one_strategy_and_the_same_hooks_and_observers() {
    let counts = Arc::<[AtomicUsize; 2]>::default();
    let (connects, events) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (hook, observer) = (connects.clone(), events.clone());
    let fake = Fake::new();
    let (pool, _) = full_manual(&fake, 1, |builder| {
        let builder = builder.reserved(2).health(Counted(counts.clone()));
        let builder = builder.after_connect(move |_, _| {
            hook.fetch_add(1, SeqCst);
            Ok(())
        });
        builder.observer(move |event: &caliburn::observe::Event| {
            events_of_reserve(&observer, event);
        })
    });
    pool.maintain();
    assert_eq!((connects.load(SeqCst), events.load(SeqCst)), (3, 2));
    assert_eq!((counts[0].load(SeqCst), counts[1].load(SeqCst)), (1, 0));
    let reserve = reserve_of(&pool).clone();
    drop(pool);
    assert_eq!(counts[1].load(SeqCst), 0, "the reserve still has it");
    drop(reserve);
    let held = || Arc::strong_count(&connects) + Arc::strong_count(&events);
    eventually("all is gone", || fake.is_alone() && held() == 2);
    assert_eq!(counts[1].load(SeqCst), 1);
}

fn events_of_reserve(count: &AtomicUsize, event: &caliburn::observe::Event) {
    let is_connect = matches!(event.kind, EventKind::Connected { .. });
    count.fetch_add(usize::from(event.is_reserved && is_connect), SeqCst);
}

// Building

#[test]
fn a_reserve_that_is_too_large_is_a_problem_beside_others() {
    let builder = Pool::builder(Fake::new()).max_size(0).reserved(MAX_CAPACITY + 1);
    let Err(BuildError::Config(error)) = builder.build() else { panic!("it was built") };
    let [Problem::Zero("max_size"), Problem::Above { setting: "reserved", value, limit, .. }] =
        error.problems()
    else {
        panic!("{error}")
    };
    assert_eq!((*value, *limit), (MAX_CAPACITY + 1, MAX_CAPACITY));
}

// How long a readiness check takes

/// How long its query takes.
const QUERY: Duration = Duration::from_millis(1);
/// How long it rests between two.
const REST: Duration = Duration::from_millis(3);
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;

/// Times, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn of(rounds: Vec<Vec<Duration>>) -> Self {
        let mut all = rounds.concat();
        all.sort_unstable();
        Self(all)
    }

    fn quantile(&self, per_mille: usize) -> Duration {
        self.0[(self.0.len() - 1) * per_mille / 1_000]
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, p99, last] = [500, 990, 1_000].map(|share| self.quantile(share));
        write!(f, "{} checks, median {half:.2?}, p99 {p99:.2?}, max {last:.2?}", self.0.len())
    }
}

/// Checks for a round, from a thread.
fn checks_of_a_thread(reserve: &Pool<AsyncFake>) -> Vec<Duration> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < ROUND {
        let check = Instant::now();
        let conn = reserve.get_timeout(PLENTY).unwrap();
        thread::sleep(QUERY);
        drop(conn);
        times.push(check.elapsed());
        thread::sleep(REST);
    }
    times
}

/// Checks for a round, from a task.
async fn checks_of_a_task(reserve: Pool<AsyncFake>) -> Vec<Duration> {
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < ROUND {
        let check = Instant::now();
        let conn = reserve.get_timeout_async(PLENTY).await.unwrap();
        tokio::time::sleep(QUERY).await;
        drop(conn);
        times.push(check.elapsed());
        tokio::time::sleep(REST).await;
    }
    times
}

#[test]
#[ignore = "soak: takes 35 s"]
fn soak_a_readiness_check_takes_as_long_as_alone_while_a_thousand_tasks_wait() {
    const LENT: usize = 8;
    let runtime = runtime();
    let builder = Pool::builder_async(AsyncFake::default()).max_size(LENT).min_size(LENT);
    let pool = builder.reserved(2).wait_ready(PLENTY).build().unwrap();
    let reserve = reserve_of(&pool);
    let check = || {
        let task = runtime.spawn(checks_of_a_task(reserve.clone()));
        let of_thread = checks_of_a_thread(reserve);
        [of_thread, runtime.block_on(task).unwrap()]
    };
    let [mut alone, mut loaded] = [const { [Vec::new(), Vec::new()] }; 2];
    let put = |into: &mut [Vec<Vec<Duration>>; 2], times: [Vec<Duration>; 2]| {
        into.iter_mut().zip(times).for_each(|(all, times)| all.push(times));
    };
    for _ in 0..ROUNDS {
        put(&mut alone, check());
        let is_over = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..LENT + 1_000)
            .map(|_| {
                let (pool, is_over) = (pool.clone(), is_over.clone());
                runtime.spawn(async move {
                    while !is_over.load(SeqCst) {
                        let conn = pool.get_timeout_async(PLENTY).await.unwrap();
                        tokio::time::sleep(QUERY).await;
                        drop(conn);
                    }
                })
            })
            .collect();
        eventually("all wait", || pool.stats().waiting >= 900);
        put(&mut loaded, check());
        assert!(pool.stats().waiting >= 900);
        is_over.store(true, SeqCst);
        callers.into_iter().for_each(|caller| runtime.block_on(caller).unwrap());
    }
    for (of, (alone, loaded)) in ["a thread", "a task"].iter().zip(alone.into_iter().zip(loaded)) {
        let (alone, loaded) = (Times::of(alone), Times::of(loaded));
        println!("{of}, alone: {alone}\n{of}, a thousand wait: {loaded}");
        // Each with its like: a machine that others use has a long tail in both.
        for share in [500, 990] {
            assert!(loaded.quantile(share) <= 2 * alone.quantile(share), "{of}: {share}");
        }
    }
    let waited = pool.stats().wait_time.quantile(0.99);
    println!("{} ordinary loans, p99 of their waits {waited:.0?}", pool.stats().checkouts);
    assert_eq!(reserve.stats().waits, 0);
}
