//! W5 for threads: from the moment that the only object is given back to the moment that the thread
//! which is parked for it has it.

use caliburn_benches::harness::*;
use caliburn_benches::pools::{ForThreads, ThreadArena};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Long enough for the waiter to have gone to sleep.
const PARKED: Duration = Duration::from_micros(40);

/// Whose turn it is, as a number that counts up.
#[derive(Default)]
struct Stage(AtomicUsize);

impl Stage {
    fn reach(&self, step: usize) {
        self.0.store(step, Ordering::Release);
    }

    /// Yields all the time, in case there is only one core.
    fn wait_for(&self, step: usize) {
        while self.0.load(Ordering::Acquire) < step {
            thread::yield_now();
        }
    }
}

/// `give` has what `take` waits for: it calls what it is given, then gives, and says when that was.
/// `take` says when it had it. The median time in between, in µs.
fn hand_offs(
    times: usize,
    give: impl Fn(&dyn Fn(), &Thread) -> Instant + Sync,
    take: impl Fn() -> Instant + Sync,
) -> f64 {
    let stage = Stage::default();
    let (given, taken): (Vec<Instant>, Vec<Instant>) = thread::scope(|scope| {
        let taker = scope.spawn(|| {
            keep_to_core(1);
            let turn = |n| {
                stage.wait_for(2 * n + 1);
                let taken = take();
                stage.reach(2 * n + 2);
                taken
            };
            (0..times).map(turn).collect()
        });
        let thread = taker.thread().clone();
        let giver = scope.spawn(|| {
            let thread = thread;
            keep_to_core(0);
            let turn = |n| {
                let invite = || {
                    stage.reach(2 * n + 1);
                    spin(PARKED);
                };
                let given = give(&invite, &thread);
                stage.wait_for(2 * n + 2);
                given
            };
            (0..times).map(turn).collect()
        });
        (giver.join().expect("no panic"), taker.join().expect("no panic"))
    });
    let took = taken.iter().zip(given).map(|(taken, given)| taken.duration_since(given));
    took.collect::<Spread>().median() * 1e3
}

struct HandOffs {
    times: usize,
}

impl<'a> ThreadArena<'a> for HandOffs {
    type Figure = f64;

    fn slices<P: ForThreads + 'a>(
        &self,
        make: impl Fn(usize) -> P + 'a,
    ) -> impl FnMut() -> f64 + 'a {
        let (times, pool) = (self.times, make(1));
        move || {
            let give = |invite: &dyn Fn(), _: &Thread| {
                pool.borrow(|_| {
                    invite();
                    Instant::now()
                })
            };
            hand_offs(times, give, || pool.borrow(|_| Instant::now()))
        }
    }
}

/// In multiples of what `park` and `unpark` take.
pub(crate) fn parked(length: Length) -> Sheet {
    let times = length.pick(200, 50);
    let here = AtomicBool::new(false);
    let floor = || {
        let give = |invite: &dyn Fn(), taker: &Thread| {
            invite();
            let given = Instant::now();
            here.store(true, Ordering::Release);
            taker.unpark();
            given
        };
        let take = || {
            while !here.swap(false, Ordering::Acquire) {
                thread::park();
            }
            Instant::now()
        };
        hand_offs(times, give, take)
    };
    let mut entrants = vec![Entrant::new(Kind::Floor, "floor: park, unpark", floor)];
    entrants.extend(HandOffs { times }.parking());
    let records = by_turns("W5, threads", Rounds::new(length, 15, 6), entrants, floor);
    Sheet::of("W5", "hand-off to a thread that has waited for 40 µs", &records).with(&[
        ("µs", Better::Neither, Show::Median, &|outcome| outcome.figure),
        (RATIO, Better::Less, Show::Quartiles, &Outcome::ratio),
    ])
}
