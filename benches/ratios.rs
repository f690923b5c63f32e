//! What a round trip costs, as a multiple of the physical floor: `cargo bench --bench ratios`.
//!
//! The floor is two uncontended read-modify-writes (`fetch_and` and `fetch_or` of one bit) on a
//! word of the thread's own. Each round measures the floor and every candidate right after each
//! other, and the ratio is taken within the round, so other work on the machine spoils a round and
//! not the result. Printed are the median ratio and the quartiles.

use caliburn::health::{AgeEviction, PingOnBorrow};
use caliburn::{BlockingManager, Deadline, HealthStrategy, Manager, Pool};
use cpu_time::ThreadTime;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A cache line of its own, of which one field is touched: two objects on one line would be
/// measured as contention in the pool.
#[repr(align(64))]
struct Object {
    touched: u64,
    _rest: [u64; 7],
}

struct Objects;

#[derive(Debug)]
struct Never;

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Never {}

impl Manager for Objects {
    type Connection = Box<Object>;
    type Error = Never;
}

impl BlockingManager for Objects {
    fn connect(&self, _: &Deadline) -> Result<Box<Object>, Never> {
        Ok(Box::new(Object { touched: 0, _rest: [0; 7] }))
    }

    fn ping(&self, _: &mut Box<Object>, _: &Deadline) -> Result<(), Never> {
        Ok(())
    }
}

/// A driver that keeps a flag which says that its connection is dead, as most async ones do.
struct Flagged;

impl Manager for Flagged {
    type Connection = Box<(AtomicBool, Object)>;
    type Error = Never;

    fn has_broken(&self, conn: &mut Box<(AtomicBool, Object)>) -> bool {
        conn.0.load(Ordering::Acquire)
    }
}

impl BlockingManager for Flagged {
    fn connect(&self, _: &Deadline) -> Result<Box<(AtomicBool, Object)>, Never> {
        Ok(Box::new((AtomicBool::new(false), Object { touched: 0, _rest: [0; 7] })))
    }

    fn ping(&self, _: &mut Box<(AtomicBool, Object)>, _: &Deadline) -> Result<(), Never> {
        Ok(())
    }
}

fn pool<M: BlockingManager<Error = Never>>(
    manager: M,
    size: usize,
    strategy: impl HealthStrategy,
) -> Pool<M> {
    Pool::builder(manager)
        .max_size(size)
        .min_size(size)
        .health(strategy)
        .wait_ready(Duration::from_secs(5))
        .build()
        .expect("objects always connect")
}

#[repr(align(128))]
struct Line(AtomicU64);

const TRIPS: u32 = 20_000;

/// One trip down to the floor.
fn floor(word: &AtomicU64) {
    if word.fetch_and(!1, Ordering::Acquire) & 1 != 0 {
        word.fetch_or(1, Ordering::Release);
    }
}

/// Nanoseconds per call: the best of three slices.
fn cost(mut trip: impl FnMut()) -> f64 {
    let slice = || {
        let begun = Instant::now();
        for _ in 0..TRIPS {
            trip();
        }
        begun.elapsed().as_nanos() as f64 / f64::from(TRIPS)
    };
    std::iter::repeat_with(slice).take(3).fold(f64::MAX, f64::min)
}

/// CPU nanoseconds per call while `threads` threads run `trip` side by side.
fn cpu_cost(threads: usize, trip: impl Fn() + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let total: f64 = std::thread::scope(|scope| {
        let work = || {
            trip();
            barrier.wait();
            let begun = ThreadTime::now();
            for _ in 0..TRIPS * 4 {
                trip();
            }
            begun.elapsed().as_nanos() as f64
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    total / (threads as f64 * f64::from(TRIPS * 4))
}

fn main() {
    let rounds = 41;
    let bare = pool(Objects, 16, ());
    let judged = pool(Objects, 16, (PingOnBorrow::default(), AgeEviction::default()));
    let wide = pool(Objects, 64, ());
    let flagged = pool(Flagged, 16, ());
    let line = Box::new(Line(AtomicU64::new(1)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let get = |pool: &Pool<Objects>| {
        pool.get().expect("an idle object").touched += 1;
    };
    let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
    let mut note = |name: &'static str, ratio: f64| match rows.iter_mut().find(|row| row.0 == name)
    {
        Some(row) => row.1.push(ratio),
        None => rows.push((name, vec![ratio])),
    };
    for round in 0..rounds {
        eprint!("\rround {} of {rounds}", round + 1);
        let base = cost(|| floor(black_box(&line.0)));
        note("floor, ns", base);
        note(
            "try_get, 1 thread, 16 slots",
            cost(|| {
                bare.try_get().expect("an idle object").touched += 1;
            }) / base,
        );
        let bare_get = cost(|| bare.get().expect("an idle object").touched += 1);
        note("get, 1 thread, 16 slots", bare_get / base);
        let flagged_get = cost(|| flagged.get().expect("an idle object").1.touched += 1);
        note("get, the same with a driver that loads a flag", flagged_get / base);
        note("  of that for asking the driver twice, ns", flagged_get - bare_get);
        note("get, the same with (PingOnBorrow, AgeEviction)", cost(|| get(&judged)) / base);
        let polled = runtime.block_on(async {
            let begun = Instant::now();
            for _ in 0..TRIPS {
                bare.get_async().await.expect("an idle object").touched += 1;
            }
            begun.elapsed().as_nanos() as f64 / f64::from(TRIPS)
        });
        note("get_async, 1 task, 16 slots", polled / base);
        // CPU time against CPU time, with as many threads on the floor, each on a line of its own.
        thread_local!(static OWN: Box<Line> = Box::new(Line(AtomicU64::new(1))));
        let two = cpu_cost(2, || OWN.with(|line| floor(black_box(&line.0))));
        note("get, 2 threads, 16 slots (CPU)", cpu_cost(2, || get(&bare)) / two);
        let many = cpu_cost(16, || OWN.with(|line| floor(black_box(&line.0))));
        note("get, 16 threads, 64 slots (CPU)", cpu_cost(16, || get(&wide)) / many);
    }
    eprintln!("\r{:20}", "");
    println!("{:<50} {:>8} {:>8} {:>8}", "x floor", "quartile", "median", "quartile");
    for (name, mut ratios) in rows {
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios[(share * (ratios.len() - 1) as f64) as usize];
        println!("{name:<50} {:>8.2} {:>8.2} {:>8.2}", at(0.25), at(0.5), at(0.75));
    }
}
