//! What a look at the socket costs before a loan, in a release build: `cargo test --release
//! --features redis-tokio --test process redis_look -- --ignored --nocapture`.
#![cfg(all(feature = "redis", feature = "redis-tokio"))]

use crate::common::PLENTY;
use crate::common::resp::Resp;
use caliburn::adapters::redis::{RedisConnection, RedisManager};
use caliburn::{BlockingManager as _, Deadline, Manager as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const SIZE: usize = 64;
const ROUNDS: usize = 300;

#[test]
#[ignore = "measures, and so needs a release build on a quiet machine"]
fn soak_what_a_look_costs_is_printed() {
    let _alone = crate::alone();
    let server = Resp::start();
    let manager = RedisManager::from_url(&server.url()).unwrap();
    let connect = || manager.connect(&Deadline::after(PLENTY)).unwrap();
    let mut idle: Vec<RedisConnection> = (0..SIZE).map(|_| connect()).collect();
    // As they are lent one after the other: the median of all rounds.
    let mut loans_after = |pause: Duration| {
        let mut rounds: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                thread::sleep(pause);
                let begun = Instant::now();
                assert!(!idle.iter_mut().any(|conn| manager.has_broken(conn)));
                let cost = begun.elapsed() / SIZE as u32;
                assert!(!idle.iter_mut().any(|conn| manager.has_broken(conn)));
                cost
            })
            .collect();
        rounds.sort_unstable();
        rounds[ROUNDS / 2]
    };
    let without = loans_after(Duration::ZERO);
    let with = loans_after(Duration::from_millis(2));
    let stream = TcpStream::connect(server.address).unwrap();
    let begun = Instant::now();
    (0..1000).for_each(|_| drop(stream.take_error().unwrap()));
    let call = begun.elapsed() / 1000;
    println!("a loan: {without:?} without a look, {with:?} with one; a getsockopt: {call:?}");
}
