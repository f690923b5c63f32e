//! Borrowers take turns for a while, with a stopwatch in their hands.

use super::figures::jain;
use super::histogram::Histogram;
use cpu_time::ProcessTime;
use futures_util::FutureExt;
use std::future::ready;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};

/// What came of it.
#[derive(Clone, Debug)]
pub struct Turns {
    /// The waits that began in the measured time, and those that hung over the whole of it: without
    /// the latter, who starves his borrowers would look all the better for it.
    pub waits: Histogram,
    /// Turns that ended in the measured time, by borrower.
    by_borrower: Vec<u64>,
    measured: Duration,
    cpu: Duration,
}

impl Turns {
    fn count(&self) -> u64 {
        self.by_borrower.iter().sum()
    }

    pub fn per_second(&self) -> f64 {
        self.count() as f64 / self.measured.as_secs_f64()
    }

    /// CPU time of the process for each turn.
    pub fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count().max(1) as f64
    }

    /// How evenly turns were shared out.
    pub fn jain(&self) -> f64 {
        jain(&self.by_borrower)
    }

    /// The turns of the borrower with the fewest, of an even share.
    pub fn least(&self) -> f64 {
        let fewest = self.by_borrower.iter().min().copied().unwrap_or(0);
        fewest as f64 * self.by_borrower.len() as f64 / self.count().max(1) as f64
    }
}

/// A runtime with so many workers.
pub fn workers(count: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(count).enable_all().build().expect("a runtime")
}

/// How long borrowers run before anything counts, and how long it does.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub warm_up: Duration,
    pub measured: Duration,
}

impl From<Duration> for Times {
    fn from(measured: Duration) -> Self {
        Self { warm_up: measured / 5, measured }
    }
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
    fn run(&self, times: Times) -> (Duration, Duration) {
        thread::sleep(times.warm_up);
        let (begun, cpu) = (Instant::now(), ProcessTime::now());
        self.0.store(MEASURED, Relaxed);
        thread::sleep(times.measured);
        self.0.store(OVER, Relaxed);
        (begun.elapsed(), cpu.elapsed())
    }

    /// One borrower's part.
    async fn borrow<F: Future<Output = Duration>>(&self, turn: impl Fn() -> F) -> Part {
        let mut part = Part::default();
        loop {
            let begun = self.now();
            if begun == OVER {
                return part;
            }
            let wait = turn().await;
            let ended = self.now();
            part.turns += u64::from(ended == MEASURED);
            if begun == MEASURED || (begun, ended) == (WARM_UP, OVER) {
                part.waits.note(wait);
            }
        }
    }
}

#[derive(Default)]
struct Part {
    waits: Histogram,
    turns: u64,
}

fn sum(parts: impl Iterator<Item = Part>, (measured, cpu): (Duration, Duration)) -> Turns {
    let (mut waits, mut by_borrower) = (Histogram::default(), Vec::new());
    for part in parts {
        waits.add(&part.waits);
        by_borrower.push(part.turns);
    }
    Turns { waits, by_borrower, measured, cpu }
}

/// `turn` says how long it waited, or what else of it is to be known.
pub fn on_threads(
    borrowers: usize,
    times: impl Into<Times>,
    turn: impl Fn() -> Duration + Sync,
) -> Turns {
    let (stage, start) = (Stage(AtomicU8::new(WARM_UP)), Barrier::new(borrowers + 1));
    let borrow = || {
        start.wait();
        let part = stage.borrow(|| ready(turn())).now_or_never();
        part.expect("what is ready at once")
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..borrowers).map(|_| scope.spawn(borrow)).collect();
        start.wait();
        let times = stage.run(times.into());
        sum(threads.into_iter().map(|thread| thread.join().expect("a borrower")), times)
    })
}

/// The same with tasks.
pub fn on_tasks<F>(
    handle: &Handle,
    borrowers: usize,
    times: impl Into<Times>,
    turn: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> Turns
where
    F: Future<Output = Duration> + Send,
{
    let stage = Arc::new(Stage(AtomicU8::new(WARM_UP)));
    let start = Arc::new(tokio::sync::Barrier::new(borrowers + 1));
    let spawn = |_| {
        let (stage, start, turn) = (stage.clone(), start.clone(), turn.clone());
        handle.spawn(async move {
            start.wait().await;
            stage.borrow(turn).await
        })
    };
    let tasks: Vec<_> = (0..borrowers).map(spawn).collect();
    handle.block_on(start.wait());
    let times = stage.run(times.into());
    sum(tasks.into_iter().map(|task| handle.block_on(task).expect("a borrower")), times)
}
