//! What pools take up while nobody wants anything, and what they allocate for a loan (W6). A
//! program of its own, as counting allocations takes time that other figures are not to contain.

use caliburn::Pool;
use caliburn_benches::harness::*;
use caliburn_benches::idleness::{settle, threads, watch};
use caliburn_benches::pools::{
    Adapter, Boxes, ForTasks, ForThreads, Object, PACKAGES, TaskArena, ThreadArena, builder,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ABOUT: &str = "\
Bytes and allocations, counted by the allocator for the whole process: of caliburn and of other
pools, without the objects' own 64 bytes. An idle process is watched by way of /proc (Linux): how
often its threads are woken, and the CPU time it uses, with one pool and with a thousand. Half a
minute.";

const SIZE: usize = 64;
const PLENTY: Duration = Duration::from_secs(10);
const TRIPS: usize = 10_000;
/// The first loans may still allocate what later ones use again.
const WARM_UP: usize = 1_000;
/// By then the threads that opened connections are gone.
const REST: Duration = ms(100);

#[derive(Clone, Copy)]
struct Memory {
    /// Beside the objects, for each of them.
    bytes: f64,
    /// For each loan.
    allocations: f64,
    allocated: f64,
}

fn kept_since(region: &Region<'_, System>) -> f64 {
    let change = region.change();
    change.bytes_allocated as f64 - change.bytes_deallocated as f64
}

/// What is kept since `region` began, and what the trips allocate. After `settle` nothing goes on
/// in the background.
fn memory(
    region: &Region<'_, System>,
    mut trips: impl FnMut(usize),
    settle: impl FnOnce(),
) -> Memory {
    trips(WARM_UP);
    settle();
    let objects = (SIZE * size_of::<Object>()) as f64;
    let bytes = (kept_since(region) - objects) / SIZE as f64;
    let loans = Region::new(COUNTING);
    trips(TRIPS);
    let change = loans.change();
    let per_loan = |count: usize| count as f64 / TRIPS as f64;
    Memory {
        bytes,
        allocations: per_loan(change.allocations + change.reallocations),
        allocated: per_loan(change.bytes_allocated),
    }
}

struct Threads;

impl<'a> ThreadArena<'a> for Threads {
    type Figure = Memory;

    fn slices<P: ForThreads + 'a>(
        &self,
        make: impl Fn(usize) -> P + 'a,
    ) -> impl FnMut() -> Memory + 'a {
        move || {
            let region = Region::new(COUNTING);
            let pool = make(SIZE);
            let trips = |trips| (0..trips).for_each(|_| pool.trip());
            let memory = memory(&region, trips, || thread::sleep(REST));
            // Pools close their connections in the background: that would be put down to the next
            // one.
            std::mem::forget(pool);
            memory
        }
    }
}

struct Tasks<'a>(&'a Runtime);

impl<'a> TaskArena<'a> for Tasks<'a> {
    type Figure = Memory;

    fn slices<P: ForTasks>(&self) -> impl FnMut() -> Memory + 'a {
        let runtime = self.0;
        move || {
            // Some of the last pool's tasks may not have ended.
            let rest = || runtime.block_on(async { tokio::time::sleep(REST).await });
            rest();
            let region = Region::new(COUNTING);
            let pool = runtime.block_on(P::filled(SIZE));
            let trips = |trips| {
                runtime.block_on(async {
                    for _ in 0..trips {
                        pool.trip().await;
                    }
                });
            };
            let memory = memory(&region, trips, rest);
            std::mem::forget(pool);
            memory
        }
    }
}

/// As most pools are: looked after by the housekeeper.
fn kept(size: usize) -> Pool<Adapter<Boxes>> {
    builder(size).build().expect("a thread")
}

/// How often threads are woken, and the CPU time used: the least of several looks, as a busy
/// machine makes everything dearer, and nothing cheaper.
fn idle(report: &mut Report, what: &str, seen: &[Spread; 2], asked: Option<[f64; 2]>) {
    let shows: [fn(f64) -> String; 2] =
        [|woken| format!("{woken:.1}/s"), |share| format!("{share:.3} % of a core")];
    for (n, name) in ["wake-ups", "CPU time"].into_iter().enumerate() {
        let (name, show, least) = (format!("{what}: {name}"), shows[n], seen[n].at(0.0));
        let most = format!("most: {}", show(seen[n].most()));
        match asked {
            Some(asked) => report.at_most(name, least, asked[n], show, most),
            None => report.note(name, format!("{} ({most})", show(least))),
        }
    }
}

fn idle_processes(report: &mut Report, length: Length) {
    // Until the housekeeper of earlier pools has gone.
    settle();
    let pool = kept(64);
    pool.ready(PLENTY).expect("objects always connect");
    settle();
    idle(report, "an idle process with one pool", &watch(length, thread::sleep), Some([50.0, 0.1]));
    drop(pool);

    let pools: Vec<_> = (0..1000).map(|_| kept(1)).collect();
    for pool in &pools {
        pool.ready(PLENTY).expect("objects always connect");
    }
    settle();
    let names = threads();
    let (count, show) = (names.len() as f64, |count: f64| count.to_string());
    report.at_most("1,000 pools of one: threads", count, 1.0, show, names.join(", "));
    idle(report, "1,000 pools of one", &watch(length, thread::sleep), None);
}

fn main() {
    let length = Length::read(ABOUT);
    let mut report = Report::default();
    let progress = Progress::new(3);
    progress.say("idle processes");
    idle_processes(&mut report, length);
    drop(progress);
    report.print();
    say!();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    // What a process allocates once for all its pools is not to be put down to whoever comes first.
    let rounds = Rounds::exactly(3);
    let threads = by_turns("threads", rounds, Threads.everybody(), || ());
    let tasks = by_turns("tasks", rounds, Tasks(&runtime).everybody(), || ());
    for (title, records) in [("for threads", threads), ("for tasks", tasks)] {
        let sheet = Sheet::of("W6", title, &records).with(&[
            ("bytes per object, beside it", Better::Less, Show::Count, &|o| o.figure.bytes),
            ("allocations per loan", Better::Less, Show::Median, &|o| o.figure.allocations),
            ("bytes per loan", Better::Less, Show::Median, &|o| o.figure.allocated),
        ]);
        say!("W6 {title}, {SIZE} objects:\n\n{sheet}\n");
    }
    say!("{}", versions(&PACKAGES));
}
