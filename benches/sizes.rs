//! Whether a checkout takes longer in a large pool: `cargo bench --bench sizes`, 40 s; `-- --quick`
//! for less. Criterion's report, with plots over the size, is `target/criterion/report/index.html`.
//!
//! One thread, `try_get`, 8 to 4,096 slots: all connections idle, only one of them (the one that is
//! looked for last), or none, when every word of the bitmap is looked at in vain. At the end pools
//! are measured once more in turn, round by round, for what is asked: flat within 15 % while
//! connections are idle, and 1 µs at most to find that none of 4,096 is.
#![allow(missing_docs)]

mod harness;

use caliburn::{Pool, PooledConnection};
use criterion::{BenchmarkId, Criterion, criterion_group};
use harness::figures::{Spread, conditions, cost};
use harness::length::Length;
use harness::objects::{Objects, pool};
use harness::table::{Table, verdict};
use std::time::Duration;

const SIZES: [usize; 4] = [8, 64, 512, 4096];

/// A pool of which so many connections are idle, and the others lent.
struct Harness {
    pool: Pool<Objects>,
    _lent: Vec<PooledConnection<Objects>>,
}

impl Harness {
    fn new(size: usize, idle: usize) -> Self {
        let pool = pool(size, ());
        let lent = (idle..size).map(|_| pool.get().expect("idle")).collect();
        Self { pool, _lent: lent }
    }

    fn attempt(&self) -> bool {
        self.pool.try_get().is_ok()
    }
}

/// From the size to the number of idle connections.
type Idle = fn(usize) -> usize;

const KINDS: [(&str, Idle); 3] =
    [("all idle", |size| size), ("one idle", |_| 1), ("exhausted", |_| 0)];

fn sizes(c: &mut Criterion) {
    for (kind, idle) in KINDS {
        let mut group = c.benchmark_group(format!("slots, {kind}"));
        for size in SIZES {
            let harness = Harness::new(size, idle(size));
            let id = BenchmarkId::from_parameter(size);
            group.bench_with_input(id, &harness, |b, harness| b.iter(|| harness.attempt()));
        }
    }
}

fn in_turn(length: Length) {
    let rounds = length.pick(101, 5);
    let harnesses = SIZES.map(|size| Harness::new(size, size));
    let exhausted = Harness::new(4096, 0);
    let mut ratios = SIZES.map(|_| Vec::new());
    let mut scans = Vec::new();
    for _ in 0..rounds {
        let costs = harnesses.each_ref().map(|harness| cost(20_000, || assert!(harness.attempt())));
        ratios.iter_mut().zip(costs).for_each(|(ratios, nanos)| ratios.push(nanos / costs[0]));
        scans.push(cost(5_000, || assert!(!exhausted.attempt())));
    }
    let mut table = Table::new(&["try_get", "median (quartiles)", "asked"]);
    for (size, ratios) in SIZES.into_iter().zip(ratios).skip(1) {
        let ratio: Spread = ratios.into_iter().collect();
        let (show, asked) = (|ratio| format!("{ratio:.2}"), 1.15);
        table.row([
            format!("{size} slots, all idle, x 8 slots"),
            ratio.show(show),
            verdict(ratio.median(), asked, show),
        ]);
    }
    let (scan, show): (Spread, _) = (scans.into_iter().collect(), |nanos| format!("{nanos:.0} ns"));
    let asked = verdict(scan.median(), 1000.0, show);
    table.row(["4096 slots, exhausted".into(), scan.show(show), asked]);
    println!("{rounds} rounds, in turn; {}\n\n{table}", conditions());
}

fn brief() -> Criterion {
    Criterion::default()
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = brief(); targets = sizes }

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if let Some(length) = Length::asked() {
        in_turn(length);
    }
}
