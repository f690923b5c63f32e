//! Half of 64 connections are reset at once, under the load of 32 callers. A failed use is the news
//! from which the pool learns of it; nobody should have to bring it twice.
//!
//! It takes some milliseconds to cut so many links, and one that is pinged meanwhile may be cut
//! after that. So callers keep still for that moment, with their connections in hand.

use crate::Plan;
use crate::common::PLENTY;
use crate::common::proxy::Proxy;
use crate::common::server::Server;
use crate::common::wire::{AsyncWire, Wire};
use crate::measure::{Row, Spread, ms, on_tasks, on_threads, runtime};
use caliburn::health::PingAfterFailure;
use caliburn::{Builder, Manager, Pool};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

const SLOTS: usize = 64;
const CALLERS: usize = 32;
const CONNECT: Duration = ms(20);
/// What a query takes; its length keeps the machine from being the bottleneck.
const QUERY_MS: u64 = 10;
const BEFORE: Duration = ms(300);
/// How long after the cut gets are counted.
const AFTER: Duration = ms(500);

/// Held open by those who use a connection; knows when the cut was made.
type Gate = RwLock<Option<Instant>>;

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

fn goes_on(cut: Option<Instant>) -> bool {
    cut.is_none_or(|cut| cut.elapsed() < AFTER)
}

fn pool<M: Manager>(builder: Builder<M>, server: &Server) -> Pool<M> {
    let pool = builder
        .max_size(SLOTS)
        .min_size(SLOTS)
        .checkout_timeout(ms(2000))
        .health(PingAfterFailure)
        .wait_ready(PLENTY)
        .build()
        .expect("the server works");
    server.hello_takes(CONNECT);
    pool
}

/// Cuts every other link when the time has come.
fn cutting<T>(proxy: &Proxy, gate: &Gate, callers: impl FnOnce() -> T) -> (T, usize) {
    thread::scope(|scope| {
        let cutting = scope.spawn(move || {
            thread::sleep(BEFORE);
            let mut cut = gate.blocking_write();
            // Half of them, though not every other one, as connects come in pairs.
            let count = proxy.cut_where(|link| link.count_ones().is_multiple_of(2));
            *cut = Some(Instant::now());
            drop(cut);
            count
        });
        (callers(), cutting.join().expect("no cut panics"))
    })
}

fn rows(name: &str, (all, cut): (Vec<Seen>, usize)) -> Vec<Row> {
    let most = all.iter().map(|seen| seen.failures).max().unwrap_or(0);
    let failures: usize = all.iter().map(|seen| seen.failures).sum();
    let refusals: usize = all.iter().map(|seen| seen.refusals).sum();
    let gets: Spread = all.into_iter().flat_map(|seen| seen.gets).collect();
    vec![
        Row::new(
            format!("half of 64 cut, {name}: failures seen by one caller"),
            "<= 1",
            format!("{most}"),
            most <= 1,
            format!(
                "{cut} cut, {failures} failed uses in all, {refusals} gets failed; PingAfterFailure"
            ),
        ),
        Row::new(
            format!("half of 64 cut, {name}: p99 of get"),
            "<= 40 ms (two connects)",
            format!("{:.1?}", gets.at(0.99)),
            gets.at(0.99) <= 2 * CONNECT,
            format!(
                "{} gets in the {AFTER:.0?} after, longest {:.1?}; a query takes {QUERY_MS} ms",
                gets.count(),
                gets.longest()
            ),
        ),
    ]
}

pub(crate) fn threads(_: &Plan) -> Vec<Row> {
    let (server, gate) = (Server::start(), Gate::default());
    let proxy = Proxy::to(server.address());
    let pool = pool(Pool::builder(Wire::to(proxy.address())), &server);
    let caller = |_| {
        let (mut seen, mut last) = (Seen::default(), None);
        while goes_on(last) {
            let begun = Instant::now();
            let Ok(mut conn) = pool.get() else {
                seen.refusals += 1;
                continue;
            };
            let took = begun.elapsed();
            let cut = gate.blocking_read();
            seen.note(*cut, begun, took, conn.work(QUERY_MS).is_ok());
            last = *cut;
        }
        seen
    };
    let seen = cutting(&proxy, &gate, || on_threads(CALLERS, caller));
    rows("32 threads", seen)
}

pub(crate) fn tasks(_: &Plan) -> Vec<Row> {
    let (server, runtime, gate) = (Server::start(), runtime(), Arc::new(Gate::default()));
    let proxy = Proxy::to(server.address());
    let wire = Wire::to(proxy.address());
    let pool = pool(runtime.block_on(async { AsyncWire::builder(&wire) }), &server);
    let caller = |_| {
        let (pool, gate) = (pool.clone(), gate.clone());
        async move {
            let (mut seen, mut last) = (Seen::default(), None);
            while goes_on(last) {
                let begun = Instant::now();
                let Ok(mut conn) = pool.get_async().await else {
                    seen.refusals += 1;
                    continue;
                };
                let took = begun.elapsed();
                let cut = gate.read().await;
                seen.note(*cut, begun, took, conn.work(QUERY_MS).await.is_ok());
                last = *cut;
            }
            seen
        }
    };
    let seen = cutting(&proxy, &gate, || on_tasks(&runtime, CALLERS, caller));
    rows("32 tasks", seen)
}
