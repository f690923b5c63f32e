//! What a checkout and return cost when nobody else is there: `cargo bench --bench round_trip`, 40
//! s; `-- --quick` for less. Criterion's report, with plots, is
//! `target/criterion/report/index.html`.
//!
//! One thread (or one task), 16 slots, all connections idle; the object is touched while it is
//! held. Beside the faces of the pool stands the physical floor, two atomic read-modify-writes on a
//! word of the thread's own. Nanoseconds differ between machines and days; for figures that can be
//! compared see `programs`.
#![allow(missing_docs)]

use caliburn::health::{AgeEviction, PeriodicSweep, PingAfterFailure, PingOnBorrow};
use caliburn::{BlockingManager, Deadline, HealthStrategy, Manager, Pool};
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// A cache line of its own, of which one field is touched while it is lent.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Object {
    touched: u64,
}

struct Objects;

impl Manager for Objects {
    type Connection = Box<Object>;
    type Error = Infallible;
}

impl BlockingManager for Objects {
    fn connect(&self, _: &Deadline) -> Result<Box<Object>, Infallible> {
        Ok(Box::default())
    }

    fn ping(&self, _: &mut Box<Object>, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

fn pool(strategy: impl HealthStrategy) -> Pool<Objects> {
    let builder = Pool::builder(Objects).max_size(16).min_size(16).health(strategy);
    builder.wait_ready(Duration::from_secs(10)).build().expect("objects always connect")
}

/// Takes the lowest bit, and puts it back.
fn floor(word: &AtomicU64) {
    if black_box(word).fetch_and(!1, Ordering::Acquire) & 1 != 0 {
        black_box(word).fetch_or(1, Ordering::Release);
    }
}

fn faces(c: &mut Criterion) {
    let pool = pool(());
    let mut group = c.benchmark_group("round trip");
    let word = AtomicU64::new(1);
    group.bench_function("floor", |b| b.iter(|| floor(&word)));
    group.bench_function("try_get", |b| b.iter(|| pool.try_get().expect("idle").touched += 1));
    group.bench_function("get", |b| b.iter(|| pool.get().expect("idle").touched += 1));
    group.bench_function("get_timeout", |b| {
        b.iter(|| pool.get_timeout(Duration::from_secs(1)).expect("idle").touched += 1);
    });
    group.bench_function("get_async, polled once", |b| {
        b.iter(|| pin!(pool.get_async()).poll(&mut Context::from_waker(Waker::noop())));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    group.bench_function("get_async, a task of tokio", |b| {
        b.iter_custom(|trips| {
            runtime.block_on(async {
                let begun = Instant::now();
                for _ in 0..trips {
                    pool.get_async().await.expect("idle").touched += 1;
                }
                begun.elapsed()
            })
        });
    });
}

fn strategies(c: &mut Criterion) {
    let mut group = c.benchmark_group("round trip of get, by strategy");
    judged(&mut group, "none", ());
    judged(&mut group, "PeriodicSweep", PeriodicSweep::default());
    judged(&mut group, "PingAfterFailure", PingAfterFailure);
    judged(&mut group, "PingOnBorrow", PingOnBorrow::default());
    judged(&mut group, "AgeEviction", AgeEviction::default());
    let both = (PingOnBorrow::default(), AgeEviction::default());
    judged(&mut group, "PingOnBorrow, AgeEviction", both);
    let many = (PingAfterFailure, PeriodicSweep::default(), AgeEviction::default());
    judged(&mut group, "PingAfterFailure, PeriodicSweep, AgeEviction", many);
}

fn judged(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, strategy: impl HealthStrategy) {
    let pool = pool(strategy);
    group.bench_function(name, |b| b.iter(|| pool.get().expect("idle").touched += 1));
}

fn brief() -> Criterion {
    Criterion::default()
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = brief(); targets = faces, strategies }
criterion_main!(benches);
