//! W6: what pools keep beside the objects, and what they allocate for a loan. A program of its own,
//! as counting allocations takes time that the other figures are not to contain.

use caliburn_peers::pools::versions_of;
use caliburn_peers::side_by_side::POOLS;
use caliburn_peers::side_by_side::contest::{Entrant, Kind, Record, by_turns};
use caliburn_peers::side_by_side::effort::Rounds;
use caliburn_peers::side_by_side::object::Object;
use caliburn_peers::side_by_side::sheet::{Better, Sheet, Show};
use caliburn_peers::side_by_side::tasks::{self, ForTasks};
use caliburn_peers::side_by_side::threads::{self, ForThreads};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SIZE: usize = 64;
const TRIPS: usize = 10_000;
/// The first loans may still allocate what later ones use again.
const WARM_UP: usize = 1_000;
/// By then the threads that opened connections are gone.
const REST: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
struct Memory {
    /// Beside the objects, for each of them.
    bytes: f64,
    /// For each loan.
    allocations: f64,
    allocated: f64,
}

fn kept(region: &Region<'_, System>) -> f64 {
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
    let bytes = (kept(region) - objects) / SIZE as f64;
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

impl<'a> threads::roster::Arena<'a> for Threads {
    type Figure = Memory;

    fn admit<P: ForThreads + 'a>(
        &self,
        kind: Kind,
        name: &'static str,
        make: impl Fn(usize) -> P + 'a,
    ) -> Entrant<'a, Memory> {
        Entrant::new(kind, name, move || {
            let region = Region::new(COUNTING);
            let pool = make(SIZE);
            let trips = |trips| (0..trips).for_each(|_| pool.trip());
            let memory = memory(&region, trips, || thread::sleep(REST));
            // Pools close their connections in the background: that would be put down to the next
            // one.
            std::mem::forget(pool);
            memory
        })
    }
}

struct Tasks<'a>(&'a Runtime);

impl<'a> tasks::roster::Arena<'a> for Tasks<'a> {
    type Figure = Memory;

    fn admit<P: ForTasks>(&self, kind: Kind, name: &'static str) -> Entrant<'a, Memory> {
        let runtime = self.0;
        Entrant::new(kind, name, move || {
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
        })
    }
}

fn add(sheet: &mut Sheet, records: &[Record<Memory, ()>]) {
    for record in records {
        let of = |figure: fn(Memory) -> f64| {
            record.outcomes.iter().map(|outcome| figure(outcome.figure)).collect()
        };
        let figures = vec![of(|m| m.bytes), of(|m| m.allocations), of(|m| m.allocated)];
        sheet.row(record.who, figures);
    }
}

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    // What a process allocates once for all its pools is not to be put down to whoever comes first.
    let rounds = Rounds { most: 3, least: 3, within: Duration::ZERO };
    let threads = by_turns("threads", rounds, threads::roster::everybody(&Threads), || ());
    let tasks = by_turns("tasks", rounds, tasks::roster::everybody(&Tasks(&runtime)), || ());
    for (title, records) in [("for threads", threads), ("for tasks", tasks)] {
        let mut sheet = Sheet::new("W6", title)
            .column("bytes per object, beside it", Better::Less, Show::Count)
            .column("allocations per loan", Better::Less, Show::Median)
            .column("bytes per loan", Better::Less, Show::Median);
        add(&mut sheet, &records);
        println!("W6 {title}, {SIZE} objects:\n\n{sheet}");
    }
    println!("{}", versions_of(&POOLS));
}
