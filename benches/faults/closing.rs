//! A server that does not take leave, and a pool that must close all the same.

use crate::Plan;
use crate::common::PLENTY;
use crate::common::server::{Behaviour, Server};
use crate::common::wire::{AsyncWire, Wire};
use crate::measure::{Row, Spread, ms, overshoot, runtime};
use caliburn::{CloseReport, Manager, Pool};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const LIMIT: Duration = ms(200);
const CONNECTIONS: usize = 8;
const RUNS: usize = 10;

/// One close: how long it took, and what it left unfinished.
type Closed = (Duration, CloseReport);

fn rows(name: &str, closed: &[Closed], conditions: &str) -> Vec<Row> {
    let took: Spread = closed.iter().map(|closed| closed.0).collect();
    let over = overshoot(took.longest(), LIMIT);
    let unfinished = closed.last().map_or(0, |(_, report)| report.unfinished);
    vec![Row::new(
        format!("close_within(200 ms) of a mute server, {name}"),
        "+5 % at most",
        format!("{:.1?} ({over:+.1} %)", took.longest()),
        over <= 5.0,
        format!(
            "longest of {RUNS}, median {:.2?}; {unfinished} of {CONNECTIONS} unfinished; {conditions}",
            took.median()
        ),
    )]
}

fn timed(close: impl FnOnce() -> CloseReport) -> Closed {
    let begun = Instant::now();
    let report = close();
    (begun.elapsed(), report)
}

fn open<M: Manager>(builder: caliburn::Builder<M>) -> Pool<M> {
    let builder = builder.max_size(CONNECTIONS).min_size(CONNECTIONS).wait_ready(PLENTY);
    builder.build().expect("the server works")
}

pub(crate) fn threads(_: &Plan) -> Vec<Row> {
    let one = |_| {
        let server = Server::start();
        let wire = Wire::to(server.address());
        wire.0.ignores_deadlines.store(true, SeqCst);
        let pool = open(Pool::builder(wire));
        server.behave(Behaviour::Mute);
        timed(|| pool.close_within(LIMIT))
    };
    let closed: Vec<Closed> = (0..RUNS).map(one).collect();
    rows("a thread", &closed, "the driver ignores its deadlines")
}

pub(crate) fn tasks(_: &Plan) -> Vec<Row> {
    let runtime = runtime();
    let one = |_| {
        let server = Server::start();
        let wire = Wire::to(server.address());
        let pool = open(runtime.block_on(async { AsyncWire::builder(&wire) }));
        server.behave(Behaviour::Mute);
        let closing = async move {
            let begun = Instant::now();
            let report = pool.close_within_async(LIMIT).await;
            (begun.elapsed(), report)
        };
        runtime.block_on(runtime.spawn(closing)).expect("no panic")
    };
    let closed: Vec<Closed> = (0..RUNS).map(one).collect();
    rows("a task", &closed, "on tokio")
}
