//! Half of 64 connections are reset at once, under the load of 32 callers. A failed use is the news
//! from which the pool learns of it; nobody should have to bring it twice.
//!
//! It takes some milliseconds to cut so many links, and one that is pinged meanwhile may be cut
//! after that. So callers keep still for that moment, with their connections in hand.

use crate::Bench;
use crate::wired::Wired;
use caliburn::health::PingAfterFailure;
use caliburn_benches::common::{PLENTY, Proxy, Server, Wire};
use caliburn_benches::harness::*;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

const SLOTS: usize = 64;
const CALLERS: usize = 32;
const CONNECT: Duration = ms(20);
/// What a query takes; its length keeps the machine from being the bottleneck.
const QUERY: &str = "work 10";
const BEFORE: Duration = ms(300);
/// How long after the cut gets are counted.
const AFTER: Duration = ms(500);

/// What one caller has seen since the cut.
#[derive(Default)]
struct Seen {
    failures: usize,
    refusals: usize,
    gets: Vec<Duration>,
}

impl Seen {
    fn note(&mut self, cut: Option<Instant>, begun: Instant, took: Duration, is_answered: bool) {
        if let Some(cut) = cut {
            self.failures += usize::from(!is_answered);
            self.gets.extend((begun >= cut).then_some(took));
        }
    }
}

pub(crate) fn half<M: Wired>(bench: &mut Bench) {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let builder = M::builder(&Wire::to(proxy.address()), bench);
    let builder = builder.max_size(SLOTS).min_size(SLOTS).checkout_timeout(ms(2000));
    let pool = builder.health(PingAfterFailure).wait_ready(PLENTY).build();
    let pool = pool.expect("the server works");
    server.hello_takes(CONNECT);
    // Held open by those who use a connection; knows when the cut was made.
    let gate = Arc::new(RwLock::new(None::<Instant>));
    let callers = M::FACE.begin(bench.runtime.handle(), CALLERS, |_| {
        let (pool, gate) = (pool.clone(), Arc::clone(&gate));
        async move {
            let (mut seen, mut last) = (Seen::default(), None::<Instant>);
            while last.is_none_or(|cut| cut.elapsed() < AFTER) {
                let begun = Instant::now();
                let Ok(mut conn) = M::FACE.get(&pool).await else {
                    seen.refusals += 1;
                    continue;
                };
                let took = begun.elapsed();
                let cut = gate.read().await;
                seen.note(*cut, begun, took, M::say(&mut conn, QUERY).await.is_ok());
                last = *cut;
            }
            seen
        }
    });
    thread::sleep(BEFORE);
    let mut when = gate.blocking_write();
    // Half of them, though not every other one, as connects come in pairs.
    let cut = proxy.cut_where(|link| link.count_ones().is_multiple_of(2));
    *when = Some(Instant::now());
    drop(when);
    let all: Vec<Seen> = bench.runtime.block_on(callers.join_all());
    let most = all.iter().map(|seen| seen.failures).max().unwrap_or(0);
    let failures: usize = all.iter().map(|seen| seen.failures).sum();
    let refusals: usize = all.iter().map(|seen| seen.refusals).sum();
    let gets: Spread = all.into_iter().flat_map(|seen| seen.gets).collect();
    let name = format!("half of 64 cut, 32 {}", M::FACE);
    bench.report.row(
        format!("{name}: failures seen by one caller"),
        "<= 1",
        (most.to_string(), most <= 1),
        format!(
            "{cut} cut, {failures} failed uses in all, {refusals} gets failed; PingAfterFailure"
        ),
    );
    bench.report.row(
        format!("{name}: p99 of get"),
        "<= 40 ms (two connects)",
        (format!("{:.2} ms", gets.at(0.99)), gets.at(0.99) <= 40.0),
        format!(
            "{} gets in the {AFTER:.0?} after, longest {:.1} ms; a query takes 10 ms",
            gets.count(),
            gets.most()
        ),
    );
}
