//! A server that does not take leave, and a pool that must close all the same.

use super::wired::Wired;
use super::{Bench, overshoot};
use crate::common::PLENTY;
use crate::common::server::{Behaviour, Server};
use crate::common::wire::{AsyncWire, Wire};
use crate::harness::callers::Face;
use crate::harness::figures::{Spread, ms, timed};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const LIMIT: Duration = ms(200);
const CONNECTIONS: usize = 8;

fn closed<M: Wired>(bench: &mut Bench, conditions: &str) {
    let runs = bench.length.pick(10, 2);
    let mut unfinished = 0;
    let one = |_| {
        let server = Server::start();
        let wire = Wire::to(server.address());
        wire.0.ignores_deadlines.store(true, SeqCst);
        let builder = M::builder(&wire, &bench.runtime);
        let builder = builder.max_size(CONNECTIONS).min_size(CONNECTIONS).wait_ready(PLENTY);
        let pool = builder.build().expect("the server works");
        server.behave(Behaviour::Mute);
        let (report, took) = match M::FACE {
            Face::Threads => timed(|| pool.close_within(LIMIT)),
            Face::Tasks => bench
                .runtime
                .block_on(bench.runtime.spawn(async move {
                    let begun = std::time::Instant::now();
                    let report = pool.close_within_async(LIMIT).await;
                    (report, begun.elapsed())
                }))
                .expect("no panic"),
        };
        unfinished = report.unfinished;
        took
    };
    let took: Spread = (0..runs).map(one).collect();
    let (median, longest) = (took.median(), took.most());
    let over = overshoot(longest, LIMIT);
    bench.report.row(
        format!("close_within(200 ms) of a mute server, {}", M::FACE),
        "+5 % at most",
        (format!("{longest:.1} ms ({over:+.1} %)"), over <= 5.0),
        format!(
            "longest of {runs}, median {median:.1}; {unfinished} of {CONNECTIONS} unfinished; \
             {conditions}"
        ),
    );
}

pub fn threads(bench: &mut Bench) {
    closed::<Wire>(bench, "the driver ignores its deadlines");
}

pub fn tasks(bench: &mut Bench) {
    closed::<AsyncWire>(bench, "on tokio");
}
