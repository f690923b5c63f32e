//! W4 and W5: more borrowers than objects.

use caliburn_benches::harness::*;
use caliburn_benches::pools::{ForTasks, ForThreads, Object, TaskArena, ThreadArena, Touch};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::yield_now;

/// What a borrower does while it holds an object: work, a look at the other tasks, work.
async fn work() {
    spin(Duration::from_micros(10));
    yield_now().await;
    spin(Duration::from_micros(10));
}

/// The table. The reference of each slice is the ideal: loans per second of as many borrowers as
/// there are objects, without a pool.
fn sheet(title: &str, records: &[Record<Turns, f64>]) -> Sheet {
    let ideal = |o: &Outcome<Turns, f64>| 200.0 * o.figure.per_second() / (o.before + o.after);
    let wait = |share| move |o: &Outcome<Turns, f64>| o.figure.waits.micros_at(share);
    Sheet::of("W4", title, records).with(&[
        ("% of ideal", Better::More, Show::Quartiles, &ideal),
        ("p50, µs", Better::Less, Show::Median, &wait(0.5)),
        ("p99, µs", Better::Less, Show::Median, &wait(0.99)),
        ("p99.9, µs", Better::Less, Show::Quartiles, &wait(0.999)),
        ("longest, µs", Better::Less, Show::Median, &wait(1.0)),
        (JAIN, Better::More, Show::Median, &|o| o.figure.jain()),
        ("CPU per loan, µs", Better::Less, Show::Median, &|o| o.figure.cpu_micros()),
    ])
}

struct Tasks<'a> {
    runtime: &'a Runtime,
    tasks: usize,
    objects: usize,
    time: Duration,
}

impl<'a> TaskArena<'a> for Tasks<'a> {
    type Figure = Turns;

    fn slices<P: ForTasks>(&self) -> impl FnMut() -> Turns + 'a {
        let Self { runtime, tasks, objects, time } = *self;
        let pool = Arc::new(runtime.block_on(P::filled(objects)));
        let turn = move || {
            let pool = Arc::clone(&pool);
            async move {
                let begun = Instant::now();
                let mut loan = pool.get().await;
                let waited = begun.elapsed();
                work().await;
                loan.touch();
                waited
            }
        };
        move || on_tasks(runtime.handle(), tasks, time, turn.clone())
    }
}

impl Tasks<'_> {
    /// As many tasks as there are objects, and each has one.
    fn ideal(&self) -> f64 {
        let turn = || async {
            work().await;
            Duration::ZERO
        };
        on_tasks(self.runtime.handle(), self.objects, self.time / 4, turn).per_second()
    }
}

/// W4 for tasks.
pub(crate) fn tasks(length: Length) -> Sheet {
    let runtime = &workers(2);
    let arena = Tasks { runtime, tasks: 64, objects: 4, time: length.pick(ms(100), ms(50)) };
    let rounds = Rounds::new(length, 15, 18);
    let records = by_turns("W4, tasks", rounds, arena.everybody(), || arena.ideal());
    sheet("64 tasks on 4 objects, 20 µs of work", &records)
}

/// W8: the same with many, and what lies beyond the 99.9th.
pub(crate) fn many_tasks(length: Length) -> Sheet {
    let runtime = &workers(2);
    let time = length.pick(ms(2500), ms(250));
    let arena = Tasks { runtime, tasks: 1000, objects: 50, time };
    let rounds = Rounds::new(length, 3, 60);
    let records = by_turns("W8", rounds, arena.everybody(), || ());
    let wait = |share| move |o: &Outcome<Turns, ()>| o.figure.waits.micros_at(share);
    let by_median = |share| {
        move |o: &Outcome<Turns, ()>| {
            o.figure.waits.micros_at(share) / o.figure.waits.micros_at(0.5)
        }
    };
    Sheet::of("W8", "1,000 tasks on 50 objects, 20 µs of work", &records).with(&[
        ("p50, µs", Better::Less, Show::Median, &wait(0.5)),
        ("p99.99, µs", Better::Less, Show::Median, &wait(0.9999)),
        ("longest, µs", Better::Less, Show::Median, &wait(1.0)),
        ("p99.99 by p50", Better::Less, Show::Quartiles, &by_median(0.9999)),
        ("longest by p50", Better::Less, Show::Quartiles, &by_median(1.0)),
        (JAIN, Better::More, Show::Median, &|o| o.figure.jain()),
    ])
}

