//! Slices of time: how long one round trip takes within each.

use super::cores;
use super::floor::Line;
use super::near::{self, Distance};
use cpu_time::ThreadTime;
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// Nanoseconds per trip of one thread: the best of three slices, as whatever disturbs a slice makes
/// it longer.
pub fn alone(trips: u32, mut trip: impl FnMut()) -> f64 {
    let slice = || {
        let begun = Instant::now();
        for _ in 0..trips {
            trip();
        }
        begun.elapsed().as_nanos() as f64 / f64::from(trips)
    };
    std::iter::repeat_with(slice).take(3).fold(f64::MAX, f64::min)
}

/// How many trips make a slice of this length.
pub fn trips_for(slice: Duration, mut trip: impl FnMut()) -> u32 {
    let mut trips = 64;
    loop {
        let begun = Instant::now();
        for _ in 0..trips {
            trip();
        }
        let took = begun.elapsed();
        if took * 8 >= slice || trips >= 1 << 24 {
            let one = took.as_secs_f64() / f64::from(trips);
            return (slice.as_secs_f64() / one).clamp(64.0, f64::from(1 << 24)) as u32;
        }
        trips *= 2;
    }
}

/// What threads that run at once spent on one trip.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// CPU time per trip, in nanoseconds. Other programs do not inflate it, as wall time they
    /// would.
    pub cpu: f64,
    /// How far two of the cores were from each other at that moment.
    pub distance: Distance,
    /// The share of the two cores' time that the threads did not have.
    missing: f64,
    /// With less than this missing they met as they should.
    bearable: f64,
}

impl Crowd {
    /// Whether the threads ran side by side. Threads that take turns on a core never meet, and what
    /// they do is nothing but cheap.
    pub fn has_met(&self) -> bool {
        self.missing < self.bearable
    }
}

/// CPU time per trip while `threads` threads on two cores run `trip` for as long as `slice`; each
/// gets its number. A slice in which they did not meet is repeated, at most so many times in all.
pub fn crowd(
    threads: usize,
    slice: Duration,
    attempts: usize,
    trip: impl Fn(usize) + Sync,
) -> Crowd {
    let mut best = crowd_once(threads, slice, &trip);
    for _ in 1..attempts {
        if best.has_met() {
            break;
        }
        let next = crowd_once(threads, slice, &trip);
        if next.missing < best.missing {
            best = next;
        }
    }
    best
}

fn crowd_once(threads: usize, slice: Duration, trip: &(impl Fn(usize) + Sync)) -> Crowd {
    /// The clock is read once in so many trips.
    const BATCH: u32 = 128;
    let (barrier, line, end) = (Barrier::new(threads), Line::default(), OnceLock::new());
    let run = |number: usize| {
        cores::keep_to_core(number);
        trip(number);
        barrier.wait();
        // The probe also makes up for the barrier, which wakes its threads one after another.
        let distance = if threads == 2 { near::probe(&line, number) } else { Distance::Unknown };
        let end = *end.get_or_init(|| Instant::now() + slice);
        let begun = ThreadTime::now();
        let mut trips = 0_u64;
        loop {
            for _ in 0..BATCH {
                trip(number);
            }
            trips += u64::from(BATCH);
            if Instant::now() >= end {
                return (begun.elapsed().as_secs_f64(), trips, distance);
            }
        }
    };
    let (mut cpu, mut trips, mut distance) = (0.0, 0, Distance::Unknown);
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads).map(|n| scope.spawn(move || run(n))).collect();
        for thread in threads {
            let (spent, did, far) = thread.join().expect("no panic");
            cpu += spent;
            trips += did;
            distance = far;
        }
    });
    // Two that did not find each other in the probe are on one core.
    let missing = match distance {
        Distance::Unknown if threads == 2 => 1.0,
        _ => 1.0 - cpu / (slice.as_secs_f64() * cores::count().min(threads) as f64),
    };
    // Of two threads nobody meets nobody while one of them is away; of many, others take its place.
    let bearable = if threads == 2 { 0.04 } else { 0.25 };
    Crowd { cpu: cpu * 1e9 / trips as f64, distance, missing, bearable }
}
