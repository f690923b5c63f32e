//! CPU time of threads that really run at once. On a busy machine two threads mostly take turns,
//! and then contend for nothing. So they go in short slices, and only those count in which all had
//! a core.

use super::figures::cores;
use super::length::Length;
use cpu_time::ThreadTime;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Trips of one thread in a slice: less than a millisecond.
const SLICE: u64 = 20_000;
/// So many slices are tried for each that is needed,
const PATIENCE: u64 = 4;
/// and so many at least. If none of them was good, all of them count, which is told.
const LEAST_TRIES: u64 = 64;
/// For so much of the slice each thread must have had a core, and all of them at the same time.
const UNDISTURBED: f64 = 0.9;

static GOOD: AtomicU64 = AtomicU64::new(0);
static TRIED: AtomicU64 = AtomicU64::new(0);
static SPOILED: AtomicU64 = AtomicU64::new(0);

/// How many slices since the last call were good, in words.
pub(crate) fn quality() -> String {
    let [good, tried, spoiled] = [&GOOD, &TRIED, &SPOILED].map(|count| count.swap(0, Relaxed));
    let warning = match spoiled {
        0 => String::new(),
        _ => format!("; samples without any, which are too low: {spoiled}"),
    };
    format!("the threads ran side by side in {good} of {tried} slices{warning}")
}

/// The CPU time of `trips` trips shared out among `threads` threads.
pub(crate) fn cpu_time(threads: usize, trips: u64, trip: impl Fn() + Sync) -> Duration {
    let share = trips.div_ceil(threads as u64);
    let plan = if threads > cores() || Length::asked().is_none() {
        // More threads than cores never run all at once, and a test measures nothing.
        Plan { threads, slices: 1, trips: share, tries: 1 }
    } else {
        let slices = share.div_ceil(SLICE);
        Plan { threads, slices, trips: SLICE, tries: LEAST_TRIES.max(slices * PATIENCE) }
    };
    let done = Mutex::new(Done::default());
    let (line, is_over) = (Barrier::new(threads), AtomicBool::new(false));
    let work = || {
        trip();
        loop {
            line.wait();
            if is_over.load(Relaxed) {
                return;
            }
            let (begun, cpu) = (Instant::now(), ThreadTime::now());
            (0..plan.trips).for_each(|_| trip());
            let slice = Slice { cpu: cpu.elapsed(), begun, ended: Instant::now() };
            done.lock().expect("no panic").slices.push(slice);
            if line.wait().is_leader() {
                is_over.store(done.lock().expect("no panic").judge(&plan), Relaxed);
            }
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let done = done.into_inner().expect("no panic");
    let (cpu, slices) = if done.good > 0 {
        (done.cpu, done.good)
    } else {
        SPOILED.fetch_add(1, Relaxed);
        (done.all_cpu, done.tried)
    };
    cpu.mul_f64(trips as f64 / (slices * plan.trips * threads as u64) as f64)
}

struct Plan {
    threads: usize,
    slices: u64,
    /// Of each thread in each slice.
    trips: u64,
    /// The most slices.
    tries: u64,
}

struct Slice {
    cpu: Duration,
    begun: Instant,
    ended: Instant,
}

#[derive(Default)]
struct Done {
    /// Those of the current round, one for each thread.
    slices: Vec<Slice>,
    tried: u64,
    all_cpu: Duration,
    good: u64,
    cpu: Duration,
}

impl Done {
    /// Takes account of the round. True: that was the last.
    fn judge(&mut self, plan: &Plan) -> bool {
        let is_good = plan.threads > cores() || ran_at_once(&self.slices);
        let cpu: Duration = self.slices.drain(..).map(|slice| slice.cpu).sum();
        self.tried += 1;
        self.all_cpu += cpu;
        TRIED.fetch_add(1, Relaxed);
        if is_good {
            self.good += 1;
            self.cpu += cpu;
            GOOD.fetch_add(1, Relaxed);
        }
        self.good >= plan.slices || self.tried >= plan.tries
    }
}

fn ran_at_once(slices: &[Slice]) -> bool {
    let (Some(begun), Some(ended)) = (
        slices.iter().map(|slice| slice.begun).max(),
        slices.iter().map(|slice| slice.ended).min(),
    ) else {
        return false;
    };
    let together = ended.saturating_duration_since(begun);
    slices.iter().all(|slice| {
        let enough = (slice.ended - slice.begun).mul_f64(UNDISTURBED);
        together >= enough && slice.cpu >= enough
    })
}
