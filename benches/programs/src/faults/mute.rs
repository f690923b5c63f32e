//! A server that hears and never answers: in connects, in pings, and while guards come home.

use super::Bench;
use super::wired::{Talk, Wired};
use crate::common::server::{Behaviour, Server};
use crate::common::wire::{AsyncWire, Wire};
use crate::common::{AsyncFake, Conn, Fake, Mode, PLENTY};
use crate::harness::callers::{Caller, Face, Got};
use crate::harness::figures::{Spread, ms, timed};
use caliburn::health::PingOnBorrow;
use caliburn::{Builder, GetError, Manager, PingOn, Pool, PooledConnection};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = ms(500);
/// Of a ping: so that a task pings in its place, and there is time for a second one.
const PING_LIMIT: Duration = ms(200);
const CALLERS: usize = 64;
const GUARDS: usize = 8;

/// How one `get` ended.
struct Ended {
    took: Duration,
    /// It timed out, and says in what phase, and why.
    is_explained: bool,
}

impl Ended {
    fn new<M: Manager>(begun: Instant, result: &Got<M>) -> Self {
        let took = begun.elapsed();
        let is_explained = matches!(result, Err(GetError::TimedOut { cause: Some(_), .. }));
        Self { took, is_explained }
    }
}

/// Has all callers wait for their whole limit, while the guards come home.
fn wait<M: Manager>(
    bench: &mut Bench,
    face: Face,
    name: &str,
    pool: &Pool<M>,
    guards: Vec<PooledConnection<M>>,
    conditions: &str,
) {
    let callers = face.begin(bench.runtime.handle(), CALLERS, |_| {
        let pool = pool.clone();
        async move {
            let begun = Instant::now();
            Ended::new::<M>(begun, &face.get(&pool).await)
        }
    });
    thread::sleep(LIMIT / 2);
    let drops: Spread = guards.into_iter().map(|guard| timed(|| drop(guard)).1).collect();
    let ended: Vec<Ended> = callers.into_iter().map(Caller::join).collect();
    let took: Spread = ended.iter().map(|ended| ended.took).collect();
    let caused = ended.iter().filter(|ended| ended.is_explained).count();
    let name = format!("{name}, 64 {face}");
    let (shortest, longest) = (took.at(0.0), took.most());
    let report = &mut bench.report;
    report.row(
        format!("{name}: longest get"),
        "<= 525 ms",
        (format!("{longest:.1} ms"), longest <= 525.0),
        format!("limit 500 ms, {conditions}; shortest {shortest:.1} ms"),
    );
    report.row(
        format!("{name}: phase and cause"),
        format!("{CALLERS} of {CALLERS}"),
        (format!("{caused} of {CALLERS}"), caused == CALLERS),
        "",
    );
    if drops.count() > 0 {
        let longest = drops.most();
        report.row(
            format!("{name}: longest drop"),
            "<= 1 ms each",
            (format!("{longest:.3} ms"), longest <= 1.0),
            format!("{} guards in need of a reset, while {CALLERS} wait", drops.count()),
        );
    }
}

/// So many connections, and as long a limit as the scenario wants.
fn settled<M: Manager>(builder: Builder<M>, open: usize) -> Pool<M> {
    let pool = builder.initial_size(open).checkout_timeout(LIMIT).wait_ready(PLENTY);
    pool.build().expect("the server works")
}

fn connect<M: Wired>(bench: &mut Bench, conditions: &str) {
    for (count, name) in [(0, "mute in connect"), (GUARDS, "mute in connect, 8 guards out")] {
        let server = Server::start();
        let wire = Wire::to(server.address());
        wire.0.ignores_deadlines.store(true, SeqCst);
        let pool = settled(M::builder(&wire, &bench.runtime).max_size(16), count);
        let take = |_| {
            bench.runtime.block_on(async {
                let mut conn = M::FACE.get(&pool).await.expect("a connection");
                conn.say("begin").await.expect("the server works");
                conn
            })
        };
        let guards = (0..count).map(take).collect();
        server.behave(Behaviour::Mute);
        wait(bench, M::FACE, name, &pool, guards, conditions);
    }
}

pub fn connect_threads(bench: &mut Bench) {
    connect::<Wire>(bench, "the driver ignores its deadlines");
}

pub fn connect_tasks(bench: &mut Bench) {
    connect::<AsyncWire>(bench, "on tokio, two workers");
}

/// Half of the connections are idle, half of them out and in need of a reset.
fn ping<M: Manager<Connection = Conn>>(
    bench: &mut Bench,
    face: Face,
    fake: &Fake,
    builder: Builder<M>,
    conditions: &str,
) {
    let builder = builder.max_size(2 * GUARDS).health(PingOnBorrow::always());
    let pool = settled(builder.ping_timeout(PING_LIMIT), 2 * GUARDS);
    let take = |_| pool.get().expect("a connection");
    // What has just been opened, and was not lent since, is not pinged.
    drop((0..2 * GUARDS).map(take).collect::<Vec<_>>());
    let dirty = |mut conn: PooledConnection<M>| {
        conn.dirty = true;
        conn
    };
    let guards = (0..GUARDS).map(take).map(dirty).collect();
    fake.on_ping(Mode::Hang);
    fake.on_reset(Mode::Hang);
    wait(bench, face, "mute in ping", &pool, guards, conditions);
    fake.open_gate();
}

pub fn ping_threads(bench: &mut Bench) {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone()).ping_on(PingOn::Worker);
    let conditions = "of a ping 200 ms; PingOn::Worker, the driver ignores it";
    ping(bench, Face::Threads, &fake, builder, conditions);
}

pub fn ping_tasks(bench: &mut Bench) {
    let fake = Fake::new();
    let builder = bench.builder(AsyncFake(fake.clone()));
    ping(bench, Face::Tasks, &fake, builder, "of a ping 200 ms; on tokio, two workers");
}
