//! A server that hears and never answers: in connects, in pings, and while guards come home.

use crate::Plan;
use crate::common::server::{Behaviour, Server};
use crate::common::wire::{AsyncWire, Wire};
use crate::common::{AsyncFake, Fake, Mode, PLENTY};
use crate::measure::{Row, Spread, ms, on_tasks, on_threads, runtime};
use caliburn::health::PingOnBorrow;
use caliburn::{Builder, GetError, Manager, PingOn, Pool, PooledConnection, error::Phase};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const LIMIT: Duration = ms(500);
/// Of a ping: so that a task pings in its place, and there is time for a second one.
const PING_LIMIT: Duration = ms(200);
const CALLERS: usize = 64;
const GUARDS: usize = 8;

/// How one `get` ended.
struct Ended {
    took: Duration,
    /// Nothing if it did not time out.
    phase: Option<Phase>,
    has_cause: bool,
}

impl Ended {
    fn new<C, E>(begun: Instant, result: &Result<C, GetError<E>>) -> Self {
        let took = begun.elapsed();
        match result {
            Err(GetError::TimedOut { phase, cause, .. }) => {
                Self { took, phase: Some(*phase), has_cause: cause.is_some() }
            }
            _ => Self { took, phase: None, has_cause: false },
        }
    }
}

/// Guards that come home while the callers wait, each timed.
fn drop_meanwhile<M: Manager>(
    guards: Vec<PooledConnection<M>>,
    callers: impl FnOnce() -> Vec<Ended>,
) -> (Vec<Ended>, Spread) {
    thread::scope(|scope| {
        let dropping = scope.spawn(|| {
            thread::sleep(LIMIT / 2);
            let timed = |guard| {
                let begun = Instant::now();
                drop(guard);
                begun.elapsed()
            };
            guards.into_iter().map(timed).collect::<Spread>()
        });
        let ended = callers();
        (ended, dropping.join().expect("no drop panics"))
    })
}

fn threads<M: Manager>(pool: &Pool<M>) -> Vec<Ended> {
    on_threads(CALLERS, |_| {
        let begun = Instant::now();
        Ended::new(begun, &pool.get())
    })
}

fn tasks<M: Manager>(runtime: &Runtime, pool: &Pool<M>) -> Vec<Ended> {
    on_tasks(runtime, CALLERS, |_| {
        let pool = pool.clone();
        async move {
            let begun = Instant::now();
            Ended::new(begun, &pool.get_async().await)
        }
    })
}

fn rows(name: &str, (ended, drops): (Vec<Ended>, Spread), conditions: &str) -> Vec<Row> {
    let took: Spread = ended.iter().map(|ended| ended.took).collect();
    let caused = ended.iter().filter(|ended| ended.phase.is_some() && ended.has_cause).count();
    let mut phases = BTreeMap::new();
    for ended in &ended {
        let phase = ended.phase.map_or("none".into(), |phase| format!("{phase:?}"));
        *phases.entry(phase).or_insert(0) += 1;
    }
    let phases: Vec<_> = phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let mut rows = vec![
        Row::new(
            format!("{name}: longest get"),
            "<= 525 ms",
            format!("{:.1?}", took.longest()),
            took.longest() <= ms(525),
            format!("limit 500 ms, {conditions}; shortest {:.1?}", took.at(0.0)),
        ),
        Row::new(
            format!("{name}: phase and cause"),
            format!("{CALLERS} of {CALLERS}"),
            format!("{caused} of {CALLERS}"),
            caused == CALLERS,
            format!("by phase: {}", phases.join(", ")),
        ),
    ];
    if drops.count() > 0 {
        rows.push(Row::new(
            format!("{name}: longest drop"),
            "<= 1 ms each",
            format!("{:.1?}", drops.longest()),
            drops.longest() <= ms(1),
            format!("{} guards in need of a reset, while {CALLERS} wait", drops.count()),
        ));
    }
    rows
}

const NO_DEADLINE: &str = "the driver ignores its deadlines";

pub(crate) fn connect_threads(_: &Plan) -> Vec<Row> {
    let run = |guards: usize, name: &str| {
        let server = Server::start();
        let wire = Wire::to(server.address());
        wire.0.ignores_deadlines.store(true, SeqCst);
        let pool = settled(Pool::builder(wire).max_size(16), guards);
        let take = |_| {
            let mut conn = pool.get().expect("a connection");
            conn.begin().expect("the server works");
            conn
        };
        let guards: Vec<_> = (0..guards).map(take).collect();
        server.behave(Behaviour::Mute);
        rows(name, drop_meanwhile(guards, || threads(&pool)), NO_DEADLINE)
    };
    let mut rows = run(0, "mute in connect, 64 threads");
    rows.extend(run(GUARDS, "mute in connect, 64 threads, 8 guards out"));
    rows
}

pub(crate) fn connect_tasks(_: &Plan) -> Vec<Row> {
    let run = |guards: usize, name: &str| {
        let (server, runtime) = (Server::start(), runtime());
        let builder = runtime.block_on(async { AsyncWire::builder(&Wire::to(server.address())) });
        let pool = settled(builder.max_size(16), guards);
        let take = |_| {
            runtime.block_on(async {
                let mut conn = pool.get_async().await.expect("a connection");
                conn.begin().await.expect("the server works");
                conn
            })
        };
        let guards: Vec<_> = (0..guards).map(take).collect();
        server.behave(Behaviour::Mute);
        rows(name, drop_meanwhile(guards, || tasks(&runtime, &pool)), "on tokio, two workers")
    };
    let mut rows = run(0, "mute in connect, 64 tasks");
    rows.extend(run(GUARDS, "mute in connect, 64 tasks, 8 guards out"));
    rows
}

/// So many connections, and as long a limit as the scenario wants.
fn settled<M: Manager>(builder: Builder<M>, open: usize) -> Pool<M> {
    let pool = builder.initial_size(open).checkout_timeout(LIMIT).wait_ready(PLENTY);
    pool.build().expect("the server works")
}

/// Half of the connections idle, half of them out and in need of a reset.
fn lend<M: Manager<Connection = crate::common::Conn>>(
    pool: &Pool<M>,
    fake: &Fake,
) -> Vec<PooledConnection<M>> {
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
    guards
}

pub(crate) fn ping_threads(_: &Plan) -> Vec<Row> {
    let fake = Fake::new();
    let builder = Pool::builder(fake.clone())
        .max_size(2 * GUARDS)
        .health(PingOnBorrow::always())
        .ping_on(PingOn::Worker)
        .ping_timeout(PING_LIMIT);
    let pool = settled(builder, 2 * GUARDS);
    let guards = lend(&pool, &fake);
    let seen = drop_meanwhile(guards, || threads(&pool));
    fake.open_gate();
    rows(
        "mute in ping, 64 threads",
        seen,
        "of a ping 200 ms; PingOn::Worker, the driver ignores it",
    )
}

pub(crate) fn ping_tasks(_: &Plan) -> Vec<Row> {
    let (fake, runtime) = (Fake::new(), runtime());
    let handle = runtime.handle().clone();
    let builder = Pool::builder_async(AsyncFake(fake.clone()))
        .spawner(move |task| drop(handle.spawn(task)))
        .max_size(2 * GUARDS)
        .health(PingOnBorrow::always())
        .ping_timeout(PING_LIMIT);
    let pool = settled(builder, 2 * GUARDS);
    let guards = lend(&pool, &fake);
    let seen = drop_meanwhile(guards, || tasks(&runtime, &pool));
    rows("mute in ping, 64 tasks", seen, "of a ping 200 ms; on tokio, two workers")
}
