//! A server that does not take leave, and a pool that must close all the same.

use crate::wired::Wired;
use crate::{Bench, overshoot};
use caliburn::Pool;
use caliburn_benches::common::{Behaviour, PLENTY, Server, Wire};
use caliburn_benches::harness::*;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const LIMIT: Duration = ms(200);
const CONNECTIONS: usize = 8;

pub(crate) fn closed<M: Wired>(bench: &mut Bench) {
    let runs = bench.length.pick(10, 2);
    let mut unfinished = 0;
    let one = |_| {
        let server = Server::start();
        let wire = Wire::to(server.address());
        wire.0.ignores_deadlines.store(true, SeqCst);
        let builder = M::builder(&wire, bench);
        let builder = builder.max_size(CONNECTIONS).min_size(CONNECTIONS).wait_ready(PLENTY);
        let pool = builder.build().expect("the server works");
        server.behave(Behaviour::Mute);
        let close = async |pool: Pool<M>| match M::FACE {
            Face::Threads => pool.close_within(LIMIT),
            Face::Tasks => pool.close_within_async(LIMIT).await,
        };
        let (report, took) = timed(|| bench.runtime.block_on(close(pool)));
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
             {}",
            M::CONDITIONS
        ),
    );
}
