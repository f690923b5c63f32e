//! More borrowers than slots.

use crate::harness::figures::{Spread, cores, work};
use crate::harness::histogram::Histogram;
use crate::harness::length::Length;
use crate::harness::objects::{Objects, pool};
use crate::harness::pause::pause;
use crate::harness::table::Table;
use crate::harness::turns::{Turns, on_tasks, on_threads, runtime};
use caliburn::Pool;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What borrowers do with a connection.
#[derive(Clone, Copy)]
enum Hold {
    Nothing,
    Busy(Duration),
    Asleep(Duration),
}

const BUSY: Hold = Hold::Busy(Duration::from_micros(20));
const ASLEEP: Hold = Hold::Asleep(Duration::from_micros(200));

impl Hold {
    fn spend(self) {
        match self {
            Self::Nothing => {}
            Self::Busy(time) => work(time),
            Self::Asleep(time) => thread::sleep(time),
        }
    }

    /// As a task, which lets others run while it holds the connection: else there would be no
    /// shortage.
    async fn spend_async(self) {
        match self {
            Self::Nothing => tokio::task::yield_now().await,
            Self::Busy(time) => {
                work(time / 2);
                tokio::task::yield_now().await;
                work(time / 2);
            }
            Self::Asleep(time) => pause(time).await,
        }
    }

    /// How many can get on at once, with so many connections. There is no ideal of doing nothing.
    fn workers(self, slots: usize) -> Option<usize> {
        match self {
            Self::Nothing => None,
            Self::Busy(_) => Some(slots.min(cores())),
            Self::Asleep(_) => Some(slots),
        }
    }

    /// Whether the machine had better things to do than to let so many workers get on.
    fn was_disturbed(self, ideal: &Turns, workers: usize) -> bool {
        matches!(self, Self::Busy(_)) && ideal.cores_used() < 0.95 * workers as f64
    }
}

#[derive(Clone, Copy)]
enum Face {
    Threads,
    Tasks,
}

struct Case {
    name: &'static str,
    face: Face,
    borrowers: usize,
    slots: usize,
    hold: Hold,
}

use Face::{Tasks, Threads};

#[rustfmt::skip]
const CASES: [Case; 7] = [
    Case { name: "2 threads, 1 slot, no hold", face: Threads, borrowers: 2, slots: 1, hold: Hold::Nothing },
    Case { name: "8 threads, 4 slots, no hold", face: Threads, borrowers: 8, slots: 4, hold: Hold::Nothing },
    Case { name: "8 threads, 4 slots, 20 µs of CPU", face: Threads, borrowers: 8, slots: 4, hold: BUSY },
    Case { name: "8 threads, 4 slots, sleep of 200 µs", face: Threads, borrowers: 8, slots: 4, hold: ASLEEP },
    Case { name: "64 tasks, 4 slots, a yield", face: Tasks, borrowers: 64, slots: 4, hold: Hold::Nothing },
    Case { name: "64 tasks, 4 slots, 20 µs of CPU", face: Tasks, borrowers: 64, slots: 4, hold: BUSY },
    Case { name: "64 tasks, 4 slots, sleep of 200 µs", face: Tasks, borrowers: 64, slots: 4, hold: ASLEEP },
];

impl Case {
    fn ideal(&self, runtime: &Runtime, workers: usize, time: Duration) -> Turns {
        let hold = self.hold;
        match self.face {
            Threads => on_threads(workers, time, || {
                hold.spend();
                Duration::ZERO
            }),
            Tasks => on_tasks(runtime.handle(), workers, time, move || async move {
                hold.spend_async().await;
                Duration::ZERO
            }),
        }
    }

    fn pooled(&self, runtime: &Runtime, pool: &Pool<Objects>, time: Duration) -> Turns {
        let hold = self.hold;
        match self.face {
            Threads => on_threads(self.borrowers, time, || {
                let begun = Instant::now();
                let mut object = pool.get().expect("an object");
                let wait = begun.elapsed();
                hold.spend();
                object.touched += 1;
                wait
            }),
            Tasks => {
                let pool = pool.clone();
                on_tasks(runtime.handle(), self.borrowers, time, move || {
                    let pool = pool.clone();
                    async move {
                        let begun = Instant::now();
                        let mut object = pool.get_async().await.expect("an object");
                        let wait = begun.elapsed();
                        hold.spend_async().await;
                        object.touched += 1;
                        wait
                    }
                })
            }
        }
    }

    fn row(&self, runtime: &Runtime, rounds: usize, time: Duration) -> Vec<String> {
        let pool = pool(self.slots, ());
        let (mut rounded, mut waits, mut shares) = (Vec::new(), Histogram::default(), Vec::new());
        for _ in 0..rounds {
            let workers = self.hold.workers(self.slots);
            let ideal = workers.map(|workers| (workers, self.ideal(runtime, workers, time)));
            let turns = self.pooled(runtime, &pool, time);
            if let Some((workers, ideal)) = ideal
                && !self.hold.was_disturbed(&ideal, workers)
            {
                shares.push(turns.per_second() / ideal.per_second() * 100.0);
            }
            waits.add(&turns.waits);
            rounded.push(turns);
        }
        let median =
            |figure: fn(&Turns) -> f64| rounded.iter().map(figure).collect::<Spread>().median();
        let share: Spread = shares.into_iter().collect();
        let share = match (self.hold, share.median().is_nan()) {
            (Hold::Nothing, _) => String::from("-"),
            (_, true) => String::from("machine too busy"),
            (_, false) => share.show(|share| format!("{share:.0} %")),
        };
        let wait = |share| format!("{:.1?}", waits.at(share));
        vec![
            self.name.into(),
            format!("{:.0}", median(Turns::per_second)),
            share,
            format!("{:.2} µs", median(Turns::cpu_nanos) / 1000.0),
            wait(0.5),
            wait(0.99),
            wait(0.999),
            format!("{:.1?}", waits.longest()),
            format!("{:.3}", median(Turns::jain)),
        ]
    }
}

pub(crate) fn measure(length: Length) -> Table {
    let (rounds, time) =
        length.pick((25, Duration::from_millis(100)), (3, Duration::from_millis(50)));
    let runtime = runtime();
    let mut table = Table::new(&[
        "shortage",
        "turns/s",
        "of the ideal",
        "CPU/turn",
        "wait p50",
        "p99",
        "p99.9",
        "longest",
        "Jain",
    ]);
    for case in &CASES {
        eprint!("\r{:60}", case.name);
        table.row(case.row(&runtime, rounds, time));
    }
    eprint!("\r{:60}\r", "");
    table
}
