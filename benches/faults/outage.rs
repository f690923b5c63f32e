//! The server is gone for a while, behind a black hole or a closed port, and callers keep trying.
//!
//! Callers, proxy and server share the process with the pool, and so its CPU time.

use crate::Plan;
use crate::common::PLENTY;
use crate::common::proxy::{Mode, Proxy};
use crate::common::server::Server;
use crate::common::wire::{AsyncWire, Wire};
use crate::measure::{Row, ms, on_tasks, on_threads, runtime};
use caliburn::health::PingAfterFailure;
use caliburn::{BlockingManager, Builder, Deadline, Manager, Pool, Stats};
use cpu_time::ProcessTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const CALLERS: usize = 8;
const LIMIT: Duration = ms(500);
/// Before the outage.
const CALM: Duration = ms(300);
/// From its begin to the steady state.
const ONSET: Duration = ms(2500);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    BlackHole,
    Refused,
}

/// How patient the pool is with a call.
#[derive(Clone, Copy)]
enum Limits {
    /// A connect 10 s, a ping and a close 5 s.
    Default,
    /// All a second.
    Second,
}

impl Limits {
    fn set<M: Manager>(self, builder: Builder<M>) -> Pool<M> {
        let builder = match self {
            Self::Default => builder,
            Self::Second => builder
                .connect_timeout(ms(1000))
                .ping_timeout(ms(1000))
                .reset_timeout(ms(1000))
                .close_timeout(ms(1000)),
        };
        let pool = builder
            .max_size(CALLERS)
            .min_size(CALLERS)
            .checkout_timeout(LIMIT)
            .health(PingAfterFailure)
            .wait_ready(PLENTY)
            .build();
        pool.expect("the server works")
    }

    fn words(self) -> &'static str {
        match self {
            Self::Default => "limits by default",
            Self::Second => "limits of calls 1 s",
        }
    }
}

/// What callers and the course of events tell each other.
struct Watch {
    base: Instant,
    is_over: AtomicBool,
    /// Nanoseconds since `base`; zero before it is so.
    healed: AtomicU64,
    /// When a caller first had its query answered after that.
    served: AtomicU64,
    failed_in_outage: AtomicUsize,
}

impl Watch {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            is_over: AtomicBool::new(false),
            healed: AtomicU64::new(0),
            served: AtomicU64::new(u64::MAX),
            failed_in_outage: AtomicUsize::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(SeqCst)
    }

    fn note(&self, is_served: bool) {
        let (now, healed) = (self.now(), self.healed.load(SeqCst));
        if is_served && healed > 0 {
            self.served.fetch_min(now, SeqCst);
        } else if !is_served && healed == 0 {
            self.failed_in_outage.fetch_add(1, SeqCst);
        }
    }
}

/// What the outage came to.
struct Course {
    cpu: f64,
    connects: f64,
    back_after: Option<Duration>,
    /// The pool at the moment of healing.
    at_healing: Stats,
}

/// Breaks, waits, measures, heals. The callers are at it all the time.
fn course<M: Manager>(
    plan: &Plan,
    kind: Kind,
    proxy: &Proxy,
    wire: &Wire,
    pool: &Pool<M>,
    watch: &Watch,
) -> Course {
    thread::sleep(CALM);
    match kind {
        Kind::BlackHole => proxy.set(Mode::Drop),
        Kind::Refused => {
            proxy.refuse();
            proxy.cut();
        }
    }
    thread::sleep(ONSET);
    let attempts = || wire.0.attempts.load(SeqCst);
    let (cpu, begun, before) = (ProcessTime::now(), Instant::now(), attempts());
    thread::sleep(length(plan) - ONSET);
    let wall = begun.elapsed().as_secs_f64();
    let (cpu, connects) = (cpu.elapsed().as_secs_f64() / wall, (attempts() - before) as f64 / wall);
    let at_healing = pool.stats();
    watch.healed.store(watch.now(), SeqCst);
    match kind {
        Kind::BlackHole => proxy.set(Mode::Pass),
        Kind::Refused => proxy.reopen(),
    }
    let healed = Instant::now();
    while watch.served.load(SeqCst) == u64::MAX && healed.elapsed() < ms(12_000) {
        thread::sleep(ms(1));
    }
    watch.is_over.store(true, SeqCst);
    let served = Some(watch.served.load(SeqCst)).filter(|served| *served < u64::MAX);
    let after = |served: u64| Duration::from_nanos(served - watch.healed.load(SeqCst));
    Course { cpu, connects, back_after: served.map(after), at_healing }
}

