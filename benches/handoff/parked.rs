//! One who sleeps is given a connection, or just woken.

use crate::harness::figures::{Spread, work};
use crate::harness::length::Length;
use crate::harness::objects::{Objects, pool};
use crate::harness::table::Table;
use caliburn::Pool;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ASLEEP: Duration = Duration::from_micros(40);

fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

/// From each call to its answer.
fn between(begun: Vec<Instant>, ended: Vec<Instant>) -> Spread {
    let pairs = begun.into_iter().zip(ended);
    pairs.map(|(begun, ended)| ended.saturating_duration_since(begun).as_nanos() as f64).collect()
}

/// `park` and `unpark`, and nothing else.
fn bare(times: u32) -> Spread {
    let (ready, rung) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let sleep = |time| {
                ready.store(time, Ordering::Release);
                while rung.load(Ordering::Acquire) < time {
                    thread::park();
                }
                Instant::now()
            };
            (1..=times).map(sleep).collect()
        });
        let wake = |time| {
            until(|| ready.load(Ordering::Acquire) == time);
            work(ASLEEP);
            let begun = Instant::now();
            rung.store(time, Ordering::Release);
            sleeper.thread().unpark();
            begun
        };
        let begun = (1..=times).map(wake).collect();
        between(begun, sleeper.join().expect("no panic"))
    })
}

/// The only connection of a pool.
fn handed(pool: &Pool<Objects>, times: u32) -> Spread {
    let lent = AtomicU32::new(0);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let wait = |time| {
                until(|| lent.load(Ordering::Acquire) == time);
                let object = pool.get().expect("an object");
                let ended = Instant::now();
                drop(object);
                ended
            };
            (1..=times).map(wait).collect()
        });
        let hand = |time| {
            let object = pool.get().expect("an object");
            lent.store(time, Ordering::Release);
            until(|| pool.stats().waiting == 1);
            work(ASLEEP);
            let begun = Instant::now();
            drop(object);
            begun
        };
        let begun = (1..=times).map(hand).collect();
        between(begun, waiter.join().expect("no panic"))
    })
}

pub(crate) fn measure(length: Length) -> Table {
    let (rounds, times) = length.pick((41, 200), (3, 50));
    let pool = pool(1, ());
    let both: Vec<_> = (0..rounds).map(|_| (bare(times), handed(&pool, times))).collect();
    let mut table =
        Table::new(&["a thread parked for 40 µs", "median (quartiles)", "p90 in a round"]);
    let micros = |nanos: f64| format!("{:.1} µs", nanos / 1000.0);
    let times = |ratio: f64| format!("{ratio:.2} x");
    let mut row = |name: &str, show: &dyn Fn(f64) -> String, of: &dyn Fn(usize, f64) -> f64| {
        let at = |share| (0..rounds).map(|round| of(round, share)).collect::<Spread>().show(show);
        table.row([name.into(), at(0.5), at(0.9)]);
    };
    row("bare unpark", &micros, &|round, share| both[round].0.at(share));
    row("hand-off of a connection", &micros, &|round, share| both[round].1.at(share));
    let ratio = |round: usize, share| both[round].1.at(share) / both[round].0.at(share);
    row("the latter by the former", &times, &ratio);
    table
}
