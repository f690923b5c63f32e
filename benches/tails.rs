//! How long those who wait do so: `cargo bench --bench tails`.
//!
//! A thousand tasks on two worker threads share fifty connections. Each task borrows one, works for 10 µs,
//! yields, works for another 10 µs and gives it back, over and over. Nobody should wait much longer than
//! anybody else.

use caliburn::{BlockingManager, Deadline, Manager, Pool};
use std::convert::Infallible;
use std::time::{Duration, Instant};

struct Numbers;

impl Manager for Numbers {
    type Connection = Box<u64>;
    type Error = Infallible;
}

impl BlockingManager for Numbers {
    fn connect(&self, _: &Deadline) -> Result<Box<u64>, Infallible> {
        Ok(Box::new(0))
    }

    fn ping(&self, _: &mut Box<u64>, _: &Deadline) -> Result<(), Infallible> {
        Ok(())
    }
}

const TASKS: usize = 1000;
const SLOTS: usize = 50;
const LOANS: usize = 300;

fn work() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(10) {
        std::hint::spin_loop();
    }
}

fn main() {
    let pool = Pool::builder(Numbers)
        .max_size(SLOTS)
        .min_size(SLOTS)
        .connection_timeout(Duration::from_secs(60))
        .wait_ready(Duration::from_secs(10))
        .build()
        .expect("numbers always connect");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    for round in 1..=3 {
        let begun = Instant::now();
        let mut waits: Vec<Duration> = runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let pool = pool.clone();
                    tokio::spawn(async move {
                        let mut waits = Vec::with_capacity(LOANS);
                        for _ in 0..LOANS {
                            let begun = Instant::now();
                            let mut number = pool.get_async().await.expect("a connection");
                            waits.push(begun.elapsed());
                            work();
                            tokio::task::yield_now().await;
                            work();
                            **number += 1;
                        }
                        waits
                    })
                })
                .collect();
            let mut waits = Vec::new();
            for task in tasks {
                // The first loan has a line of its own, and the last finds nobody else.
                let all = task.await.expect("no panic");
                waits.extend_from_slice(&all[LOANS / 10..LOANS * 9 / 10]);
            }
            waits
        });
        let took = begun.elapsed();
        waits.sort_unstable();
        let at = |share: f64| waits[(share * (waits.len() - 1) as f64) as usize];
        let (p50, p9999, max) = (at(0.5), at(0.9999), at(1.0));
        println!(
            "round {round}: {:.0} loans/s; wait p50 {p50:.1?}, p99 {:.1?}, p99.9 {:.1?}, p99.99 {p9999:.1?}, \
             max {max:.1?}; p99.99 = {:.2} x p50, max = {:.2} x p50",
            (TASKS * LOANS) as f64 / took.as_secs_f64(),
            at(0.99),
            at(0.999),
            p9999.as_secs_f64() / p50.as_secs_f64(),
            max.as_secs_f64() / p50.as_secs_f64(),
        );
    }
}
