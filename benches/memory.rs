//! What pools take up while nobody wants anything, and what a checkout allocates: `cargo bench
//! --bench memory`, 30 s; `-- --quick` for less.
//!
//! Bytes and allocations are counted by the allocator, for the whole process; the objects' own 64
//! bytes are left out. An idle process is watched by way of `/proc` (Linux): how often its threads
//! are woken, and the CPU time it uses, with one pool and with a thousand, beside a bare thread
//! that sleeps as often. Asked for with one: at most 50 wake-ups a second and less than 0.1 % of a
//! core.

#[path = "memory/counting.rs"]
mod counting;
mod harness;
#[path = "memory/idleness.rs"]
mod idleness;

use caliburn::health::{AgeEviction, PingOnBorrow};
use caliburn::{HealthStrategy, Pool};
use counting::measure;
use harness::figures::conditions;
use harness::length::Length;
use harness::objects::{Object, Objects};
use harness::table::{Table, verdict};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// Maintained manually, so that only this thread allocates.
fn manual_maintenance(size: usize, strategy: impl HealthStrategy) -> Pool<Objects> {
    Pool::builder(Objects::default())
        .max_size(size)
        .min_size(size)
        .health(strategy)
        .manual_maintenance()
        .wait_ready(Duration::from_secs(10))
        .build()
        .expect("objects always connect")
}

/// The bytes of a pool beside its objects.
fn bytes(size: usize) -> i64 {
    let mut kept = None;
    let measured = measure(|| kept = Some(manual_maintenance(size, ())));
    drop(kept);
    measured.bytes - (size * size_of::<Object>()) as i64
}

fn sizes(table: &mut Table) {
    // The first of the process sets up what all share.
    bytes(1);
    let [small, large] = [bytes(64), bytes(128)];
    let slot = (large - small) / 64;
    table.row(["a slot".into(), format!("{slot} bytes"), String::new()]);
    let fixed = small - 64 * slot;
    table.row(["a pool without its slots".into(), format!("{fixed} bytes"), String::new()]);
    let each = small as f64 / 64.0;
    let all = format!("{small} bytes, {each:.0} for each object");
    table.row(["a pool of 64".into(), all, String::new()]);
}

fn checkouts(table: &mut Table) {
    let bare = manual_maintenance(16, ());
    let judged = manual_maintenance(16, (PingOnBorrow::default(), AgeEviction::default()));
    for (pool, name) in [(bare, "no strategy"), (judged, "(PingOnBorrow, AgeEviction)")] {
        let mut row = |face: &str, trip: &dyn Fn()| {
            const TRIPS: u64 = 10_000;
            trip();
            let calls = measure(|| (0..TRIPS).for_each(|_| trip())).calls;
            let each = calls as f64 / TRIPS as f64;
            let asked = verdict(each, 0.0, |calls| format!("{calls}"));
            table.row([format!("{face}, {name}"), format!("{each} allocations"), asked]);
        };
        row("try_get", &|| drop(pool.try_get().expect("idle")));
        row("get", &|| drop(pool.get().expect("idle")));
        row("get_async", &|| {
            let get = pin!(pool.get_async());
            assert!(get.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        });
    }
}

fn waits(table: &mut Table) {
    const WAITS: usize = 10_000;
    let pool = manual_maintenance(1, ());
    let held = pool.get().expect("idle");
    let mut gets: Vec<_> = (0..WAITS).map(|_| Box::pin(pool.get_async())).collect();
    let waiting = measure(|| {
        for get in &mut gets {
            assert!(get.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    });
    let each = |figure: f64| figure / WAITS as f64;
    let (bytes, calls) = (each(waiting.bytes as f64), each(waiting.calls as f64));
    let both = format!("{bytes:.0} bytes in {calls:.2} allocations");
    table.row(["a wait, of 10,000 at once".into(), both, String::new()]);
    drop(gets);
    drop(held);
}

/// As most pools are: looked after by the housekeeper.
fn kept(size: usize) -> Pool<Objects> {
    Pool::builder(Objects::default()).max_size(size).min_size(size).build().expect("a thread")
}

fn one_idle_pool(table: &mut Table, length: Length) {
    // Until the housekeeper of earlier pools has gone.
    idleness::settle();
    let bare = idleness::beside_a_sleeper(|| idleness::watch(length));
    let pool = kept(64);
    pool.ready(Duration::from_secs(10)).expect("objects always connect");
    idleness::settle();
    let idle = idleness::watch(length);
    let mut rows = |name: &str, [woken, share]: [[String; 2]; 2]| {
        let mut row = |what, [measured, asked]: [String; 2]| {
            table.row([format!("{name}: {what}"), measured, asked]);
        };
        row("wake-ups", woken);
        row("CPU time", share);
    };
    rows("a bare thread that sleeps for 25 ms at a time", bare.rows(None));
    rows("an idle process with one pool", idle.rows(Some([50.0, 0.1])));
}

fn a_thousand_pools(table: &mut Table, length: Length) {
    let begun = Instant::now();
    let mut pools = Vec::with_capacity(1000);
    let built = measure(|| {
        pools.extend((0..1000).map(|_| kept(1)));
        for pool in &pools {
            pool.ready(Duration::from_secs(10)).expect("objects always connect");
        }
        idleness::settle();
    });
    let took = begun.elapsed();
    let names = idleness::threads();
    let each = built.bytes / 1000 - size_of::<Object>() as i64;
    let mut row = |name: &str, measured: String, asked: String| {
        table.row([format!("1,000 pools of one: {name}"), measured, asked]);
    };
    row("bytes for each", format!("{each} bytes"), String::new());
    row("until all are ready", format!("{took:.0?}"), String::new());
    let count = names.len() as f64;
    row("threads", names.join(", "), verdict(count, 1.0, |count| format!("{count}")));
    let [[woken, _], [share, _]] = idleness::watch(length).rows(None);
    row("wake-ups", woken, String::new());
    row("CPU time", share, String::new());
}

fn main() {
    let Some(length) = Length::asked() else { return };
    let mut table = Table::new(&["what", "measured", "asked"]);
    sizes(&mut table);
    checkouts(&mut table);
    waits(&mut table);
    one_idle_pool(&mut table, length);
    a_thousand_pools(&mut table, length);
    println!("{}\n\n{table}", conditions());
}
