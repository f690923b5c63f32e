//! W1: one thread or one task that borrows and gives back, with nobody else about.

use super::contest::{Entrant, Kind, Outcome, Record, by_turns};
use super::effort::Effort;
use super::floor::Line;
use super::sheet::{Better, Sheet, Show};
use super::slices::{alone, trips_for};
use super::tasks::{self, ForTasks};
use super::threads::{self, ForThreads};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const SIZE: usize = 16;
const SLICE: Duration = Duration::from_micros(500);
const ROUNDS: usize = 101;
/// The column that everything is about.
pub const RATIO: &str = "x floor";
/// The same for a task on a runtime with two workers.
pub const RATIO_TWO: &str = "2 workers, x floor";

/// How many times the floor beside it a slice was.
pub fn ratio(outcome: &Outcome<f64, f64>) -> f64 {
    outcome.figure / ((outcome.before + outcome.after) / 2.0)
}

fn ratios(record: &Record<f64, f64>) -> Vec<f64> {
    record.outcomes.iter().map(ratio).collect()
}

fn nanos(record: &Record<f64, f64>) -> Vec<f64> {
    record.outcomes.iter().map(|outcome| outcome.figure).collect()
}

struct LoneThread {
    slice: Duration,
}

impl<'a> threads::roster::Arena<'a> for LoneThread {
    type Figure = f64;

    fn admit<P: ForThreads + 'a>(
        &self,
        kind: Kind,
        name: &'static str,
        make: impl Fn(usize) -> P + 'a,
    ) -> Entrant<'a, f64> {
        let pool = make(SIZE);
        let trips = trips_for(self.slice, || pool.trip());
        Entrant::new(kind, name, move || alone(trips, || pool.trip()))
    }
}

/// One thread.
pub fn threads(effort: Effort) -> Sheet {
    let slice = effort.slice(SLICE);
    let line = Line::default();
    let trips = trips_for(slice, || line.two_rmw(0));
    let floor = || alone(trips, || line.two_rmw(0));
    let mut entrants = vec![
        Entrant::new(Kind::Floor, "floor: two RMW", floor),
        Entrant::new(Kind::Floor, "floor: RMW and store", || alone(trips, || line.rmw_and_store())),
    ];
    entrants.extend(threads::roster::everybody(&LoneThread { slice }));
    let records = by_turns("W1, threads", effort.rounds(ROUNDS, 8), entrants, floor);
    let mut sheet = Sheet::new("W1", "one thread, 16 objects")
        .column("ns", Better::Neither, Show::Median)
        .column(RATIO, Better::Less, Show::Quartiles);
    for record in &records {
        sheet.row(record.who, vec![nanos(record), ratios(record)]);
    }
    sheet
}

struct LoneTask<'a> {
    runtime: &'a Runtime,
    slice: Duration,
}

/// Nanoseconds per trip.
async fn trips<P: ForTasks>(pool: Arc<P>, trips: u32) -> f64 {
    let begun = Instant::now();
    for _ in 0..trips {
        pool.trip().await;
    }
    begun.elapsed().as_nanos() as f64 / f64::from(trips)
}

impl<'a> tasks::roster::Arena<'a> for LoneTask<'a> {
    type Figure = f64;

    fn admit<P: ForTasks>(&self, kind: Kind, name: &'static str) -> Entrant<'a, f64> {
        let runtime = self.runtime;
        let pool = Arc::new(runtime.block_on(P::filled(SIZE)));
        let run = move |count: u32| {
            let task = runtime.spawn(trips(Arc::clone(&pool), count));
            runtime.block_on(task).expect("no panic")
        };
        run(1000);
        let count = (self.slice.as_nanos() as f64 / run(1000)).max(100.0) as u32;
        Entrant::new(kind, name, move || (0..3).map(|_| run(count)).fold(f64::MAX, f64::min))
    }
}

fn records(runtime: &Runtime, title: &str, effort: Effort) -> Vec<Record<f64, f64>> {
    let slice = effort.slice(SLICE);
    let line = Line::default();
    let trips = trips_for(slice, || line.two_rmw(0));
    let floor = || alone(trips, || line.two_rmw(0));
    let entrants = tasks::roster::everybody(&LoneTask { runtime, slice });
    by_turns(title, effort.rounds(ROUNDS, 8), entrants, floor)
}

/// One task, on runtimes of one and of two workers.
pub fn tasks(effort: Effort) -> Sheet {
    let one = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let two = two.expect("a runtime");
    let one = records(&one, "W1, tasks, one worker", effort);
    let two = records(&two, "W1, tasks, two workers", effort);
    let mut sheet = Sheet::new("W1", "one task, 16 objects")
        .column("ns", Better::Neither, Show::Median)
        .column(RATIO, Better::Less, Show::Quartiles)
        .column("2 workers, ns", Better::Neither, Show::Median)
        .column(RATIO_TWO, Better::Less, Show::Quartiles);
    for (one, two) in one.iter().zip(&two) {
        sheet.row(one.who, vec![nanos(one), ratios(one), nanos(two), ratios(two)]);
    }
    sheet
}
