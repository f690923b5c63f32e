//! Fifty callers at once on a pool of five: `cargo bench --bench burst`, 10 s; `-- --quick` for
//! less.
//!
//! Five connections are open and 20 allowed, a connect takes 20 ms and each caller's work 2 ms: the
//! five alone can serve all of them in little more than 20 ms, before a single connect is through,
//! and whoever connects for each caller ends with 20. Measured is the time from the first caller's
//! arrival to the last one's return, and how many connections were opened for it, those included
//! that were ready only afterwards. Threads and tasks in turn, with a new pool for each run, beside
//! the ideal: five threads that share out the work with no pool.

mod harness;

use caliburn::Pool;
use harness::figures::{Spread, conditions};
use harness::length::Length;
use harness::objects::Objects;
use harness::pause::pause;
use harness::table::Table;
use harness::turns::runtime;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const CALLERS: usize = 50;
const OPEN: usize = 5;
const ALLOWED: usize = 20;
const CONNECT: Duration = Duration::from_millis(20);
const WORK: Duration = Duration::from_millis(2);

/// When a caller came, was served, and was done.
type Visit = [Instant; 3];

struct Run {
    served: Duration,
    longest_wait: Duration,
    opened: u64,
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn run(burst: impl FnOnce(&Pool<Objects>) -> Vec<Visit>) -> Run {
    let pool = Pool::builder(Objects { connect_takes: CONNECT, ..Objects::default() })
        .min_size(OPEN)
        .max_size(ALLOWED)
        .wait_ready(Duration::from_secs(10))
        .build()
        .expect("objects always connect");
    // The connects of the start are to be over and done with.
    thread::sleep(CONNECT);
    let before = pool.stats().connects;
    let visits = burst(&pool);
    while pool.stats().opening > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let first = visits.iter().map(|visit| visit[0]).min().expect("callers");
    let last = visits.iter().map(|visit| visit[2]).max().expect("callers");
    Run {
        served: last - first,
        longest_wait: visits.iter().map(|visit| visit[1] - visit[0]).max().expect("callers"),
        opened: pool.stats().connects - before,
    }
}

fn threads(pool: &Pool<Objects>) -> Vec<Visit> {
    let start = Barrier::new(CALLERS);
    let call = || {
        start.wait();
        let come = Instant::now();
        let object = pool.get().expect("an object");
        let served = Instant::now();
        thread::sleep(WORK);
        drop(object);
        [come, served, Instant::now()]
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
        callers.into_iter().map(|caller| caller.join().expect("no panic")).collect()
    })
}

fn tasks(runtime: &Runtime, pool: &Pool<Objects>) -> Vec<Visit> {
    let start = Arc::new(tokio::sync::Barrier::new(CALLERS));
    let spawn = |_| {
        let (pool, start) = (pool.clone(), start.clone());
        runtime.spawn(async move {
            start.wait().await;
            let come = Instant::now();
            let object = pool.get_async().await.expect("an object");
            let served = Instant::now();
            pause(WORK).await;
            drop(object);
            [come, served, Instant::now()]
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(spawn).collect();
    callers.into_iter().map(|caller| runtime.block_on(caller).expect("no panic")).collect()
}

/// As many threads as there are connections.
fn ideal() -> Duration {
    let begun = Instant::now();
    let work = || (0..CALLERS / OPEN).for_each(|_| thread::sleep(WORK));
    thread::scope(|scope| (0..OPEN).for_each(|_| drop(scope.spawn(work))));
    begun.elapsed()
}

fn row(name: &str, runs: &[Run]) -> [String; 4] {
    let times = |time: fn(&Run) -> Duration| {
        let spread: Spread = runs.iter().map(|run| millis(time(run))).collect();
        let [least, median, most] = [0.0, 0.5, 1.0].map(|share| spread.at(share));
        format!("{median:.1} ms ({least:.1} to {most:.1})")
    };
    let mut opened: Vec<u64> = runs.iter().map(|run| run.opened).collect();
    opened.sort_unstable();
    let middle = opened[opened.len() / 2];
    let opened = format!("{middle} ({} to {})", opened[0], opened[opened.len() - 1]);
    [name.into(), times(|run| run.served), times(|run| run.longest_wait), opened]
}

fn main() {
    let Some(length) = Length::asked() else { return };
    let runtime = runtime();
    let (mut alone, mut by_threads, mut by_tasks) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = length.pick(31, 3);
    for _ in 0..rounds {
        alone.push(Run { served: ideal(), longest_wait: Duration::ZERO, opened: 0 });
        by_threads.push(run(threads));
        by_tasks.push(run(|pool| tasks(&runtime, pool)));
    }
    let mut table = Table::new(&[
        "median (least to most)",
        "all served after",
        "longest wait",
        "connections opened",
    ]);
    table.row(row("ideal, no pool", &alone));
    table.row(row("50 threads", &by_threads));
    table.row(row("50 tasks", &by_tasks));
    println!("{rounds} bursts each; {}\n\n{table}", conditions());
}