fn length(plan: &Plan) -> Duration {
    if plan.is_long { ms(30_000) } else { ms(6_000) }
}

fn rows(plan: &Plan, name: &str, limits: Limits, course: &Course, watch: &Watch) -> Vec<Row> {
    let failed = watch.failed_in_outage.load(SeqCst);
    let (length, onset) = (length(plan), ONSET);
    let words = limits.words();
    let milliseconds = |after: Duration| format!("{} ms", after.as_millis());
    let back = course.back_after.map_or("never within 12 s".into(), milliseconds);
    let Stats { opening, maintenance, quarantined, vacant, .. } = course.at_healing;
    let slots = format!(
        "slots then: {opening} opening, {maintenance} closing, {quarantined} late, {vacant} vacant"
    );
    let steady = format!("steady state: {onset:.1?} to {length:.0?}");
    vec![
        Row::new(
            format!("{name}: first success"),
            "<= 1 s after healing",
            back,
            course.back_after.is_some_and(|after| after <= ms(1000)),
            format!("{length:.0?} down, {words}, {failed} failures; {slots}"),
        ),
        Row::new(
            format!("{name}: CPU while down"),
            "< 5 % of a core",
            format!("{:.2} %", course.cpu * 100.0),
            course.cpu < 0.05,
            format!("{steady}; {words}; with callers, proxy and server"),
        ),
        Row::new(
            format!("{name}: connects begun"),
            "<= 2/s",
            format!("{:.2}/s", course.connects),
            course.connects <= 2.0,
            format!("{steady}; {words}"),
        ),
    ]
}

fn on_blocking(plan: &Plan, name: &str, kind: Kind, limits: Limits) -> Vec<Row> {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (wire, watch) = (Wire::to(proxy.address()), Watch::new());
    let pool = limits.set(Pool::builder(wire.clone()));
    let course = thread::scope(|scope| {
        let callers = scope.spawn(|| {
            on_threads(CALLERS, |_| {
                while watch.goes_on() {
                    let Ok(mut conn) = pool.get() else {
                        watch.note(false);
                        continue;
                    };
                    // A query with a limit of its own.
                    watch.note(wire.ping(&mut conn, &Deadline::after(LIMIT)).is_ok());
                }
            })
        });
        let course = course(plan, kind, &proxy, &wire, &pool, &watch);
        callers.join().expect("no caller panics");
        course
    });
    rows(plan, name, limits, &course, &watch)
}

fn on_async(plan: &Plan, name: &str, kind: Kind, limits: Limits) -> Vec<Row> {
    let (server, runtime) = (Server::start(), runtime());
    let proxy = Proxy::to(server.address());
    let (wire, watch) = (Wire::to(proxy.address()), Watch::new());
    let pool = limits.set(runtime.block_on(async { AsyncWire::builder(&wire) }));
    let course = thread::scope(|scope| {
        let callers = scope.spawn(|| {
            on_tasks(&runtime, CALLERS, |number| {
                let (pool, watch) = (pool.clone(), watch.clone());
                async move {
                    while watch.goes_on() {
                        let Ok(mut conn) = pool.get_async().await else {
                            watch.note(false);
                            continue;
                        };
                        let answer = tokio::time::timeout(LIMIT, conn.echo(number as u64)).await;
                        watch.note(matches!(answer, Ok(Ok(()))));
                    }
                }
            })
        });
        let course = course(plan, kind, &proxy, &wire, &pool, &watch);
        callers.join().expect("no caller panics");
        course
    });
    rows(plan, name, limits, &course, &watch)
}

pub(crate) fn black_hole_threads(plan: &Plan) -> Vec<Row> {
    let run = |name, limits| on_blocking(plan, name, Kind::BlackHole, limits);
    let mut rows = run("black hole, 8 threads", Limits::Default);
    rows.extend(run("black hole, 8 threads, limits 1 s", Limits::Second));
    rows
}

pub(crate) fn black_hole_tasks(plan: &Plan) -> Vec<Row> {
    let run = |name, limits| on_async(plan, name, Kind::BlackHole, limits);
    let mut rows = run("black hole, 8 tasks", Limits::Default);
    rows.extend(run("black hole, 8 tasks, limits 1 s", Limits::Second));
    rows
}

pub(crate) fn refused_threads(plan: &Plan) -> Vec<Row> {
    on_blocking(plan, "port closed, 8 threads", Kind::Refused, Limits::Default)
}

pub(crate) fn refused_tasks(plan: &Plan) -> Vec<Row> {
    on_async(plan, "port closed, 8 tasks", Kind::Refused, Limits::Default)
}
