//! More requests than the pool can serve, for a while: how many callers get an answer in time.
//!
//! The loop is open: requests come at their rate, whatever becomes of those before. A caller bears
//! a quarter of a second, and its answer is of no use later; the pool is told nothing of that. So
//! what is counted is not loans, but answers in time, and in the last phase, when the load is what
//! it was at first, whether the pool has recovered.

use caliburn_benches::harness::*;
use caliburn_benches::pools::{Books, Limits, Peer, Sleepy, SleepySqlx, Which};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const ABOUT: &str = "\
More requests than the pool can serve, for a while: answers in time of caliburn with and without \
shedding, r2d2, deadpool, bb8 and sqlx. Eight minutes.";

const CONNECTIONS: usize = 16;
const QUERY: Duration = ms(20);
/// Offered per second, in phases one after the other. The pool can serve 800.
const OFFERED: [f64; 4] = [600.0, 1_200.0, 2_400.0, 600.0];
/// What a caller bears.
const GOOD: Duration = ms(250);
/// Target and interval of those that shed.
const CODEL: (Duration, Duration) = (ms(50), ms(100));
/// For a thread that only waits and sleeps; there are thousands of them.
const STACK: usize = 64 << 10;

/// One phase, as its callers have seen it.
#[derive(Default)]
struct Phase {
    good: AtomicUsize,
    /// Answers in time to what was asked in the phase's first second.
    good_at_once: AtomicUsize,
    /// How long each answer took, late ones too.
    answers: Mutex<Vec<Duration>>,
}

/// Per second, and the p99 of all answers in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Seen {
    good: [f64; 4],
    recovered: f64,
    p99: f64,
}

struct Run {
    pool: Arc<dyn Peer>,
    face: Face,
    begun: Instant,
    lasts: Duration,
    phases: [Phase; 4],
}

impl Run {
    async fn request(&self, number: usize) {
        let phase = &self.phases[number];
        let (asked, served) = (Instant::now(), AtomicBool::new(false));
        let got = |result: Result<(), _>| {
            served.store(result.is_ok(), SeqCst);
        };
        self.pool.turn(&got).await.expect("a query of this driver never fails");
        if !served.into_inner() {
            return;
        }
        let took = asked.elapsed();
        phase.answers.lock().expect("no panic").push(took);
        if took <= GOOD {
            phase.good.fetch_add(1, SeqCst);
            let since = asked - self.begun - self.lasts * number as u32;
            phase.good_at_once.fetch_add((since < ms(1_000)).into(), SeqCst);
        }
    }

    /// All phases; returns when the last request has been sent.
    fn offer(self: &Arc<Self>, runtime: &Runtime) {
        for (number, rate) in OFFERED.into_iter().enumerate() {
            let (begun, mut sent) = (self.begun + self.lasts * number as u32, 0);
            while begun.elapsed() < self.lasts {
                let due = (begun.elapsed().as_secs_f64() * rate) as usize;
                for _ in sent..due {
                    let (run, own) = (Arc::clone(self), runtime.handle().clone());
                    let request = async move { run.request(number).await };
                    match self.face {
                        Face::Tasks => drop(runtime.spawn(request)),
                        Face::Threads => {
                            let thread = thread::Builder::new().stack_size(STACK);
                            let spawned = thread.spawn(move || own.block_on(request));
                            drop(spawned.expect("thousands of threads"));
                        }
                    }
                }
                sent = due;
                thread::sleep(ms(1));
            }
        }
    }
}

async fn open(which: Option<Which>, shed: Option<(Duration, Duration)>) -> Arc<dyn Peer> {
    let Some(which) = which else { return Arc::new(SleepySqlx::open(CONNECTIONS, QUERY).await) };
    let (face, books) = (which.face(), Books::default());
    let driver = Sleepy { connect: ms(1), ping: ms(0), query: QUERY, face, books };
    let get = Duration::from_secs(30);
    let limits = Limits { max: CONNECTIONS, idle: CONNECTIONS, get, check: None, shed };
    which.build(limits, driver).await.expect("it connects")
}

/// `None`: sqlx's pool.
fn run(which: Option<Which>, shed: Option<(Duration, Duration)>, lasts: Duration) -> Seen {
    let runtime = Runtime::new().expect("a runtime");
    let face = which.map_or(Face::Tasks, Which::face);
    let pool = runtime.block_on(open(which, shed));
    let phases = Default::default();
    let run = Arc::new(Run { pool, face, begun: Instant::now(), lasts, phases });
    run.offer(&runtime);
    // What is asked last may still be answered in time; later answers count for nothing.
    thread::sleep(2 * GOOD);
    let per_second = |count: &AtomicUsize| count.load(SeqCst) as f64 / lasts.as_secs_f64();
    let answers = |phase: &Phase| phase.answers.lock().expect("no panic").clone();
    let seen = Seen {
        good: std::array::from_fn(|number| per_second(&run.phases[number].good)),
        recovered: run.phases[3].good_at_once.load(SeqCst) as f64 / OFFERED[3] * 100.0,
        p99: run.phases.iter().flat_map(answers).collect::<Spread>().at(0.99),
    };
    runtime.shutdown_background();
    seen
}

fn main() {
    let length = Length::read(ABOUT);
    let lasts = Duration::from_secs(length.pick(3, 1));
    let shedding = [Which::CaliburnThreads, Which::CaliburnTasks].map(|which| (which, Some(CODEL)));
    let entrants = Which::ALL.map(|which| (which, None)).into_iter().chain(shedding);
    let entrants = entrants.map(|(which, shed)| {
        let is_ours = matches!(which, Which::CaliburnThreads | Which::CaliburnTasks);
        let kind = if is_ours { Kind::Ours } else { Kind::Peer };
        let name = match (which, shed) {
            (Which::CaliburnThreads, Some(_)) => "caliburn, threads, shedding",
            (Which::CaliburnTasks, Some(_)) => "caliburn, tasks, shedding",
            _ => which.name(),
        };
        Entrant::new(kind, name, move || run(Some(which), shed, lasts))
    });
    let sqlx = Entrant::new(Kind::Peer, "sqlx", move || run(None, None, lasts));
    let entrants = entrants.chain([sqlx]);
    let title = "16 connections, queries of 20 ms: answers within 250 ms, per second";
    let rounds = Rounds::exactly(length.pick(5, 1));
    let records = by_turns("overload", rounds, entrants.collect(), || ());
    let sheet = Sheet::of("overload", title, &records).with(&[
        ("600 offered", Better::More, Show::Count, &|o| o.figure.good[0]),
        ("1,200 offered", Better::More, Show::Count, &|o| o.figure.good[1]),
        ("2,400 offered", Better::More, Show::Count, &|o| o.figure.good[2]),
        ("600 again", Better::More, Show::Count, &|o| o.figure.good[3]),
        ("% in the first second of that", Better::More, Show::Median, &|o| o.figure.recovered),
        ("p99 of answers, ms", Better::Less, Show::Median, &|o| o.figure.p99),
    ]);
    let packages: Vec<_> = Which::PACKAGES.into_iter().chain(["sqlx-core"]).collect();
    say!("{}; {}\n", versions(&packages), conditions());
    say!("{title}\n\n{sheet}");
}
