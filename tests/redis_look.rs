//! What a look at the socket costs before a loan: `cargo test --release --test redis_look -- --ignored --nocapture`.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

mod common;

use caliburn::adapters::redis::RedisManager;
use caliburn::{BlockingManager as _, Deadline, Manager as _};
use common::PLENTY;
use common::resp::Resp;
use std::thread;
use std::time::{Duration, Instant};

#[test]
#[ignore = "measures, and so needs a release build on a quiet machine"]
fn a_look_costs_a_microsecond_at_most() {
    const LOANS: u32 = 2000;
    let server = Resp::start();
    let manager = RedisManager::from_url(&server.url()).unwrap();
    let mut conn = manager.connect(&Deadline::after(PLENTY)).unwrap();
    let mut asked_after = |idle: Duration| {
        let mut costs: Vec<Duration> = (0..LOANS)
            .map(|_| {
                thread::sleep(idle);
                let begun = Instant::now();
                assert!(!manager.has_broken(&mut conn));
                let cost = begun.elapsed();
                assert!(!manager.has_broken(&mut conn));
                cost
            })
            .collect();
        costs.sort_unstable();
        costs[LOANS as usize / 2]
    };
    let (without, with) = (asked_after(Duration::ZERO), asked_after(Duration::from_micros(1200)));
    println!("has_broken before a loan: {without:?} without a look, {with:?} with one");
    assert!(with < Duration::from_micros(10), "{with:?}");
}
