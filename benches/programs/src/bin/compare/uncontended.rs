//! W1: one thread or one task that borrows and gives back, with nobody else about.

use caliburn_benches::harness::*;
use caliburn_benches::pools::{ForTasks, ForThreads, TaskArena, ThreadArena, pool};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const SIZE: usize = 16;
const SLICE: Duration = Duration::from_micros(500);
const ROUNDS: usize = 101;
/// The column for a task on a runtime with two workers.
const RATIO_TWO: &str = "2 workers, x floor";

struct LoneThread {
    slice: Duration,
}

impl<'a> ThreadArena<'a> for LoneThread {
    type Figure = f64;

    fn slices<P: ForThreads + 'a>(
        &self,
        make: impl Fn(usize) -> P + 'a,
    ) -> impl FnMut() -> f64 + 'a {
        let pool = make(SIZE);
        let trips = trips_for(self.slice, || pool.trip());
        move || alone(trips, || pool.trip())
    }
}

/// One thread.
pub(crate) fn threads(length: Length) -> Sheet {
    let slice = SLICE / length.pick(1, 2);
    let line = Line::default();
    let trips = trips_for(slice, || line.two_rmw(0));
    let floor = || alone(trips, || line.two_rmw(0));
    let mut entrants = vec![
        Entrant::new(Kind::Floor, "floor: two RMW", floor),
        Entrant::new(Kind::Floor, "floor: RMW and store", || alone(trips, || line.rmw_and_store())),
    ];
    entrants.extend(LoneThread { slice }.everybody());
    let records = by_turns("W1, threads", Rounds::new(length, ROUNDS, 8), entrants, floor);
    Sheet::of("W1", "one thread, 16 objects", &records).with(&[
        ("ns", Better::Neither, Show::Median, &|outcome| outcome.figure),
        (RATIO, Better::Less, Show::Quartiles, &Outcome::ratio),
    ])
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

impl<'a> TaskArena<'a> for LoneTask<'a> {
    type Figure = f64;

    fn slices<P: ForTasks>(&self) -> impl FnMut() -> f64 + 'a {
        let runtime = self.runtime;
        let pool = Arc::new(runtime.block_on(P::filled(SIZE)));
        let run = move |count: u32| {
            let task = runtime.spawn(trips(Arc::clone(&pool), count));
            runtime.block_on(task).expect("no panic")
        };
        run(1000);
        let count = (self.slice.as_nanos() as f64 / run(1000)).max(100.0) as u32;
        move || (0..3).map(|_| run(count)).fold(f64::MAX, f64::min)
    }
}

/// caliburn's own future, awaited in a loop: the others are awaited within what all have in common.
fn bare(runtime: &Runtime, slice: Duration) -> Entrant<'_, f64> {
    let pool = pool(SIZE);
    let trips = trips_for(slice, || drop(pool.get()));
    let run = async move |trips: u32| {
        let begun = Instant::now();
        for _ in 0..trips {
            pool.get_async().await.expect("an idle object").touch();
        }
        begun.elapsed().as_nanos() as f64 / f64::from(trips)
    };
    Entrant::new(Kind::Variant, "caliburn, awaited in place", move || {
        (0..3).map(|_| runtime.block_on(run(trips))).fold(f64::MAX, f64::min)
    })
}

fn records(runtime: &Runtime, title: &str, length: Length) -> Vec<Record<f64, f64>> {
    let slice = SLICE / length.pick(1, 2);
    let line = Line::default();
    let trips = trips_for(slice, || line.two_rmw(0));
    let floor = || alone(trips, || line.two_rmw(0));
    let mut entrants = LoneTask { runtime, slice }.everybody();
    entrants.insert(1, bare(runtime, slice));
    by_turns(title, Rounds::new(length, ROUNDS, 8), entrants, floor)
}

/// One task, on runtimes of one and of two workers.
pub(crate) fn tasks(length: Length) -> Sheet {
    let one = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let two = workers(2);
    let one = records(&one, "W1, tasks, one worker", length);
    let two = records(&two, "W1, tasks, two workers", length);
    let mut sheet = Sheet::new("W1", "one task, 16 objects")
        .column("ns", Better::Neither, Show::Median)
        .column(RATIO, Better::Less, Show::Quartiles)
        .column("2 workers, ns", Better::Neither, Show::Median)
        .column(RATIO_TWO, Better::Less, Show::Quartiles);
    for (one, two) in one.iter().zip(&two) {
        let figures = [one, two]
            .map(|record| [record.of(|outcome| outcome.figure), record.of(Outcome::ratio)]);
        sheet.row(one.who, figures.into_iter().flatten().collect());
    }
    sheet
}
