//! W4 and W5 for tasks: 64 of them on four objects.

use super::contest::{Entrant, Kind, Record, by_turns};
use super::effort::Effort;
use super::object::Touch;
use super::sheet::{Better, Sheet, Show};
use super::tasks::ForTasks;
use super::tasks::roster::{Arena, everybody};
use super::waits::{self, Shortage};
use super::work::spin;
use cpu_time::ProcessTime;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, yield_now};

const TASKS: usize = 64;
const OBJECTS: usize = 4;

/// What a borrower does while it holds an object: work, a look at the other tasks, work.
async fn work() {
    spin(Duration::from_micros(10));
    yield_now().await;
    spin(Duration::from_micros(10));
}

/// How long each wait of one task was.
async fn borrower<P: ForTasks>(pool: Arc<P>, until: Instant) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(1024);
    loop {
        let begun = Instant::now();
        let mut loan = pool.get().await;
        waits.push(begun.elapsed());
        work().await;
        loan.touch();
        drop(loan);
        if Instant::now() >= until {
            return waits;
        }
    }
}

/// As many tasks as there are objects, and each has one.
async fn owner(until: Instant) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(1024);
    loop {
        let begun = Instant::now();
        waits.push(begun.elapsed());
        work().await;
        if Instant::now() >= until {
            return waits;
        }
    }
}

/// What so many tasks, which end after that `time`, came to, and how long it took: on the clock,
/// and of CPU time.
fn run<F, T>(
    runtime: &Runtime,
    tasks: usize,
    time: Duration,
    task: impl Fn(Instant) -> F,
) -> (Vec<T>, Duration, Duration)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let (begun, cpu) = (Instant::now(), ProcessTime::now());
    let mut all = JoinSet::new();
    for _ in 0..tasks {
        all.spawn_on(task(begun + time), runtime.handle());
    }
    let outputs = runtime.block_on(all.join_all());
    (outputs, begun.elapsed(), cpu.elapsed())
}

fn slice<F>(
    runtime: &Runtime,
    tasks: usize,
    time: Duration,
    task: impl Fn(Instant) -> F,
) -> Shortage
where
    F: Future<Output = Vec<Duration>> + Send + 'static,
{
    let (waits, took, cpu) = run(runtime, tasks, time, task);
    Shortage::of(waits, took, cpu)
}

struct Shortages<'a> {
    runtime: &'a Runtime,
    time: Duration,
}

impl<'a> Arena<'a> for Shortages<'a> {
    type Figure = Shortage;

    fn admit<P: ForTasks>(&self, kind: Kind, name: &'static str) -> Entrant<'a, Shortage> {
        let Self { runtime, time } = *self;
        let pool = Arc::new(runtime.block_on(P::filled(OBJECTS)));
        Entrant::new(kind, name, move || {
            slice(runtime, TASKS, time, |until| borrower(Arc::clone(&pool), until))
        })
    }
}

/// W4.
pub fn tails(effort: Effort) -> Sheet {
    let runtime = workers(2);
    let time = effort.slice(Duration::from_millis(100));
    let entrants = everybody(&Shortages { runtime: &runtime, time });
    let ideal = || slice(&runtime, OBJECTS, time / 4, owner).rate;
    let records = by_turns("W4, tasks", effort.rounds(15, 18), entrants, ideal);
    waits::sheet("W4", "64 tasks on 4 objects, 20 µs of work", &records)
}

fn workers(count: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(count).enable_all().build().expect("a runtime")
}

/// How many loans there were.
async fn churn<P: ForTasks>(pool: Arc<P>, until: Instant) -> u64 {
    let mut loans = 0;
    loop {
        let mut loan = pool.get().await;
        loan.touch();
        yield_now().await;
        drop(loan);
        loans += 1;
        if loans % 16 == 0 && Instant::now() >= until {
            return loans;
        }
    }
}

/// How many yields there were.
async fn yields(until: Instant) -> u64 {
    let mut count = 0;
    loop {
        yield_now().await;
        count += 1;
        if count % 16 == 0 && Instant::now() >= until {
            return count;
        }
    }
}

/// CPU time, in µs, for each thing that the tasks did.
fn cpu<F>(runtime: &Runtime, time: Duration, task: impl Fn(Instant) -> F) -> f64
where
    F: Future<Output = u64> + Send + 'static,
{
    let (done, _, cpu) = run(runtime, TASKS, time, task);
    cpu.as_secs_f64() * 1e6 / done.iter().sum::<u64>() as f64
}

struct Churn<'a> {
    runtime: &'a Runtime,
    time: Duration,
}

impl<'a> Arena<'a> for Churn<'a> {
    type Figure = f64;

    fn admit<P: ForTasks>(&self, kind: Kind, name: &'static str) -> Entrant<'a, f64> {
        let Self { runtime, time } = *self;
        let pool = Arc::new(runtime.block_on(P::filled(OBJECTS)));
        Entrant::new(kind, name, move || {
            cpu(runtime, time, |until| churn(Arc::clone(&pool), until))
        })
    }
}

fn churned(title: &str, runtime: &Runtime, effort: Effort) -> Vec<Record<f64, f64>> {
    let time = effort.slice(Duration::from_millis(25));
    let floor = || cpu(runtime, time / 5, yields);
    let mut entrants = vec![Entrant::new(Kind::Floor, "no pool: a yield", floor)];
    entrants.extend(everybody(&Churn { runtime, time }));
    by_turns(title, effort.rounds(15, 6), entrants, floor)
}

/// W5.
pub fn hand_overs(effort: Effort) -> Sheet {
    let one = churned("W5, tasks, one worker", &workers(1), effort);
    let two = churned("W5, tasks, two workers", &workers(2), effort);
    let mut sheet = Sheet::new("W5", "64 tasks on 4 objects, held for a yield")
        .column("CPU per loan, 1 worker, µs", Better::Less, Show::Quartiles)
        .column("2 workers, µs", Better::Less, Show::Quartiles);
    let figures = |record: &Record<f64, f64>| {
        record.outcomes.iter().map(|outcome| outcome.figure).collect::<Vec<_>>()
    };
    for (one, two) in one.iter().zip(&two) {
        sheet.row(one.who, vec![figures(one), figures(two)]);
    }
    sheet
}
