//! What a router is for, in figures: a replica is killed under load, and one is slow.

use super::*;
use crate::common::{AsyncFake, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::time::sleep;

const TASKS: usize = 64;

struct Replicas {
    runtime: Runtime,
    fakes: Vec<Fake>,
    router: Router<AsyncFake>,
}

/// Three replicas, with a pool of `size` each, for tasks that share a thread: so nothing is lent or
/// returned while one of them looks.
fn replicas(size: usize) -> Replicas {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut builder = Router::builder().checkout_timeout(PLENTY);
    let fakes: Vec<_> = (0..3).map(|_| Fake::new()).collect();
    for (n, fake) in fakes.iter().enumerate() {
        let handle = runtime.handle().clone();
        let spawn = move |task| _ = handle.spawn(task);
        let pool = Pool::builder_async(AsyncFake(fake.clone())).max_size(size).spawner(spawn);
        builder = builder.replica(format!("db{}", n + 1), pool);
    }
    Replicas { runtime, router: builder.build().unwrap(), fakes }
}

/// None if nothing was measured.
fn p99(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort();
    times.get(times.len() * 99 / 100).copied()
}

#[test]
fn when_one_of_three_replicas_is_killed_only_its_loans_fail() {
    const QUERY: Duration = Duration::from_millis(3);
    // Two can serve all.
    let Replicas { runtime, fakes, router } = replicas(TASKS);
    let stop = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicUsize::new(0));
    // Connections of the first server below this are dead.
    let dead_below = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let begun = Instant::now();
    let work = async |times: &mut Vec<(Duration, Duration)>| {
        let at = begun.elapsed();
        let asked = Instant::now();
        let lent = router.get_async(Target::Replica).await;
        times.push((at, asked.elapsed()));
        let lent = lent.expect("no get fails");
        let is_first = router.endpoint_of(&lent).as_deref() == Some("db1");
        let is_dead = || is_first && lent.id < dead_below.load(SeqCst);
        sleep(QUERY).await;
        if is_dead() {
            failed.fetch_add(1, SeqCst);
        }
    };
    let times: Vec<_> = runtime.block_on(async {
        let tasks = (0..TASKS).map(|_| async {
            let mut times = Vec::new();
            while !stop.load(SeqCst) {
                work(&mut times).await;
            }
            times
        });
        let killer = async {
            sleep(Duration::from_millis(1_500)).await;
            // All at once: what is dead and what was lent is seen between two polls.
            fakes[0].on_connect(crate::common::Mode::Fail);
            let lent = router.stats().endpoint("db1").unwrap().pool.lent;
            dead_below.store(fakes[0].hear_of_all(), SeqCst);
            let killed = begun.elapsed();
            sleep(Duration::from_millis(2_000)).await;
            stop.store(true, SeqCst);
            (killed, lent)
        };
        let tasks = futures_util::future::join_all(tasks);
        let (times, (killed, lent)) = futures_util::future::join(tasks, killer).await;
        let times = times.into_iter().flatten();
        times
            .map(move |(at, took)| (at.as_millis() as i64 - killed.as_millis() as i64, took, lent))
            .collect()
    });
    let lent = times[0].2;
    let window = |from: i64, to: i64| {
        let window = times.iter().filter(|(at, ..)| (from..to).contains(at));
        p99(window.map(|(_, took, _)| *took).collect())
    };
    let (before, after) = (window(-1_000, 0).unwrap(), window(1_000, 2_000).unwrap());
    let failed = failed.load(SeqCst);
    println!(
        "{failed} queries failed of {lent} lent there; p99 {before:?} before, {after:?} after"
    );
    for tenth in 0..10 {
        println!("{} ms after: p99 {:?}", 100 * tenth, window(100 * tenth, 100 * (tenth + 1)));
    }
    assert!(failed <= lent, "{failed} queries failed of {lent} lent there");
    assert!(
        after <= 3 * before + Duration::from_millis(5),
        "p99 {before:?} before, {after:?} after"
    );
    let stats = router.stats();
    assert_eq!(stats.endpoint("db1").unwrap().state, EndpointState::Out);
}

/// The share of all loans that the third of three replicas gets, in which each takes ten times as
/// long, from `tasks` borrowers.
fn share_of_a_slow_one(tasks: usize, warm_up: usize, loans: usize) -> f64 {
    let Replicas { runtime, router, fakes: _fakes } = replicas(32);
    let (quick, slow) = (Duration::from_millis(1), Duration::from_millis(10));
    let counts = [const { AtomicUsize::new(0) }; 2];
    let done = AtomicUsize::new(0);
    runtime.block_on(async {
        let each = (0..tasks).map(|_| async {
            loop {
                let n = done.fetch_add(1, SeqCst);
                if n >= warm_up + loans {
                    break;
                }
                let lent = router.get_async(Target::Replica).await.unwrap();
                let is_slow = router.endpoint_of(&lent).as_deref() == Some("db3");
                if n >= warm_up {
                    counts[usize::from(is_slow)].fetch_add(1, SeqCst);
                }
                sleep(if is_slow { slow } else { quick }).await;
            }
        });
        futures_util::future::join_all(each).await;
    });
    let [quick, slow] = counts.map(|count| count.load(SeqCst) as f64);
    println!(
        "{tasks} tasks: {:.1} % of the loans; {}",
        100.0 * slow / (quick + slow),
        router.stats()
    );
    slow / (quick + slow)
}

#[test]
fn a_replica_ten_times_slower_gets_less_than_a_fifth_of_the_loans() {
    for (tasks, warm_up, loans) in [(1, 100, 1_000), (4, 200, 2_000), (TASKS, 2_000, 20_000)] {
        let share = share_of_a_slow_one(tasks, warm_up, loans);
        assert!(share <= 0.2, "{share} with {tasks} tasks");
    }
}

#[test]
fn a_frozen_replica_gets_no_more_than_it_can_hold() {
    let Replicas { runtime, router, fakes } = replicas(8);
    eventually("all are asked", || router.stats().endpoints.iter().all(|one| one.pool.size > 0));
    let fast = AtomicUsize::new(0);
    runtime.block_on(async {
        let each = (0..TASKS).map(|_| async {
            for _ in 0..200 {
                let lent = router.get_async(Target::Replica).await.unwrap();
                if router.endpoint_of(&lent).as_deref() == Some("db3") {
                    sleep(Duration::from_millis(500)).await;
                    return;
                }
                sleep(Duration::from_millis(1)).await;
                fast.fetch_add(1, SeqCst);
            }
        });
        futures_util::future::join_all(each).await;
    });
    println!("{}", router.stats());
    let frozen = router.stats().endpoint("db3").unwrap().pool.checkouts;
    assert!(fast.load(SeqCst) > 20 * frozen as usize, "{frozen} beside {fast:?}");
    drop(fakes);
}
