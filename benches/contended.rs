//! What a checkout and return cost when others do the same: `cargo bench --bench contended`, a
//! minute; `-- --quick` for less. Criterion's report, with plots over the slots, is
//! `target/criterion/report/index.html`.
//!
//! From one thread to one for each core, twice as many, and 16; 4 to 512 slots, but never fewer
//! than threads, so that nobody waits. The number of words that the bitmap is striped over follows
//! from slots and cores. Measured is CPU time per round trip, so what else the machine does counts
//! little, in slices in which the threads really ran side by side, as far as there are cores for
//! all. Beside it stands the floor, each thread on a cache line of its own.
//!
//! All depends on how far apart the cores are, which on a virtual machine may change while it runs:
//! so the time that a line takes to cross is printed with each group. Compare only figures with the
//! same distance.
#![allow(missing_docs)]

mod harness;

use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use harness::figures::cores;
use harness::floor::own_trip;
use harness::length::Length;
use harness::objects::{borrow, pool};
use harness::side_by_side::{cpu_time, quality};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SLOTS: [usize; 5] = [4, 8, 16, 64, 512];

/// Beyond eight only powers of two: a large machine would not be done in a minute.
fn threads() -> BTreeSet<usize> {
    let cores = cores();
    let few = (1..=cores).filter(|threads| *threads <= 8 || threads.is_power_of_two());
    few.chain([cores, 2 * cores, 16]).collect()
}

fn contended(c: &mut Criterion) {
    for threads in threads() {
        if threads > 1 && Length::asked().is_some() {
            println!("a cache line takes {:.0} ns from core to core", crossing());
        }
        let mut group = c.benchmark_group(format!("contended by {threads}"));
        // A sample takes as long as its threads; more of them than there are cores take longer
        // still.
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function("floor", |b| {
            b.iter_custom(|trips| cpu_time(threads, trips, own_trip));
        });
        // Of the floor it matters to nobody.
        let _ = quality();
        for slots in SLOTS.into_iter().filter(|slots| *slots >= threads) {
            let pool = pool(slots, ());
            group.bench_with_input(BenchmarkId::new("slots", slots), &pool, |b, pool| {
                b.iter_custom(|trips| cpu_time(threads, trips, || borrow(pool)));
            });
            if (2..=cores()).contains(&threads) && Length::asked().is_some() {
                println!("{}", quality());
            }
        }
    }
}

/// How long a line takes from one core to the other, in nanoseconds: two threads hand it to and
/// fro. The best of many short looks, as one that loses its core spoils a look.
fn crossing() -> f64 {
    const TRIPS: u64 = 1000;
    const LOOKS: u64 = 50;
    let turn = AtomicU64::new(0);
    let play = |parity: u64| {
        let mut best = f64::MAX;
        for look in 0..LOOKS {
            let begun = Instant::now();
            for trip in (look * TRIPS..).take(TRIPS as usize).filter(|trip| trip % 2 == parity) {
                let mut looks = 0u32;
                while turn.load(Ordering::Acquire) != trip {
                    std::hint::spin_loop();
                    looks += 1;
                    // The other may be waiting for this very core.
                    if looks.is_multiple_of(10_000) {
                        thread::yield_now();
                    }
                }
                turn.store(trip + 1, Ordering::Release);
            }
            best = best.min(begun.elapsed().as_nanos() as f64 / TRIPS as f64);
        }
        best
    };
    thread::scope(|scope| {
        let other = scope.spawn(move || play(1));
        play(0).min(other.join().expect("no panic"))
    })
}

fn brief() -> Criterion {
    Criterion::default()
        .nresamples(10_000)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = brief(); targets = contended }
criterion_main!(benches);
