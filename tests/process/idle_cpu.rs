//! What waiting costs while nothing happens. In a process of its own, as the time of the whole
//! process is measured.

use crate::common::*;
use caliburn::{Builder, ConnectGovernor, Pool, Router};
use cpu_time::ProcessTime;
use std::time::{Duration, Instant};

/// The most that counts as next to none: a wake-up costs 15 to 100 µs in a debug build, and there
/// are forty in a second. What spins uses a whole core.
const NEXT_TO_NONE: f64 = 0.03;

/// How long each kind of waiters is watched.
const WATCHED: Duration = Duration::from_millis(1200);

fn full(fake: &Fake) -> Pool<Fake> {
    Pool::builder(fake.clone())
        .max_size(1)
        .min_size(1)
        .checkout_timeout(PLENTY * 6)
        .wait_ready(PLENTY)
        .build()
        .unwrap()
}

/// How much of one core the process uses while nobody does anything: the least of three looks, as a
/// busy machine makes everything dearer.
fn share_of_a_core() -> f64 {
    let looks = [0; 3].map(|_| {
        let (begun, cpu) = (Instant::now(), ProcessTime::now());
        // The load is that nothing happens.
        std::thread::sleep(WATCHED / 3);
        cpu.elapsed().as_secs_f64() / begun.elapsed().as_secs_f64()
    });
    looks.into_iter().fold(f64::INFINITY, f64::min)
}

fn ten_thousand_tasks() -> f64 {
    let fake = Fake::new();
    let pool = full(&fake);
    let held = pool.get().unwrap();
    let mut tasks: Vec<_> = (0..10_000).map(|_| Box::pin(pool.get_async())).collect();
    assert!(tasks.iter_mut().all(|task| poll_once(task).is_pending()));
    let share = share_of_a_core();
    assert_eq!(pool.stats().waiting, 10_000);
    drop(held);
    assert!(poll_once(&mut tasks[0]).is_ready());
    drop(tasks);
    assert_settled(&pool, fake.books());
    share
}

fn five_hundred_threads() -> f64 {
    let fake = Fake::new();
    let pool = full(&fake);
    let held = pool.get().unwrap();
    let share = std::thread::scope(|scope| {
        for _ in 0..500 {
            let waits = || drop(pool.get().unwrap());
            std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, waits).unwrap();
        }
        eventually("all are parked", || pool.stats().waiting == 500);
        let share = share_of_a_core();
        drop(held);
        share
    });
    assert_settled(&pool, fake.books());
    share
}

fn a_router_at_rest() -> f64 {
    let mut builder = Router::builder();
    for n in 0..3 {
        builder = builder.replica(format!("db{n}"), Pool::builder(Fake::new()).max_size(4));
    }
    let router = builder.build().unwrap();
    let are_asked = || router.stats().endpoints.iter().all(|one| one.pool.checkouts > 0);
    eventually("all are asked for their roles", are_asked);
    share_of_a_core()
}

/// All want a connection, and none may begin one.
fn three_hundred_held_pools() -> f64 {
    let governor = ConnectGovernor::builder().per_second(1e-9).build().unwrap();
    let pools: Vec<_> = (0..300)
        .map(|_| {
            let builder = Pool::builder(Fake::new()).max_size(2).min_size(2);
            builder.connect_governor(&governor).build().unwrap()
        })
        .collect();
    eventually("one has begun", || pools.iter().any(|pool| pool.stats().size == 1));
    eventually("all are held", || governor.stats().waiting == 300);
    // Keepers stay for a while after the last ring.
    std::thread::sleep(WATCHED / 4);
    let share = share_of_a_core();
    assert_eq!((governor.stats().granted, governor.stats().waiting), (1, 300));
    share
}

#[test]
fn pools_that_a_governor_holds_use_next_to_no_processor_time() {
    let _alone = crate::alone();
    in_child("pools_that_a_governor_holds_use_next_to_no_processor_time", 3 * PLENTY, || {
        let share = three_hundred_held_pools();
        assert!(share < NEXT_TO_NONE, "{:.2} % of a core", share * 100.0);
        println!("{:.3} % of a core", share * 100.0);
    });
}

#[test]
fn a_router_at_rest_uses_next_to_no_processor_time() {
    let _alone = crate::alone();
    in_child("a_router_at_rest_uses_next_to_no_processor_time", 3 * PLENTY, || {
        let share = a_router_at_rest();
        assert!(share < NEXT_TO_NONE, "{:.2} % of a core", share * 100.0);
        println!("{:.3} % of a core", share * 100.0);
    });
}

/// How many pools share the housekeeper.
const MANY: usize = 300;

/// So many pools that have been shrinking, of which each has `held` connections lent.
fn pools_that_shrink(held: usize, more: fn(Builder<Fake>) -> Builder<Fake>) -> f64 {
    let pools: Vec<_> = (0..MANY)
        .map(|_| {
            let pool = Pool::builder(Fake::new()).max_size(4).initial_size(4).idle_timeout(None);
            more(pool).build().unwrap()
        })
        .collect();
    eventually("all are open", || pools.iter().all(|pool| pool.stats().size == 4));
    let get = |pool: &Pool<Fake>| (0..held).map(|_| pool.get().unwrap()).collect::<Vec<_>>();
    let guards: Vec<_> = pools.iter().map(get).collect();
    let change = |pool: &Pool<Fake>| {
        pool.change(|settings| settings.shrink_window = Some(Duration::from_secs(4)))
    };
    pools.iter().for_each(|pool| change(pool).unwrap());
    eventually("all have shrunk", || pools.iter().all(|pool| pool.stats().size == 1));
    let share = share_of_a_core();
    drop(guards);
    share
}

#[test]
fn three_hundred_pools_that_have_shrunk_to_their_minimum_use_next_to_no_processor_time() {
    let _alone = crate::alone();
    let test =
        "three_hundred_pools_that_have_shrunk_to_their_minimum_use_next_to_no_processor_time";
    in_child(test, 3 * PLENTY, || {
        let at_minimum = pools_that_shrink(0, |pool| pool.min_size(1));
        // Five times a second each of these counts what is in use.
        let counting = pools_that_shrink(1, |pool| pool);
        println!(
            "{:.3} % of a core at the minimum, {:.3} % while they count",
            at_minimum * 100.0,
            counting * 100.0
        );
        assert!(at_minimum < NEXT_TO_NONE, "{:.2} % of a core", at_minimum * 100.0);
        assert!(counting < 3.0 * NEXT_TO_NONE, "{:.2} % of a core", counting * 100.0);
    });
}

/// HikariCP #2398: a return spins until a waiter takes what it brought, and all cores are busy with
/// waiting. Here a wait costs nothing: what is left is the housekeeper's round, forty times a
/// second.
#[test]
fn row_17_waiting_tasks_and_parked_threads_use_next_to_no_processor_time() {
    let _alone = crate::alone();
    let test = "row_17_waiting_tasks_and_parked_threads_use_next_to_no_processor_time";
    in_child(test, 3 * PLENTY, || {
        let tasks = ten_thousand_tasks();
        assert!(tasks < NEXT_TO_NONE, "tasks: {:.2} % of a core", tasks * 100.0);
        let threads = five_hundred_threads();
        assert!(threads < NEXT_TO_NONE, "threads: {:.2} % of a core", threads * 100.0);
        println!(
            "{:.3} % of a core with tasks, {:.3} % with threads",
            tasks * 100.0,
            threads * 100.0
        );
    });
}
