//! How long those who wait do so: `cargo bench --bench tails`, 20 s; `-- --quick` for less.
//!
//! A thousand tasks on two worker threads share fifty connections. Each task borrows one, works for
//! 10 µs, yields, works for another 10 µs and gives it back, over and over. Nobody should wait much
//! longer than anybody else. Then 64 threads share eight connections and hold them for a sleep of
//! 200 µs. Of the last round of each the histogram of all waits is printed.

mod harness;

use harness::figures::{conditions, work};
use harness::length::Length;
use harness::objects::pool;
use harness::turns::{Turns, on_tasks, on_threads};
use std::thread;
use std::time::{Duration, Instant};

fn tasks(time: Duration) -> Turns {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let pool = pool(50, ());
    on_tasks(runtime.handle(), 1000, time, move || {
        let pool = pool.clone();
        async move {
            let begun = Instant::now();
            let mut object = pool.get_async().await.expect("an object");
            let wait = begun.elapsed();
            work(Duration::from_micros(10));
            tokio::task::yield_now().await;
            work(Duration::from_micros(10));
            object.touched += 1;
            wait
        }
    })
}

fn threads(time: Duration) -> Turns {
    let pool = pool(8, ());
    on_threads(64, time, || {
        let begun = Instant::now();
        let mut object = pool.get().expect("an object");
        let wait = begun.elapsed();
        thread::sleep(Duration::from_micros(200));
        object.touched += 1;
        wait
    })
}

fn print(round: usize, turns: &Turns) {
    let at = |share| turns.waits.at(share);
    let (p50, p9999, longest) = (at(0.5), at(0.9999), turns.waits.longest());
    println!(
        "round {round}: {:.0} loans/s; wait p50 {p50:.1?}, p99 {:.1?}, p99.9 {:.1?}, p99.99 {p9999:.1?}, \
         max {longest:.1?}; p99.99 = {:.2} x p50, max = {:.2} x p50; Jain's index of loans {:.4}",
        turns.per_second(),
        at(0.99),
        at(0.999),
        p9999.as_secs_f64() / p50.as_secs_f64(),
        longest.as_secs_f64() / p50.as_secs_f64(),
        turns.jain(),
    );
}

fn main() {
    let Some(length) = Length::asked() else { return };
    let time = length.pick(Duration::from_millis(2500), Duration::from_millis(250));
    watch("1,000 tasks, 50 slots, 20 µs of work held", || tasks(time));
    watch("64 threads, 8 slots, held for a sleep of 200 µs", || threads(time));
}

fn watch(name: &str, harness: impl Fn() -> Turns) {
    println!("{name}; {}", conditions());
    let mut picture = String::new();
    for round in 1..=3 {
        let turns = harness();
        print(round, &turns);
        picture = turns.waits.picture();
    }
    println!("\n    at least     waits\n{picture}");
}
