//! Borrowers take turns for a while, with a stopwatch in their hands.

use super::figures::jain;
use super::histogram::Histogram;
use cpu_time::ProcessTime;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};

/// What came of it.
pub(crate) struct Turns {
    /// The waits that began in the measured time, and those that hung over the whole of it: without
    /// the latter, who starves his borrowers would look all the better for it.
    pub(crate) waits: Histogram,
    /// Turns that ended in the measured time, by borrower.
    by_borrower: Vec<u64>,
    measured: Duration,
    cpu: Duration,
}

impl Turns {
    fn count(&self) -> u64 {
        self.by_borrower.iter().sum()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.count() as f64 / self.measured.as_secs_f64()
    }

    /// How many cores the process had, on average.
    pub(crate) fn cores_used(&self) -> f64 {
        self.cpu.as_secs_f64() / self.measured.as_secs_f64()
    }

    pub(crate) fn cpu_nanos(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.count() as f64
    }

    /// How evenly turns were shared out.
    pub(crate) fn jain(&self) -> f64 {
        jain(&self.by_borrower)
    }
}

/// As many workers as there are cores.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// What all borrowers look at.
struct Stage(AtomicU8);

impl Stage {
    fn now(&self) -> u8 {
        self.0.load(Relaxed)
    }

    /// From the first turn to the end: times taken on the clock, and by the process.
    fn run(&self, measured: Duration) -> (Duration, Duration) {
        thread::sleep(measured / 5);
        let (begun, cpu) = (Instant::now(), ProcessTime::now());
        self.0.store(MEASURED, Relaxed);
        thread::sleep(measured);
        self.0.store(OVER, Relaxed);
        (begun.elapsed(), cpu.elapsed())
    }
}

/// One borrower's part.
#[derive(Default)]
struct Part {
    waits: Histogram,
    turns: u64,
}

impl Part {
    fn note(&mut self, wait: Duration, begun: u8, ended: u8) {
        self.turns += u64::from(ended == MEASURED);
        if begun == MEASURED || (begun, ended) == (WARM_UP, OVER) {
            self.waits.note(wait);
        }
    }
}

fn sum(parts: &[Part], (measured, cpu): (Duration, Duration)) -> Turns {
    let mut waits = Histogram::default();
    parts.iter().for_each(|part| waits.add(&part.waits));
    let by_borrower = parts.iter().map(|part| part.turns).collect();
    Turns { waits, by_borrower, measured, cpu }
}

/// `turn` says how long it waited.
pub(crate) fn on_threads(
    borrowers: usize,
    measured: Duration,
    turn: impl Fn() -> Duration + Sync,
) -> Turns {
    let (stage, start) = (Stage(AtomicU8::new(WARM_UP)), Barrier::new(borrowers + 1));
    let borrow = || {
        let mut part = Part::default();
        start.wait();
        loop {
            let begun = stage.now();
            if begun == OVER {
                return part;
            }
            let wait = turn();
            part.note(wait, begun, stage.now());
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..borrowers).map(|_| scope.spawn(borrow)).collect();
        start.wait();
        let times = stage.run(measured);
        let parts = threads.into_iter().map(|thread| thread.join().expect("a borrower"));
        sum(&parts.collect::<Vec<_>>(), times)
    })
}

/// The same with tasks.
pub(crate) fn on_tasks<F>(
    handle: &Handle,
    borrowers: usize,
    measured: Duration,
    turn: impl Fn() -> F + Clone + Send + 'static,
) -> Turns
where
    F: Future<Output = Duration> + Send,
{
    let stage = Arc::new(Stage(AtomicU8::new(WARM_UP)));
    let start = Arc::new(tokio::sync::Barrier::new(borrowers + 1));
    let spawn = |_| {
        let (stage, start, turn) = (stage.clone(), start.clone(), turn.clone());
        handle.spawn(async move {
            let mut part = Part::default();
            start.wait().await;
            loop {
                let begun = stage.now();
                if begun == OVER {
                    return part;
                }
                let wait = turn().await;
                part.note(wait, begun, stage.now());
            }
        })
    };
    let tasks: Vec<_> = (0..borrowers).map(spawn).collect();
    handle.block_on(start.wait());
    let times = stage.run(measured);
    let parts = tasks.into_iter().map(|task| handle.block_on(task).expect("a borrower"));
    sum(&parts.collect::<Vec<_>>(), times)
}
