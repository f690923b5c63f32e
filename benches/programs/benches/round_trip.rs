//! What a checkout and return cost when nobody else is there: `cargo bench --bench round_trip`, 15
//! s; `-- --quick` for less. Criterion's report, with plots, is
//! `target/criterion/report/index.html`.
//!
//! One thread (or one task), 16 slots, all connections idle; the object is touched while it is
//! held. Beside the faces of the pool stands the physical floor, two atomic read-modify-writes on a
//! word of the thread's own. Nanoseconds differ between machines and days; for figures that can be
//! compared see `compare`.

use caliburn_benches::harness::Line;
use caliburn_benches::pools::pool;
use criterion::{Criterion, criterion_group, criterion_main};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

const SIZE: usize = 16;

fn faces(c: &mut Criterion) {
    let pool = pool(SIZE);
    let mut group = c.benchmark_group("round trip");
    let line = Line::default();
    group.bench_function("floor", |b| b.iter(|| line.two_rmw(0)));
    group.bench_function("try_get", |b| b.iter(|| pool.try_get().expect("idle").touch()));
    group.bench_function("get", |b| b.iter(|| pool.get().expect("idle").touch()));
    group.bench_function("get_async, polled once", |b| {
        b.iter(|| pin!(pool.get_async()).poll(&mut Context::from_waker(Waker::noop())));
    });
}

fn brief() -> Criterion {
    Criterion::default()
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = brief(); targets = faces }
criterion_main!(benches);
