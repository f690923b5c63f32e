//! Round trips by criterion, with reports in `target/criterion`: `cargo bench --bench checkout`.
//!
//! Nanoseconds differ between machines and days; for figures that can be compared see the bench `ratios`.
#![allow(missing_docs)]

use caliburn::health::{AgeEviction, PingOnBorrow, Suspicion};
use caliburn::{BlockingManager, Deadline, HealthStrategy, Manager, Pool};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

struct Numbers;

impl Manager for Numbers {
    type Connection = u64;
    type Error = Infallible;
}

impl BlockingManager for Numbers {
    fn connect(&self, _: &Deadline) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn ping(&self, _: &mut u64, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

fn pool(size: usize, strategy: impl HealthStrategy) -> Pool<Numbers> {
    Pool::builder(Numbers)
        .max_size(size)
        .min_size(size)
        .health(strategy)
        .wait_ready(Duration::from_secs(5))
        .build()
        .expect("numbers always connect")
}

fn faces(c: &mut Criterion) {
    let pool = pool(16, ());
    let mut group = c.benchmark_group("round trip");
    group.bench_function("try_get", |b| b.iter(|| *pool.try_get().expect("idle") += 1));
    group.bench_function("get", |b| b.iter(|| *pool.get().expect("idle") += 1));
    group.bench_function("get_async", |b| {
        b.iter(|| pin!(pool.get_async()).poll(&mut Context::from_waker(Waker::noop())))
    });
}

fn strategies(c: &mut Criterion) {
    let mut group = c.benchmark_group("strategies");
    let none = pool(16, ());
    group.bench_function("none", |b| b.iter(|| drop(none.get())));
    let suspicion = pool(16, Suspicion);
    group.bench_function("Suspicion", |b| b.iter(|| drop(suspicion.get())));
    let both = pool(16, (PingOnBorrow::default(), AgeEviction::default()));
    group.bench_function("PingOnBorrow, AgeEviction", |b| b.iter(|| drop(both.get())));
}

fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("slots");
    for size in [8, 64, 512, 4096] {
        let pool = pool(size, ());
        group.bench_function(BenchmarkId::new("idle", size), |b| b.iter(|| drop(pool.try_get())));
        let held: Vec<_> = (0..size).map(|_| pool.get().expect("idle")).collect();
        group.bench_function(BenchmarkId::new("exhausted", size), |b| {
            b.iter(|| pool.try_get().is_ok())
        });
        drop(held);
    }
}

criterion_group!(benches, faces, strategies, sizes);
criterion_main!(benches);
