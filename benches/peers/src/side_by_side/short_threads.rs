//! W4 for threads: eight of them on four objects.

use super::contest::{Entrant, Kind, by_turns};
use super::effort::Effort;
use super::object::Object;
use super::sheet::Sheet;
use super::threads::ForThreads;
use super::threads::roster::{Arena, patient};
use super::waits::{self, Shortage};
use super::work::spin;
use cpu_time::ProcessTime;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 8;
const OBJECTS: usize = 4;

/// What a borrower does while it holds an object.
#[derive(Clone, Copy)]
enum Hold {
    Work(Duration),
    Sleep(Duration),
}

impl Hold {
    fn hold(self) {
        match self {
            Self::Work(time) => spin(time),
            Self::Sleep(time) => thread::sleep(time),
        }
    }
}

/// `turn` takes one turn and says how long it waited.
fn slice(threads: usize, time: Duration, turn: impl Fn() -> Duration + Sync) -> Shortage {
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let run = || {
            barrier.wait();
            let until = Instant::now() + time;
            let mut waits = Vec::with_capacity(1024);
            loop {
                waits.push(turn());
                if Instant::now() >= until {
                    return waits;
                }
            }
        };
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let (begun, cpu) = (Instant::now(), ProcessTime::now());
        barrier.wait();
        let waits = all.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        Shortage::of(waits, begun.elapsed(), cpu.elapsed())
    })
}

struct Shortages {
    hold: Hold,
    time: Duration,
}

impl<'a> Arena<'a> for Shortages {
    type Figure = Shortage;

    fn admit<P: ForThreads + 'a>(
        &self,
        kind: Kind,
        name: &'static str,
        make: impl Fn(usize) -> P + 'a,
    ) -> Entrant<'a, Shortage> {
        let Self { hold, time } = *self;
        let pool = make(OBJECTS);
        let turn = move || {
            let begun = Instant::now();
            pool.borrow(|object: &mut Object| {
                let waited = begun.elapsed();
                hold.hold();
                object.touch();
                waited
            })
        };
        Entrant::new(kind, name, move || slice(THREADS, time, &turn))
    }
}

fn measure(title: &'static str, hold: Hold, effort: Effort) -> Sheet {
    let progress = match hold {
        Hold::Work(_) => "W4, threads that work",
        Hold::Sleep(_) => "W4, threads that sleep",
    };
    let time = effort.slice(Duration::from_millis(120));
    let entrants = patient(&Shortages { hold, time });
    let alone = || {
        hold.hold();
        Duration::ZERO
    };
    let ideal = || slice(OBJECTS, time / 3, alone).rate;
    let records = by_turns(progress, effort.rounds(15, 18), entrants, ideal);
    waits::sheet("W4", title, &records)
}

/// They work while they hold an object, which on two cores is more than there is time for.
pub fn working(effort: Effort) -> Sheet {
    let hold = Hold::Work(Duration::from_micros(20));
    measure("8 threads on 4 objects, 20 µs of work", hold, effort)
}

/// They sleep while they hold an object, as one does who waits for a server.
pub fn sleeping(effort: Effort) -> Sheet {
    let hold = Hold::Sleep(Duration::from_micros(200));
    measure("8 threads on 4 objects, asleep for 200 µs", hold, effort)
}
