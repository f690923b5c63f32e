//! Borrowers take turns with a stopwatch in their hands.

use cpu_time::ProcessTime;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long to let them run before anything counts, and how long it does.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What one slice of time came to.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// How long each turn took, in nanoseconds: all that began in the measured time, and those that
    /// hung over the whole of it. Without the latter, who starves his borrowers would look all the
    /// better for it.
    pub took: Vec<u64>,
    /// Turns that ended in the measured time.
    pub turns: u64,
    /// Of them, those of the borrower with the fewest.
    pub fewest: u64,
    pub measured: Duration,
    /// Of this process, without the server.
    pub cpu: Duration,
    /// All turns, those of the warm-up too.
    pub all_turns: u64,
}

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// What all borrowers of one slice look at.
struct Stage(AtomicU8);

impl Stage {
    fn now(&self) -> u8 {
        self.0.load(Relaxed)
    }
}

/// One borrower's part.
struct Part {
    took: Vec<u64>,
    turns: u64,
    all_turns: u64,
}

impl Part {
    fn new() -> Self {
        Self { took: Vec::with_capacity(1 << 14), turns: 0, all_turns: 0 }
    }

    fn note(&mut self, begun: Begun, stage: u8) {
        let took = begun.at.elapsed();
        self.all_turns += 1;
        self.turns += u64::from(stage == MEASURED);
        let hung_over = begun.stage == WARM_UP && stage == OVER;
        if begun.stage == MEASURED || hung_over {
            self.took.push(took.as_nanos().try_into().unwrap_or(u64::MAX));
        }
    }
}

struct Begun {
    stage: u8,
    at: Instant,
}

impl Begun {
    /// `None`: it is over.
    fn now(stage: &Stage) -> Option<Self> {
        let stage = stage.now();
        (stage != OVER).then(|| Self { stage, at: Instant::now() })
    }
}

pub(super) fn on_threads(borrowers: usize, times: Times, turn: impl Fn() + Sync) -> Log {
    let (stage, start) = (Stage(AtomicU8::new(WARM_UP)), Barrier::new(borrowers + 1));
    thread::scope(|scope| {
        let spawn = |_| {
            scope.spawn(|| {
                let mut part = Part::new();
                start.wait();
                while let Some(begun) = Begun::now(&stage) {
                    turn();
                    part.note(begun, stage.now());
                }
                part
            })
        };
        let threads: Vec<_> = (0..borrowers).map(spawn).collect();
        start.wait();
        let log = run(&stage, times);
        let parts = threads.into_iter().map(|thread| thread.join().expect("a borrower"));
        log.with(parts.collect())
    })
}

pub(super) fn on_tasks<F>(
    handle: &Handle,
    borrowers: usize,
    times: Times,
    turn: impl Fn() -> F + Clone + Send + 'static,
) -> Log
where
    F: Future<Output = ()> + Send,
{
    let stage = Arc::new(Stage(AtomicU8::new(WARM_UP)));
    let start = Arc::new(tokio::sync::Barrier::new(borrowers + 1));
    let spawn = |_| {
        let (stage, start, turn) = (stage.clone(), start.clone(), turn.clone());
        handle.spawn(async move {
            let mut part = Part::new();
            start.wait().await;
            while let Some(begun) = Begun::now(&stage) {
                turn().await;
                part.note(begun, stage.now());
            }
            part
        })
    };
    let tasks: Vec<_> = (0..borrowers).map(spawn).collect();
    handle.block_on(start.wait());
    let log = run(&stage, times);
    let parts = tasks.into_iter().map(|task| handle.block_on(task).expect("a borrower"));
    log.with(parts.collect())
}

/// From the first turn to the end of time.
fn run(stage: &Stage, times: Times) -> Log {
    thread::sleep(times.warm_up);
    let (begun, cpu) = (Instant::now(), ProcessTime::now());
    stage.0.store(MEASURED, Relaxed);
    thread::sleep(times.measured);
    stage.0.store(OVER, Relaxed);
    Log { measured: begun.elapsed(), cpu: cpu.elapsed(), ..Log::default() }
}

impl Log {
    fn with(mut self, parts: Vec<Part>) -> Self {
        self.turns = parts.iter().map(|part| part.turns).sum();
        self.fewest = parts.iter().map(|part| part.turns).min().unwrap_or(0);
        self.all_turns = parts.iter().map(|part| part.all_turns).sum();
        self.took = parts.into_iter().flat_map(|part| part.took).collect();
        self
    }
}
