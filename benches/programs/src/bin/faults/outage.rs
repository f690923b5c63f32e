//! The server is gone for a while, behind a black hole or a closed port, and callers keep trying.
//!
//! Callers, proxy and server share the process with the pool, and so its CPU time.

use crate::Bench;
use crate::wired::Wired;
use caliburn::Stats;
use caliburn::health::PingAfterFailure;
use caliburn_benches::common::{PLENTY, PathMode, Proxy, Server, Wire};
use caliburn_benches::harness::*;
use cpu_time::ProcessTime;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const CALLERS: usize = 8;
const LIMIT: Duration = ms(500);
/// Before the outage.
const CALM: Duration = ms(300);
/// From its begin to the steady state.
const ONSET: Duration = ms(2500);

/// How it begins and how it ends.
type Kind = [fn(&Proxy); 2];

const BLACK_HOLE: Kind = [|proxy| proxy.set(PathMode::Drop), |proxy| proxy.set(PathMode::Pass)];
const REFUSED: Kind = [
    |proxy| {
        proxy.refuse();
        proxy.cut();
    },
    Proxy::reopen,
];

/// What callers and the course of events tell each other.
#[derive(Default)]
struct Watch {
    is_over: AtomicBool,
    healed: OnceLock<Instant>,
    /// When a caller first had its query answered after that.
    served: OnceLock<Instant>,
    failed_in_outage: AtomicUsize,
}

impl Watch {
    fn note(&self, is_served: bool) {
        match self.healed.get() {
            Some(_) if is_served => drop(self.served.set(Instant::now())),
            None if !is_served => drop(self.failed_in_outage.fetch_add(1, SeqCst)),
            _ => {}
        }
    }
}

/// Breaks, waits, measures, heals. The callers are at it all the time. `limit`: that of all calls,
/// if not a connect may take 10 s, a ping and a close 5 s, as by default.
fn outage<M: Wired>(bench: &mut Bench, [begin, end]: Kind, name: &str, limit: Option<Duration>) {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let wire = Wire::to(proxy.address());
    let builder = M::builder(&wire, bench);
    let builder = match limit {
        None => builder,
        Some(limit) => builder
            .connect_timeout(limit)
            .ping_timeout(limit)
            .reset_timeout(limit)
            .close_timeout(limit),
    };
    let builder = builder.max_size(CALLERS).min_size(CALLERS).checkout_timeout(LIMIT);
    let pool = builder.health(PingAfterFailure).wait_ready(PLENTY).build();
    let pool = pool.expect("the server works");
    let watch = Arc::new(Watch::default());
    let callers = M::FACE.begin(bench.runtime.handle(), CALLERS, |_| {
        let (pool, watch) = (pool.clone(), Arc::clone(&watch));
        async move {
            while !watch.is_over.load(SeqCst) {
                match M::FACE.get(&pool).await {
                    Ok(mut conn) => watch.note(pool.manager().query(&mut conn, LIMIT).await),
                    Err(_) => watch.note(false),
                }
            }
        }
    });
    thread::sleep(CALM);
    begin(&proxy);
    thread::sleep(ONSET);
    let attempts = || wire.0.attempts.load(SeqCst);
    let (cpu, begun, before) = (ProcessTime::now(), Instant::now(), attempts());
    thread::sleep(bench.lasts - ONSET);
    let wall = begun.elapsed().as_secs_f64();
    let (cpu, connects) = (cpu.elapsed().as_secs_f64() / wall, (attempts() - before) as f64 / wall);
    let Stats { opening, maintenance, quarantined, vacant, .. } = pool.stats();
    let healed = *watch.healed.get_or_init(Instant::now);
    end(&proxy);
    while watch.served.get().is_none() && healed.elapsed() < ms(12_000) {
        thread::sleep(ms(1));
    }
    let back = watch.served.get().map(|served| *served - healed);
    watch.is_over.store(true, SeqCst);
    bench.runtime.block_on(callers.join_all());

    let name = format!("{name}, 8 {}", M::FACE);
    let words = limit.map_or("limits by default".into(), |limit| format!("limits {limit:?}"));
    let failed = watch.failed_in_outage.load(SeqCst);
    let steady = format!("steady state: {ONSET:.1?} to {:.0?}; {words}", bench.lasts);
    let milliseconds = |after: Duration| format!("{} ms", after.as_millis());
    let report = &mut bench.report;
    report.row(
        format!("{name}: first success"),
        "<= 1 s after healing",
        (
            back.map_or("never within 12 s".into(), milliseconds),
            back.is_some_and(|after| after <= ms(1000)),
        ),
        format!(
            "{:.0?} down, {words}, {failed} failures; slots then: {opening} opening, \
             {maintenance} closing, {quarantined} late, {vacant} vacant",
            bench.lasts
        ),
    );
    report.row(
        format!("{name}: CPU while down"),
        "< 5 % of a core",
        (format!("{:.2} %", cpu * 100.0), cpu < 0.05),
        format!("{steady}; with callers, proxy and server"),
    );
    let seen = (format!("{connects:.2}/s"), connects <= 2.0);
    report.row(format!("{name}: connects begun"), "<= 2/s", seen, steady);
}

pub(crate) fn black_hole<M: Wired>(bench: &mut Bench) {
    outage::<M>(bench, BLACK_HOLE, "black hole", None);
    outage::<M>(bench, BLACK_HOLE, "black hole, limits 1 s", Some(ms(1000)));
}

pub(crate) fn refused<M: Wired>(bench: &mut Bench) {
    outage::<M>(bench, REFUSED, "port closed", None);
}
