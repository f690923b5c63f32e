//! A server that hears and never answers: in connects, in pings, and while guards come home.

use crate::Bench;
use crate::wired::{Driven, Wired};
use caliburn::health::PingOnBorrow;
use caliburn::{Builder, GetError, Manager, Pool, PooledConnection};
use caliburn_benches::common::{Behaviour, Conn, Fake, Mode, PLENTY, Server, Wire};
use caliburn_benches::harness::*;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = ms(500);
/// Of a ping: so that a task pings in its place, and there is time for a second one.
const PING_LIMIT: Duration = ms(200);
const CALLERS: usize = 64;
const GUARDS: usize = 8;

/// Has all callers wait for their whole limit, while the guards come home.
fn wait<M: Driven>(
    bench: &mut Bench,
    name: &str,
    pool: &Pool<M>,
    guards: Vec<PooledConnection<M>>,
    limits: &str,
) {
    let callers = M::FACE.begin(bench.runtime.handle(), CALLERS, |_| {
        let pool = pool.clone();
        async move {
            let begun = Instant::now();
            let result = M::FACE.get(&pool).await;
            // It timed out, and says in what phase, and why.
            let is_explained = matches!(result, Err(GetError::TimedOut { cause: Some(_), .. }));
            (begun.elapsed(), is_explained)
        }
    });
    thread::sleep(LIMIT / 2);
    let drops: Spread = guards.into_iter().map(|guard| timed(|| drop(guard)).1).collect();
    let ended = bench.runtime.block_on(callers.join_all());
    let took: Spread = ended.iter().map(|ended| ended.0).collect();
    let caused = ended.iter().filter(|ended| ended.1).count();
    let name = format!("{name}, 64 {}", M::FACE);
    let (shortest, longest) = (took.at(0.0), took.most());
    let report = &mut bench.report;
    report.row(
        format!("{name}: longest get"),
        "<= 525 ms",
        (format!("{longest:.1} ms"), longest <= 525.0),
        format!("limit 500 ms, {limits}{}; shortest {shortest:.1} ms", M::CONDITIONS),
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

pub(crate) fn connect<M: Wired>(bench: &mut Bench) {
    for (count, name) in [(0, "mute in connect"), (GUARDS, "mute in connect, 8 guards out")] {
        let server = Server::start();
        let wire = Wire::to(server.address());
        wire.0.ignores_deadlines.store(true, SeqCst);
        let pool = settled(M::builder(&wire, bench).max_size(16), count);
        let take = |_| {
            bench.runtime.block_on(async {
                let mut conn = M::FACE.get(&pool).await.expect("a connection");
                M::say(&mut conn, "begin").await.expect("the server works");
                conn
            })
        };
        let guards = (0..count).map(take).collect();
        server.behave(Behaviour::Mute);
        wait(bench, name, &pool, guards, "");
    }
}

/// Half of the connections are idle, half of them out and in need of a reset.
pub(crate) fn ping<M: Driven<Driver = Fake> + Manager<Connection = Conn>>(bench: &mut Bench) {
    let fake = Fake::new();
    let builder = M::builder(&fake, bench).max_size(2 * GUARDS).health(PingOnBorrow::always());
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
    wait(bench, "mute in ping", &pool, guards, "of a ping 200 ms; ");
    fake.open_gate();
}