const THREADS: usize = 8;
const OBJECTS: usize = 4;

struct Threads {
    /// What one does while it holds an object.
    hold: fn(),
    time: Duration,
}

impl<'a> ThreadArena<'a> for Threads {
    type Figure = Turns;

    fn slices<P: ForThreads + 'a>(
        &self,
        make: impl Fn(usize) -> P + 'a,
    ) -> impl FnMut() -> Turns + 'a {
        let Self { hold, time } = *self;
        let pool = make(OBJECTS);
        let turn = move || {
            let begun = Instant::now();
            pool.borrow(|object: &mut Object| {
                let waited = begun.elapsed();
                hold();
                object.touch();
                waited
            })
        };
        move || on_threads(THREADS, time, &turn)
    }
}

fn threads(title: &str, hold: fn(), length: Length) -> Sheet {
    let time = length.pick(ms(120), ms(60));
    let alone = || {
        hold();
        Duration::ZERO
    };
    let ideal = || on_threads(OBJECTS, time / 3, alone).per_second();
    let entrants = Threads { hold, time }.patient();
    let records = by_turns(title, Rounds::new(length, 15, 18), entrants, ideal);
    sheet(title, &records)
}

/// They work while they hold an object, which on two cores is more than there is time for.
pub(crate) fn working(length: Length) -> Sheet {
    let hold = || spin(Duration::from_micros(20));
    threads("8 threads on 4 objects, 20 µs of work", hold, length)
}

/// They sleep while they hold an object, as one does who waits for a server.
pub(crate) fn sleeping(length: Length) -> Sheet {
    let hold = || thread::sleep(Duration::from_micros(200));
    threads("8 threads on 4 objects, asleep for 200 µs", hold, length)
}

struct Churn<'a> {
    runtime: &'a Runtime,
    time: Duration,
}

impl<'a> TaskArena<'a> for Churn<'a> {
    type Figure = f64;

    fn slices<P: ForTasks>(&self) -> impl FnMut() -> f64 + 'a {
        let Self { runtime, time } = *self;
        let pool = Arc::new(runtime.block_on(P::filled(OBJECTS)));
        let turn = move || {
            let pool = Arc::clone(&pool);
            async move {
                let mut loan = pool.get().await;
                loan.touch();
                yield_now().await;
                Duration::ZERO
            }
        };
        move || on_tasks(runtime.handle(), 64, time, turn.clone()).cpu_micros()
    }
}

fn churned(title: &str, runtime: &Runtime, length: Length) -> Vec<Record<f64, f64>> {
    let time = length.pick(ms(25), ms(12));
    let turn = || async {
        yield_now().await;
        Duration::ZERO
    };
    let floor = || on_tasks(runtime.handle(), 64, time / 5, turn).cpu_micros();
    let mut entrants = vec![Entrant::new(Kind::Floor, "no pool: a yield", floor)];
    entrants.extend(Churn { runtime, time }.everybody_and_by_hand());
    by_turns(title, Rounds::new(length, 15, 6), entrants, floor)
}

/// W5 for tasks.
pub(crate) fn hand_overs(length: Length) -> Sheet {
    let one = churned("W5, tasks, one worker", &workers(1), length);
    let two = churned("W5, tasks, two workers", &workers(2), length);
    let mut sheet = Sheet::new("W5", "64 tasks on 4 objects, held for a yield")
        .column("CPU per loan, 1 worker, µs", Better::Less, Show::Quartiles)
        .column("2 workers, µs", Better::Less, Show::Quartiles);
    for (one, two) in one.iter().zip(&two) {
        let figures = [one, two].map(|record| record.of(|outcome| outcome.figure));
        sheet.row(one.who, figures.into());
    }
    sheet
}
